//! What a server must give to a guard, and what becomes of requests without it.

use std::convert::Infallible;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use portcullis::auth::{Authentication, Credential, Credentials, Secret, TokenAuthLayer};
use portcullis::connection::AddConnection;
use portcullis::crl::RevocationLayer;
use portcullis::source::{Networks, SourceLayer};
use portcullis::tls::Acceptor;
use portcullis::{ClientAddr, Connection, Guard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::captured::Captured;
use crate::pki::{Ca, Files};

const TOKEN: &str = "cK7wQ2xRt9LmZ4vB8nPyD3sHf6Jg";

async fn yes<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from("yes"))))
}

fn by_token() -> Authentication {
    let ci = Credential::new("ci").with_secret(Secret::of_token(TOKEN.as_bytes()));
    Authentication::token(Credentials::new([ci]).unwrap().into())
}

fn connection() -> Connection {
    Connection::builder("10.0.0.1:4711".parse().unwrap()).build()
}

/// A request with the token.
fn request() -> Request<Full<Bytes>> {
    let request = Request::get("/v2/").header("host", "registry.example");
    let request = request.header("authorization", format!("Bearer {TOKEN}"));
    request.body(Full::default()).unwrap()
}

/// The answers to a request of which nothing is known, of which the address is known, and of which the connection is.
async fn answers<S, R>(service: S) -> [u16; 3]
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>, Error = Infallible> + Clone,
{
    let nothing = request();
    let mut address = request();
    let client = ClientAddr::new("10.0.0.1:4711".parse().unwrap());
    address.extensions_mut().insert(client);
    let mut all = request();
    all.extensions_mut().insert(connection());
    let mut statuses = [0; 3];
    for (status, request) in statuses.iter_mut().zip([nothing, address, all]) {
        let response = service.clone().oneshot(request).await.unwrap();
        *status = response.status().as_u16();
    }
    statuses
}

#[tokio::test]
async fn what_cannot_be_checked_without_a_connection_is_refused_and_said_once() {
    let (files, ca) = (Files::new(), Ca::new("Nodes 2026"));
    let material = files
        .requiring(&ca.server(&["localhost"]), &ca)
        .load()
        .unwrap();
    let acceptor = Acceptor::new(material.into());
    let networks = || Networks::allow(["10.0.0.0/8".parse().unwrap()]);
    let unthrottled = || by_token().with_throttle(None);
    let guard = |guard: portcullis::guard::Builder| guard.build().layer(service_fn(yes));

    // By what the check needs: the connection, the address of it at least, or nothing.
    for (name, needs, answers) in [
        (
            "acceptor",
            "Connection",
            answers(guard(Guard::builder().acceptor(acceptor))).await,
        ),
        (
            "revocation",
            "Connection",
            answers(guard(Guard::builder().revocation(RevocationLayer::new()))).await,
        ),
    ] {
        assert_eq!(answers, [503, 503, 200], "{name} needs {needs}");
    }
    let addressed = [
        answers(guard(Guard::builder().authentication(by_token()))).await,
        answers(guard(Guard::builder().networks(networks()))).await,
        answers(TokenAuthLayer::new(by_token()).layer(service_fn(yes))).await,
        answers(SourceLayer::new(networks()).layer(service_fn(yes))).await,
    ];
    assert_eq!(addressed, [[503, 200, 200]; 4]);
    let alone = RevocationLayer::new().layer(service_fn(yes));
    assert_eq!(answers(alone).await, [503, 503, 200]);
    let nothing = [
        answers(guard(Guard::builder())).await,
        answers(guard(Guard::builder().authentication(unthrottled()))).await,
        answers(TokenAuthLayer::new(unthrottled()).layer(service_fn(yes))).await,
        answers(SourceLayer::new(Networks::allow_all()).layer(service_fn(yes))).await,
    ];
    assert_eq!(nothing, [[200; 3]; 4]);
}

#[tokio::test(start_paused = true)]
async fn the_log_says_once_a_minute_which_line_is_missing() {
    let log = Captured::from(tracing::Level::INFO);
    let guard = Guard::builder().revocation(RevocationLayer::new()).build();
    let service = guard.layer(service_fn(yes));
    let errors = |log: &Captured| {
        let text = log.text();
        let lines = text.lines().filter(|line| line.contains("\"ERROR\""));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    for _ in 0..5 {
        let response = service.clone().oneshot(request()).await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
    }
    let said = errors(&log);
    assert_eq!(said.len(), 1, "{said:?}");
    for way in [
        "into_make_service_with_connect_info::<Connection>()",
        "serve::Server",
        "AddConnection",
        "Guard::make_service",
    ] {
        assert!(said[0].contains(way), "{way}: {said:?}");
    }
    // Each is in the access log with its reason.
    assert_eq!(log.each("refusal.reason"), ["miswired"; 5]);
    tokio::time::advance(std::time::Duration::from_secs(60)).await;
    service.oneshot(request()).await.unwrap();
    assert_eq!(errors(&log).len(), 2);
}

#[tokio::test]
async fn a_caller_of_no_known_address_cannot_guess_without_end() {
    let service = TokenAuthLayer::new(by_token()).layer(service_fn(yes));
    for _ in 0..50 {
        let mut wrong = request();
        let value = "Bearer wrong-token-0123456789".parse().unwrap();
        wrong.headers_mut().insert("authorization", value);
        let response = service.clone().oneshot(wrong).await.unwrap();
        assert_eq!(response.status(), 503);
    }
}

/// The status line of a `GET`.
async fn ask(address: std::net::SocketAddr, path: &str) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn axum_serves_a_guard_with_connections_on_a_plain_listener() {
    async fn address(request: Request<axum::body::Body>) -> String {
        let connection = Connection::of(request.extensions()).unwrap();
        connection.client_addr().ip().to_string()
    }
    let networks = Networks::allow(["127.0.0.0/8".parse().unwrap()]);
    let guard = Guard::builder()
        .networks(networks)
        .revocation(RevocationLayer::new())
        .build();
    let app = || Router::new().route("/v2/", get(address));
    let made = guard.make_service(app());
    let by_hand = app()
        .layer(guard)
        .into_make_service_with_connect_info::<Connection>();
    for service in [made, by_hand] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, service).await });
        let answer = ask(at, "/v2/").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with("127.0.0.1"), "{answer}");
        // What no route is for is the guard's too.
        let answer = ask(at, "/other").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        server.abort();
    }
}

#[tokio::test]
async fn a_loop_of_ones_own_gives_a_plain_connection_to_each_request() {
    let service = RevocationLayer::new().layer(service_fn(yes));
    let service = AddConnection::new(service, connection());
    assert_eq!(service.oneshot(request()).await.unwrap().status(), 200);
}

#[tokio::test]
async fn http_1_1_needs_one_host_and_http_2_none() {
    use http::{HeaderValue, Version};
    use portcullis::policy::{Policy, PolicyLayer};

    let layers = |hosts: &[&str], version: Version| {
        let hosts: Vec<_> = hosts
            .iter()
            .map(|host| HeaderValue::from_str(host).unwrap())
            .collect();
        async move {
            let mut statuses = Vec::new();
            for guard in [true, false] {
                let mut request = request();
                *request.version_mut() = version;
                request.headers_mut().remove("host");
                for host in &hosts {
                    request.headers_mut().append("host", host.clone());
                }
                let response = if guard {
                    Guard::builder()
                        .build()
                        .layer(service_fn(yes))
                        .oneshot(request)
                        .await
                } else {
                    PolicyLayer::new(Policy::open())
                        .layer(service_fn(yes))
                        .oneshot(request)
                        .await
                };
                statuses.push(response.unwrap().status().as_u16());
            }
            statuses
        }
    };
    for (hosts, version, status) in [
        (&["registry.example:5000"][..], Version::HTTP_11, 200),
        (&["[::1]:5000"], Version::HTTP_11, 200),
        (&[], Version::HTTP_11, 400),
        (&["a.example", "b.example"], Version::HTTP_11, 400),
        (&["a b"], Version::HTTP_11, 400),
        (&["user@a.example"], Version::HTTP_11, 400),
        (&[], Version::HTTP_10, 200),
        (&["a", "a"], Version::HTTP_10, 400),
        (&[], Version::HTTP_2, 400),
        (&["a", "b"], Version::HTTP_2, 400),
    ] {
        assert_eq!(
            layers(hosts, version).await,
            [status; 2],
            "{hosts:?} {version:?}"
        );
    }
}

/// Asked of a guard that refuses everything: a request without `Host` gets no challenge first.
#[tokio::test]
async fn a_request_without_a_host_is_wrong_before_its_caller_is() {
    let guard = Guard::builder().authentication(by_token()).build();
    let mut nobody = Request::get("/v2/").body(Full::<Bytes>::default()).unwrap();
    nobody.extensions_mut().insert(connection());
    let response = guard.layer(service_fn(yes)).oneshot(nobody).await.unwrap();
    assert_eq!(response.status(), 400);
}
