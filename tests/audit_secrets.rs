//! A whole run at trace level tells no secret that was used in it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![cfg(all(
    feature = "passwords",
    feature = "tls",
    feature = "rate",
    feature = "policy",
    feature = "metrics",
    feature = "aws-lc-rs"
))]

mod captured;
#[cfg(feature = "redis")]
#[path = "audit_secrets/fleet.rs"]
mod fleet;
#[cfg(feature = "jwt")]
#[path = "audit_secrets/signed.rs"]
mod signed;

use std::convert::Infallible;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use captured::Sink;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusBuilder;
use portcullis::admin::Admin;
use portcullis::auth::{Authentication, Credential, CredentialSource, Credentials, Secret};
use portcullis::connection::AddConnection;
use portcullis::policy::{Actions, Pattern, Policy, Rule, Who};
use portcullis::rate::{Key, Limit, Limits};
use portcullis::reload::WatchOptions;
use portcullis::source::Networks;
use portcullis::tls::{Acceptor, Builder, CertificateFiles, ClientCas, Material};
use portcullis::{Guard, Watched};
use rcgen::{CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tower::{ServiceBuilder, ServiceExt, service_fn};

const FILE_TOKEN: &str = "file-token-Zq81xWv3Kt6Rm9Lb2Nc7Hd";
const NEW_TOKEN: &str = "new-token-Kp27mRt9Xw4Vb8Qs3Jf6Gy";
const DIGEST_TOKEN: &str = "digest-token-Lm55uYh2";
const PASSWORD: &str = "password-Tq73hMv5";
const WRONG_PASSWORD: &str = "password-Ry29bZc8";
const WRONG_TOKEN: &str = "wrong-token-Bn46eDc7";
const QUERY_SECRET: &str = "query-secret-Vf90sXa1";
const HEADER_SECRET: &str = "header-secret-Gt33qWe8";
const BROKEN_FILE: &str = "broken\u{7}file-Hy12oLk6";

struct Client {
    config: Arc<rustls::ClientConfig>,
    key_pem: String,
}

/// A CA, and a server's and a client's certificate from it.
fn certificates(folder: &Path) -> Client {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let server_key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let server = server.signed_by(&server_key, &issuer).unwrap();
    fs::write(folder.join("ca.crt"), ca_cert.pem()).unwrap();
    fs::write(folder.join("tls.crt"), server.pem()).unwrap();
    fs::write(folder.join("tls.key"), server_key.serialize_pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let client = CertificateParams::default();
    let client = client.signed_by(&key, &issuer).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca_cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let der = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![client.der().clone()], der)
        .unwrap();
    Client {
        config: Arc::new(config),
        key_pem: key.serialize_pem(),
    }
}

async fn serve(tcp: TcpListener, acceptor: Acceptor, guard: Guard) {
    let service =
        ServiceBuilder::new()
            .layer(guard)
            .service(service_fn(|request: Request<_>| async move {
                let _ = BodyExt::collect(Request::into_body(request)).await;
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("yes"))))
            }));
    while let Ok((stream, _)) = tcp.accept().await {
        let (acceptor, service) = (acceptor.clone(), service.clone());
        tokio::spawn(async move {
            let Ok(accepted) = acceptor.accept(stream).await else {
                return;
            };
            let service = AddConnection::new(service, accepted.connection);
            let service = TowerToHyperService::new(service);
            let builder = auto::Builder::new(TokioExecutor::new());
            let io = TokioIo::new(accepted.stream);
            let _ = builder.serve_connection(io, service).await;
        });
    }
}

async fn ask(client: &Client, address: std::net::SocketAddr, h2: bool, authorization: &str) -> u16 {
    let mut config = (*client.config).clone();
    config.alpn_protocols = vec![if h2 {
        b"h2".to_vec()
    } else {
        b"http/1.1".to_vec()
    }];
    let tcp = TcpStream::connect(address).await.unwrap();
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config));
    let tls = tls
        .connect("localhost".try_into().unwrap(), tcp)
        .await
        .unwrap();
    let request = Request::put(format!(
        "https://localhost/v2/library/a/blobs/uploads/1?digest=sha256:{}&_state={QUERY_SECRET}",
        "0".repeat(64)
    ))
    .header("host", "localhost")
    .header("authorization", authorization)
    .header("cookie", HEADER_SECRET)
    .header("x-registry-auth", HEADER_SECRET)
    .header("x-request-id", format!("{HEADER_SECRET} not well formed"))
    .body(Full::new(Bytes::from("a layer")))
    .unwrap();
    let io = TokioIo::new(tls);
    let response = if h2 {
        let (mut sender, driver) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
            .await
            .unwrap();
        tokio::spawn(driver);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, driver) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(driver);
        sender.send_request(request).await.unwrap()
    };
    let status = response.status().as_u16();
    let _ = response.into_body().collect().await;
    status
}

/// Waits until the newest reload went this way.
async fn until<T: Send + Sync + 'static>(watched: &Watched<T>, failed: bool, generation: u64) {
    for _ in 0..6_000 {
        if watched.health().failure.is_some() == failed && watched.generation() >= generation {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("no reload within a minute");
}

fn sha256(text: &str) -> String {
    use sha2::Digest;
    let mut hex = String::new();
    for byte in sha2::Sha256::digest(text) {
        write!(hex, "{byte:02x}").unwrap();
    }
    hex
}

fn options() -> WatchOptions {
    WatchOptions::default().with_poll_interval(Duration::from_millis(20))
}

fn credentials(token_file: &Path, hash: &str) -> Watched<Credentials> {
    let carol = Credential::new("carol").with_secret(hash.parse::<Secret>().unwrap());
    Credentials::watch(
        [
            CredentialSource::file("alice", token_file),
            CredentialSource::sha256("bob", [sha256(DIGEST_TOKEN)]).unwrap(),
            CredentialSource::credential(carol),
        ],
        options(),
    )
    .unwrap()
}

fn material(folder: &Path) -> Watched<Material> {
    Builder::with_certificate(CertificateFiles::new(
        folder.join("tls.crt"),
        folder.join("tls.key"),
    ))
    .require_client_certificates(ClientCas::new([folder.join("ca.crt")]))
    .watch(options())
    .unwrap()
}

fn basic(user: &str, password: &str) -> String {
    let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {pair}")
}

/// What is shown, and how it is answered.
fn attempts() -> [(String, u16); 9] {
    [
        (basic("alice", FILE_TOKEN), 200),
        (format!("Bearer {DIGEST_TOKEN}"), 200),
        (basic("carol", PASSWORD), 200),
        (basic("carol", WRONG_PASSWORD), 401),
        (basic("alice", WRONG_TOKEN), 401),
        (format!("Bearer {WRONG_TOKEN}"), 401),
        (format!("Basic {WRONG_TOKEN}"), 401),
        (format!("Digest {WRONG_TOKEN}"), 401),
        (WRONG_TOKEN.to_owned(), 401),
    ]
}

fn argon2id(password: &str) -> String {
    use argon2::{Argon2, Params, PasswordHasher};
    let cheap = Argon2::from(Params::new(256, 2, 1, None).unwrap());
    let hash = cheap.hash_password(password.as_bytes()).unwrap();
    hash.to_string()
}

/// Every secret of the run, in each form in which it could slip out.
fn secrets_of(keys: [&str; 2], hash: &str) -> Vec<String> {
    let mut secrets: Vec<String> = Vec::new();
    for secret in [
        FILE_TOKEN,
        NEW_TOKEN,
        DIGEST_TOKEN,
        PASSWORD,
        WRONG_PASSWORD,
        WRONG_TOKEN,
        #[cfg(feature = "redis")]
        fleet::PASSWORD,
        QUERY_SECRET,
        HEADER_SECRET,
        BROKEN_FILE,
        // Without its control character, if a writer escapes that.
        "file-Hy12oLk6",
    ] {
        secrets.extend([secret.to_owned(), sha256(secret)]);
        secrets.extend(
            ["alice", "bob", "carol"]
                .map(|user| BASE64_STANDARD.encode(format!("{user}:{secret}"))),
        );
        // As a list of bytes, which is how a careless `Debug` shows a `Vec<u8>`.
        secrets.push(format!("{:?}", secret.as_bytes()));
    }
    secrets.extend(hash.rsplit('$').take(2).map(str::to_owned));
    for pem in keys {
        secrets.extend(
            pem.lines()
                .filter(|line| !line.starts_with("---"))
                .map(str::to_owned),
        );
    }
    secrets
}

#[tokio::test]
async fn a_whole_run_at_trace_level_tells_no_secret() {
    let sink = Sink::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(sink.clone())
        .init();
    let recorder = PrometheusBuilder::new().install_recorder().unwrap();

    let folder = tempfile::tempdir().unwrap();
    let client = certificates(folder.path());
    let server_key = fs::read_to_string(folder.path().join("tls.key")).unwrap();
    let token_file = folder.path().join("token");
    fs::write(&token_file, FILE_TOKEN).unwrap();
    let hash = argon2id(PASSWORD);
    let tokens = credentials(&token_file, &hash);
    let everything = Pattern::repository("**").unwrap();
    let rule = Rule::allow("all", Who::Authenticated, Actions::PULL | Actions::PUSH);
    let authentication = Authentication::token(tokens.clone());
    #[cfg(feature = "jwt")]
    let (issuer, signed) = signed::issuer();
    #[cfg(feature = "jwt")]
    let authentication = authentication.with_issuers([issuer]);
    let limits = [Limit::rate("caller", Key::Principal, 1 << 30)];
    #[cfg(feature = "redis")]
    let (fleet_server, fleet_shown) = fleet::server().await;
    #[cfg(feature = "redis")]
    let (shared, fleet) = fleet::limit(fleet_server);
    #[cfg(feature = "redis")]
    let limits = limits.into_iter().chain([shared]);
    let guard = Guard::builder()
        .networks(Networks::allow(["127.0.0.0/8".parse().unwrap()]))
        .authentication(authentication)
        .policy(Policy::new([rule.on_repositories([everything])]).unwrap())
        .limits(Limits::new(limits).unwrap())
        .build();
    let material = material(folder.path());
    let mut told = format!("{guard:?}{tokens:?}{material:?}{:?}", guard.report());
    #[cfg(feature = "redis")]
    write!(told, "{fleet:?}{}", fleet::refused()).unwrap();
    let admin = Admin::new()
        .watching("tokens", &tokens)
        .watching("tls", &material);
    let acceptor = Acceptor::new(material.clone());
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    tokio::spawn(serve(tcp, acceptor, guard));

    for h2 in [false, true] {
        let attempts = attempts();
        #[cfg(feature = "jwt")]
        let attempts = attempts.into_iter().chain(signed.attempts());
        for (authorization, status) in attempts {
            let answered = ask(&client, address, h2, &authorization).await;
            assert_eq!(answered, status, "{authorization}");
        }
    }

    fs::write(&token_file, BROKEN_FILE).unwrap();
    until(&tokens, true, 1).await;
    // Not a key, but what was meant to be one: an error must not quote it.
    let broken_key = server_key.replace(
        "-----BEGIN PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\n!",
    );
    fs::write(folder.path().join("tls.key"), &broken_key).unwrap();
    until(&material, true, 1).await;
    let ready = Request::get("/readyz").body(()).unwrap();
    let ready = admin.clone().oneshot(ready).await.unwrap().into_body();
    told += &String::from_utf8(ready.collect().await.unwrap().to_bytes().into()).unwrap();
    assert!(told.contains("[~] tokens: "), "{told}");
    assert!(told.contains("[~] tls: "), "{told}");
    fs::write(&token_file, NEW_TOKEN).unwrap();
    until(&tokens, false, 2).await;
    assert_eq!(
        ask(&client, address, true, &basic("alice", NEW_TOKEN)).await,
        200
    );
    write!(told, "{tokens:?}{material:?}").unwrap();
    told += &recorder.render();

    #[cfg(feature = "redis")]
    fleet::has_failed(&sink, &fleet_shown).await;
    let log = sink.text();
    assert!(log.contains(" TRACE "), "nothing was traced");
    for target in ["portcullis::access", "portcullis::", "h2::", "rustls::"] {
        assert!(log.contains(target), "nothing of {target} was traced");
    }
    for principal in ["token:carol", "jwt:dave"] {
        let expected = cfg!(feature = "jwt") || principal != "jwt:dave";
        assert_eq!(log.contains(principal), expected, "{principal}");
    }
    told += &log;
    let secrets = secrets_of([&server_key, &client.key_pem], &hash);
    #[cfg(feature = "jwt")]
    let secrets = secrets.into_iter().chain(signed.secrets());
    for secret in secrets {
        let line = told.lines().find(|line| line.contains(secret.as_str()));
        assert!(line.is_none(), "{secret:?} is in {line:?}");
    }
}
