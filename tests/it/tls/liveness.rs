//! What is found out about a certificate after its handshake, on the connections that it opened.
#![cfg(all(
    feature = "axum",
    feature = "crl",
    feature = "auth",
    feature = "aws-lc-rs"
))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::pki;

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::TokioIo;
use pki::{Ahead, Ca, Files, Leaf, accepted, client, connect, refused};
use portcullis::auth::{Authentication, TokenAuthLayer};
use portcullis::crl::{Options, Revocation};
use portcullis::identity::{Mapping, Rule};
use portcullis::tls::{
    Acceptor, Builder, ClientCas, ForwardedForm, ForwardedLayer, Listener, Material, Reason,
};
use portcullis::{ClientAddr, Connection, PeerIdentity, Principal, Watched};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt, service_fn};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Scene {
    files: Files,
    ca: Ca,
    server: Leaf,
}

impl Scene {
    fn new(ca: Ca) -> Self {
        let server = ca.server(&["localhost"]);
        Self {
            files: Files::new(),
            ca,
            server,
        }
    }

    /// With this bundle of client CAs.
    fn builder(&self, bundle: &str) -> Builder {
        let bundle = self.files.put("ca.crt", bundle);
        let builder = self.files.server(&self.server);
        builder.require_client_certificates(ClientCas::new([bundle]))
    }
}

async fn whoami<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let extensions = request.extensions();
    let connection = Connection::of(extensions).and_then(Connection::identity);
    let name = connection.map_or("nobody", PeerIdentity::name);
    let principal = Principal::of(extensions).map(ToString::to_string);
    let text = format!("{name} {}", principal.unwrap_or_default());
    Ok(Response::new(Full::new(text.into())))
}

/// What a request on this connection gets behind a layer.
async fn asked(layer: &ForwardedLayer, connection: &Connection) -> StatusCode {
    let mut request = Request::new(Full::<Bytes>::default());
    request.extensions_mut().insert(connection.clone());
    let service = layer.layer(service_fn(whoami));
    service.oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn an_idle_connection_without_crls_is_closed_at_the_end_of_its_certificate() {
    let scene = Scene::new(Ca::new("Nodes 2026"));
    let material = scene.builder(&scene.ca.pem).load().unwrap();
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = tcp.local_addr().unwrap();
    let acceptor = Acceptor::new(Watched::fixed(material))
        .with_ending(Duration::from_millis(20), Duration::from_secs(1));
    let listener = Listener::new(tcp, acceptor);
    let app = Router::new().route("/", get(|| async { "yes" }));
    let service = app.into_make_service_with_connect_info::<Connection>();
    let server = tokio::spawn(async move { axum::serve(listener, service).await });
    let node = scene.ca.client_with("node-7", |params| {
        params.not_after = time::OffsetDateTime::now_utc() + Duration::from_secs(6);
    });
    let mut config = client(&scene.ca, Some((&node, &[])));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let tls = connect(&Arc::new(config), address, "localhost").await;
    let io = TokioIo::new(tls.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("/").header("host", "localhost");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.unwrap();
    // No request comes again: it is the server that ends the connection.
    let closed = tokio::time::timeout(Duration::from_secs(60), connection).await;
    closed.unwrap().unwrap().unwrap();
    server.abort();
}

#[tokio::test]
async fn a_request_after_the_end_of_its_connections_certificate_is_refused() {
    let scene = Scene::new(Ca::new("Nodes 2026"));
    let node = scene.ca.client_with("node-7", |params| {
        params.not_after = time::OffsetDateTime::now_utc() + DAY;
    });
    let clock = Arc::new(Ahead::default());
    let builder = scene.builder(&scene.ca.pem).with_clock(clock.clone());
    let acceptor = Acceptor::new(Watched::fixed(builder.load().unwrap()));
    let config = client(&scene.ca, Some((&node, &[])));
    let (accepted, _theirs) = accepted(&acceptor, config).await;
    let layer = ForwardedLayer::without_proxies();
    assert_eq!(asked(&layer, &accepted.connection).await, 200);
    clock.by(DAY * 2);
    assert_eq!(asked(&layer, &accepted.connection).await, 403);
    assert_eq!(asked(&layer, &accepted.connection).await, 403);
    clock.by(Duration::ZERO);
    assert_eq!(asked(&layer, &accepted.connection).await, 200);
}

#[tokio::test]
async fn a_request_whose_client_ca_was_removed_is_refused_if_rechecked() {
    let scene = Scene::new(Ca::new("Nodes 2026"));
    let other = Ca::new("Nodes 2027");
    let node = scene.ca.client("node-7");
    let both = format!("{}{}", scene.ca.pem, other.pem);
    for (policy, status) in [(false, 403), (true, 200)] {
        let material = Watched::fixed(scene.builder(&both).load().unwrap());
        let acceptor = Acceptor::new(material.clone()).with_removed_ca_kept(policy);
        let config = client(&scene.ca, Some((&node, &[])));
        let (accepted, _theirs) = accepted(&acceptor, config).await;
        let layer = ForwardedLayer::without_proxies();
        assert_eq!(asked(&layer, &accepted.connection).await, 200);
        material.publish(scene.builder(&other.pem).load().unwrap());
        assert_eq!(asked(&layer, &accepted.connection).await, status);
        material.publish(scene.builder(&both).load().unwrap());
        assert_eq!(asked(&layer, &accepted.connection).await, 200);
    }
}

#[tokio::test]
async fn a_connection_outlives_its_client_cas_certificate_where_that_is_renewed_in_time() {
    let now = time::OffsetDateTime::now_utc();
    let scene = Scene::new(Ca::with("Nodes 2026", |ca| ca.not_after = now + DAY * 2));
    let renewed = scene
        .ca
        .renewed("Nodes 2026", |ca| ca.not_after = now + DAY * 300);
    let clock = Arc::new(Ahead::default());
    let load = |bundle: &str| {
        scene
            .builder(bundle)
            .with_clock(clock.clone())
            .load()
            .unwrap()
    };
    for policy in [false, true] {
        clock.by(Duration::ZERO);
        let material = Watched::fixed(load(&scene.ca.pem));
        let acceptor = Acceptor::new(material.clone()).with_removed_ca_kept(policy);
        let node = scene.ca.client("node-7");
        let config = client(&scene.ca, Some((&node, &[])));
        let (accepted, _theirs) = accepted(&acceptor, config).await;
        let layer = ForwardedLayer::without_proxies();
        clock.by(DAY);
        material.publish(load(&renewed));
        clock.by(DAY * 3);
        assert_eq!(asked(&layer, &accepted.connection).await, 200, "{policy:?}");
        clock.by(DAY * 301);
        assert_eq!(asked(&layer, &accepted.connection).await, 403, "{policy:?}");
    }
}

#[tokio::test]
async fn a_lower_bound_on_chains_ends_no_connection_that_is_open() {
    let scene = Scene::new(Ca::new("Nodes 2026"));
    let between = scene.ca.sub("Between", |_| {});
    let node = between.client("node-7");
    let material = Watched::fixed(scene.builder(&scene.ca.pem).load().unwrap());
    let acceptor = Acceptor::new(material.clone());
    let config = || client(&scene.ca, Some((&node, &[&between])));
    let (accepted, _theirs) = accepted(&acceptor, config()).await;
    let builder = scene.builder(&scene.ca.pem).with_max_chain_size(1);
    material.publish(builder.load().unwrap());
    assert_eq!(
        asked(&ForwardedLayer::without_proxies(), &accepted.connection).await,
        200
    );
    let (error, _) = refused(&acceptor, config()).await;
    assert_eq!(error.reason(), Reason::ChainTooLarge);
}

#[tokio::test]
async fn a_client_ca_is_trusted_in_the_last_second_of_its_certificate_and_not_after_it() {
    let end = time::OffsetDateTime::now_utc() + DAY;
    let scene = Scene::new(Ca::with("Nodes 2026", |ca| ca.not_after = end));
    let node = scene.ca.client("node-7");
    let clock = Arc::new(Still::default());
    let last = u64::try_from(end.unix_timestamp()).unwrap();
    clock.0.store(last, Ordering::Relaxed);
    let builder = scene.builder(&scene.ca.pem).with_clock(clock.clone());
    let acceptor = Acceptor::new(Watched::fixed(builder.load().unwrap()));
    let config = || client(&scene.ca, Some((&node, &[])));
    let (accepted, _theirs) = accepted(&acceptor, config()).await;
    let layer = ForwardedLayer::without_proxies();
    assert_eq!(asked(&layer, &accepted.connection).await, 200);
    clock.0.store(last + 1, Ordering::Relaxed);
    assert_eq!(asked(&layer, &accepted.connection).await, 403);
    let (error, _) = refused(&acceptor, config()).await;
    assert_eq!(error.reason(), Reason::ClientCaExpired, "{error}");
}

/// A clock that stands at this second.
#[derive(Debug, Default)]
struct Still(AtomicU64);

impl TimeProvider for Still {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = self.0.load(Ordering::Relaxed);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// A connection of a proxy, and a request on it for `node-9`.
fn forwarded(connection: &Connection, client: &Leaf) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::<Bytes>::default());
    let lines = client.pem.lines().filter(|line| !line.starts_with("---"));
    let value = format!(":{}:", lines.collect::<String>());
    let headers = request.headers_mut();
    headers.insert("client-cert", value.parse().unwrap());
    request.extensions_mut().insert(connection.clone());
    request
}

fn believing(material: &Watched<Material>) -> ForwardedLayer {
    let proxies = ["127.0.0.0/8".parse().unwrap()];
    ForwardedLayer::new(ForwardedForm::ClientCert, proxies, material.clone())
}

#[tokio::test]
async fn a_revoked_proxy_vouches_for_nobody_while_its_connection_lasts() {
    let scene = Scene::new(Ca::new("Nodes 2026"));
    let proxy = scene.ca.client_with("proxy", |params| {
        params.serial_number = Some(7_u64.into());
    });
    let list = scene.ca.crl(1, &[]);
    let revocation = Revocation::from_bytes([&list.der()[..]], Options::default()).unwrap();
    let builder = scene.builder(&scene.ca.pem);
    let material = builder.with_revocation(revocation.clone()).load().unwrap();
    let material = Watched::fixed(material);
    let acceptor = Acceptor::new(material.clone());
    let config = client(&scene.ca, Some((&proxy, &[])));
    let (mut accepted, _theirs) = accepted(&acceptor, config).await;
    let service = believing(&material).layer(service_fn(whoami));
    let node = scene.ca.client("node-9");
    let ask = async || {
        let request = forwarded(&accepted.connection, &node);
        let answer = service.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    };
    assert_eq!(ask().await, (StatusCode::OK, "CN=node-9 ".to_owned()));
    let list = scene.ca.crl_with(2, &[7], |list| {
        list.this_update += time::Duration::MINUTE;
    });
    revocation.publish([&list.der()[..]]).unwrap();
    assert_eq!(ask().await.0, StatusCode::FORBIDDEN);
    let read = accepted.stream.read_u8();
    let read = tokio::time::timeout(Duration::from_secs(60), read).await;
    assert!(read.unwrap().is_err(), "the connection stays");
}

#[tokio::test]
async fn what_a_server_put_beside_a_proxys_connection_is_not_the_clients_identity() {
    let scene = Scene::new(Ca::new("Nodes 2026"));
    let material = Watched::fixed(scene.builder(&scene.ca.pem).load().unwrap());
    let authentication = Authentication::certificate();
    let service = TokenAuthLayer::new(authentication).layer(service_fn(whoami));
    let service = believing(&material).layer(service);
    let proxy = PeerIdentity::from_der(&scene.ca.client("proxy").der).unwrap();
    let connection = Connection::builder("127.0.0.1:1".parse().unwrap());
    let connection = connection.identity(proxy.clone()).build();
    let mut request = forwarded(&connection, &scene.ca.client("node-9"));
    request.extensions_mut().insert(proxy.clone());
    let answer = service.clone().oneshot(request).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "CN=node-9 cert:CN=node-9");
    // A client without a certificate is not the proxy either.
    let mut request = Request::new(Full::<Bytes>::default());
    request.extensions_mut().insert(connection);
    request.extensions_mut().insert(proxy);
    let answer = service.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn rules_see_the_subject_that_a_proxy_tells_of_by_its_attributes() {
    let scene = Scene::new(Ca::new("Nodes 2026"));
    let material = Watched::fixed(scene.builder(&scene.ca.pem).load().unwrap());
    let nodes = Rule::new("node:{name}").unwrap();
    let nodes = nodes.when("subject.O", "system:nodes").unwrap();
    let nodes = nodes.when("subject.CN", "system:node:{name}").unwrap();
    let mapping = Watched::fixed(Mapping::new([nodes]).unwrap());
    let authentication = Authentication::certificate().with_mapping(mapping);
    let service = TokenAuthLayer::new(authentication).layer(service_fn(whoami));
    let proxies = ["127.0.0.0/8".parse().unwrap()];
    let layer = ForwardedLayer::new(ForwardedForm::Xfcc, proxies, material);
    let service = layer.with_trusted_fields(true).layer(service);
    for (subject, said) in [
        ("CN=system:node:n7,O=system:nodes", Some("cert:node:n7")),
        // A comma in a value is none between two.
        (
            "CN=system:node:n7\\\\,O=system:nodes",
            Some("cert:CN=system:node:n7\\,O\\=system:nodes"),
        ),
        ("CN=a, O=system:nodes", None),
    ] {
        let mut request = Request::new(Full::<Bytes>::default());
        let value = format!("Hash=ab;Subject=\"{subject}\"").parse().unwrap();
        let headers = request.headers_mut();
        headers.insert("x-forwarded-client-cert", value);
        let peer = ClientAddr::new("127.0.0.1:1".parse().unwrap());
        request.extensions_mut().insert(peer);
        let answer = service.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&body).replace("\\=", "=");
        match said {
            Some(said) => assert!(text.ends_with(&said.replace("\\=", "=")), "{text}"),
            None => assert_eq!(status, 403, "{text}"),
        }
    }
}

#[tokio::test]
async fn what_was_good_by_a_clock_that_was_ahead_is_asked_anew_once_the_clock_is_set_back() {
    let later = time::OffsetDateTime::now_utc() + DAY / 2;
    let scene = Scene::new(Ca::new("Nodes 2026"));
    let early = scene.ca.client("node-7");
    let late = scene
        .ca
        .client_with("node-8", |params| params.not_before = later);
    // The one is not valid yet when the clock is right, of the other it is not known yet whether it is revoked.
    let list = |this_update| {
        let list = scene.ca.crl_with(1, &[], |list| {
            list.this_update = this_update;
            list.next_update = later + DAY * 3;
        });
        Revocation::builder()
            .with_authorities([scene.ca.der.clone()])
            .from_bytes([list.der().as_ref()])
            .unwrap()
    };
    for (node, list) in [
        (&late, list(later - DAY)),
        (&early, list(later)),
        (&late, list(later)),
    ] {
        let clock = Arc::new(Ahead::default());
        clock.by(DAY);
        let builder = scene.builder(&scene.ca.pem).with_clock(clock.clone());
        let material = builder.with_revocation(list).load().unwrap();
        let acceptor = Acceptor::new(Watched::fixed(material));
        let config = client(&scene.ca, Some((node, &[])));
        let (accepted, _theirs) = accepted(&acceptor, config).await;
        let recheck = portcullis::crl::RevocationLayer::new();
        let service = recheck.layer(service_fn(whoami));
        let asked = async || {
            let mut request = Request::get("/v2/").body(Full::<Bytes>::default()).unwrap();
            request.extensions_mut().insert(accepted.connection.clone());
            service.clone().oneshot(request).await.unwrap().status()
        };
        assert_eq!(asked().await, 200);
        clock.by(Duration::ZERO);
        assert_eq!(asked().await, 403);
        clock.by(DAY);
        assert_eq!(asked().await, 200);
    }
}
