use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;

use super::error_body::Hook;
use super::{ErrorAnswer, ErrorBody, Miswiring, Refusal, grpc};
use crate::oci::{self, Route, asked};
use crate::record::Record;
use crate::telemetry::metrics;
use crate::util::seldom::Seldom;

/// Turns a [`Refusal`] into the answer that the client gets.
#[derive(Clone, Debug)]
pub struct Responder {
    preset: Preset,
    challenge: Option<Challenge>,
    hidden: bool,
    error_body: Option<Hook>,
    /// When it was logged last how the server is wired wrongly, for each way.
    miswired: Arc<[Seldom; 3]>,
}

/// Whose clients are to be pleased, chosen once for the whole stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "config", derive(serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "config", serde(rename_all = "lowercase"))]
pub enum Preset {
    /// A mirror in front of other registries: no `WWW-Authenticate`, because containerd answers a
    /// Basic challenge from any host with the pod's upstream pull secret; shedding and the throttle of
    /// failed authentications are 503.
    #[default]
    Mirror,
    /// A registry of its own: one Basic challenge, from which docker and skopeo take that
    /// credentials are wanted; shedding and the throttle of failed authentications are 429.
    Registry,
}

/// The value of a `WWW-Authenticate` line: exactly one challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    value: HeaderValue,
    /// Whether it names the scope that a token must have.
    bearer: bool,
}

/// The text cannot stand in a challenge.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a challenge's {parameter} must be non-empty visible ASCII without quotes or backslashes, but is {value:?}"
)]
pub struct ChallengeError {
    parameter: &'static str,
    value: String,
}

impl Responder {
    /// Answers as `preset` says, with the realm `registry` where it challenges.
    pub fn new(preset: Preset) -> Self {
        Self {
            preset,
            challenge: match preset {
                Preset::Mirror => None,
                Preset::Registry => Some(Challenge {
                    value: HeaderValue::from_static("Basic realm=\"registry\", charset=\"UTF-8\""),
                    bearer: false,
                }),
            },
            hidden: false,
            error_body: None,
            miswired: Arc::default(),
        }
    }

    /// Challenges with this instead of the preset's own; `None` sends no `WWW-Authenticate`.
    pub fn with_challenge(mut self, challenge: Option<Challenge>) -> Self {
        self.challenge = challenge;
        self
    }

    /// Answers 404 with the code that the service itself would use, where the truth is 403.
    pub fn with_hidden(mut self, hidden: bool) -> Self {
        self.hidden = hidden;
        self
    }

    /// Answers with error bodies that this makes; the distribution-spec's where it returns `None`. Status,
    /// challenge and `Retry-After` stay as they are.
    ///
    /// ```
    /// use http::HeaderValue;
    /// use portcullis::refusal::ErrorBody;
    /// use portcullis::{Preset, Responder};
    ///
    /// let responder = Responder::new(Preset::Registry).with_error_body(|error| {
    ///     let text = format!("{}: {}\n", error.status, error.message);
    ///     Some(ErrorBody::new(HeaderValue::from_static("text/plain"), text))
    /// });
    /// # drop(responder);
    /// ```
    pub fn with_error_body(
        mut self,
        make: impl Fn(&ErrorAnswer<'_>) -> Option<ErrorBody> + Send + Sync + 'static,
    ) -> Self {
        self.error_body = Some(Hook(Arc::new(make)));
        self
    }

    /// Whether answers depend on the headers of requests.
    #[cfg(feature = "rate")]
    pub(crate) fn reads_headers(&self) -> bool {
        self.error_body.is_some()
    }

    /// The preset that this was made with.
    pub fn preset(&self) -> Preset {
        self.preset
    }

    /// The answer to `request`, noted in its [`Record`] and counted. A gRPC call (`application/grpc`) gets a
    /// `grpc-status` and no body.
    pub fn refuse<B>(&self, refusal: Refusal, request: &Request<B>) -> Response<Full<Bytes>> {
        if let Refusal::Miswired(miswiring) = refusal {
            self.log_miswiring(miswiring, request);
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
        let (content_type, body) = own.map_or_else(
            || {
                let json = HeaderValue::from_static("application/json");
                (json, oci::error_body(code, message))
            },
            ErrorBody::into_parts,
        );
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

    fn log_miswiring<B>(&self, miswiring: Miswiring, request: &Request<B>) {
        if let Some(record) = Record::of(request.extensions()) {
            record.explained(miswiring.to_string());
        }
        if self.miswired[miswiring as usize].may() {
            tracing::error!(path = request.uri().path(), "{miswiring}");
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

impl Challenge {
    /// `Basic realm="…", charset="UTF-8"` (RFC 7617 §2.1): users and passwords are read as UTF-8, and a
    /// client that is not told may send others than ASCII in another form. docker, containerd,
    /// skopeo, podman and curl take the parameter, and send UTF-8 with and without it.
    ///
    /// # Errors
    /// A realm that is empty or needs quoting: several clients stop at those.
    pub fn basic(realm: &str) -> Result<Self, ChallengeError> {
        let realm = checked("realm", realm)?;
        let text = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
        Self::new("realm", text, false)
    }

    /// `Bearer realm="…",service="…"` of the distribution token specification: where to get a token,
    /// and for whom. The scope that a request needs is added for each, and why its own token is not
    /// enough (RFC 6750 §3.1).
    ///
    /// # Errors
    /// A realm or service that is empty or needs quoting.
    pub fn bearer(realm: &str, service: &str) -> Result<Self, ChallengeError> {
        let (realm, service) = (checked("realm", realm)?, checked("service", service)?);
        let text = format!("Bearer realm=\"{realm}\",service=\"{service}\"");
        Self::new("realm", text, true)
    }

    fn new(parameter: &'static str, text: String, bearer: bool) -> Result<Self, ChallengeError> {
        match HeaderValue::from_str(&text) {
            Ok(value) => Ok(Self { value, bearer }),
            Err(_) => Err(ChallengeError {
                parameter,
                value: text,
            }),
        }
    }

    fn to<B>(&self, refusal: Refusal, request: &Request<B>) -> HeaderValue {
        if !self.bearer {
            return self.value.clone();
        }
        let mut value = self.value.as_bytes().to_vec();
        let route = Route::read_target(request);
        let scopes = route.map_or_else(|_| Vec::new(), |route| route.scopes());
        for (number, scope) in scopes.iter().enumerate() {
            let before = if number == 0 { ",scope=\"" } else { " " };
            value.extend(format!("{before}{scope}").into_bytes());
        }
        if !scopes.is_empty() {
            value.push(b'"');
        }
        match refusal {
            Refusal::CredentialsMissing
            | Refusal::CertificateMissing
            | Refusal::PolicyNeedsCredentials => {}
            Refusal::ScopeInsufficient => value.extend(b",error=\"insufficient_scope\""),
            _ => value.extend(b",error=\"invalid_token\""),
        }
        // What a route holds is visible ASCII without quotes.
        HeaderValue::from_bytes(&value).unwrap_or_else(|_| self.value.clone())
    }
}

fn checked<'a>(parameter: &'static str, value: &'a str) -> Result<&'a str, ChallengeError> {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if value.is_empty() || !value.bytes().all(plain) {
        return Err(ChallengeError {
            parameter,
            value: value.to_owned(),
        });
    }
    Ok(value)
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
    }

    #[test]
    fn a_basic_challenge_asks_for_utf_8() {
        let challenge = Challenge::basic("the team's registry").unwrap();
        let wanted = "Basic realm=\"the team's registry\", charset=\"UTF-8\"";
        assert_eq!(challenge.value, wanted);
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
        let bearer = Challenge::bearer("https://auth.example.org/token", "registry.example.org");
        let responder = Responder::new(Preset::Mirror).with_challenge(Some(bearer.unwrap()));
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

    #[test]
    fn a_realm_that_could_break_out_of_its_quotes_is_an_error() {
        for realm in ["", "a\"b", "a\\b", "a\r\nb", "é"] {
            assert!(Challenge::basic(realm).is_err(), "{realm:?}");
        }
    }
}
