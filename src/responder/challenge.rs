use http::{HeaderValue, Request};

use crate::Refusal;
use crate::oci::Route;

/// The value of a `WWW-Authenticate` line: exactly one challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
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

impl Challenge {
    /// RFC 7617 §2.1.
    pub(super) fn basic(realm: &str) -> Result<Self, ChallengeError> {
        let realm = checked("realm", realm)?;
        let text = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
        Self::new("realm", text, false)
    }

    /// The distribution token specification.
    pub(super) fn bearer(realm: &str, service: &str) -> Result<Self, ChallengeError> {
        let (realm, service) = (checked("realm", realm)?, checked("service", service)?);
        let text = format!("Bearer realm=\"{realm}\",service=\"{service}\"");
        Self::new("realm", text, true)
    }

    /// `Basic` with the realm `registry`.
    pub(super) fn registry() -> Self {
        Self {
            value: HeaderValue::from_static("Basic realm=\"registry\", charset=\"UTF-8\""),
            bearer: false,
        }
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

    /// Returns the challenge of the answer to `request`.
    pub(super) fn to<B>(&self, refusal: Refusal, request: &Request<B>) -> HeaderValue {
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

    #[test]
    fn a_basic_challenge_asks_for_utf_8() {
        let challenge = Challenge::basic("the team's registry").unwrap();
        let wanted = "Basic realm=\"the team's registry\", charset=\"UTF-8\"";
        assert_eq!(challenge.value, wanted);
    }

    #[test]
    fn a_realm_that_could_break_out_of_its_quotes_is_an_error() {
        for realm in ["", "a\"b", "a\\b", "a\r\nb", "é"] {
            assert!(Challenge::basic(realm).is_err(), "{realm:?}");
        }
    }
}
