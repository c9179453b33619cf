//! Who asks, for servers that are no tower services; and that verifying a password gives way to the rest.
#![cfg(all(feature = "passwords", feature = "x509"))]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Request;
use http::header::AUTHORIZATION;
use portcullis::auth::{Authentication, Credential, Credentials, Secret};
use portcullis::{ClientAddr, Refusal, Watched};

const TOKEN: &str = "cK7wQ2xRt9LmZ4vB8nPyD3sHf6Jg";

fn authentication(cost: u32) -> Authentication {
    let password: Secret = bcrypt::hash("open sesame", cost).unwrap().parse().unwrap();
    let credentials = Credentials::new([
        Credential::new("ci").with_secret(Secret::of_token(TOKEN.as_bytes())),
        Credential::new("alice").with_secret(password),
    ]);
    Authentication::token(Watched::fixed(credentials.unwrap()))
}

fn request(values: &[&str]) -> Request<()> {
    let client = ClientAddr::new("192.0.2.1:4711".parse().unwrap());
    let mut request = Request::builder().extension(client).body(()).unwrap();
    for value in values {
        let value = value.parse().unwrap();
        request.headers_mut().append(AUTHORIZATION, value);
    }
    request
}

fn basic(user: &str, password: &str) -> String {
    format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{user}:{password}"))
    )
}

#[tokio::test]
async fn a_request_is_identified_and_keeps_its_header() {
    let authentication = authentication(4);
    let bearer = format!("Bearer {TOKEN}");
    let wrong = format!("Bearer {TOKEN}x");
    let unknown = Err(Refusal::CredentialsUnknown);
    let malformed = Err(Refusal::CredentialsMalformed);
    for (values, expected) in [
        (vec![bearer.as_str()], Ok("ci")),
        (vec![&basic("ci", TOKEN)], Ok("ci")),
        (vec![&basic("alice", "open sesame")], Ok("alice")),
        (vec![], Err(Refusal::CredentialsMissing)),
        (vec![&wrong], unknown),
        (vec![&basic("alice", TOKEN)], unknown),
        (vec![&basic("ci", "open sesame")], unknown),
        (vec!["Negotiate abc"], malformed),
        // Two, though both are right.
        (vec![&bearer, &bearer], malformed),
    ] {
        let request = request(&values);
        let found = authentication.identify(&request).await;
        let found = found.as_ref().map(portcullis::Principal::id);
        assert_eq!(found.map_err(|refusal| *refusal), expected, "{values:?}");
        let left = request.headers().get_all(AUTHORIZATION).iter().count();
        assert_eq!(left, values.len());
    }
}

#[tokio::test]
async fn a_token_is_identified_at_once() {
    let authentication = authentication(4);
    let request = request(&[&format!("Bearer {TOKEN}")]);
    let mut identify = pin!(authentication.identify(&request));
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(principal)) = identify.as_mut().poll(&mut context) else {
        panic!("a token takes no time");
    };
    assert_eq!(principal.id(), "ci");
}
