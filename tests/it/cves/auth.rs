//! What went wrong in the authentication of other registries, mirrors and clients, and does not here: a
//! test for each case, with its number in the name.
#![cfg(feature = "auth")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::convert::Infallible;
use std::fs;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use portcullis::auth::{
    Authentication, Credential, CredentialError, CredentialSource, Credentials, Secret,
    TokenAuthLayer,
};
use portcullis::reload::WatchOptions;
use portcullis::{Preset, Responder, Watched};
use tower::{Layer, ServiceExt, service_fn};

const TOKEN: &str = "pcls-cK7wQ2xRt9LmZ4vB8nPyD3sHf6Jg";

/// `ci` with [`TOKEN`].
fn by_token() -> Authentication {
    let digest = Secret::of_token(TOKEN.as_bytes());
    let ci = Credential::new("ci").with_secret(digest);
    let credentials = Credentials::new([ci]).unwrap();
    Authentication::token(Watched::fixed(credentials)).with_throttle(None)
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// The answer of a service that tells which credentials reached it.
async fn ask(layer: &TokenAuthLayer, headers: &[(HeaderName, &str)]) -> Answer {
    let service = layer.layer(service_fn(|request: Request<Full<Bytes>>| async move {
        let seen: Vec<_> = request.headers().get_all(AUTHORIZATION).iter().collect();
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(format!("{seen:?}")))))
    }));
    let mut request = Request::get("/v2/team/app/manifests/1")
        .header("host", "registry.example")
        .body(Full::<Bytes>::default())
        .unwrap();
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).unwrap();
        request.headers_mut().append(name, value);
    }
    let (head, body) = service.oneshot(request).await.unwrap().into_parts();
    Answer {
        status: head.status,
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn basic(user: &str, password: &str) -> String {
    let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {pair}")
}

#[cfg(feature = "jwt")]
#[tokio::test]
async fn cve_2025_24976_distribution_a_key_in_a_tokens_header_verifies_nothing() {
    use std::time::{SystemTime, UNIX_EPOCH};

    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use jsonwebtoken::jwk::Jwk;
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    use portcullis::auth::jwt::{Issuer, KeySet};
    use rcgen::{KeyPair, PKCS_ED25519};
    use serde_json::json;

    let pair = || KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let jwk = |pair: &KeyPair| {
        let x = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key_raw());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "trusted", "x": x })
    };
    let (trusted, attacker) = (pair(), pair());
    let keys = json!({ "keys": [jwk(&trusted)] }).to_string();
    let keys = Watched::fixed(KeySet::from_json(keys.as_bytes()).unwrap());
    let issuer = Issuer::of_registry_tokens("issuer", keys);
    let issuer = issuer.with_audiences(["registry"]).unwrap();
    let layer = TokenAuthLayer::new(Authentication::signed([issuer]).with_throttle(None));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let claims = json!({
        "iss": "issuer", "aud": "registry", "sub": "admin", "exp": now.as_secs() + 300,
        "access": [{ "type": "repository", "name": "team/app", "actions": ["pull"] }],
    });
    let sign = |pair: &KeyPair, with_key: bool| {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some("trusted".to_owned());
        let key: Jwk = serde_json::from_value(jwk(pair)).unwrap();
        header.jwk = with_key.then_some(key);
        header.jku = with_key.then(|| "https://attacker.example/keys".to_owned());
        // With both of its providers compiled it cannot choose one, and this is what the crate chooses.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let key = EncodingKey::from_ed_der(&pair.serialize_der());
        bearer(&encode(&header, &claims, &key).unwrap())
    };
    for (pair, with_key, status) in [
        (&trusted, false, 200),
        (&trusted, true, 200),
        (&attacker, false, 401),
        (&attacker, true, 401),
    ] {
        let answer = ask(&layer, &[(AUTHORIZATION, &sign(pair, with_key))]).await;
        assert_eq!(answer.status, status, "with a key of its own: {with_key}");
    }
}

#[tokio::test]
async fn cve_2026_33540_distribution_no_request_chooses_the_realm_to_which_secrets_go() {
    let responder = || Responder::new(Preset::Registry);
    let bearer = ("https://auth.example.org/token", "registry.example.org");
    for responder in [
        responder().with_basic_challenge("registry").unwrap(),
        responder()
            .with_bearer_challenge(bearer.0, bearer.1)
            .unwrap(),
    ] {
        let layer = TokenAuthLayer::new(by_token()).with_responder(responder);
        let plain = ask(&layer, &[]).await;
        let expected = &plain.headers[WWW_AUTHENTICATE];
        let attacker = "attacker.example";
        let forwarded = format!("host={attacker};proto=http");
        let origin = format!("https://{attacker}");
        let asked = ask(
            &layer,
            &[
                (HOST, attacker),
                (HeaderName::from_static("x-forwarded-host"), attacker),
                (HeaderName::from_static("forwarded"), &forwarded),
                (HeaderName::from_static("x-original-url"), &origin),
                (HeaderName::from_static("origin"), &origin),
            ],
        )
        .await;
        let lines: Vec<_> = asked.headers.get_all(WWW_AUTHENTICATE).iter().collect();
        assert_eq!(lines, [expected]);
        for value in asked.headers.values() {
            assert!(!value.to_str().unwrap().contains(attacker), "{value:?}");
        }
    }
}

#[tokio::test]
async fn cve_2020_15157_containerd_a_mirror_asks_for_no_secret_and_hands_none_on() {
    let layer = TokenAuthLayer::new(by_token());
    for shown in [
        None,
        Some(basic("upstream-user", "upstream-secret")),
        Some(bearer("upstream-token")),
        Some("Digest x".to_owned()),
    ] {
        let shown: Vec<_> = shown.iter().map(|all| (AUTHORIZATION, &**all)).collect();
        let answer = ask(&layer, &shown).await;
        assert_eq!(answer.status, 401, "{shown:?}");
        // containerd answers a challenge from any host with the pod's upstream secret.
        assert!(!answer.headers.contains_key(WWW_AUTHENTICATE), "{shown:?}");
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(!text.contains("upstream"), "{text}");
    }
    let answer = ask(&layer, &[(AUTHORIZATION, &bearer(TOKEN))]).await;
    assert_eq!((answer.status.as_u16(), &*answer.body), (200, &b"[]"[..]));
}

/// What the time of a comparison tells is measured by `benches/auth`.
#[tokio::test]
async fn cve_2025_59350_dragonfly_a_near_miss_is_answered_as_a_far_one() {
    let layer = TokenAuthLayer::new(by_token());
    let far = ask(&layer, &[(AUTHORIZATION, &bearer("x"))]).await;
    let mut flipped = TOKEN.to_owned().into_bytes();
    *flipped.last_mut().unwrap() ^= 1;
    for near in [
        &TOKEN[..TOKEN.len() - 1],
        &format!("{TOKEN}0"),
        &TOKEN.to_uppercase(),
        &String::from_utf8(flipped).unwrap(),
    ] {
        for shown in [bearer(near), basic("ci", near), basic("nobody", TOKEN)] {
            let answer = ask(&layer, &[(AUTHORIZATION, &shown)]).await;
            assert_eq!(answer.status, far.status, "{near}");
            assert_eq!(answer.headers, far.headers, "{near}");
            assert_eq!(answer.body, far.body, "{near}");
        }
    }
    assert_eq!(far.status, 401);
    let right = ask(&layer, &[(AUTHORIZATION, &bearer(TOKEN))]).await;
    assert_eq!(right.status, 200);
}

#[test]
fn cve_2026_4404_harbor_there_is_no_default_password_and_no_such_one_is_taken() {
    let none: [CredentialSource; 0] = [];
    let options = WatchOptions::default;
    assert!(matches!(
        Credentials::watch(none, options()),
        Err(CredentialError::None)
    ));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    for default in ["", "Harbor12345", "admin", "password", "changeme", "zot"] {
        fs::write(&file, default).unwrap();
        let read = Credentials::watch([CredentialSource::file("admin", &file)], options());
        let error = read.err().unwrap();
        assert!(
            matches!(
                error,
                CredentialError::TooWeak { .. } | CredentialError::Empty { .. }
            ),
            "{default}: {error}"
        );
    }
}
