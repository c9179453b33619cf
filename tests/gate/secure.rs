//! TLS and HTTP/2 on both sides, and the Unix socket.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, TRAILER};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Either, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::SanType;
use rustls::server::WebPkiClientVerifier;
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::pki::{self, Ca, Files, Leaf};
use crate::proxy::{ClientCertForm, TlsFiles, Upstream};
use crate::support::{
    BY_TOKEN, CI, Gate, MANIFEST, Registry, UPLOAD, Wire, assert_problem, request, within,
};

const LAYER: &str = "sha256:9f56e761d79bfdb34304a012586cb04d16b435ef6130091a97702e559260a2f2";

/// Far more than the sockets between a registry and a client that does not read hold.
const LAYER_LENGTH: usize = 16 << 20;

/// How many requests a connection of the registry has at once.
const STREAMS: u32 = 40;

/// Sends back what it gets, and says how it came; a layer is sent of itself.
async fn echo(
    request: Request<hyper::body::Incoming>,
) -> Result<Response<Either<hyper::body::Incoming, Full<Bytes>>>, Infallible> {
    if request.uri().path().ends_with(LAYER) {
        static LAYER: LazyLock<Bytes> = LazyLock::new(|| vec![0; LAYER_LENGTH].into());
        return Ok(Response::new(Either::Right(Full::new(LAYER.clone()))));
    }
    let version = format!("{:?}", request.version());
    let host = request.uri().authority().map(ToString::to_string);
    let named = request.headers().get(HOST);
    let named = named.map(|host| host.to_str().unwrap().to_owned());
    let host = host.or(named).unwrap();
    let trailer = request.headers().get(TRAILER).cloned();
    let target = request.uri().path_and_query().unwrap().to_string();
    let mut response = Response::new(Either::Left(request.into_body()));
    let headers = response.headers_mut();
    headers.insert("x-version", version.parse().unwrap());
    headers.insert("x-host", host.parse().unwrap());
    headers.insert("x-target", target.parse().unwrap());
    if let Some(trailer) = trailer {
        headers.insert(TRAILER, trailer);
    }
    Ok(response)
}

/// A registry with this certificate, for clients with one of that CA.
async fn registry(leaf: &Leaf, clients: &Ca, alpn: &[&str]) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = Arc::new(clients.roots());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![leaf.der.clone()], leaf.key())
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Without a certificate that it takes, there is no connection.
                if let Ok(tls) = acceptor.accept(tcp).await {
                    let mut server = auto::Builder::new(TokioExecutor::new());
                    server.http2().max_concurrent_streams(STREAMS);
                    let service = hyper::service::service_fn(echo);
                    let _ = server.serve_connection(TokioIo::new(tls), service).await;
                }
            });
        }
    });
    address
}

/// The files of a gate that is known to `clients`' registries.
fn known(files: &Files, servers: &Ca, gate: &Leaf, http2: bool) -> TlsFiles {
    TlsFiles {
        ca: Some(files.put("servers.crt", &servers.pem)),
        certificate: Some((
            files.put("gate.crt", &gate.pem),
            files.put("gate.key", &gate.key_pem),
        )),
        http2,
        ..TlsFiles::default()
    }
}

/// A gate in front of `https://localhost` at this address.
async fn gate(address: SocketAddr, files: TlsFiles) -> Gate {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let url = format!("https://localhost:{}", address.port());
    let http2 = files.http2;
    let upstream = Upstream::parse(&url, || files.watch()).unwrap();
    Gate::serve(BY_TOKEN, &[], upstream, |options| {
        options.keep_host = !http2;
    })
    .await
}

#[tokio::test]
async fn a_registry_is_reached_over_tls_by_its_ca_and_the_gates_certificate() {
    let (servers, clients) = (Ca::new("servers"), Ca::new("clients"));
    let leaf = servers.server(&["localhost"]);
    let own = clients.client("gate");
    for (alpn, http2, version) in [
        (vec!["h2", "http/1.1"], true, "HTTP/2.0"),
        (vec!["http/1.1"], true, "HTTP/1.1"),
        // The client's host cannot be shown over HTTP/2 on connections that are shared.
        (vec!["h2", "http/1.1"], false, "HTTP/1.1"),
        (vec![], false, "HTTP/1.1"),
    ] {
        let address = registry(&leaf, &clients, &alpn).await;
        let files = Files::new();
        let gate = gate(address, known(&files, &servers, &own, http2)).await;
        let mut client = gate.connect().await;
        let more =
            "transfer-encoding: chunked\r\ntrailer: x-sum\r\nte: trailers\r\nconnection: te\r\n";
        client.send(request("PATCH", UPLOAD, more)).await;
        client.send("4\r\nblob\r\n0\r\nx-sum: 12\r\n\r\n").await;
        let head = client.head().await;
        assert_eq!(head.status(), 200);
        assert_eq!(head.get("x-version"), Some(version), "{alpn:?}");
        assert_eq!(head.get("x-target"), Some(UPLOAD));
        let registrys = format!("localhost:{}", address.port());
        let host = if http2 {
            &registrys
        } else {
            "registry.example"
        };
        assert_eq!(head.get("x-host"), Some(host));
        let body = client.until("\r\n\r\n").await;
        assert_eq!(body, "4\r\nblob\r\n0\r\nx-sum: 12\r\n\r\n", "{version}");
    }
}

#[tokio::test]
async fn a_registry_that_cannot_be_verified_is_a_502() {
    let (servers, clients) = (Ca::new("servers"), Ca::new("clients"));
    let own = clients.client("gate");
    let strangers = Ca::new("strangers");
    for (leaf, shown) in [
        // Of another CA, for another name, and where the gate is not known.
        (strangers.server(&["localhost"]), &own),
        (servers.server(&["registry.example"]), &own),
        (servers.server(&["localhost"]), &strangers.client("gate")),
    ] {
        let address = registry(&leaf, &clients, &["http/1.1"]).await;
        let files = Files::new();
        let gate = gate(address, known(&files, &servers, shown, false)).await;
        let mut client = gate.connect().await;
        client.send(request("GET", MANIFEST, "")).await;
        assert_problem(&client.answer().await, 502, "UNAVAILABLE");
    }
}

#[tokio::test]
async fn a_ca_and_a_certificate_that_are_rotated_are_used_by_the_next_connection() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    // The registry has moved to the new CA for both.
    let address = registry(&new.server(&["localhost"]), &new, &["http/1.1"]).await;
    let files = Files::new();
    let gate = gate(address, known(&files, &old, &old.client("gate"), false)).await;
    let mut client = gate.connect().await;
    client.send(request("GET", MANIFEST, "")).await;
    assert_problem(&client.answer().await, 502, "UNAVAILABLE");

    let own = new.client("gate");
    for (name, text) in [
        ("servers.crt", &new.pem),
        ("gate.key", &own.key_pem),
        ("gate.crt", &own.pem),
    ] {
        let next = files.put("next", text);
        std::fs::rename(next, files.path(name)).unwrap();
    }
    within(async {
        loop {
            client.send(request("GET", MANIFEST, "")).await;
            let (head, _) = client.answer().await;
            if head.status() == 200 {
                break;
            }
            assert_eq!(head.status(), 502);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[test]
fn files_that_cannot_be_used_are_errors_with_their_names() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let files = Files::new();
    let ca = Ca::new("servers");
    let leaf = ca.client("gate");
    let with = |ca: &Path, certificate: Option<(&Path, &Path)>| {
        let files = TlsFiles {
            ca: Some(ca.to_owned()),
            certificate: certificate.map(|(chain, key)| (chain.to_owned(), key.to_owned())),
            http2: false,
            ..TlsFiles::default()
        };
        files.watch().unwrap_err().to_string()
    };
    let good = files.put("ca.crt", &ca.pem);
    let empty = files.put("empty.crt", "");
    let cut = files.put("cut.crt", format!("{}-----BEG", ca.pem));
    let none = files.path("none.crt");
    let chain = files.put("gate.crt", &leaf.pem);
    let others = files.put("others.key", &ca.client("other").key_pem);
    for (error, named) in [
        (with(&none, None), "none.crt"),
        (with(&empty, None), "empty.crt: holds no certificate"),
        (with(&cut, None), "cut.crt"),
        (with(&good, Some((&cut, &chain))), "cut.crt"),
        (with(&good, Some((&empty, &chain))), "empty.crt"),
        (with(&good, Some((&chain, &good))), "ca.crt"),
        (with(&good, Some((&chain, &others))), "others.key"),
    ] {
        assert!(error.contains(named), "{error}");
    }
}

#[tokio::test]
async fn a_registry_is_reached_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let gate = Gate::with(&format!("unix:{}", path.display()), |options| {
        options.keep_host = false;
    })
    .await;
    let mut client = gate.connect().await;
    client.send(request("GET", MANIFEST, "")).await;
    let mut wire = Wire::new(within(listener.accept()).await.unwrap().0);
    let head = wire.head().await;
    assert_eq!(head.line(), format!("GET {MANIFEST} HTTP/1.1"));
    assert_eq!(head.get("host"), Some("localhost"));
    // Its name there is `localhost`, by the usual port.
    wire.send(
        "HTTP/1.1 202 Accepted\r\nlocation: http://localhost/v2/x\r\ncontent-length: 2\r\n\r\n{}",
    )
    .await;
    let (head, body) = client.answer().await;
    assert_eq!((head.get("location"), body.as_str()), (Some("/v2/x"), "{}"));
}

#[test]
fn an_address_that_is_no_registrys_is_an_error_without_its_password() {
    for (wrong, said) in [
        ("registry:5000", "write http://HOST:PORT"),
        ("ftp://registry", "write http://HOST:PORT"),
        ("http://registry/v2", "has a path"),
        ("http://me:hunter2@registry", "--authorization-file"),
        ("unix:registry.sock", "unix:/PATH"),
    ] {
        let error = Upstream::parse(wrong, || panic!("no TLS here")).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(said), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

const BY_CERTIFICATE: &str = r#"
preset = "mirror"
[tls]
certificate = "tls.crt"
key = "tls.key"
client_ca = ["ca.crt"]
[auth]
require = "certificate"
"#;

/// A gate for certificates of this CA in front of a registry, and a client's connection with one.
async fn by_certificate(
    registry: &Registry,
    protocol: &str,
    form: ClientCertForm,
) -> (Gate, Leaf, Ca, TlsWire) {
    let ca = Ca::new("cluster");
    let between = ca.sub("nodes", |_| {});
    let server = ca.server(&["localhost"]);
    let files = [
        ("tls.crt", server.pem.as_str()),
        ("tls.key", server.key_pem.as_str()),
        ("ca.crt", ca.pem.as_str()),
    ];
    let upstream = Upstream::parse(&registry.url(), || panic!("no TLS here")).unwrap();
    let gate = Gate::serve(BY_CERTIFICATE, &files, upstream, |options| {
        options.principal_header = Some(http::HeaderName::from_static("x-registry-user"));
        options.client_cert = Some(form);
    })
    .await;
    let leaf = between.client_with("ci; \"quoted\"", |params| {
        let id = "spiffe://example.org/ci".try_into().unwrap();
        params.subject_alt_names = vec![SanType::URI(id)];
    });
    let mut config = pki::client(&ca, Some((&leaf, &[&between])));
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let config = Arc::new(config);
    let tls = pki::connect(&config, gate.address, "localhost");
    let tls = within(tls).await.unwrap();
    (gate, leaf, between, tls)
}

type TlsWire = tokio_rustls::client::TlsStream<TcpStream>;

#[tokio::test]
async fn the_clients_certificate_is_shown_to_the_registry_as_it_was_verified() {
    let registry = Registry::start().await;
    let form = ClientCertForm::Xfcc;
    let (_gate, leaf, _, tls) = by_certificate(&registry, "http/1.1", form).await;
    let mut client = Wire::new(tls);
    let forged = "x-forwarded-client-cert: Hash=00;Subject=\"CN=admin\"\r\n";
    client.send(request("GET", MANIFEST, forged)).await;
    let head = registry.accept().await.head().await;
    let digest = Sha256::digest(&leaf.der);
    let digest: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let digest = digest.concat();
    let shown = head.get("x-forwarded-client-cert").unwrap();
    let (hash, rest) = shown.split_once(";Subject=\"").unwrap();
    assert_eq!(hash, format!("Hash={digest}"));
    let (subject, names) = rest.rsplit_once("\";").unwrap();
    assert!(subject.starts_with("CN=ci"), "{shown}");
    // What could end the quoted text is escaped.
    let unescaped = subject.replace("\\\\", "").replace("\\\"", "");
    assert!(!unescaped.contains('"'), "{shown}");
    assert_eq!(names, "URI=spiffe://example.org/ci");
    assert_eq!(head.get("x-forwarded-proto"), Some("https"));
    assert!(head.get("forwarded").unwrap().contains(";proto=https;"));
    let user = head.get("x-registry-user").unwrap();
    assert!(user.ends_with("spiffe://example.org/ci"), "{user}");
}

#[tokio::test]
async fn by_rfc_9440_the_registry_gets_the_certificates_that_the_client_sent() {
    let registry = Registry::start().await;
    let form = ClientCertForm::Rfc9440;
    let (_gate, leaf, between, tls) = by_certificate(&registry, "http/1.1", form).await;
    let mut client = Wire::new(tls);
    let forged = "client-cert: :AAAA:\r\nclient-cert-chain: :AAAA:\r\n";
    client.send(request("GET", MANIFEST, forged)).await;
    let head = registry.accept().await.head().await;
    let item = |der: &[u8]| format!(":{}:", STANDARD.encode(der));
    assert_eq!(head.get("client-cert"), Some(&*item(&leaf.der)));
    assert_eq!(head.get("client-cert-chain"), Some(&*item(&between.der)));
    assert_eq!(head.get("x-forwarded-client-cert"), None);
}

#[tokio::test]
async fn over_http_2_too_the_host_and_the_trailers_pass() {
    let registry = Registry::start().await;
    let form = ClientCertForm::Xfcc;
    let (_gate, _, _, tls) = by_certificate(&registry, "h2", form).await;
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls));
    let (mut sender, connection) = within(handshake).await.unwrap();
    tokio::spawn(connection);
    let mut sum = HeaderMap::new();
    sum.insert("x-sum", HeaderValue::from_static("12"));
    let frames = [
        Frame::data(Bytes::from_static(b"blob")),
        Frame::trailers(sum),
    ];
    let frames = frames.map(Ok::<_, Infallible>);
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let request = Request::patch(format!("https://registry.example{UPLOAD}"))
        .header(TRAILER, "x-sum")
        .header("te", "trailers")
        .body(body)
        .unwrap();
    let answer = tokio::spawn(sender.send_request(request));
    let mut wire = registry.accept().await;
    let head = wire.head().await;
    assert_eq!(head.line(), format!("PATCH {UPLOAD} HTTP/1.1"));
    assert_eq!(head.get("host"), Some("registry.example"));
    assert_eq!(head.get("x-forwarded-host"), Some("registry.example"));
    let body = wire.until("\r\n\r\n").await;
    assert_eq!(body, "4\r\nblob\r\n0\r\nx-sum: 12\r\n\r\n");
    wire.send(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
        2\r\nok\r\n0\r\nx-total: 34\r\n\r\n",
    )
    .await;
    let answer = within(answer).await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers().get("connection"), None);
    let body = within(answer.into_body().collect()).await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-total"], "34");
    assert_eq!(body.to_bytes(), "ok");
}

/// HTTP/1.1 has no place for it, HTTP/2 would send it.
#[tokio::test]
async fn over_http_2_too_a_problem_has_no_body_for_a_head() {
    let gate = Gate::start("http://127.0.0.1:1").await;
    let tcp = TcpStream::connect(gate.address).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp));
    let (mut sender, connection) = within(handshake).await.unwrap();
    tokio::spawn(connection);
    let request = Request::head(format!("http://registry.example{MANIFEST}"))
        .header(AUTHORIZATION, format!("Bearer {CI}"))
        .body(Empty::<Bytes>::new())
        .unwrap();
    let answer = within(sender.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), 502);
    assert_ne!(answer.headers()["content-length"], "0");
    let body = within(answer.into_body().collect()).await.unwrap();
    assert!(body.to_bytes().is_empty());
}

/// One stream's end is not the connection's.
#[tokio::test]
async fn a_stream_that_is_reset_ends_the_registrys_transfer_alone() {
    let registry = Registry::start().await;
    let gate = Gate::start(&registry.url()).await;
    let tcp = TcpStream::connect(gate.address).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp));
    let (mut sender, connection) = within(handshake).await.unwrap();
    tokio::spawn(connection);
    let mut get = || {
        let request = Request::get(format!("http://registry.example{MANIFEST}"))
            .header(AUTHORIZATION, format!("Bearer {CI}"))
            .body(Empty::<Bytes>::new())
            .unwrap();
        tokio::spawn(sender.send_request(request))
    };
    let answer = get();
    let mut wire = registry.accept().await;
    wire.head().await;
    wire.send("HTTP/1.1 200 OK\r\ncontent-length: 1099511627776\r\n\r\n")
        .await;
    drop(within(answer).await.unwrap().unwrap());
    wire.send_without_end(&vec![0; 64 * 1024]).await;

    let answer = get();
    let mut wire = registry.accept().await;
    wire.head().await;
    wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        .await;
    let answer = within(answer).await.unwrap().unwrap();
    let body = within(answer.into_body().collect()).await.unwrap();
    assert_eq!(body.to_bytes(), "{}");
}

/// They share a connection to the registry and its window, and are more than it has streams for.
#[tokio::test]
async fn over_http_2_clients_that_do_not_read_hold_no_other_client_back() {
    let (servers, clients) = (Ca::new("servers"), Ca::new("clients"));
    let leaf = servers.server(&["localhost"]);
    let own = clients.client("gate");
    let address = registry(&leaf, &clients, &["h2"]).await;
    let files = Files::new();
    let gate = gate(address, known(&files, &servers, &own, true)).await;
    let target = format!("/v2/lib/a/blobs/{LAYER}");
    let mut idle = Vec::new();
    for _ in 0..STREAMS + 12 {
        let mut client = gate.connect().await;
        client.send(request("GET", &target, "")).await;
        let head = client.head().await;
        assert_eq!(head.status(), 200);
        idle.push(client);
    }
    let mut client = gate.connect().await;
    let whole = async {
        client.send(request("GET", &target, "")).await;
        assert_eq!(client.head().await.status(), 200);
        client.bytes(LAYER_LENGTH).await;
    };
    // Before those that do not read are ended for it.
    timeout(Duration::from_secs(45), whole).await.unwrap();
}
