use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_RANGE, IF_NONE_MATCH, RANGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use reqwest::Response;
use tokio::time::{Instant, timeout};

use super::answer::{bounded, content_length, is_of_nothing, judge, may_be};
use super::auth::Authenticator;
use super::health::{Condition, Health};
use super::options::{Patience, UpstreamOptions, base};
use super::reach::{Answer, Reach};
use super::{UpstreamError, UpstreamSetupError};
use crate::store::Digest;

/// The manifests that a client of today understands.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, */*;q=0.5";

/// Another registry. `Clone` costs an `Arc`.
///
/// No OCI client crate is used: `oci-client` follows redirects into every network, takes a redirect's 404
/// for the registry's, knows neither HEAD of a blob nor conditions, `Link` and `Retry-After`, and does
/// not report which of its requests failed.
#[derive(Clone)]
pub(crate) struct Upstream(Arc<Inner>);

struct Inner {
    reach: Arc<Reach>,
    authenticator: Arc<Authenticator>,
    health: Health,
    patience: Patience,
}

/// A question about a repository.
pub(super) struct Question<'a> {
    method: Method,
    repository: &'a str,
    /// What follows the repository in the path, with a query.
    rest: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// A part of a blob up to its end.
pub(super) struct Rest {
    pub(super) response: Response,
    /// Where it begins.
    pub(super) start: u64,
    /// The length of the whole, where upstream states it.
    pub(super) length: Option<u64>,
}

impl<'a> Question<'a> {
    pub(super) fn new(method: Method, repository: &'a str, rest: String) -> Self {
        Self {
            method,
            repository,
            rest,
            headers: Vec::new(),
        }
    }

    /// Asks for a manifest by tag or digest.
    pub(super) fn manifest(method: Method, repository: &'a str, reference: &str) -> Self {
        let this = Self::new(method, repository, format!("manifests/{reference}"));
        this.with(ACCEPT, HeaderValue::from_static(MANIFESTS))
    }

    /// Asks for a blob.
    pub(super) fn blob(method: Method, repository: &'a str, digest: &Digest) -> Self {
        Self::new(method, repository, format!("blobs/{digest}"))
    }

    /// For an answer only if it is another than this.
    pub(super) fn unless(self, known: Option<&Digest>) -> Self {
        let tag = known.and_then(|digest| HeaderValue::try_from(format!("\"{digest}\"")).ok());
        match tag {
            Some(tag) => self.with(IF_NONE_MATCH, tag),
            None => self,
        }
    }

    /// By which its silence is remembered; empty for the registry as such.
    fn name(&self) -> String {
        match self.repository {
            "" => String::new(),
            name => format!("{} {name}/{}", self.method, self.rest),
        }
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl Upstream {
    /// Sets up the HTTP client; connects to no server yet.
    ///
    /// # Errors
    /// The URL, a file or the environment is not usable.
    pub(crate) fn new(options: &UpstreamOptions) -> Result<Self, UpstreamSetupError> {
        let reach = Arc::new(Reach::new(base(&options.url)?, options)?);
        let authenticator = Authenticator::from_env(Arc::clone(&reach), options)?;
        Ok(Self(Arc::new(Inner {
            reach,
            authenticator: Arc::new(authenticator),
            health: Health::new(options.patience.silence),
            patience: options.patience,
        })))
    }

    pub(super) fn patience(&self) -> &Patience {
        &self.0.patience
    }

    /// How the upstream is.
    pub(crate) fn condition(&self) -> Condition {
        self.0.health.condition()
    }

    /// The registry's URL.
    pub(crate) fn url(&self) -> &str {
        self.0.reach.base().as_str()
    }

    /// The user that is shown to the upstream.
    pub(crate) fn username(&self) -> Option<&str> {
        self.0.authenticator.username()
    }

    /// Asks whether the registry is there and takes the credentials.
    ///
    /// # Errors
    /// It is not, or does not.
    pub(crate) async fn probe(&self) -> Result<(), UpstreamError> {
        let question = Question::new(Method::GET, "", String::new());
        self.ask(question).await.map(drop)
    }

    /// Asks; the body is still to come, and its time is its own.
    pub(super) async fn ask(&self, question: Question<'_>) -> Result<Response, UpstreamError> {
        self.own_or_not(question)
            .await
            .map(|(response, _)| response)
    }

    /// The same, with whether the registry itself answers, and not what it leads to.
    async fn own_or_not(&self, question: Question<'_>) -> Result<(Response, bool), UpstreamError> {
        let health = &self.0.health;
        let name = question.name();
        health.check(&name)?;
        let began = Instant::now();
        let answered = self.within(self.0.patience.answer, question).await;
        health.note(&name, began, &answered);
        if matches!(answered, Err(UpstreamError::Silent)) && health.is_doubtful(began) {
            self.doubt();
        }
        answered
    }

    async fn within(
        &self,
        patience: Duration,
        question: Question<'_>,
    ) -> Result<(Response, bool), UpstreamError> {
        match timeout(patience, self.send(question)).await {
            Ok(Ok(Answer { response, own })) => {
                judge(response, own).await.map(|response| (response, own))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(UpstreamError::Silent),
        }
    }

    /// Finds out, while no client waits for it, whether the registry answers at all.
    fn doubt(&self) {
        let this = self.clone();
        tokio::spawn(async move {
            let (began, patience) = (Instant::now(), this.0.patience.answer / 2);
            let question = Question::new(Method::GET, "", String::new());
            let answered = this.within(patience, question).await;
            this.0.health.note("", began, &answered);
        });
    }

    /// Asks for a text that must not be longer than `limit`, and reads all of it. Whether the registry itself
    /// gave it is last.
    pub(super) async fn text(
        &self,
        question: Question<'_>,
        limit: usize,
    ) -> Result<(StatusCode, HeaderMap, Vec<u8>, bool), UpstreamError> {
        let conditional = question
            .headers
            .iter()
            .any(|(name, _)| name == IF_NONE_MATCH);
        let (mut response, own) = self.own_or_not(question).await?;
        let headers = std::mem::take(response.headers_mut());
        let status = response.status();
        if status != StatusCode::OK && !(conditional && status == StatusCode::NOT_MODIFIED) {
            return Err(UpstreamError::Invalid("a part that was not asked for"));
        }
        let text = timeout(self.0.patience.answer, bounded(response, limit)).await;
        let text = text.unwrap_or(Err(UpstreamError::Stalled))?;
        Ok((status, headers, text, own))
    }

    /// Notes that a transfer comes on.
    pub(super) fn heard(&self) {
        self.0.health.heard();
    }

    /// Asks for a blob from its byte `start` on.
    pub(super) async fn rest_of(
        &self,
        repository: &str,
        digest: &Digest,
        start: u64,
    ) -> Result<Rest, UpstreamError> {
        let mut question = Question::blob(Method::GET, repository, digest);
        if start > 0 {
            // Made of digits.
            if let Ok(range) = HeaderValue::try_from(format!("bytes={start}-")) {
                question = question.with(RANGE, range);
            }
        }
        let response = self.ask(question).await?;
        if start == 0 && response.status() == StatusCode::PARTIAL_CONTENT {
            return Err(UpstreamError::Invalid("a part where all was asked for"));
        }
        let (start, length) = place(&response)?;
        may_be(digest, response.headers(), length)?;
        Ok(Rest {
            response,
            start,
            length,
        })
    }

    /// The length of a blob where the upstream tells it, if the upstream has the blob.
    pub(super) async fn blob_length(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<u64>, UpstreamError> {
        // HEAD decides nothing: some registries answer 404 to it for what they give to a GET, others, and what is in
        // front of them, 200 for what they do not.
        let mut get = Question::blob(Method::GET, repository, digest);
        if !is_of_nothing(digest) {
            // One byte, to leave the rest unsent.
            get = get.with(RANGE, HeaderValue::from_static("bytes=0-0"));
        }
        let response = self.ask(get).await?;
        let (_, length) = place(&response)?;
        may_be(digest, response.headers(), length)?;
        Ok(length)
    }

    async fn send(&self, question: Question<'_>) -> Result<Answer, UpstreamError> {
        let Inner {
            reach,
            authenticator,
            ..
        } = &*self.0;
        let repository = question.repository;
        // The names were parsed by their grammar, and only queries come from elsewhere.
        let (path, scope) = match repository {
            "" => ("v2/".to_owned(), String::new()),
            name => (
                format!("v2/{name}/{}", question.rest),
                format!("repository:{name}:pull"),
            ),
        };
        let url = reach.base().join(&path);
        let url = url.map_err(|_| UpstreamError::Invalid("its URL"))?;
        let mut headers: HeaderMap = question.headers.into_iter().collect();
        // What is coded otherwise has another digest.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let mut shown = authenticator.known(&scope);
        let mut asked_again = false;
        loop {
            let mut headers = headers.clone();
            headers.extend(shown.clone().map(|value| (AUTHORIZATION, value)));
            let heard = || self.heard();
            let answer = reach.ask(&question.method, url.clone(), headers, heard);
            let answer = answer.await?;
            if answer.response.status() != StatusCode::UNAUTHORIZED || !answer.own {
                return Ok(answer);
            }
            let challenge = answer.response.headers();
            if asked_again {
                let shown = shown.as_ref();
                shown.inspect(|value| authenticator.forget(&scope, value));
                let basic = shown.is_some_and(|value| value.as_bytes().starts_with(b"Basic "));
                if basic {
                    return Err(UpstreamError::Credentials);
                }
                return Ok(answer);
            }
            asked_again = true;
            let value = authenticator.answer(challenge, &scope, shown.as_ref());
            shown = Some(value.await?);
        }
    }
}

/// Where what came of a blob begins, and the length of the whole where that is stated.
fn place(response: &Response) -> Result<(u64, Option<u64>), UpstreamError> {
    match response.status() {
        // All of it, whatever was asked for.
        StatusCode::OK => Ok((0, content_length(response))),
        StatusCode::PARTIAL_CONTENT => {
            let range = response.headers().get(CONTENT_RANGE);
            let range = range.and_then(|value| value.to_str().ok()).unwrap_or("");
            content_range(range).ok_or(UpstreamError::Invalid("a part without its place"))
        }
        _ => Err(UpstreamError::Invalid("no content for a blob")),
    }
}

/// `bytes <first>-<last>/<length>`: the first byte's place and the whole's length, unless that is `*`
/// (RFC 9110 §14.4).
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, length) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.trim().split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let length = match length {
        "*" => None,
        length => Some(length.parse().ok()?),
    };
    let fits = first <= last && length.is_none_or(|length| last < length);
    fits.then_some((first, length))
}

#[cfg(test)]
mod tests {
    use super::content_range;

    #[test]
    fn the_place_of_a_part_is_read_whole_or_not_at_all() {
        for (text, expected) in [
            ("bytes 5-9/10", Some((5, Some(10)))),
            ("bytes 0-0/1", Some((0, Some(1)))),
            ("bytes 5-9/*", Some((5, None))),
            ("bytes 9-5/10", None),
            ("bytes 5-10/10", None),
            ("bytes */10", None),
            ("bytes 5-/10", None),
            ("5-9/10", None),
            ("", None),
        ] {
            assert_eq!(content_range(text), expected, "{text}");
        }
    }
}
