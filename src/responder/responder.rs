use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;

use super::challenge::Challenge;
use super::error_body::Hook;
use super::{ChallengeError, ErrorAnswer, grpc};
use crate::oci::{self, Route, asked};
use crate::record::Record;
use crate::telemetry::metrics;
use crate::util::seldom::Seldom;
use crate::{Preset, Refusal};

/// Turns a [`Refusal`] into the answer that the client gets.
///
/// ```
/// use http::{Request, header::WWW_AUTHENTICATE};
/// use portcullis::{Preset, Refusal, Responder};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Responder::new(Preset::Registry).with_basic_challenge("registry.example.org")?;
/// let request = Request::get("/v2/").body(())?;
/// let answer = registry.refuse(Refusal::CredentialsMissing, &request);
/// assert_eq!(answer.status(), 401);
/// let challenge = answer.headers()[WWW_AUTHENTICATE].to_str()?;
/// assert!(challenge.starts_with("Basic realm=\"registry.example.org\""));
///
/// // containerd would send the pull secret of a pod to a mirror that challenges it.
/// let mirror = Responder::new(Preset::Mirror);
/// let answer = mirror.refuse(Refusal::CredentialsMissing, &request);
/// assert!(!answer.headers().contains_key(WWW_AUTHENTICATE));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Responder {
    preset: Preset,
    challenge: Option<Challenge>,
    hidden: bool,
    error_body: Option<Hook>,
    /// When it was logged last how the server is wired wrongly, for each way.
    miswired: Arc<[Seldom; 3]>,
}

impl Responder {
    /// Makes a responder that answers as `preset` requires, with the realm `registry` where it challenges.
    pub fn new(preset: Preset) -> Self {
        Self {
            preset,
            challenge: match preset {
                Preset::Mirror => None,
                Preset::Registry => Some(Challenge::registry()),
            },
            hidden: false,
            error_body: None,
            miswired: Arc::default(),
        }
    }

    /// Challenges by `Basic realm="…", charset="UTF-8"` (RFC 7617 §2.1): users and passwords are read as UTF-8, and
    /// without the parameter a client may send characters outside ASCII in another form. docker, containerd,
    /// skopeo, podman and curl take the parameter, and send UTF-8 with and without it. Default: the preset's own challenge.
    ///
    /// # Errors
    /// Returns an error for a realm that is empty or needs quoting: several clients stop at those.
    pub fn with_basic_challenge(mut self, realm: &str) -> Result<Self, ChallengeError> {
        self.challenge = Some(Challenge::basic(realm)?);
        Ok(self)
    }

    /// Challenges by `Bearer realm="…",service="…"` of the distribution token specification: where to get a token, and
    /// for which service. The scope that a request needs is added for each, and why its own token is not enough
    /// (RFC 6750 §3.1).
    ///
    /// # Errors
    /// Returns an error for a realm or service that is empty or needs quoting.
    pub fn with_bearer_challenge(
        mut self,
        realm: &str,
        service: &str,
    ) -> Result<Self, ChallengeError> {
        self.challenge = Some(Challenge::bearer(realm, service)?);
        Ok(self)
    }

    /// Sends no `WWW-Authenticate`, whatever the preset.
    pub fn without_challenge(mut self) -> Self {
        self.challenge = None;
        self
    }

    /// Sets whether a refusal of 403 is answered with 404 and the code that the service itself would use.
    /// Default: no.
    pub fn with_hidden(mut self, hidden: bool) -> Self {
        self.hidden = hidden;
        self
    }

    /// Answers with error bodies that `make` returns, each with its `Content-Type`; with the distribution-spec's where
    /// it returns `None`. Status, challenge and `Retry-After` stay as they are.
    ///
    /// ```
    /// use http::HeaderValue;
    /// use portcullis::{Preset, Responder};
    ///
    /// let responder = Responder::new(Preset::Registry).with_error_body(|error| {
    ///     let text = format!("{}: {}\n", error.status, error.message);
    ///     Some((HeaderValue::from_static("text/plain"), text.into()))
    /// });
    /// # drop(responder);
    /// ```
    pub fn with_error_body(
        mut self,
        make: impl Fn(&ErrorAnswer<'_>) -> Option<(HeaderValue, Bytes)> + Send + Sync + 'static,
    ) -> Self {
        self.error_body = Some(Hook(Arc::new(make)));
        self
    }

    /// Returns whether answers depend on the headers of requests.
    #[cfg(feature = "rate")]
    pub(crate) fn reads_headers(&self) -> bool {
        self.error_body.is_some()
    }

    /// Returns the preset that the responder was made with.
    pub fn preset(&self) -> Preset {
        self.preset
    }

    /// Returns the answer to `request`, records the refusal in the request's [`Record`] and counts it. A gRPC
    /// call (`application/grpc`) gets a `grpc-status` and no body.
    pub fn refuse<B>(&self, refusal: Refusal, request: &Request<B>) -> Response<Full<Bytes>> {
        if let Some(part) = refusal.miswiring() {
            self.log_miswiring(part, refusal, request);
        }
        if let Some(record) = Record::of(request.extensions()) {
            record.refused(refusal);
        }
        metrics::refused(refusal);
        tracing::debug!(refusal = refusal.label(), "request refused: {refusal}");
        let (status, code, message) = self.wording(refusal, request);
        let mut response = if grpc::is_grpc(request.headers()) {
            grpc::answer(status, message, refusal.retry_after())
        } else {
            self.answer((status, code, message), refusal, request)
        };
        response.extensions_mut().insert(refusal);
        response
    }

    fn answer<B>(
        &self,
        (status, code, message): (StatusCode, oci::ErrorCode, &'static str),
        refusal: Refusal,
        request: &Request<B>,
    ) -> Response<Full<Bytes>> {
        let own = self.error_body.as_ref().and_then(|Hook(make)| {
            make(&ErrorAnswer {
                status,
                code,
                message,
                method: request.method(),
                uri: asked(request),
                headers: request.headers(),
            })
        });
        let (content_type, body) = own.unwrap_or_else(|| {
            let json = HeaderValue::from_static("application/json");
            (json, oci::error_body(code, message))
        });
        let length = body.len();
        let head = request.method() == Method::HEAD;
        let mut response = Response::new(Full::new(if head { Bytes::new() } else { body }));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(
            HeaderName::from_static("docker-distribution-api-version"),
            HeaderValue::from_static("registry/2.0"),
        );
        if status == StatusCode::UNAUTHORIZED
            && let Some(challenge) = &self.challenge
        {
            headers.insert(WWW_AUTHENTICATE, challenge.to(refusal, request));
        }
        if let Some(methods) = refusal.allow() {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        if let Some(seconds) = refusal.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn log_miswiring<B>(&self, part: usize, refusal: Refusal, request: &Request<B>) {
        if let Some(record) = Record::of(request.extensions()) {
            record.explained(refusal.to_string());
        }
        if self.miswired[part].allow().is_some() {
            tracing::error!(path = request.uri().path(), "{refusal}");
        }
    }

    fn wording<B>(
        &self,
        refusal: Refusal,
        request: &Request<B>,
    ) -> (StatusCode, oci::ErrorCode, &'static str) {
        let status = refusal.status(self.preset);
        if self.hidden && status == StatusCode::FORBIDDEN {
            let code = Route::read_target(request)
                .map_or(oci::ErrorCode::NameUnknown, |route| route.unknown_code());
            return (StatusCode::NOT_FOUND, code, code.message());
        }
        let code = refusal.code(self.preset);
        (status, code, refusal.message(self.preset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, uri: &str) -> Request<()> {
        Request::builder().method(method).uri(uri).body(()).unwrap()
    }

    #[test]
    fn a_mirror_never_challenges_and_a_registry_challenges_once() {
        let request = request(Method::GET, "/v2/");
        let mirror = Responder::new(Preset::Mirror).refuse(Refusal::CredentialsMissing, &request);
        assert_eq!(mirror.status(), 401);
        assert!(!mirror.headers().contains_key(WWW_AUTHENTICATE));
        let registry =
            Responder::new(Preset::Registry).refuse(Refusal::CredentialsMissing, &request);
        let lines: Vec<_> = registry
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .collect();
        assert_eq!(lines, ["Basic realm=\"registry\", charset=\"UTF-8\""]);
        let silent = Responder::new(Preset::Registry).without_challenge();
        let answer = silent.refuse(Refusal::CredentialsMissing, &request);
        assert!(!answer.headers().contains_key(WWW_AUTHENTICATE));
    }

    #[test]
    fn a_head_gets_the_headers_of_a_get_and_no_body() {
        let responder = Responder::new(Preset::Registry);
        let get = responder.refuse(Refusal::PolicyDenied, &request(Method::GET, "/v2/"));
        let head = responder.refuse(Refusal::PolicyDenied, &request(Method::HEAD, "/v2/"));
        assert_eq!(get.headers(), head.headers());
        assert_eq!(http_body::Body::size_hint(head.body()).exact(), Some(0));
    }

    #[test]
    fn a_bearer_challenge_names_the_scope_and_what_is_wrong_with_the_token() {
        let responder = Responder::new(Preset::Mirror)
            .with_bearer_challenge("https://auth.example.org/token", "registry.example.org")
            .unwrap();
        let begin =
            "Bearer realm=\"https://auth.example.org/token\",service=\"registry.example.org\"";
        for (uri, refusal, rest) in [
            ("/v2/", Refusal::CredentialsMissing, ""),
            (
                "/v2/library/alpine/manifests/3?ns=docker.io",
                Refusal::CredentialsMissing,
                ",scope=\"repository:docker.io/library/alpine:pull\"",
            ),
            (
                "/v2/a/manifests/3",
                Refusal::ScopeInsufficient,
                ",scope=\"repository:a:pull\",error=\"insufficient_scope\"",
            ),
            (
                "/v2/a/tags/list",
                Refusal::CredentialsExpired,
                ",scope=\"repository:a:pull\",error=\"invalid_token\"",
            ),
        ] {
            let response = responder.refuse(refusal, &request(Method::GET, uri));
            assert_eq!(response.status(), 401);
            let value = response.headers()[WWW_AUTHENTICATE].to_str().unwrap();
            assert_eq!(value, format!("{begin}{rest}"));
        }
    }
}
