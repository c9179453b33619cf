//! Credentials of every source, and what they are good for.
#![cfg(all(feature = "auth", feature = "config"))]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use portcullis::auth::{
    Authentication, Credential, CredentialError, CredentialSource, Credentials, GeneratedToken,
    PasswordOptions, Secret, ThrottleOptions, TokenAuthLayer,
};
use portcullis::reload::WatchOptions;
use portcullis::{ClientAddr, PeerIdentity, Preset, Principal, Responder, Watched};
use serde_json::Value;
use tempfile::TempDir;
use tower::{Layer, ServiceExt, service_fn};

const TOKEN: &str = "cK7wQ2xRt9LmZ4vB8nPyD3sHf6Jg";
const OTHER: &str = "Zq3v0yHk1Xt7Rb9cWm5LsPd2";

/// A request's head, and what came of it.
#[derive(Clone, Default)]
struct Ask {
    authorization: Option<String>,
    client: Option<SocketAddr>,
    peer: Option<PeerIdentity>,
    method: Option<Method>,
    path: Option<&'static str>,
}

#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    body: String,
    retry_after: Option<String>,
    challenge: Option<String>,
}

impl Ask {
    fn bearer(token: &str) -> Self {
        Self {
            authorization: Some(format!("Bearer {token}")),
            ..Self::default()
        }
    }

    fn basic(user: &str, password: &str) -> Self {
        let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
        Self {
            authorization: Some(format!("Basic {pair}")),
            ..Self::default()
        }
    }

    fn from(mut self, client: &str) -> Self {
        self.client = Some(format!("{client}:4711").parse().unwrap());
        self
    }

    fn with_peer(mut self, peer: &PeerIdentity) -> Self {
        self.peer = Some(peer.clone());
        self
    }

    fn to(mut self, method: Method, path: &'static str) -> Self {
        (self.method, self.path) = (Some(method), Some(path));
        self
    }

    async fn of(self, layer: &TokenAuthLayer) -> Answer {
        let service = layer.layer(service_fn(|request: Request<Full<Bytes>>| async move {
            let principal = Principal::of(request.extensions()).unwrap();
            let text = format!("{principal} {:?}", principal.groups());
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
        }));
        let mut request = Request::builder()
            .header("host", "registry.example")
            .method(self.method.unwrap_or(Method::GET))
            .uri(self.path.unwrap_or("/v2/"))
            .body(Full::<Bytes>::default())
            .unwrap();
        if let Some(value) = self.authorization {
            let value = value.parse().unwrap();
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let elsewhere = || "203.0.113.250:4711".parse().unwrap();
        let client = self.client.unwrap_or_else(elsewhere);
        request.extensions_mut().insert(ClientAddr::new(client));
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        let (head, body) = service.oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let text = |name| {
            let value = head.headers.get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        Answer {
            status: head.status.as_u16(),
            body: String::from_utf8(body.to_vec()).unwrap(),
            retry_after: text(RETRY_AFTER),
            challenge: text(WWW_AUTHENTICATE),
        }
    }
}

fn watch(
    sources: impl IntoIterator<Item = CredentialSource>,
) -> Result<Watched<Credentials>, CredentialError> {
    let options = WatchOptions::default()
        .with_poll_interval(Duration::from_millis(50))
        .with_settle(Duration::from_millis(5));
    Credentials::watch(sources, options)
}

fn layer(sources: impl IntoIterator<Item = CredentialSource>) -> TokenAuthLayer {
    TokenAuthLayer::new(Authentication::token(watch(sources).unwrap()))
}

fn bcrypt(password: &str) -> Secret {
    // The lowest cost: what is tested is not how long it takes.
    bcrypt::hash(password, 4).unwrap().parse().unwrap()
}

fn node(name: &str) -> PeerIdentity {
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    PeerIdentity::from_der(parameters.self_signed(&key).unwrap().der()).unwrap()
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[tokio::test]
async fn sources_of_every_kind_combine() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("token"), format!("{TOKEN}\n")).unwrap();
    let hash = bcrypt::hash("open sesame", 4).unwrap();
    fs::write(path("htpasswd"), format!("# users\nalice:{hash}\n")).unwrap();
    fs::create_dir(path("secret")).unwrap();
    fs::write(path("secret/username"), "node").unwrap();
    fs::write(path("secret/password"), format!("ü: {OTHER}\n")).unwrap();
    let token = GeneratedToken::generate().unwrap();
    let file = format!(
        "[[credential]]\nid = \"farm\"\ngroups = [\"pushers\"]\n\
         [[credential.secret]]\ndigest = \"{}\"\n",
        token.digest_text()
    );
    fs::write(path("credentials.toml"), file).unwrap();
    let layer = layer([
        CredentialSource::file("ci", path("token")),
        CredentialSource::htpasswd(path("htpasswd")).in_groups(["people"]),
        CredentialSource::secret_directory(path("secret")),
        CredentialSource::credentials_file(path("credentials.toml")),
    ]);
    for (ask, body) in [
        (Ask::bearer(TOKEN), "token:ci []"),
        (Ask::basic("ci", TOKEN), "token:ci []"),
        (
            Ask::basic("alice", "open sesame"),
            "token:alice [\"people\"]",
        ),
        // The second time it is remembered.
        (
            Ask::basic("alice", "open sesame"),
            "token:alice [\"people\"]",
        ),
        (Ask::basic("node", &format!("ü: {OTHER}")), "token:node []"),
        (Ask::bearer(token.expose()), "token:farm [\"pushers\"]"),
    ] {
        let answer = ask.of(&layer).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, body));
    }
    for ask in [
        Ask::basic("alice", "open says me"),
        Ask::basic("bob", "open sesame"),
        Ask::basic("ci", "open sesame"),
        Ask::basic("alice", TOKEN),
        Ask::basic("alice", &"x".repeat(73)),
        Ask::bearer("open-sesame"),
    ] {
        assert_eq!(ask.of(&layer).await.status, 401);
    }
}

/// bcrypt reads 72 bytes at most. The log says why a longer password is never right, for the answer does not.
#[tokio::test]
async fn a_password_that_is_too_long_for_its_hash_is_refused_and_the_reason_logged_without_it() {
    let long = "long-".repeat(15);
    let argon2id = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$\
                    nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    let credentials = [
        Credential::new("alice").with_secret(bcrypt(&long[..72])),
        Credential::new("bob").with_secret(argon2id.parse::<Secret>().unwrap()),
    ];
    let layer = layer(credentials.map(CredentialSource::credential));
    let captured = crate::captured::Captured::from(tracing::Level::WARN);
    for (user, password) in [
        ("alice", &long[..71]),
        ("bob", &long),
        ("carol", &long),
        ("alice", &long[..72]),
    ] {
        let is_said = captured.text().contains("more than the 71 bytes");
        assert!(!is_said, "before {user}: {}", captured.text());
        assert_eq!(Ask::basic(user, password).of(&layer).await.status, 401);
    }
    let told = captured.text();
    assert!(
        told.contains("more than the 71 bytes") && told.contains("alice"),
        "{told}"
    );
    assert!(!told.contains("long-long"), "{told}");
}

#[tokio::test]
async fn an_argon2id_password_lets_in() {
    // Made by the reference implementation's command line, password "password", salt "somesalt".
    let hash = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$\
                nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    let credential = Credential::new("alice").with_secret(hash.parse::<Secret>().unwrap());
    let layer = layer([CredentialSource::credential(credential)]);
    let right = Ask::basic("alice", "password");
    assert_eq!(right.clone().of(&layer).await.status, 200);
    assert_eq!(right.of(&layer).await.status, 200);
    assert_eq!(Ask::basic("alice", "passwort").of(&layer).await.status, 401);
}

#[tokio::test]
async fn each_secret_has_its_own_time() {
    let secret = |token: &str| Secret::of_token(token.as_bytes());
    let credential = Credential::new("ci")
        .with_secret(secret("old").expires(at(200)))
        .with_secret(secret("new").not_before(at(100)))
        .with_secret(bcrypt("password").expires(at(200)));
    let clock = Arc::new(AtomicU64::new(0));
    let now = Arc::clone(&clock);
    let authentication =
        Authentication::token(watch([CredentialSource::credential(credential)]).unwrap())
            .with_clock(move || at(now.load(Ordering::Relaxed)));
    let layer = TokenAuthLayer::new(authentication);
    for (time, old, new) in [
        (99, 200, 401),
        (100, 200, 200),
        (199, 200, 200),
        (200, 401, 200),
    ] {
        clock.store(time, Ordering::Relaxed);
        assert_eq!(Ask::bearer("old").of(&layer).await.status, old, "{time}");
        assert_eq!(Ask::bearer("new").of(&layer).await.status, new, "{time}");
        // Remembered or not.
        for _ in 0..2 {
            let password = Ask::basic("ci", "password");
            assert_eq!(password.of(&layer).await.status, old, "{time}");
        }
    }
}

#[test]
fn what_is_over_is_answered_no_sooner_than_what_is_wrong() {
    // One thread for what blocks, and the test says when it is free.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let guessable = Secret::of_token(OTHER.as_bytes()).guessable();
    let ci = Credential::new("ci")
        .with_secret(guessable.expires(at(200)))
        .with_secret(Secret::of_token(TOKEN.as_bytes()))
        .with_secret(bcrypt("password").expires(at(200)));
    let clock = Arc::new(AtomicU64::new(100));
    let now = Arc::clone(&clock);
    let layer = runtime.block_on(async {
        let credentials = watch([CredentialSource::credential(ci)]).unwrap();
        let authentication =
            Authentication::token(credentials).with_clock(move || at(now.load(Ordering::Relaxed)));
        TokenAuthLayer::new(authentication)
    });
    let status = |user: &str, secret: &str| {
        let answer = runtime.block_on(Ask::basic(user, secret).of(&layer));
        answer.status
    };
    // The password is remembered from when it was good.
    assert_eq!(status("ci", "password"), 200);
    clock.store(200, Ordering::Relaxed);
    let without_blocking = |user: &str, secret: &str| {
        let (free, freed) = std::sync::mpsc::channel::<()>();
        let occupied = runtime.spawn_blocking(move || freed.recv());
        let answer = Ask::basic(user, secret).of(&layer);
        let answer = runtime.block_on(async { answer.now_or_never() });
        drop(free);
        let _hung_up = runtime.block_on(occupied).unwrap();
        answer.map(|answer| answer.status)
    };
    assert_eq!(without_blocking("ci", TOKEN), Some(200));
    for (user, secret) in [
        ("ci", "wrong"),
        ("nobody", "wrong"),
        ("ci", OTHER),
        ("ci", "password"),
    ] {
        // A bcrypt hash is verified first, elsewhere.
        assert_eq!(without_blocking(user, secret), None, "{user} {secret}");
        assert_eq!(status(user, secret), 401);
    }
}

#[tokio::test]
async fn a_credential_is_good_from_its_networks_and_with_its_certificate_only() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, TOKEN).unwrap();
    let source = CredentialSource::file("ci", file)
        .within(["10.0.0.0/8".parse().unwrap()])
        .bound_to("dns:node-7")
        .unwrap();
    let layer = layer([source]);
    let (good, bad) = (node("node-7"), node("node-8"));
    let ask = Ask::bearer(TOKEN);
    for (ask, status) in [
        (ask.clone().from("10.1.2.3").with_peer(&good), 200),
        (ask.clone().from("10.1.2.3").with_peer(&bad), 401),
        (ask.clone().from("10.1.2.3"), 401),
        (ask.clone().from("192.0.2.1").with_peer(&good), 401),
        (ask.with_peer(&good), 401),
    ] {
        assert_eq!(ask.of(&layer).await.status, status);
    }
}

#[tokio::test]
async fn a_certificate_reads_and_a_token_writes() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, TOKEN).unwrap();
    let credentials = watch([CredentialSource::file("ci", file)]).unwrap();
    let layer = TokenAuthLayer::new(
        Authentication::token_or_certificate(credentials).with_token_for_writes(),
    );
    let node = node("node-7");
    let manifest = "/v2/app/manifests/latest";
    for (method, path, status) in [
        (Method::GET, manifest, 200),
        (Method::HEAD, manifest, 200),
        (Method::GET, "/v2/", 200),
        (Method::PUT, manifest, 401),
        (Method::POST, "/v2/app/blobs/uploads/", 401),
        (Method::DELETE, manifest, 401),
        // Of what is no registry's the method says it.
        (Method::GET, "/elsewhere", 200),
        (Method::POST, "/elsewhere", 401),
        // What cannot be read is not taken for a read.
        (Method::GET, "/v2/app//manifests/latest", 401),
    ] {
        let ask = Ask::default().with_peer(&node).to(method.clone(), path);
        assert_eq!(ask.of(&layer).await.status, status, "{method} {path}");
        let ask = Ask::bearer(TOKEN).with_peer(&node).to(method, path);
        assert_eq!(ask.of(&layer).await.status, 200);
    }
}

/// Three may fail, and for an id twelve.
fn strict() -> ThrottleOptions {
    ThrottleOptions::default()
        .with_burst(NonZeroU32::new(3).unwrap())
        .with_every(Duration::from_secs(60 * 60))
}

fn throttled(credentials: impl IntoIterator<Item = Credential>) -> TokenAuthLayer {
    let credentials = Watched::fixed(Credentials::new(credentials).unwrap());
    TokenAuthLayer::new(Authentication::token(credentials).with_throttle(Some(&strict())))
}

fn token(id: &str, token: &str) -> Credential {
    Credential::new(id).with_secret(Secret::of_token(token.as_bytes()))
}

#[tokio::test(start_paused = true)]
async fn a_right_token_passes_whatever_others_behind_its_address_did() {
    let generated = GeneratedToken::generate().unwrap();
    let node = node("node-7");
    let credentials = || {
        let ci = token("ci", TOKEN);
        let all = [ci, token("node", generated.expose())];
        Watched::fixed(Credentials::new(all).unwrap())
    };
    let challenged = Responder::new(Preset::Registry);
    for (wanted, responder, status) in [
        (Authentication::token(credentials()), None, 503),
        (Authentication::token(credentials()), Some(challenged), 429),
        (
            Authentication::token_or_certificate(credentials()),
            None,
            503,
        ),
        (
            Authentication::token_and_certificate(credentials()),
            None,
            503,
        ),
    ] {
        let mut layer = TokenAuthLayer::new(wanted.with_throttle(Some(&strict())));
        if let Some(responder) = responder {
            layer = layer.with_responder(responder);
        }
        let wrong = [
            Ask::bearer("wrong"),
            Ask::bearer(OTHER),
            Ask::basic("ci", OTHER),
            Ask::basic("nobody", TOKEN),
            Ask::bearer("="),
        ];
        for client in ["198.51.100.1", "[2001:db8::1]"] {
            let here = |ask: Ask| ask.from(client).with_peer(&node).of(&layer);
            for ask in wrong.iter().cycle().take(31) {
                here(ask.clone()).await;
            }
            for ask in wrong.clone() {
                let answer = here(ask).await;
                assert_eq!(answer.status, status);
                let seconds: u32 = answer.retry_after.unwrap().parse().unwrap();
                assert!((1..=3600).contains(&seconds));
            }
            for ask in [
                Ask::bearer(TOKEN),
                Ask::basic("ci", TOKEN),
                Ask::bearer(generated.expose()),
                Ask::basic("node", generated.expose()),
            ] {
                assert_eq!(here(ask).await.status, 200);
            }
        }
        // Without a credential a request is no guess.
        let nothing = Ask::default().from("198.51.100.1").of(&layer).await;
        assert_eq!(nothing.status, 401);
    }
}

#[tokio::test(start_paused = true)]
async fn a_weak_token_is_shown_as_a_password_where_there_are_no_passwords() {
    let weak = Secret::of_token(b"hunter2").guessable();
    let layer = throttled([
        Credential::new("weak").with_secret(weak),
        token("ci", TOKEN),
    ]);
    for (user, password, status) in [
        ("weak", "hunter2", 200),
        ("weak", "hunter3", 401),
        ("ci", "hunter2", 401),
    ] {
        let answer = Ask::basic(user, password).of(&layer).await;
        assert_eq!(answer.status, status, "{user} {password}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_can_be_guessed_and_a_password_are_throttled_and_answered_alike() {
    let weak = Secret::of_token(b"hunter2").guessable();
    let layer = throttled([
        Credential::new("weak").with_secret(weak),
        Credential::new("alice").with_secret(bcrypt("password")),
        token("ci", TOKEN),
    ]);
    let asks = |client: &str| {
        [
            Ask::bearer("hunter2"),
            Ask::bearer("hunter3"),
            Ask::basic("weak", "hunter2"),
            Ask::basic("weak", "hunter3"),
            Ask::basic("alice", "password"),
            Ask::basic("nobody", "password"),
        ]
        .map(|ask| ask.from(client))
    };
    for (ask, status) in asks("198.51.100.1")
        .into_iter()
        .zip([200, 401, 200, 401, 200, 401])
    {
        assert_eq!(ask.of(&layer).await.status, status);
    }
    let there = "198.51.100.2";
    for _ in 0..3 {
        Ask::bearer("wrong").from(there).of(&layer).await;
        Ask::basic("nobody", "wrong").from(there).of(&layer).await;
    }
    let mut answers = Vec::new();
    for ask in asks(there) {
        answers.push(ask.of(&layer).await);
    }
    for answer in &answers {
        assert_eq!(answer.status, 503);
        assert_eq!(answer.body, answers[0].body);
        assert_eq!(answer.retry_after, answers[0].retry_after);
    }
    let right = Ask::bearer(TOKEN).from(there).of(&layer).await;
    assert_eq!(right.status, 200);
}

#[tokio::test(start_paused = true)]
async fn old_tokens_keep_no_password_out_and_wrong_passwords_no_weak_token() {
    let weak = Secret::of_token(b"hunter2").guessable();
    let layer = throttled([
        Credential::new("weak").with_secret(weak),
        Credential::new("alice").with_secret(bcrypt("password")),
    ]);
    let old = GeneratedToken::generate().unwrap();
    for _ in 0..4 {
        for ask in [Ask::bearer(OTHER), Ask::basic("alice", old.expose())] {
            ask.from("198.51.100.1").of(&layer).await;
        }
        let wrong = Ask::basic("nobody", "wrong").from("198.51.100.2");
        wrong.of(&layer).await;
    }
    let old = Ask::basic("alice", old.expose()).from("198.51.100.1");
    assert_eq!(old.of(&layer).await.status, 503);
    let password = Ask::basic("alice", "password").from("198.51.100.1");
    assert_eq!(password.of(&layer).await.status, 200);
    let weak = Ask::bearer("hunter2").from("198.51.100.2");
    assert_eq!(weak.of(&layer).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_password_passes_whatever_one_other_source_fails_for_its_id() {
    let layer = throttled([Credential::new("alice").with_secret(bcrypt("password"))]);
    let right = |client: &str| Ask::basic("alice", "password").from(client).of(&layer);
    for number in 0..34 {
        let wrong = Ask::basic("alice", &format!("wrong-{number}")).from("198.51.100.1");
        let status = wrong.of(&layer).await.status;
        assert_eq!(status, if number < 3 { 401 } else { 503 });
    }
    // Where it was never seen, too.
    assert_eq!(right("203.0.113.1").await.status, 200);
    assert_eq!(right("198.51.100.1").await.status, 503);
}

#[tokio::test(start_paused = true)]
async fn a_password_that_was_verified_at_a_source_passes_there_whatever_many_others_fail() {
    let layer = throttled([Credential::new("alice").with_secret(bcrypt("password"))]);
    let right = |client: &str| Ask::basic("alice", "password").from(client).of(&layer);
    assert_eq!(right("203.0.113.1").await.status, 200);
    for host in 1..=12 {
        let wrong = Ask::basic("alice", "wrong").from(&format!("198.51.100.{host}"));
        assert_eq!(wrong.of(&layer).await.status, 401);
    }
    assert_eq!(right("203.0.113.2").await.status, 503);
    for _ in 0..5 {
        assert_eq!(right("203.0.113.1").await.status, 200);
    }
    // A neighbour at that source has three guesses, as anywhere.
    for status in [401, 401, 401, 503] {
        let wrong = Ask::basic("alice", "wrong").from("203.0.113.1");
        assert_eq!(wrong.of(&layer).await.status, status);
    }
    assert_eq!(right("203.0.113.1").await.status, 503);
}

#[tokio::test]
async fn failures_for_an_id_do_not_keep_its_token_out() {
    let layer = throttled([token("ci", TOKEN).with_secret(bcrypt("password"))]);
    for host in 1..=12 {
        let ask = Ask::basic("ci", "wrong").from(&format!("198.51.100.{host}"));
        assert_eq!(ask.of(&layer).await.status, 401);
    }
    let password = Ask::basic("ci", "password").from("198.51.100.99");
    assert_eq!(password.of(&layer).await.status, 503);
    let token = Ask::basic("ci", TOKEN).from("198.51.100.99");
    assert_eq!(token.of(&layer).await.status, 200);
}

#[tokio::test]
async fn a_client_that_hangs_up_before_a_password_is_verified_has_failed() {
    let layer = throttled([Credential::new("alice").with_secret(bcrypt("password"))]);
    let hang_up = |host: u8| {
        // Asked once and dropped: the answer is not there yet.
        let wrong = Ask::basic("alice", &format!("wrong-{host}"));
        let wrong = wrong.from(&format!("198.51.100.{}", host.min(4)));
        assert!(wrong.of(&layer).now_or_never().is_none());
    };
    let right = |client: &str| Ask::basic("alice", "password").from(client).of(&layer);
    for _ in 0..3 {
        hang_up(1);
    }
    assert_eq!(right("198.51.100.1").await.status, 503);
    let other = Ask::basic("bob", "password").from("198.51.100.99");
    assert_eq!(other.of(&layer).await.status, 401);
    // As twelve wrong passwords from four sources that were waited for.
    for host in 2..=4 {
        for _ in 0..3 {
            hang_up(host);
        }
    }
    assert_eq!(right("198.51.100.98").await.status, 503);
}

#[tokio::test]
async fn a_right_password_is_remembered_though_its_client_hung_up() {
    let credential = Credential::new("alice").with_secret(bcrypt("password"));
    let credentials = Credentials::new([credential]).unwrap();
    let layer = TokenAuthLayer::new(Authentication::token(Watched::fixed(credentials)));
    let ask = || {
        Ask::basic("alice", "password")
            .from("198.51.100.1")
            .of(&layer)
    };
    assert!(ask().now_or_never().is_none());
    let patience = async {
        // At once means from memory.
        while ask().now_or_never().is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), patience)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_remembered_password_is_refused_once_its_user_is_removed_or_its_hash_is_another() {
    let of = |user: &str, password: &str| Credential::new(user).with_secret(bcrypt(password));
    let credentials = Credentials::new([of("alice", "one"), of("bob", "two")]).unwrap();
    let credentials = Watched::fixed(credentials);
    let layer = TokenAuthLayer::new(Authentication::token(credentials.clone()));
    let status =
        async |user: &str, password: &str| Ask::basic(user, password).of(&layer).await.status;
    for (user, password) in [("alice", "one"), ("bob", "two")] {
        assert_eq!(status(user, password).await, 200);
        // The second time it is remembered, and answered at once.
        let again = Ask::basic(user, password).of(&layer).now_or_never();
        assert_eq!(again.unwrap().status, 200);
    }
    credentials.publish(Credentials::new([of("bob", "three")]).unwrap());
    assert_eq!(status("alice", "one").await, 401);
    assert_eq!(status("bob", "two").await, 401);
    assert_eq!(status("bob", "three").await, 200);
}

#[test]
fn a_variable_has_a_token_or_names_its_file() {
    const ITSELF: &str = "auth::credentials::a_variable_has_a_token_or_names_its_file";
    const CHILD: &str = "PORTCULLIS_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let layer = layer([
            CredentialSource::variable("here", "PORTCULLIS_TEST_HERE"),
            CredentialSource::variable("there", "PORTCULLIS_TEST_THERE"),
        ]);
        runtime.block_on(async {
            for (id, token) in [("here", TOKEN), ("there", OTHER)] {
                let answer = Ask::bearer(token).of(&layer).await;
                assert_eq!(answer.body, format!("token:{id} []"));
            }
            // The variable itself comes before the one with a file.
            assert_eq!(Ask::bearer("in-the-file").of(&layer).await.status, 401);
        });
        return;
    }
    let folder = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    // A process cannot change its own environment safely.
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", ITSELF])
        .env(CHILD, "1")
        .env("PORTCULLIS_TEST_HERE", TOKEN)
        .env("PORTCULLIS_TEST_HERE_FILE", file("here", "in-the-file"))
        .env(
            "PORTCULLIS_TEST_THERE_FILE",
            file("there", &format!("{OTHER}\n")),
        )
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && out.contains("1 passed"), "{out}");
}

#[tokio::test]
async fn without_its_certificate_a_right_token_is_refused_as_a_wrong_one() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, TOKEN).unwrap();
    let sources = [
        CredentialSource::file("ci", file).with_weak_allowed(true),
        CredentialSource::credential(Credential::new("alice").with_secret(bcrypt("password"))),
    ];
    let options = ThrottleOptions::default()
        .with_burst(NonZeroU32::new(3).unwrap())
        .with_every(Duration::from_secs(60 * 60));
    // A challenge that tells clients what is wrong with their token.
    let responder = Responder::new(Preset::Registry)
        .with_bearer_challenge("https://auth.example.org/token", "registry")
        .unwrap();
    let layer = TokenAuthLayer::new(
        Authentication::token_and_certificate(watch(sources).unwrap())
            .with_throttle(Some(&options)),
    )
    .with_responder(responder);
    let asks = [
        Ask::bearer(TOKEN),
        Ask::bearer("wrong"),
        Ask::basic("ci", TOKEN),
        Ask::basic("ci", "wrong"),
        Ask::basic("alice", "password"),
        Ask::basic("alice", "wrong"),
        Ask::bearer("="),
        Ask::default(),
    ];
    let first = asks[0].clone().from("198.51.100.1").of(&layer).await;
    assert_eq!(first.status, 401);
    for ask in asks {
        // At once, so that no password is verified, and without an end.
        let answer = ask.from("198.51.100.1").of(&layer).now_or_never().unwrap();
        assert_eq!(answer, first);
    }
    let good = Ask::bearer(TOKEN)
        .from("198.51.100.1")
        .with_peer(&node("node-7"));
    assert_eq!(good.of(&layer).await.status, 200);
}

#[tokio::test]
async fn ids_are_not_throttled_where_there_are_tokens_only() {
    let credential = Credential::new("ci").with_secret(Secret::of_token(TOKEN.as_bytes()));
    let credentials = Credentials::new([credential]).unwrap();
    let options = ThrottleOptions::default()
        .with_burst(NonZeroU32::new(3).unwrap())
        .with_every(Duration::from_secs(60 * 60));
    let credentials = Watched::fixed(credentials);
    let layer = TokenAuthLayer::new(
        Authentication::token(credentials.clone()).with_throttle(Some(&options)),
    );
    // An id with a password may fail twelve times.
    for host in 1..=20 {
        let ask = Ask::basic("ci", "wrong").from(&format!("198.51.100.{host}"));
        assert_eq!(ask.of(&layer).await.status, 401);
    }
    // Nor are those failures held against a password that comes later.
    let with_password = Credential::new("ci").with_secret(bcrypt("password"));
    credentials.publish(Credentials::new([with_password]).unwrap());
    let ask = Ask::basic("ci", "password").from("198.51.100.99");
    assert_eq!(ask.of(&layer).await.status, 200);
}

#[tokio::test]
async fn a_flood_of_passwords_is_shed_and_tokens_pass() {
    let credential = Credential::new("alice").with_secret(
        // Slow enough that the flood surely arrives while the first is verified.
        bcrypt::hash("password", 11)
            .unwrap()
            .parse::<Secret>()
            .unwrap(),
    );
    let token = Credential::new("ci").with_secret(Secret::of_token(TOKEN.as_bytes()));
    let options = PasswordOptions::default()
        .with_concurrent(NonZeroUsize::MIN)
        .with_waiting(2);
    let credentials = Credentials::new([credential, token]).unwrap();
    let layer = TokenAuthLayer::new(
        Authentication::token(Watched::fixed(credentials))
            .with_passwords(&options)
            .with_throttle(None),
    );
    let flood = (0..40).map(|number| {
        let ask = Ask::basic(if number % 2 == 0 { "alice" } else { "nobody" }, "wrong");
        let layer = layer.clone();
        tokio::spawn(async move { ask.of(&layer).await.status })
    });
    let flood: Vec<_> = flood.collect();
    assert_eq!(Ask::bearer(TOKEN).of(&layer).await.status, 200);
    let mut counts = [0, 0];
    for answer in flood {
        match answer.await.unwrap() {
            401 => counts[0] += 1,
            503 => counts[1] += 1,
            other => panic!("{other}"),
        }
    }
    let [verified, shed] = counts;
    assert!(verified >= 3 && shed > 0, "{counts:?}");
    assert_eq!(Ask::basic("alice", "password").of(&layer).await.status, 200);
}

/// For the password of alice, which takes so long.
fn one_password_at_a_time(cost: u32) -> TokenAuthLayer {
    let hash = bcrypt::hash("password", cost).unwrap();
    let alice = Credential::new("alice").with_secret(hash.parse::<Secret>().unwrap());
    let options = PasswordOptions::default().with_concurrent(NonZeroUsize::MIN);
    let credentials = Watched::fixed(Credentials::new([alice]).unwrap());
    TokenAuthLayer::new(Authentication::token(credentials).with_passwords(&options))
}

#[tokio::test]
async fn a_flood_of_passwords_from_one_source_does_not_keep_a_right_one_from_another_out() {
    let layer = one_password_at_a_time(9);
    // More than wait by default, all there before the right one comes.
    let flood: Vec<_> = (0..60)
        .map(|number| {
            let wrong = Ask::basic("alice", &format!("wrong-{number}")).from("198.51.100.1");
            let layer = layer.clone();
            tokio::spawn(async move { wrong.of(&layer).await.status })
        })
        .collect();
    tokio::task::yield_now().await;
    let right = Ask::basic("alice", "password").from("203.0.113.1");
    assert_eq!(right.of(&layer).await.status, 200);
    let waits = flood.iter().filter(|answer| !answer.is_finished()).count();
    assert!(waits > 0, "it came before others that were there first");
    for answer in flood {
        assert_ne!(answer.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn guesses_from_more_sources_than_may_wait_do_not_keep_a_right_password_out() {
    let layer = one_password_at_a_time(8);
    let failed = Arc::new(AtomicUsize::new(0));
    let flood: Vec<_> = (0..48)
        .map(|source| {
            let (layer, failed) = (layer.clone(), Arc::clone(&failed));
            tokio::spawn(async move {
                for guess in 0_u64.. {
                    let wrong = Ask::basic(&format!("invented-{source}-{guess}"), "wrong");
                    let wrong = wrong.from(&format!("198.51.100.{source}"));
                    if wrong.of(&layer).await.status == 401 {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    // Each has failed, and has its next guess in the queue.
    while failed.load(Ordering::Relaxed) < 150 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for source in 1..=5 {
        let right = Ask::basic("alice", "password").from(&format!("203.0.113.{source}"));
        // Not from memory.
        let other = Ask::basic("alice", "other").from(&format!("203.0.113.{}", source + 100));
        assert_eq!(other.of(&layer).await.status, 401, "{source}");
        assert_eq!(right.of(&layer).await.status, 200, "{source}");
    }
    for guesser in flood {
        guesser.abort();
    }
}

/// A signed token may be longer than what is read of one.
#[tokio::test]
async fn what_has_no_form_of_a_credential_is_no_guess_that_neighbours_pay_for() {
    let weak = Credential::new("ci").with_secret(Secret::of_token(b"weak-token").guessable());
    let layer = layer([CredentialSource::credential(weak)]);
    let source = "198.51.100.1";
    let long = "e".repeat(9_000);
    for _ in 0..100 {
        let refused = Ask::bearer(&long).from(source).of(&layer).await;
        assert_eq!(refused.status, 401);
    }
    let neighbour = Ask::bearer("weak-token").from(source);
    assert_eq!(neighbour.of(&layer).await.status, 200);
}

#[tokio::test]
async fn an_empty_secret_is_no_credential() {
    let folder = TempDir::new().unwrap();
    let hash = bcrypt::hash("", 4).unwrap();
    fs::write(folder.path().join("htpasswd"), format!("alice:{hash}\n")).unwrap();
    let empty = Secret::of_token(b"").guessable();
    let layer = layer([
        CredentialSource::htpasswd(folder.path().join("htpasswd")),
        CredentialSource::credential(Credential::new("ci").with_secret(empty)),
    ]);
    for user in ["alice", "ci"] {
        assert_eq!(Ask::basic(user, "").of(&layer).await.status, 401, "{user}");
    }
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for text in [nothing.to_owned(), format!("sha256:{nothing}")] {
        assert!(text.parse::<Secret>().is_err());
        let source = CredentialSource::sha256("ci", [&text]);
        let message = source.err().unwrap().to_string();
        assert!(message.contains("SHA-256 of nothing"), "{message}");
    }
}

#[tokio::test]
async fn a_kubernetes_secret_is_read_whole_when_its_data_is_swapped() {
    let folder = TempDir::new().unwrap();
    let secret = folder.path();
    let version = |name: &str, user: &str, password: &str| {
        fs::create_dir(secret.join(name)).unwrap();
        fs::write(secret.join(name).join("username"), user).unwrap();
        fs::write(secret.join(name).join("password"), password).unwrap();
    };
    version("..1", "first", TOKEN);
    let link = |to: &str, from: &Path| std::os::unix::fs::symlink(to, from).unwrap();
    link("..1", &secret.join("..data"));
    link("..data/username", &secret.join("username"));
    link("..data/password", &secret.join("password"));
    let layer = layer([CredentialSource::secret_directory(secret)]);
    assert_eq!(Ask::basic("first", TOKEN).of(&layer).await.status, 200);

    version("..2", "second", OTHER);
    link("..2", &secret.join("..data_tmp"));
    fs::rename(secret.join("..data_tmp"), secret.join("..data")).unwrap();
    for _ in 0..300 {
        if Ask::basic("second", OTHER).of(&layer).await.status == 200 {
            assert_eq!(Ask::basic("first", TOKEN).of(&layer).await.status, 401);
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the new secret never took hold");
}

#[test]
fn weak_damaged_and_doubled_credentials_are_errors() {
    let folder = TempDir::new().unwrap();
    let file = |text: &str| {
        let file = folder.path().join("token");
        fs::write(&file, text).unwrap();
        CredentialSource::file("ci", file)
    };
    let weak = watch([file("changeme-changeme")]).unwrap_err();
    assert!(matches!(weak, CredentialError::TooWeak { .. }));
    assert!(!weak.to_string().contains("changeme"));
    for chosen in [
        "123456789123456789123456789",
        "changeme-changeme-changeme",
        &OTHER[..21],
    ] {
        let weak = watch([file(chosen)]).unwrap_err();
        assert!(matches!(weak, CredentialError::TooWeak { .. }), "{chosen}");
    }
    // 128 random bits in base32.
    assert!(watch([file("347wdgaevex5wqcxdew4ipoxja")]).is_ok());
    assert!(watch([file("changeme").with_weak_allowed(true)]).is_ok());
    let token = GeneratedToken::generate().unwrap();
    assert!(watch([file(token.expose())]).is_ok());
    assert!(matches!(
        watch([file(&token.expose()[..50])]),
        Err(CredentialError::Damaged { .. })
    ));
    let one = || {
        let credential = Credential::new("ci").with_secret(bcrypt("password"));
        CredentialSource::credential(credential)
    };
    assert!(matches!(
        watch([one(), one()]),
        Err(CredentialError::SameId { .. })
    ));
    let htpasswd = folder.path().join("htpasswd");
    fs::write(&htpasswd, "\nalice:$apr1$a$b\n").unwrap();
    let error = watch([CredentialSource::htpasswd(&htpasswd)]).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("htpasswd:2: MD5 (apr1) hashes are refused: use bcrypt or Argon2id")
    );
    fs::write(&htpasswd, "").unwrap();
    assert!(matches!(
        watch([CredentialSource::htpasswd(&htpasswd)]),
        Err(CredentialError::None)
    ));
}

#[tokio::test]
async fn the_vectors_of_others_are_read_as_they_say() {
    let vectors: Value =
        serde_json::from_str(include_str!("../../vectors/basic_auth_vectors.json")).unwrap();
    for vector in vectors.as_array().unwrap() {
        let text = |key: &str| vector[key].as_str().unwrap();
        let (user, password) = (text("username"), text("password"));
        // Ours is stricter in one: an empty user with an empty password is no credential.
        let ok = vector["ok"] == true && text("header") != "Basic Og==";
        let known = if user.is_empty() { "nobody" } else { user };
        let digest = Secret::of_token(password.as_bytes());
        let credential = Credential::new(known).with_secret(digest);
        let layer = layer([CredentialSource::credential(credential)]);
        let ask = Ask {
            authorization: Some(text("header").to_owned()),
            ..Ask::default()
        };
        let status = if ok { 200 } else { 401 };
        assert_eq!(ask.of(&layer).await.status, status, "{vector}");
    }
}
