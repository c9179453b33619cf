//! The acceptor under axum, axum-server and hyper, and what ends connections.
#![cfg(all(
    feature = "axum",
    feature = "axum-server",
    feature = "crl",
    feature = "aws-lc-rs"
))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::pki;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use pki::{Ca, Files, client, connect, swap_secret};
use portcullis::connection::AddConnection;
use portcullis::crl::{DenyList, Options, Revocation, RevocationLayer};
use portcullis::reload::WatchOptions;
use portcullis::tls::{
    Acceptor, CertificateFiles, ClientCas, ForwardedForm, ForwardedLayer, Listener, Material,
    Reason,
};
use portcullis::{Connection, Refusal, Watched};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, ServiceExt, service_fn};

struct Scene {
    files: Files,
    ca: Ca,
    client: Arc<rustls::ClientConfig>,
}

impl Scene {
    fn new() -> Self {
        let ca = Ca::new("Nodes 2026");
        let node = ca.client("node-7");
        let client = Arc::new(client(&ca, Some((&node, &[]))));
        Self {
            files: Files::new(),
            ca,
            client,
        }
    }

    fn material(&self) -> Watched<Material> {
        let server = self.ca.server(&["localhost"]);
        Watched::fixed(self.files.requiring(&server, &self.ca).load().unwrap())
    }

    fn speaking(&self, protocol: &str) -> Arc<rustls::ClientConfig> {
        let mut config = (*self.client).clone();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Arc::new(config)
    }
}

async fn bind() -> (TcpListener, SocketAddr) {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = tcp.local_addr().unwrap();
    (tcp, address)
}

/// One request on a connection of its own.
async fn ask(config: &Arc<rustls::ClientConfig>, address: SocketAddr) -> std::io::Result<String> {
    let body = pull(config, address, "/").await?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

async fn pull(
    config: &Arc<rustls::ClientConfig>,
    address: SocketAddr,
    path: &str,
) -> std::io::Result<Bytes> {
    let tls = connect(config, address, "localhost").await?;
    let h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(tls);
    let request = Request::get(format!("https://localhost{path}")).header("host", "localhost");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = if h2 {
        let executor = TokioExecutor::new();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
            .await
            .map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        sender.send_request(request).await
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
            .await
            .map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        sender.send_request(request).await
    };
    let body = response.map_err(std::io::Error::other)?.into_body();
    let body = body.collect().await.map_err(std::io::Error::other)?;
    Ok(body.to_bytes())
}

fn named(connection: &Connection) -> String {
    let name = connection.identity().map_or("nobody", |peer| peer.name());
    format!("{name} from {}", connection.client_addr().ip())
}

async fn whoami<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let name = Connection::of(request.extensions()).map_or("nothing".to_owned(), named);
    Ok(Response::new(Full::new(name.into())))
}

fn app() -> Router {
    let handler =
        |ConnectInfo(connection): ConnectInfo<Connection>| async move { named(&connection) };
    Router::new().route("/", get(handler))
}

#[tokio::test]
async fn axum_serves_both_protocols_and_a_slow_handshake_keeps_nobody_waiting() {
    let scene = Scene::new();
    let (tcp, address) = bind().await;
    let listener = Listener::new(tcp, Acceptor::new(scene.material()));
    let service = app().into_make_service_with_connect_info::<Connection>();
    let server = tokio::spawn(async move { axum::serve(listener, service).await });
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    for protocol in ["http/1.1", "h2"] {
        let answer = ask(&scene.speaking(protocol), address).await.unwrap();
        assert_eq!(answer, "CN=node-7 from 127.0.0.1", "{protocol}");
    }
    server.abort();
}

#[tokio::test]
async fn axum_server_serves_both_protocols() {
    let scene = Scene::new();
    let (tcp, address) = bind().await;
    let acceptor = Acceptor::new(scene.material());
    let handler = |request: axum::extract::Request| async move {
        Connection::of(request.extensions()).map_or("nothing".to_owned(), named)
    };
    let app = Router::new().route("/", get(handler));
    let server = axum_server::from_tcp(tcp.into_std().unwrap()).unwrap();
    let server = server.acceptor(acceptor).serve(app.into_make_service());
    let server = tokio::spawn(server);
    for protocol in ["http/1.1", "h2"] {
        let answer = ask(&scene.speaking(protocol), address).await.unwrap();
        assert_eq!(answer, "CN=node-7 from 127.0.0.1", "{protocol}");
    }
    server.abort();
}

#[tokio::test]
async fn a_hyper_loop_serves_both_protocols_and_shuts_down_gracefully() {
    let scene = Scene::new();
    let (tcp, address) = bind().await;
    let acceptor = Acceptor::new(scene.material());
    let stop = Arc::new(tokio::sync::Notify::new());
    let stopped = Arc::clone(&stop);
    let server = tokio::spawn(async move {
        let graceful = GracefulShutdown::new();
        loop {
            let (tcp, _) = tokio::select! {
                accepted = tcp.accept() => accepted.unwrap(),
                () = stopped.notified() => break,
            };
            let accepted = acceptor.accept(tcp).await.unwrap();
            let service = AddConnection::new(service_fn(whoami), accepted.connection);
            let service = TowerToHyperService::new(service);
            let serving = auto::Builder::new(TokioExecutor::new())
                .serve_connection_with_upgrades(TokioIo::new(accepted.stream), service)
                .into_owned();
            tokio::spawn(graceful.watch(serving));
        }
        graceful.shutdown().await;
    });
    for protocol in ["http/1.1", "h2"] {
        let answer = ask(&scene.speaking(protocol), address).await.unwrap();
        assert_eq!(answer, "CN=node-7 from 127.0.0.1", "{protocol}");
    }
    stop.notify_one();
    let ended = tokio::time::timeout(Duration::from_secs(60), server).await;
    ended.unwrap().unwrap();
}

#[tokio::test]
async fn certificates_are_chosen_by_the_name_that_is_asked_for() {
    let scene = Scene::new();
    let other = Files::new();
    let first = scene.files.pair(&scene.ca.server(&["localhost"]));
    let second = other.pair(&scene.ca.server(&["a.example.org", "*.example.net"]));
    let builder = portcullis::tls::Builder::with_certificate(first);
    let builder = builder
        .and_certificate(second)
        .without_client_certificates();
    let acceptor = Acceptor::new(Watched::fixed(builder.load().unwrap()));
    for (name, served) in [
        ("localhost", true),
        ("a.example.org", true),
        ("A.Example.Org", true),
        ("b.example.net", true),
        ("b.example.org", false),
        ("a.b.example.net", false),
    ] {
        let (tcp, address) = bind().await;
        let (_, connected) = tokio::join!(
            async { acceptor.accept(tcp.accept().await.unwrap().0).await },
            connect(&scene.client, address, name)
        );
        assert_eq!(connected.is_ok(), served, "{name}");
    }
}

#[tokio::test]
async fn a_proxy_header_of_a_listed_peer_tells_the_client_and_of_another_is_no_tls() {
    let scene = Scene::new();
    let v1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n".to_vec();
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([192, 0, 2, 8, 192, 0, 2, 1, 0x12, 0x67, 1, 0xbb]);
    let mut local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0".to_vec();
    local.truncate(16);
    let listed =
        Acceptor::new(scene.material()).with_proxy_protocol(["127.0.0.0/8".parse().unwrap()]);
    let unlisted = Acceptor::new(scene.material());
    for (header, expected) in [
        (&v1[..], Ok("192.0.2.7")),
        (&v2, Ok("192.0.2.8")),
        (&local, Ok("127.0.0.1")),
        (b"", Err(Reason::ProxyHeader)),
        (b"PROXY TCP4 x\r\n", Err(Reason::ProxyHeader)),
        (&[b'P'; 200], Err(Reason::ProxyHeader)),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
            Err(Reason::ProxyHeader),
        ),
    ] {
        let outcome = behind(&listed, &scene, header).await;
        let expected = expected.map(ToOwned::to_owned);
        assert_eq!(outcome, expected, "{}", String::from_utf8_lossy(header));
    }
    assert_eq!(behind(&unlisted, &scene, &v1).await, Err(Reason::NotTls));
}

/// The client's address, of a handshake after this header.
async fn behind(acceptor: &Acceptor, scene: &Scene, header: &[u8]) -> Result<String, Reason> {
    let (tcp, address) = bind().await;
    let (accepted, _) = tokio::join!(
        async { acceptor.accept(tcp.accept().await.unwrap().0).await },
        async {
            let mut tcp = TcpStream::connect(address).await.unwrap();
            tcp.write_all(header).await.unwrap();
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(&scene.client));
            connector
                .connect("localhost".try_into().unwrap(), tcp)
                .await
        }
    );
    match accepted {
        Ok(accepted) => Ok(accepted.connection.client_addr().ip().to_string()),
        Err(error) => Err(error.reason()),
    }
}

#[tokio::test]
async fn a_source_has_as_many_connections_as_it_may() {
    let scene = Scene::new();
    let acceptor = Acceptor::new(scene.material()).with_max_connections_per_source(1);
    let (tcp, address) = bind().await;
    let accept = async || acceptor.accept(tcp.accept().await.unwrap().0).await;
    let (first, _kept) = tokio::join!(accept(), connect(&scene.client, address, "localhost"));
    let (second, _) = tokio::join!(accept(), connect(&scene.client, address, "localhost"));
    assert_eq!(second.unwrap_err().reason(), Reason::TooManyConnections);
    drop(first.unwrap());
    let (third, _) = tokio::join!(accept(), connect(&scene.client, address, "localhost"));
    assert!(third.is_ok());
}

#[tokio::test]
async fn a_connection_of_a_removed_ca_ends_if_rechecked_and_stays_if_kept() {
    let scene = Scene::new();
    let other = Ca::new("Nodes 2027");
    let server = scene.ca.server(&["localhost"]);
    let both = format!("{}{}", scene.ca.pem, other.pem);
    for (policy, ends) in [(false, true), (true, false)] {
        let bundle = scene.files.put("ca.crt", &both);
        let builder = scene.files.server(&server);
        let builder = builder.require_client_certificates(ClientCas::new([bundle]));
        let material = Watched::fixed(builder.clone().load().unwrap());
        let acceptor = Acceptor::new(material.clone())
            .with_removed_ca_kept(policy)
            .with_ending(Duration::from_millis(20), Duration::from_secs(1));
        let (tcp, address) = bind().await;
        let (accepted, theirs) = tokio::join!(
            async { acceptor.accept(tcp.accept().await.unwrap().0).await },
            connect(&scene.client, address, "localhost")
        );
        let mut stream = accepted.unwrap().stream;
        let mut theirs = theirs.unwrap();
        // A reload that keeps the CA changes nothing.
        material.publish(builder.clone().load().unwrap());
        theirs.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        scene.files.put("ca.crt", &other.pem);
        material.publish(builder.load().unwrap());
        let mut byte = [0; 1];
        let read = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut byte));
        match read.await {
            Ok(read) => assert!(ends && read.unwrap() == 0),
            Err(_) => assert!(!ends),
        }
        assert_eq!(stream.write_all(b"x").await.is_err(), ends);
    }
}

#[tokio::test]
async fn a_revoked_client_loses_its_idle_connection_and_its_session() {
    let scene = Scene::new();
    let node = scene.ca.client_with("node-7", |params| {
        params.serial_number = Some(7_u64.into());
    });
    let config = Arc::new(client(&scene.ca, Some((&node, &[]))));
    let good = scene.ca.crl(1, &[]);
    let revocation = Revocation::from_bytes([&good.der()[..]], Options::default()).unwrap();
    let server = scene.ca.server(&["localhost"]);
    let builder = scene.files.requiring(&server, &scene.ca);
    let material = builder.with_revocation(revocation.clone()).load().unwrap();
    let acceptor = Acceptor::new(Watched::fixed(material))
        .with_ending(Duration::from_millis(20), Duration::from_secs(1));
    let (tcp, address) = bind().await;
    let accept = async || {
        let accepted = acceptor.accept(tcp.accept().await.unwrap().0).await;
        match accepted {
            Ok(mut accepted) => {
                accepted.stream.write_all(b"hi").await.unwrap();
                Ok(accepted)
            }
            Err(error) => Err(error),
        }
    };
    let greeted = async || {
        let mut theirs = connect(&config, address, "localhost").await?;
        theirs.read_exact(&mut [0; 2]).await?;
        std::io::Result::Ok(theirs)
    };
    let (first, _one) = tokio::join!(accept(), greeted());
    let (second, _two) = tokio::join!(accept(), greeted());
    let second = second.unwrap();
    assert!(second.connection.tls().unwrap().resumed);
    let list = scene
        .ca
        .crl_with(2, &[7], |list| list.this_update += time::Duration::MINUTE);
    revocation.publish([&list.der()[..]]).unwrap();
    for mut stream in [first.unwrap().stream, second.stream] {
        let mut byte = [0; 1];
        let read = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut byte));
        assert_eq!(read.await.unwrap().unwrap(), 0);
    }
    let (third, theirs) = tokio::join!(accept(), greeted());
    let error = third.unwrap_err();
    assert_eq!(error.reason(), Reason::CertificateRevoked);
    assert_eq!(error.alert().as_deref(), Some("certificate_revoked"));
    let words = error.to_string();
    assert!(
        words.starts_with("the client's certificate `CN=node-7` was revoked on 20"),
        "{words}"
    );
    assert!(
        words.ends_with("(keyCompromise) by CRL 02 of `CN=Nodes 2026`"),
        "{words}"
    );
    assert!(
        theirs
            .unwrap_err()
            .to_string()
            .ends_with("CertificateRevoked")
    );
}

#[tokio::test]
async fn idle_connections_of_a_revoked_client_are_closed_at_once_and_those_at_work_are_not() {
    let scene = Scene::new();
    let node = scene.ca.client_with("node-7", |params| {
        params.serial_number = Some(7_u64.into());
    });
    let good = scene.ca.crl(1, &[]);
    let revocation = Revocation::from_bytes([&good.der()[..]], Options::default()).unwrap();
    let server = scene.ca.server(&["localhost"]);
    let builder = scene.files.requiring(&server, &scene.ca);
    let material = builder.with_revocation(revocation.clone()).load().unwrap();
    let hour = Duration::from_secs(60 * 60);
    let acceptor = Acceptor::new(Watched::fixed(material)).with_ending(hour, hour);
    let (tcp, address) = bind().await;
    let listener = Listener::new(tcp, acceptor);
    let (begun, mut has_begun) = tokio::sync::mpsc::channel(1);
    let slow = get(move || async move {
        begun.send(()).await.unwrap();
        std::future::pending::<()>().await;
    });
    let app = app().route("/slow", slow).layer(RevocationLayer::new());
    let service = app.into_make_service_with_connect_info::<Connection>();
    let server = tokio::spawn(async move { axum::serve(listener, service).await });

    let open = async |protocol: &str| {
        let mut config = client(&scene.ca, Some((&node, &[])));
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        connect(&Arc::new(config), address, "localhost").await
    };
    let request = |path: &str| {
        let request = Request::get(format!("https://localhost{path}")).header("host", "localhost");
        request.body(Empty::<Bytes>::new()).unwrap()
    };
    let mut idle = Vec::new();
    let io = TokioIo::new(open("http/1.1").await.unwrap());
    let (mut one, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    idle.push(tokio::spawn(connection));
    let answer = one.send_request(request("/")).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.unwrap();
    let h2 = async || {
        let io = TokioIo::new(open("h2").await.unwrap());
        let executor = TokioExecutor::new();
        let connected = hyper::client::conn::http2::handshake(executor, io).await;
        let (mut sender, connection) = connected.unwrap();
        let connection = tokio::spawn(connection);
        let answer = sender.send_request(request("/")).await.unwrap();
        answer.into_body().collect().await.unwrap();
        (sender, connection)
    };
    let (_two, connection) = h2().await;
    idle.push(connection);
    let (mut busy, at_work) = h2().await;
    let asked = tokio::spawn(busy.send_request(request("/slow")));
    let mut unused = open("http/1.1").await.unwrap();
    has_begun.recv().await.unwrap();

    let list = scene
        .ca
        .crl_with(2, &[7], |list| list.this_update += time::Duration::MINUTE);
    revocation.publish([&list.der()[..]]).unwrap();
    let soon = Duration::from_secs(60);
    for connection in idle {
        let closed = tokio::time::timeout(soon, connection).await;
        assert!(closed.is_ok(), "an idle connection stays");
    }
    let read = tokio::time::timeout(soon, unused.read_u8());
    assert!(matches!(read.await, Ok(Err(_))), "an unused one stays");
    assert!(!at_work.is_finished() && !asked.is_finished());
    server.abort();
}

#[tokio::test]
async fn forwarded_certificates_of_listed_proxies_are_verified_and_of_others_removed() {
    let scene = Scene::new();
    let node = scene.ca.client("node-9");
    let stranger = Ca::new("Strangers").client("node-9");
    let escaped = |pem: &str| pem.replace('\n', "%0A").replace(' ', "%20");
    let xfcc = |pem: &str| format!("Hash=ab;Cert=\"{}\";Subject=\"CN=admin\"", escaped(pem));
    let layer = ForwardedLayer::new(
        ForwardedForm::Xfcc,
        ["10.0.0.0/8".parse().unwrap()],
        scene.material(),
    );
    let service = layer.layer(service_fn(|request: Request<Full<Bytes>>| async move {
        let headers = request.headers().len();
        let name = Connection::of(request.extensions()).map_or("nothing".to_owned(), named);
        let answer = format!("{name} {headers}");
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(answer))))
    }));
    let fields = layer
        .clone()
        .with_trusted_fields(true)
        .layer(service_fn(whoami::<Full<Bytes>>));
    let request = |peer: &str, header: &str| {
        let mut request = Request::new(Full::<Bytes>::default());
        if !header.is_empty() {
            let name = header::HeaderName::from_static("x-forwarded-client-cert");
            request.headers_mut().insert(name, header.parse().unwrap());
        }
        let connection = Connection::builder(peer.parse().unwrap());
        let proxy = scene.ca.client("the proxy itself");
        let proxy = portcullis::PeerIdentity::from_der(&proxy.der).unwrap();
        request
            .extensions_mut()
            .insert(connection.identity(proxy).build());
        request
    };
    let good = xfcc(&node.pem);
    let bad = xfcc(&stranger.pem);
    for (peer, header, status, body) in [
        ("10.0.0.1:1", &*good, 200, "CN=node-9 from 10.0.0.1 1"),
        ("10.0.0.1:1", "", 200, "nobody from 10.0.0.1 0"),
        // The nearest proxy's element is the last, whatever others wrote before it.
        (
            "10.0.0.1:1",
            &*format!("{bad},{good}"),
            200,
            "CN=node-9 from 10.0.0.1 1",
        ),
        ("10.0.0.1:1", &*format!("{good},{bad}"), 403, "{"),
        (
            "10.0.0.1:1",
            &*format!("{good},Subject=\"CN=admin\""),
            403,
            "{",
        ),
        ("10.0.0.1:1", &*bad, 403, "{"),
        ("10.0.0.1:1", "Subject=\"CN=admin\"", 403, "{"),
        ("10.0.0.1:1", "Subject=\"CN=admin", 403, "{"),
        (
            "192.0.2.1:1",
            &*good,
            200,
            "CN=the proxy itself from 192.0.2.1 0",
        ),
        (
            "192.0.2.1:1",
            "garbage",
            200,
            "CN=the proxy itself from 192.0.2.1 0",
        ),
    ] {
        let response = service
            .clone()
            .oneshot(request(peer, header))
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{peer} {header}");
        let answer = response.into_body().collect().await.unwrap().to_bytes();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(body), "{peer} {header}: {answer}");
    }
    let trusted = request("10.0.0.1:1", "Hash=ab;Subject=\"CN=n\";URI=spiffe://a/b");
    let response = fields.oneshot(trusted).await.unwrap();
    let answer = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(answer, "spiffe://a/b from 10.0.0.1");
}

#[tokio::test]
async fn of_a_forwarded_chain_the_intermediates_count_and_an_empty_value_is_none() {
    let scene = Scene::new();
    let sub = scene.ca.sub("Sub", |_| {});
    let (beneath, direct) = (sub.client("node-8"), scene.ca.client("node-9"));
    let escaped = |pem: &str| pem.replace('\n', "%0A").replace(' ', "%20");
    let chain = escaped(&format!("{}{}", beneath.pem, sub.pem));
    let (beneath, direct) = (escaped(&beneath.pem), escaped(&direct.pem));
    let layer = ForwardedLayer::new(
        ForwardedForm::Xfcc,
        ["10.0.0.0/8".parse().unwrap()],
        scene.material(),
    )
    .with_trusted_fields(true);
    for (header, expected) in [
        (format!("Chain=\"{chain}\""), Some("CN=node-8")),
        (
            format!("Cert=\"{beneath}\";Chain=\"{chain}\""),
            Some("CN=node-8"),
        ),
        (format!("Cert=\"{beneath}\""), None),
        (format!("Chain=\"\";Cert=\"{direct}\""), Some("CN=node-9")),
        (
            "Chain=\"\";Cert=\"\";URI=spiffe://a/b".to_owned(),
            Some("spiffe://a/b"),
        ),
    ] {
        let service = layer.layer(service_fn(whoami::<Full<Bytes>>));
        let mut request = Request::new(Full::<Bytes>::default());
        let name = header::HeaderName::from_static("x-forwarded-client-cert");
        request.headers_mut().insert(name, header.parse().unwrap());
        let connection = Connection::builder("10.0.0.1:1".parse().unwrap());
        request.extensions_mut().insert(connection.build());
        let response = service.oneshot(request).await.unwrap();
        assert_eq!(response.status() == 200, expected.is_some(), "{header}");
        let answer = response.into_body().collect().await.unwrap().to_bytes();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(expected.unwrap_or("{")), "{answer}");
    }
}

#[tokio::test]
async fn why_a_forwarded_certificate_is_refused_is_known_by_its_kind() {
    let scene = Scene::new();
    let (ended, without_list) = (Ca::new("Ended"), Ca::new("Without"));
    let numbered = |ca: &Ca, serial: u64| {
        ca.client_with("node", |params| params.serial_number = Some(serial.into()))
    };
    let expired = scene.ca.client_with("node", |params| {
        params.not_after = time::OffsetDateTime::now_utc() - time::Duration::DAY;
    });
    let denied = DenyList::parse(
        "denied",
        &b"serial:06 issuer:\"CN=Nodes 2026\" 2026-11-30 stolen\n"[..],
    )
    .unwrap();
    let lists = [
        scene.ca.crl(1, &[7]),
        ended.crl_with(1, &[], |list| {
            list.next_update = time::OffsetDateTime::now_utc() - time::Duration::MINUTE;
        }),
    ];
    let revocation = Revocation::builder().with_denied(denied);
    let revocation = revocation
        .from_bytes(lists.iter().map(|list| &list.der()[..]))
        .unwrap();
    let pems = [&scene.ca.pem, &ended.pem, &without_list.pem];
    let bundle = scene
        .files
        .put("cas.crt", pems.map(String::as_str).concat());
    let material = scene
        .files
        .server(&scene.ca.server(&["localhost"]))
        .require_client_certificates(ClientCas::new([bundle]))
        .with_revocation(revocation)
        .load()
        .unwrap();
    let layer = ForwardedLayer::new(
        ForwardedForm::Xfcc,
        ["10.0.0.0/8".parse().unwrap()],
        Watched::fixed(material),
    );
    for (leaf, expected) in [
        (numbered(&scene.ca, 5), None),
        (numbered(&scene.ca, 6), Some(Refusal::CertificateDenied)),
        (numbered(&scene.ca, 7), Some(Refusal::CertificateRevoked)),
        (expired, Some(Refusal::CertificateExpired)),
        (ended.client("node"), Some(Refusal::RevocationUnknown)),
        (
            without_list.client("node"),
            Some(Refusal::RevocationUnknown),
        ),
        (
            Ca::new("Strangers").client("node"),
            Some(Refusal::CertificateInvalid),
        ),
    ] {
        let service = layer.layer(service_fn(whoami::<Full<Bytes>>));
        let pem = leaf.pem.replace('\n', "%0A").replace(' ', "%20");
        let mut request = Request::new(Full::<Bytes>::default());
        let name = header::HeaderName::from_static("x-forwarded-client-cert");
        let value = format!("Cert=\"{pem}\"").parse().unwrap();
        request.headers_mut().insert(name, value);
        let connection = Connection::builder("10.0.0.1:1".parse().unwrap());
        request.extensions_mut().insert(connection.build());
        let response = service.oneshot(request).await.unwrap();
        let refusal = response.extensions().get::<Refusal>();
        assert_eq!(refusal.copied(), expected);
    }
}

#[tokio::test]
async fn a_pair_that_does_not_fit_leaves_the_old_one_active_and_says_why() {
    let scene = Scene::new();
    let volume = scene.files.path("volume");
    std::fs::create_dir(&volume).unwrap();
    let (one, two) = (
        scene.ca.server(&["localhost"]),
        scene.ca.server(&["localhost"]),
    );
    let past = scene.ca.leaf("localhost", |params| {
        params.not_after = time::OffsetDateTime::now_utc() - time::Duration::DAY;
    });
    let pair = |leaf: &pki::Leaf| {
        [
            ("tls.crt", leaf.pem.clone()),
            ("tls.key", leaf.key_pem.clone()),
        ]
    };
    let swap = |version: &str, files: &[(&str, String)]| {
        let files: Vec<_> = files.iter().map(|(name, text)| (*name, &**text)).collect();
        swap_secret(&volume, version, &files);
    };
    swap("v0", &pair(&one));
    let ca = scene.files.put("ca.crt", &scene.ca.pem);
    let watch = WatchOptions::default().with_settle(Duration::from_millis(5));
    let material = portcullis::tls::Builder::with_certificate(CertificateFiles::secret(&volume))
        .require_client_certificates(ClientCas::new([&ca]))
        .watch(watch)
        .unwrap();
    let acceptor = Acceptor::new(material.clone());
    let node = scene.ca.client("node");
    let shown = async || {
        let config = pki::client(&scene.ca, Some((&node, &[])));
        let (_server, stream) = pki::accepted(&acceptor, config).await;
        let shown = stream.get_ref().1.peer_certificates().unwrap();
        shown[0].clone()
    };
    let failure = async |words: &str| {
        let begun = Instant::now();
        while !material
            .health()
            .failure
            .is_some_and(|reason| reason.contains(words))
        {
            assert!(begun.elapsed() < Duration::from_secs(60), "never: {words}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(shown().await, one.der);
    };
    swap(
        "v1",
        &[
            ("tls.crt", one.pem.clone()),
            ("tls.key", two.key_pem.clone()),
        ],
    );
    failure("is not the key of the first certificate in").await;
    swap("v2", &pair(&past));
    failure("expired").await;
    swap(
        "v3",
        &[("tls.crt", String::new()), ("tls.key", two.key_pem.clone())],
    );
    failure("holds no certificate").await;
    swap(
        "v4",
        &[
            ("tls.crt", one.pem.clone()),
            ("tls.key", "secret".to_owned()),
        ],
    );
    failure("holds no private key").await;
    assert!(!format!("{:?}", material.health()).contains("secret"));
    std::fs::write(&ca, "").unwrap();
    failure("holds no certificate").await;
    // One that fits does not wait for the client CAs.
    swap("v5", &pair(&two));
    let begun = Instant::now();
    while shown().await != two.der {
        assert!(begun.elapsed() < Duration::from_secs(60), "never renewed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(material.health().failure.is_some());
    std::fs::write(&ca, &scene.ca.pem).unwrap();
    while material.health().failure.is_some() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never healed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn resident_pages() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The bytes of a layer that is pulled again and again.
const LAYER: usize = 1 << 20;

/// Pulls a layer again and again on one connection, until it has to stop.
async fn keep_pulling(
    config: Arc<rustls::ClientConfig>,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    layer: Bytes,
) -> usize {
    let tls = connect(&config, address, "localhost").await.unwrap();
    let h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(tls);
    let request = || {
        let request = Request::get("https://localhost/blob").header("host", "localhost");
        request.body(Empty::<Bytes>::new()).unwrap()
    };
    let mut pulled = 0;
    macro_rules! pull_by {
        ($sender:ident) => {
            while !stop.load(Ordering::Relaxed) {
                let answer = $sender.send_request(request()).await.unwrap();
                assert_eq!(answer.status(), 200);
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                assert!(body == layer, "{} bytes of {LAYER}", body.len());
                pulled += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
    }
    if h2 {
        let executor = TokioExecutor::new();
        let connected = hyper::client::conn::http2::handshake(executor, io).await;
        let (mut sender, connection) = connected.unwrap();
        tokio::spawn(connection);
        pull_by!(sender);
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        pull_by!(sender);
    }
    pulled
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_rotations_under_load_fail_no_request_and_leave_no_memory() {
    let scene = Scene::new();
    let volume = scene.files.path("volume");
    std::fs::create_dir(&volume).unwrap();
    let pairs = [
        scene.ca.server(&["localhost"]),
        scene.ca.server(&["localhost"]),
    ];
    // The client's own CA stays; those beside it come and go with their lists.
    let others = [Ca::new("Nodes 2025"), Ca::new("Nodes 2027")];
    let rotate = |at: usize| {
        let other = &others[at % 2];
        let bundle = [&*other.pem, &*scene.ca.pem];
        let bundle = if at.is_multiple_of(3) {
            bundle.concat()
        } else {
            [bundle[1], bundle[0]].concat()
        };
        let lists = [other, &scene.ca].map(|ca| ca.crl(at as u64 + 1, &[]).pem().unwrap());
        let list = lists.concat();
        let leaf = &pairs[at % 2];
        let files = [
            ("tls.crt", &*leaf.pem),
            ("tls.key", &*leaf.key_pem),
            ("ca.crt", &*bundle),
            ("crl.pem", &*list),
        ];
        swap_secret(&volume, &format!("v{at}"), &files);
    };
    rotate(0);
    let watch = WatchOptions::default().with_settle(Duration::from_millis(1));
    let material = portcullis::tls::Builder::with_certificate(CertificateFiles::secret(&volume))
        .require_client_certificates(ClientCas::new([volume.join("ca.crt")]))
        .with_crls(Revocation::builder(), [volume.join("crl.pem")])
        .watch(watch)
        .unwrap();
    let (tcp, address) = bind().await;
    let listener = Listener::new(tcp, Acceptor::new(material.clone()));
    let layer = Bytes::from((0..=u8::MAX).cycle().take(LAYER).collect::<Vec<_>>());
    let blob = layer.clone();
    let app = app().route("/blob", get(|| async move { blob }));
    let app = app.layer(RevocationLayer::new());
    let app = app.layer(ForwardedLayer::without_proxies());
    let service = app.into_make_service_with_connect_info::<Connection>();
    let server = tokio::spawn(async move { axum::serve(listener, service).await });
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    let kept: Vec<_> = ["http/1.1", "h2", "http/1.1", "h2"]
        .map(|protocol| {
            let (config, stop, layer) = (scene.speaking(protocol), stop.clone(), layer.clone());
            tokio::spawn(keep_pulling(config, address, stop, layer))
        })
        .into();
    let load = tokio::spawn({
        let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
        let (h1, h2) = (scene.speaking("http/1.1"), scene.speaking("h2"));
        async move {
            while !stop.load(Ordering::Relaxed) {
                for config in [&h1, &h2] {
                    let pulled = pull(config, address, "/blob").await.unwrap();
                    assert!(pulled == layer, "{} bytes of {LAYER}", pulled.len());
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });
    let mut changes = material.changes();
    let mut before = 0;
    for at in 1..=1_000 {
        rotate(at);
        let seen = tokio::time::timeout(Duration::from_secs(60), changes.changed());
        seen.await.unwrap().unwrap();
        if at == 300 {
            before = resident_pages();
        }
    }
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
    for kept in kept {
        // All of it on the connection that it began with.
        assert!(kept.await.unwrap() > 10);
    }
    server.abort();
    assert!(asked.load(Ordering::Relaxed) > 10);
    assert!(material.health().failure.is_none());
    let grown = resident_pages().saturating_sub(before) * 4096;
    assert!(grown < 8 << 20, "{grown} bytes more after 700 rotations");
}
