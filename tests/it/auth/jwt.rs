//! Tokens that others signed: registry tokens with their grants, and service-account tokens.
#![cfg(feature = "jwt")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::convert::Infallible;
use std::fs;
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use portcullis::auth::CredentialError;
use portcullis::auth::jwt::{Issuer, KeySet};
use portcullis::auth::{
    Authentication, Credential, Credentials, Secret, ThrottleOptions, TokenAuthLayer,
};
use portcullis::reload::WatchOptions;
use portcullis::{ClientAddr, PeerIdentity, Preset, Principal, Responder, Watched};
use rcgen::KeyPair;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};

const ISSUER: &str = "https://auth.example.org";
const SERVICE: &str = "registry.example.org";

struct Key {
    algorithm: Algorithm,
    id: &'static str,
    private: EncodingKey,
    /// A JWK.
    public: Value,
}

impl Key {
    fn new(algorithm: Algorithm, id: &'static str) -> Self {
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let of = |algorithm| KeyPair::generate_for(algorithm).unwrap();
        let (private, mut public) = match algorithm {
            Algorithm::ES256 => {
                let pair = of(&rcgen::PKCS_ECDSA_P256_SHA256);
                // An uncompressed point: 4, x, y.
                let (x, y) = pair.public_key_raw()[1..].split_at(32);
                let public = json!({ "kty": "EC", "crv": "P-256", "x": text(x), "y": text(y) });
                (EncodingKey::from_ec_der(&pair.serialize_der()), public)
            }
            Algorithm::EdDSA => {
                let pair = of(&rcgen::PKCS_ED25519);
                let x = text(pair.public_key_raw());
                let public = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
                (EncodingKey::from_ed_der(&pair.serialize_der()), public)
            }
            Algorithm::RS256 => {
                let pair = of(&rcgen::PKCS_RSA_SHA256);
                // PKCS #1: a SEQUENCE of modulus and exponent, the modulus of 256 octets.
                let modulus = &pair.public_key_raw()[9..9 + 256];
                let public = json!({ "kty": "RSA", "n": text(modulus), "e": "AQAB" });
                // In PKCS #8 it stands behind 26 octets that say that it is RSA.
                (
                    EncodingKey::from_rsa_der(&pair.serialize_der()[26..]),
                    public,
                )
            }
            other => panic!("{other:?}"),
        };
        public["kid"] = json!(id);
        Self {
            algorithm,
            id,
            private,
            public,
        }
    }

    fn public(&self) -> Value {
        self.public.clone()
    }

    fn header(&self) -> Header {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.id.to_owned());
        header
    }

    fn sign(&self, claims: &Value) -> String {
        // With both of its providers compiled it cannot choose one, and this is what the crate chooses.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        encode(&self.header(), claims, &self.private).unwrap()
    }
}

fn set(keys: &[&Key]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| key.public()).collect();
    json!({ "keys": keys }).to_string()
}

fn keys(keys: &[&Key]) -> Watched<KeySet> {
    Watched::fixed(KeySet::from_json(set(keys).as_bytes()).unwrap())
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs()
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": SERVICE, "sub": "alice", "exp": now() + 300, "nbf": now(),
        "access": [
            { "type": "repository", "name": "team/app", "actions": ["pull", "push"] },
            { "type": "repository", "name": "docker.io/library/alpine", "actions": ["pull"] },
        ],
    })
}

/// [`claims`] with one of them changed, or without it if it is null.
fn changed(name: &str, value: Value) -> Value {
    let mut claims = claims();
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

fn registry(keys: Watched<KeySet>) -> Authentication {
    let issuer = Issuer::of_registry_tokens(ISSUER, keys);
    let issuer = issuer.with_audiences([SERVICE]).unwrap();
    Authentication::signed([issuer]).with_throttle(None)
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

async fn ask(
    authentication: &Authentication,
    method: Method,
    target: &str,
    token: Option<&str>,
) -> Answer {
    let value = token.map(|token| format!("Bearer {token}"));
    showing(authentication, method, target, value.as_deref()).await
}

/// [`ask`] with this `Authorization`.
async fn showing(
    authentication: &Authentication,
    method: Method,
    target: &str,
    value: Option<&str>,
) -> Answer {
    let responder = Responder::new(Preset::Registry)
        .with_bearer_challenge("https://auth.example.org/token", SERVICE)
        .unwrap();
    let layer = TokenAuthLayer::new(authentication.clone()).with_responder(responder);
    let client = ClientAddr::new("198.51.100.1:4711".parse().unwrap());
    let service = layer.layer(service_fn(|request: Request<Full<Bytes>>| async move {
        assert!(!request.headers().contains_key(AUTHORIZATION));
        let principal = Principal::of(request.extensions()).unwrap();
        let text = format!("{principal} {:?}", principal.groups());
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
    }));
    let mut request = Request::builder()
        .header("host", "registry.example")
        .method(method)
        .uri(target)
        .extension(client)
        .body(Full::<Bytes>::default())
        .unwrap();
    if let Some(value) = value {
        let value = value.parse().unwrap();
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let (head, body) = service.oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

async fn pull(authentication: &Authentication, token: &str) -> u16 {
    let target = "/v2/team/app/manifests/1";
    ask(authentication, Method::GET, target, Some(token))
        .await
        .status
}

#[tokio::test]
async fn a_token_of_each_algorithm_is_who_it_says_and_may_what_it_grants() {
    for algorithm in [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256] {
        let key = Key::new(algorithm, "one");
        let authentication = registry(keys(&[&key]));
        let token = key.sign(&claims());
        for (method, target, status) in [
            (Method::GET, "/v2/", 200),
            (Method::GET, "/v2/team/app/manifests/1", 200),
            (Method::PUT, "/v2/team/app/manifests/1", 200),
            (Method::DELETE, "/v2/team/app/manifests/1", 401),
            (Method::GET, "/v2/team/other/manifests/1", 401),
            (Method::GET, "/v2/team/app/../other/manifests/1", 400),
            // Of another registry's content only what names that registry (spegel 1432).
            (
                Method::GET,
                "/v2/library/alpine/manifests/3?ns=docker.io",
                200,
            ),
            (Method::GET, "/v2/library/alpine/manifests/3", 401),
            (Method::GET, "/v2/team/app/manifests/1?ns=quay.io", 401),
            // Another registry is no part of a name here.
            (Method::GET, "/v2/app/manifests/1?ns=team", 401),
            (Method::GET, "/v2/alpine/manifests/3?ns=docker.io", 401),
            // No scope is for what is elsewhere.
            (Method::GET, "/metrics", 401),
            (Method::GET, "/", 401),
            (Method::GET, "/v2/_catalog", 401),
        ] {
            // Twice: the second time from memory.
            for _ in 0..2 {
                let answer = ask(&authentication, method.clone(), target, Some(&token)).await;
                assert_eq!(answer.status, status, "{algorithm:?} {method} {target}");
            }
        }
        let answer = ask(&authentication, Method::GET, "/v2/", Some(&token)).await;
        assert_eq!(answer.body, "jwt:alice []");
    }
}

#[tokio::test]
async fn the_challenge_tells_a_client_which_token_to_get() {
    let key = Key::new(Algorithm::ES256, "one");
    let authentication = registry(keys(&[&key]));
    let begin = "Bearer realm=\"https://auth.example.org/token\",service=\"registry.example.org\"";
    let target = "/v2/team/secret/blobs/uploads/";
    let scope = ",scope=\"repository:team/secret:pull,push\"";
    for (token, rest) in [
        (None, String::new()),
        (
            Some(key.sign(&claims())),
            ",error=\"insufficient_scope\"".to_owned(),
        ),
        (
            Some(key.sign(&changed("exp", json!(now() - 120)))),
            ",error=\"invalid_token\"".to_owned(),
        ),
        (
            Some("eyJ.e30.x".to_owned()),
            ",error=\"invalid_token\"".to_owned(),
        ),
    ] {
        let answer = ask(&authentication, Method::POST, target, token.as_deref()).await;
        assert_eq!(answer.status, 401);
        let challenges: Vec<_> = answer.headers.get_all(WWW_AUTHENTICATE).iter().collect();
        assert_eq!(challenges, [format!("{begin}{scope}{rest}").as_str()]);
    }
}

#[tokio::test]
async fn a_token_that_is_not_for_us_now_is_refused() {
    let key = Key::new(Algorithm::ES256, "one");
    let authentication = registry(keys(&[&key]));
    assert_eq!(pull(&authentication, &key.sign(&claims())).await, 200);
    for (name, value, status) in [
        ("iss", json!("https://other.example.org"), 401),
        ("iss", json!([ISSUER, "https://other.example.org"]), 401),
        ("iss", Value::Null, 401),
        ("aud", json!("other.example.org"), 401),
        ("aud", json!(["other.example.org", SERVICE]), 200),
        ("aud", json!([]), 401),
        ("aud", Value::Null, 401),
        ("exp", json!(now() - 61), 401),
        // A clock may be a minute off.
        ("exp", json!(now() - 30), 200),
        ("exp", Value::Null, 401),
        ("exp", json!("soon"), 401),
        ("exp", json!(-1), 401),
        ("exp", json!(1e300), 401),
        ("nbf", json!(now() + 120), 401),
        ("nbf", json!(now() + 30), 200),
        ("nbf", Value::Null, 200),
        ("sub", json!("al\nice"), 401),
        ("access", Value::Null, 401),
        ("access", json!([]), 401),
        ("access", json!("all"), 401),
        (
            "access",
            json!([{ "type": "repository", "name": "team/app", "actions": ["*"] }]),
            200,
        ),
        (
            "access",
            json!([{ "type": "repository", "name": "team/*", "actions": ["pull"] }]),
            401,
        ),
        (
            "access",
            json!([{ "type": "registry", "name": "team/app", "actions": ["pull"] }]),
            401,
        ),
    ] {
        let token = key.sign(&changed(name, value.clone()));
        let found = pull(&authentication, &token).await;
        assert_eq!(found, status, "{name} = {value}");
    }
}

/// A client that mounts asks for a token for both repositories, so a smaller one is all that there is.
#[tokio::test]
async fn a_mount_that_the_token_does_not_grant_goes_on_as_an_ordinary_upload() {
    let key = Key::new(Algorithm::ES256, "one");
    let authentication = registry(keys(&[&key]));
    let digest = format!("sha256:{}", "a".repeat(64));
    let mut claims = claims();
    claims["access"] = json!([
        { "type": "repository", "name": "team/app", "actions": ["pull", "push"] },
        { "type": "repository", "name": "team/base", "actions": ["pull"] },
    ]);
    let token = key.sign(&claims);
    let uploads = "/v2/team/app/blobs/uploads/";
    let layer = TokenAuthLayer::new(authentication.clone());
    for (query, left) in [
        (format!("?mount={digest}&from=team/base"), None),
        (format!("?mount={digest}&from=team/secret"), Some("")),
        (format!("?mount={digest}"), Some("")),
        (
            format!("?x=1&from=team/secret&mount={digest}"),
            Some("?x=1"),
        ),
    ] {
        let service = layer.layer(service_fn(|request: Request<Full<Bytes>>| async move {
            let body = Bytes::from(request.uri().to_string());
            Ok::<_, Infallible>(Response::new(Full::new(body)))
        }));
        let request = || {
            let request =
                Request::post(format!("{uploads}{query}")).header("host", "registry.example");
            let request = request.header(AUTHORIZATION, format!("Bearer {token}"));
            request.body(Full::<Bytes>::default()).unwrap()
        };
        let response = service.oneshot(request()).await.unwrap();
        assert_eq!(response.status(), 200, "{query}");
        let asked = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(asked, format!("{uploads}{}", left.unwrap_or(&query)));
        // Without a service of ours there is nothing that could take it off.
        let identified = authentication.identify(&request()).await;
        assert_eq!(identified.is_ok(), left.is_none(), "{query}");
    }
    let target = format!("/v2/team/other/blobs/uploads/?mount={digest}&from=team/base");
    let refused = ask(&authentication, Method::POST, &target, Some(&token)).await;
    assert_eq!(refused.status, 401);
}

#[tokio::test]
async fn null_is_no_access_as_harbor_writes_it() {
    let key = Key::new(Algorithm::RS256, "one");
    let authentication = registry(keys(&[&key]));
    let no_actions = json!([{ "type": "repository", "name": "team/app", "actions": null }]);
    for access in [Value::Null, no_actions] {
        let mut claims = claims();
        claims["access"] = access.clone();
        let token = key.sign(&claims);
        // Known, and may only see that it is.
        for (target, status) in [("/v2/", 200), ("/v2/team/app/manifests/1", 401)] {
            let answer = ask(&authentication, Method::GET, target, Some(&token)).await;
            assert_eq!(answer.status, status, "{access} {target}");
        }
    }
}

#[tokio::test]
async fn a_signed_token_counts_as_the_password_of_basic_whatever_the_user() {
    let key = Key::new(Algorithm::ES256, "one");
    let forged = Key::new(Algorithm::ES256, "one").sign(&claims());
    let authentication = registry(keys(&[&key]));
    let token = key.sign(&claims());
    let over = key.sign(&changed("exp", json!(now() - 120)));
    let allowed = "/v2/team/app/manifests/1";
    for (user, token, target, status) in [
        ("alice", &token, allowed, 200),
        ("00000000-0000-0000-0000-000000000000", &token, allowed, 200),
        ("", &token, allowed, 200),
        ("alice", &token, "/v2/team/other/manifests/1", 401),
        ("alice", &forged, allowed, 401),
        ("alice", &over, allowed, 401),
    ] {
        let value = basic(user, token);
        let answer = showing(&authentication, Method::GET, target, Some(&value)).await;
        assert_eq!(answer.status, status, "{user} {target}");
        if status == 200 {
            assert!(answer.body.contains("alice"), "{}", answer.body);
        }
    }
}

fn basic(user: &str, password: &str) -> String {
    let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {pair}")
}

#[tokio::test]
async fn a_signed_token_counts_as_the_password_of_listed_users_only_and_as_bearer() {
    let key = Key::new(Algorithm::ES256, "one");
    let token = key.sign(&claims());
    let target = "/v2/team/app/manifests/1";
    for (listed, taken) in [(&["kubelet", ""][..], true), (&[], false)] {
        let issuer = Issuer::of_registry_tokens(ISSUER, keys(&[&key]));
        let issuer = issuer.with_audiences([SERVICE]).unwrap();
        let issuer = issuer.with_basic_users(listed.iter().copied());
        let authentication = Authentication::signed([issuer]).with_throttle(None);
        // Twice: what was verified once is remembered.
        for _ in 0..2 {
            for (user, expected) in [("kubelet", taken), ("", taken), ("alice", false)] {
                let value = basic(user, &token);
                let answer = showing(&authentication, Method::GET, target, Some(&value)).await;
                assert_eq!(answer.status == 200, expected, "{user} of {listed:?}");
            }
            assert_eq!(pull(&authentication, &token).await, 200);
        }
    }
    // Of two with the same name the one that lists the user counts.
    let issuer = || {
        let issuer = Issuer::of_registry_tokens(ISSUER, keys(&[&key]));
        issuer.with_audiences([SERVICE]).unwrap()
    };
    let both = [
        issuer().with_subject_prefix("a:").with_basic_users(["a"]),
        issuer().with_subject_prefix("b:").with_basic_users(["b"]),
    ];
    let authentication = Authentication::signed(both).with_throttle(None);
    for user in ["a", "b", "a"] {
        let value = basic(user, &token);
        let answer = showing(&authentication, Method::GET, target, Some(&value)).await;
        assert!(
            answer.body.contains(&format!("{user}:alice")),
            "{}",
            answer.body
        );
    }
}

#[tokio::test]
async fn a_wrong_signed_token_as_a_password_counts_as_a_wrong_bearer_and_costs_no_hash() {
    use futures_util::FutureExt;

    let key = Key::new(Algorithm::ES256, "one");
    let forged = Key::new(Algorithm::ES256, "one").sign(&claims());
    let hash = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$";
    let hash = format!("{hash}{}", "A".repeat(43));
    let alice = Credential::new("alice").with_secret(hash.parse::<Secret>().unwrap());
    let strict = ThrottleOptions::default()
        .with_burst(NonZeroU32::MIN)
        .with_every(Duration::from_secs(60 * 60));
    let issuer = Issuer::of_registry_tokens(ISSUER, keys(&[&key]));
    let authentication = Authentication::token(Watched::fixed(Credentials::new([alice]).unwrap()))
        .with_issuers([issuer.with_audiences([SERVICE]).unwrap()])
        .with_throttle(Some(&strict));
    let target = "/v2/team/app/manifests/1";
    let (wrong, password) = (basic("alice", &forged), basic("alice", "open sesame"));
    let show = |value| showing(&authentication, Method::GET, target, Some(value));
    // At once: no thread is asked for a hash.
    let answer = show(&wrong).now_or_never().unwrap();
    assert_eq!(answer.status, 401);
    assert_eq!(pull(&authentication, &forged).await, 429);
    assert_eq!(show(&wrong).now_or_never().unwrap().status, 429);
    // Neither the id nor the source has failed with a password.
    let mut verified = Box::pin(show(&password));
    assert!(verified.as_mut().now_or_never().is_none());
    assert_eq!(verified.await.status, 401);
    assert_eq!(show(&password).await.status, 429);
    // A right one passes all that.
    let right = key.sign(&claims());
    assert_eq!(show(&basic("alice", &right)).await.status, 200);
}

#[tokio::test]
async fn a_signed_token_that_is_over_is_no_guess() {
    let key = Key::new(Algorithm::ES256, "one");
    let strict = ThrottleOptions::default()
        .with_burst(NonZeroU32::MIN)
        .with_every(Duration::from_secs(60 * 60));
    let authentication = registry(keys(&[&key])).with_throttle(Some(&strict));
    let over = key.sign(&changed("exp", json!(now() - 120)));
    let early = key.sign(&changed("nbf", json!(now() + 120)));
    let forged = Key::new(Algorithm::ES256, "one").sign(&claims());
    for _ in 0..3 {
        assert_eq!(pull(&authentication, &over).await, 401);
        assert_eq!(pull(&authentication, &early).await, 401);
    }
    assert_eq!(pull(&authentication, &key.sign(&claims())).await, 200);
    assert_eq!(pull(&authentication, &forged).await, 401);
    assert_eq!(pull(&authentication, &forged).await, 429);
    // What others behind the same address did keeps no right token out.
    assert_eq!(pull(&authentication, &key.sign(&claims())).await, 200);
}

#[tokio::test]
async fn a_signed_token_counts_with_the_certificate_that_is_wanted() {
    let key = Key::new(Algorithm::ES256, "one");
    let issuer = || {
        let issuer = Issuer::of_registry_tokens(ISSUER, keys(&[&key]));
        issuer.with_audiences([SERVICE]).unwrap()
    };
    let own = Credential::new("ci").with_secret(Secret::of_token(b"own"));
    let own = Watched::fixed(Credentials::new([own]).unwrap());
    let only_certificate = Authentication::certificate().with_issuers([issuer()]);
    let both = Authentication::token_and_certificate(own.clone()).with_issuers([issuer()]);
    let either = Authentication::token_or_certificate(own).with_issuers([issuer()]);
    let (token, forged) = (
        key.sign(&claims()),
        Key::new(Algorithm::ES256, "one").sign(&claims()),
    );
    let node = node();
    for (authentication, token, peer, status) in [
        (&only_certificate, Some(&token), false, 401),
        (&only_certificate, Some(&token), true, 200),
        (&only_certificate, Some(&forged), true, 200),
        (&only_certificate, None, true, 200),
        (&both, Some(&token), false, 401),
        (&both, Some(&token), true, 200),
        (&both, Some(&forged), true, 401),
        (&both, None, true, 401),
        (&either, Some(&token), false, 200),
        (&either, Some(&forged), true, 401),
        (&either, None, true, 200),
    ] {
        let layer = TokenAuthLayer::new(authentication.clone());
        let service = layer.layer(service_fn(|_: Request<Full<Bytes>>| async {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        }));
        let mut request = Request::get("/v2/team/app/manifests/1")
            .header("host", "registry.example")
            .extension(ClientAddr::new("192.0.2.1:4711".parse().unwrap()))
            .body(Full::<Bytes>::default())
            .unwrap();
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        if peer {
            request.extensions_mut().insert(node.clone());
        }
        let answer = service.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), status, "{authentication:?} {peer}");
    }
}

fn node() -> PeerIdentity {
    let key = KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["node-7".to_owned()]).unwrap();
    PeerIdentity::from_der(parameters.self_signed(&key).unwrap().der()).unwrap()
}

fn part(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

#[tokio::test]
async fn no_header_chooses_how_its_token_is_verified() {
    let (key, other) = (
        Key::new(Algorithm::RS256, "one"),
        Key::new(Algorithm::ES256, "two"),
    );
    let authentication = registry(keys(&[&key, &other]));
    let genuine = key.sign(&claims());
    assert_eq!(pull(&authentication, &genuine).await, 200);
    let signature = genuine.rsplit('.').next().unwrap();
    let claims_part = part(&claims());
    let with = |header: Value, signature: &str| {
        let header = part(&header);
        format!("{header}.{claims_part}.{signature}")
    };
    // The public key as an HMAC secret (RFC 8725 §2.1), as text and as its bytes.
    let public = key.public();
    let modulus = BASE64_URL_SAFE_NO_PAD
        .decode(public["n"].as_str().unwrap())
        .unwrap();
    let hmac = |secret: &[u8]| {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("one".to_owned());
        encode(&header, &claims(), &EncodingKey::from_secret(secret)).unwrap()
    };
    let mut crit = key.header();
    crit.crit = Some(vec!["b64".to_owned()]);
    let critical = encode(&crit, &claims(), &key.private).unwrap();
    let mut of_other = other.header();
    of_other.kid = Some("one".to_owned());
    let mut nameless = key.header();
    nameless.kid = None;
    let mut with_own_key = other.header();
    with_own_key.kid = Some("three".to_owned());
    with_own_key.jwk = Some(Jwk::from_encoding_key(&other.private, Algorithm::ES256).unwrap());
    let twice = format!(
        "{}.{}.{signature}",
        part(&json!({ "alg": "RS256", "kid": "one" })),
        BASE64_URL_SAFE_NO_PAD.encode("{\"sub\":\"alice\",\"sub\":\"admin\"}")
    );
    let mut flipped = genuine.clone().into_bytes();
    let middle = flipped.len() - 40;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    for (what, token) in [
        ("none", with(json!({ "alg": "none", "kid": "one" }), "")),
        (
            "None",
            with(json!({ "alg": "None", "kid": "one" }), signature),
        ),
        ("no algorithm", with(json!({ "kid": "one" }), signature)),
        ("hmac of the text", hmac(public.to_string().as_bytes())),
        ("hmac of the modulus", hmac(&modulus)),
        (
            "another algorithm",
            with(json!({ "alg": "RS512", "kid": "one" }), signature),
        ),
        (
            "another key",
            encode(&of_other, &claims(), &other.private).unwrap(),
        ),
        (
            "no key named of several",
            encode(&nameless, &claims(), &key.private).unwrap(),
        ),
        (
            "a key of its own",
            encode(&with_own_key, &claims(), &other.private).unwrap(),
        ),
        ("what must be understood", critical),
        ("claims of two", twice),
        ("a flipped bit", String::from_utf8(flipped).unwrap()),
        (
            "no signature",
            genuine.rsplit_once('.').unwrap().0.to_owned() + ".",
        ),
        ("two parts", genuine.rsplit_once('.').unwrap().0.to_owned()),
        ("four parts", format!("{genuine}.x")),
        ("padding", format!("{genuine}=")),
        ("huge", format!("ey{}.e30.x", "A".repeat(7_000))),
        ("too long", format!("ey{}.e30.x", "A".repeat(9_000))),
    ] {
        assert_eq!(pull(&authentication, &token).await, 401, "{what}");
    }
}

#[tokio::test]
async fn a_claim_that_stands_twice_is_refused() {
    let key = Key::new(Algorithm::EdDSA, "one");
    let authentication = registry(keys(&[&key]));
    let header = part(&json!({ "alg": "EdDSA", "kid": "one" }));
    let text = claims().to_string();
    for (begin, status) in [("{", 200), ("{\"sub\":\"admin\",", 401)] {
        let text = format!("{begin}{}", &text[1..]);
        let message = format!("{header}.{}", BASE64_URL_SAFE_NO_PAD.encode(text));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &key.private, Algorithm::EdDSA);
        let token = format!("{message}.{}", signature.unwrap());
        assert_eq!(pull(&authentication, &token).await, status, "{begin}");
    }
}

#[tokio::test]
async fn keys_rotate_with_their_file_and_a_withdrawn_key_withdraws_its_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.json");
    let (old, new) = (
        Key::new(Algorithm::ES256, "old"),
        Key::new(Algorithm::ES256, "new"),
    );
    fs::write(&file, set(&[&old])).unwrap();
    let watch = WatchOptions::default().with_poll_interval(Duration::from_millis(20));
    let watched = KeySet::watch(&file, watch).unwrap();
    let authentication = registry(watched.clone());
    let (by_old, by_new) = (old.sign(&claims()), new.sign(&claims()));
    let becomes = async |token: &str, status: u16| {
        let patience = async {
            while pull(&authentication, token).await != status {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), patience)
            .await
            .unwrap();
    };
    becomes(&by_old, 200).await;
    becomes(&by_new, 401).await;
    fs::write(&file, set(&[&old, &new])).unwrap();
    becomes(&by_new, 200).await;
    becomes(&by_old, 200).await;
    fs::write(&file, set(&[&new])).unwrap();
    becomes(&by_old, 401).await;
    becomes(&by_new, 200).await;
    // What is no key set leaves the last good one active.
    fs::write(&file, "{").unwrap();
    while watched.health().failure.is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(pull(&authentication, &by_new).await, 200);
}

#[tokio::test]
async fn a_service_account_is_itself_in_the_groups_of_its_namespace() {
    let key = Key::new(Algorithm::RS256, "cluster");
    let cluster = "https://kubernetes.default.svc.cluster.local";
    let issuer = Issuer::of_service_accounts(cluster, keys(&[&key]));
    let issuer = issuer.with_audiences(["mirror"]).unwrap();
    let authentication =
        Authentication::signed([issuer.with_subject_prefix("prod:")]).with_throttle(None);
    // As a kubelet projects it.
    let token = |sub: &str| {
        key.sign(&json!({
            "aud": ["mirror"], "exp": now() + 3600, "iat": now(), "nbf": now(), "iss": cluster,
            "jti": "5e3f5bb5-1b7b-4ad8-8a6e-4f1d1d7b0d1c", "sub": sub,
            "kubernetes.io": {
                "namespace": "team-a",
                "pod": { "name": "builder-0", "uid": "6f1d" },
                "serviceaccount": { "name": "builder", "uid": "7c2e" },
            },
        }))
    };
    let good = token("system:serviceaccount:team-a:builder");
    let answer = ask(&authentication, Method::GET, "/v2/x/tags/list", Some(&good)).await;
    assert_eq!(
        answer.body,
        "jwt:prod:system:serviceaccount:team-a:builder \
         [\"system:serviceaccounts\", \"system:serviceaccounts:team-a\"]"
    );
    for other in [
        "alice",
        "system:serviceaccount:team-a",
        "system:serviceaccount::x",
        "",
    ] {
        assert_eq!(pull(&authentication, &token(other)).await, 401, "{other}");
    }
    // Made for the cluster's own API, not for us.
    let for_api = key.sign(&json!({
        "aud": [cluster], "exp": now() + 3600, "iss": cluster,
        "sub": "system:serviceaccount:team-a:builder",
    }));
    assert_eq!(pull(&authentication, &for_api).await, 401);
}

fn without_id(key: &Value) -> Value {
    let mut key = key.clone();
    key.as_object_mut().unwrap().remove("kid");
    key
}

#[tokio::test]
async fn a_key_by_which_nothing_is_verified_is_left_out_by_its_name_and_the_others_count() {
    let good = Key::new(Algorithm::ES256, "good");
    let with = |algorithm, changes: Value| {
        let mut key = Key::new(algorithm, "bad").public();
        for (name, value) in changes.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    };
    let text = |octets: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(octets);
    for (bad, why) in [
        (
            with(Algorithm::RS256, json!({ "n": text(&[0xff; 128]) })),
            "is RSA of 1024 bits",
        ),
        (with(Algorithm::RS256, json!({ "e": "AQ" })), "an exponent"),
        (
            with(Algorithm::RS256, json!({ "e": "AQAA" })),
            "an exponent",
        ),
        (
            with(Algorithm::ES256, json!({ "x": text(&[7; 32]) })),
            "is no point of the curve P-256",
        ),
        (
            with(Algorithm::ES256, json!({ "y": text(&[7; 31]) })),
            "have 32 octets",
        ),
        (
            with(Algorithm::EdDSA, json!({ "x": text(&[0; 32]) })),
            "small order",
        ),
        (
            with(Algorithm::EdDSA, json!({ "crv": "Ed448" })),
            "is on the curve \"Ed448\"",
        ),
        (
            with(Algorithm::EdDSA, json!({ "kty": "AKP" })),
            "is of the kind \"AKP\"",
        ),
        (
            with(Algorithm::RS256, json!({ "alg": "PS256" })),
            "is for the algorithm \"PS256\"",
        ),
        (
            with(Algorithm::RS256, json!({ "alg": "none" })),
            "is for the algorithm \"none\"",
        ),
        (
            with(Algorithm::RS256, json!({ "key_ops": ["encrypt"] })),
            "without \"verify\"",
        ),
        (
            with(Algorithm::RS256, json!({ "use": 7 })),
            "is for the use 7",
        ),
        (
            with(Algorithm::EdDSA, json!({ "d": text(&[7; 32]) })),
            "its private part",
        ),
        (
            with(Algorithm::RS256, json!({ "qi": "AQ" })),
            "its private part",
        ),
    ] {
        let set = json!({ "keys": [bad, good.public()] }).to_string();
        let keys = KeySet::from_json(set.as_bytes()).unwrap();
        let [left_out] = keys.left_out() else {
            panic!("{why}: {:?}", keys.left_out());
        };
        assert!(
            left_out.starts_with("key 1 (kid \"bad\") ") && left_out.contains(why),
            "{left_out}"
        );
        let authentication = registry(Watched::fixed(keys));
        assert_eq!(pull(&authentication, &good.sign(&claims())).await, 200);
        // Alone it is an error.
        let set = json!({ "keys": [bad] }).to_string();
        let error = KeySet::from_json(set.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let unnamed = without_id(&Key::new(Algorithm::ES256, "").public());
    let set = json!({ "keys": [good.public(), unnamed] }).to_string();
    let keys = KeySet::from_json(set.as_bytes()).unwrap();
    let told = &keys.left_out()[0];
    assert!(told.starts_with("key 2 has no \"kid\""), "{told}");
    let keys = KeySet::from_json(json!({ "keys": [unnamed] }).to_string().as_bytes()).unwrap();
    assert!(keys.left_out().is_empty());
}

/// As some issuers write it, against RFC 7518 §6.3.1.1.
#[tokio::test]
async fn zeros_before_an_rsa_modulus_change_nothing() {
    let key = Key::new(Algorithm::RS256, "padded");
    let mut public = key.public();
    for name in ["n", "e"] {
        let octets = BASE64_URL_SAFE_NO_PAD.decode(public[name].as_str().unwrap());
        let padded = [&[0, 0], &octets.unwrap()[..]].concat();
        public[name] = json!(BASE64_URL_SAFE_NO_PAD.encode(padded));
    }
    let set = json!({ "keys": [public] }).to_string();
    let keys = KeySet::from_json(set.as_bytes()).unwrap();
    let authentication = registry(Watched::fixed(keys));
    assert_eq!(pull(&authentication, &key.sign(&claims())).await, 200);
    let other = Key::new(Algorithm::RS256, "padded");
    assert_eq!(pull(&authentication, &other.sign(&claims())).await, 401);
}

#[tokio::test]
async fn of_keys_with_one_id_each_counts() {
    let keys_of_one_id = [
        Key::new(Algorithm::ES256, "one"),
        Key::new(Algorithm::ES256, "one"),
        Key::new(Algorithm::EdDSA, "one"),
    ];
    let [first, second, third] = &keys_of_one_id;
    let authentication = registry(keys(&[first, second, third]));
    for key in [first, second, third] {
        assert_eq!(pull(&authentication, &key.sign(&claims())).await, 200);
    }
    let other = Key::new(Algorithm::ES256, "one");
    assert_eq!(pull(&authentication, &other.sign(&claims())).await, 401);
    // As many as there may be: each is tried.
    let set = set(&[first, second, third, first, &other]);
    let keys = KeySet::from_json(set.as_bytes()).unwrap();
    let [left_out] = keys.left_out() else {
        panic!("{:?}", keys.left_out());
    };
    assert!(left_out.starts_with("key 5 (kid \"one\") "), "{left_out}");
}

#[test]
fn a_key_set_without_a_usable_key_is_an_error() {
    let usable = Key::new(Algorithm::ES256, "one").public();
    let with = |name: &str, value: Value| {
        let mut key = usable.clone();
        key[name] = value;
        json!({ "keys": [key] }).to_string()
    };
    for (what, text, reason) in [
        ("nothing", String::new(), "not a JWK Set"),
        ("no keys", "{}".to_owned(), "not a JWK Set"),
        ("an empty set", r#"{"keys":[]}"#.to_owned(), "has no"),
        (
            "a secret",
            r#"{"keys":[{"kty":"oct","k":"c2VjcmV0","alg":"HS256"}]}"#.to_owned(),
            "has no",
        ),
        ("of another use", with("use", json!("enc")), "has no"),
        (
            "of another algorithm",
            with("alg", json!("ES384")),
            "has no",
        ),
        ("of another curve", with("crv", json!("P-521")), "has no"),
        (
            "a list",
            json!([usable]).to_string(),
            "an object with the list \"keys\", as {\"keys\": [..]}, and is a list",
        ),
        (
            "no list",
            json!({ "keys": usable }).to_string(),
            "is an object whose \"keys\" is no list",
        ),
        ("a key alone", usable.to_string(), "is an object without"),
        ("none", r#"{"keys":[]}"#.to_owned(), "it is empty"),
        (
            "two without a name",
            json!({ "keys": [without_id(&usable), without_id(&Key::new(Algorithm::EdDSA, "").public())] })
                .to_string(),
            "key 1 has no \"kid\"",
        ),
    ] {
        let error = KeySet::from_json(text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(reason), "{what}: {error}");
    }
    // A key of a known kind that lacks a part is a mistake, whatever stands beside it.
    for lacking in ["x", "y", "crv", "kty"] {
        let mut key = usable.clone();
        key.as_object_mut().unwrap().remove(lacking);
        let text = json!({ "keys": [usable, key] }).to_string();
        let error = KeySet::from_json(text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(lacking), "{lacking}: {error}");
    }
    let missing = KeySet::watch("/no/such/keys.json", WatchOptions::default());
    assert!(matches!(missing, Err(CredentialError::Unreadable { .. })));
    let nobody = Issuer::of_registry_tokens(ISSUER, keys(&[&Key::new(Algorithm::ES256, "one")]));
    assert!(nobody.with_audiences(Vec::<String>::new()).is_err());
}

#[cfg(feature = "config")]
#[tokio::test]
async fn the_configuration_file_names_issuers_and_the_challenge() {
    use portcullis::{Guard, config::Config};

    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    let key = Key::new(Algorithm::ES256, "one");
    put("keys.json", &set(&[&key]));
    let text = format!(
        "[auth]\nrequire = \"token\"\n[auth.bearer]\nrealm = \"{ISSUER}/token\"\n\
         service = \"{SERVICE}\"\n[[auth.jwt]]\nkind = \"registry\"\nissuer = \"{ISSUER}\"\n\
         audiences = [\"{SERVICE}\"]\nkeys = \"keys.json\"\nprefix = \"hub:\"\n"
    );
    put("gate.toml", &text);
    let guard = || Guard::from_config(&Config::load(directory.path().join("gate.toml")).unwrap());
    let gate = guard().unwrap();
    let report = gate.report().to_string();
    assert!(
        report.contains(&format!("tokens that {ISSUER} signed")),
        "{report}"
    );
    let ask = async |token: Option<&str>| {
        let service = gate.layer(service_fn(|request: Request<_>| async move {
            let principal = Principal::of(request.extensions()).unwrap().to_string();
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(principal))))
        }));
        let mut request = Request::get("/v2/team/app/tags/list")
            .header("host", "registry.example")
            .extension(ClientAddr::new("192.0.2.1:4711".parse().unwrap()))
            .body(Full::<Bytes>::default())
            .unwrap();
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let (head, body) = service.oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head, String::from_utf8(body.to_vec()).unwrap())
    };
    let (head, _) = ask(None).await;
    assert_eq!(head.status, 401);
    let challenge = head.headers[WWW_AUTHENTICATE].to_str().unwrap();
    assert!(
        challenge.ends_with("scope=\"repository:team/app:pull\""),
        "{challenge}"
    );
    let (head, body) = ask(Some(&key.sign(&claims()))).await;
    assert_eq!((head.status.as_u16(), &*body), (200, "jwt:hub:alice"));

    for (users, expected) in [
        ("[]", "for what they grant, as Bearer only"),
        ("[\"a\", \"b\"]", "as Bearer or as the password of a, b"),
    ] {
        put("gate.toml", &format!("{text}basic_users = {users}\n"));
        let report = guard().unwrap().report().to_string();
        assert!(report.contains(expected), "{report}");
    }
    put("gate.toml", &format!("{text}basic_users = [\"a:b\"]\n"));
    let error = Config::load(directory.path().join("gate.toml")).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("basic_users") && error.contains("\"a:b\""),
        "{error}"
    );
    put(
        "gate.toml",
        &text.replace(&format!("service = \"{SERVICE}\""), "service = \"\""),
    );
    assert!(guard().unwrap_err().to_string().contains("auth"));
    put("gate.toml", &text);
    put("keys.json", "{}");
    let error = guard().unwrap_err();
    let reason = error.to_string();
    assert!(reason.contains("keys.json: not a JWK Set"), "{reason}");
}

#[tokio::test]
async fn a_program_can_ask_what_a_token_grants() {
    let key = Key::new(Algorithm::ES256, "one");
    let authentication = registry(keys(&[&key]));
    let client = ClientAddr::new("198.51.100.1:4711".parse().unwrap());
    let request = Request::get("/v2/").extension(client);
    let request = request.header("host", "registry.example");
    let token = key.sign(&claims());
    let request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    let caller = authentication.identify(&request.body(()).unwrap()).await;
    let caller = caller.unwrap();
    for (kind, name, action, granted) in [
        ("repository", "team/app", "pull", true),
        ("repository", "team/app", "push", true),
        ("repository", "team/app", "delete", false),
        ("repository", "team/secret", "pull", false),
        ("registry", "team/app", "pull", false),
    ] {
        let answer = caller.is_granted(kind, name, action);
        assert_eq!(answer, granted, "{kind} {name} {action}");
    }
    // Where no token bounds the caller, the policy alone does.
    assert!(Principal::anonymous().is_granted("repository", "team/secret", "pull"));
}
