//! What a server takes from its guard, and gives to its service.

use tokio::io::AsyncWriteExt;
use tower::service_fn;

use portcullis::Guard;
use portcullis::serve::Server;

use super::support::{
    GET, SHORT, Tls, answer, ask, connect, connect_from, ended, open, start, whoami,
};

#[cfg(feature = "axum")]
#[tokio::test]
async fn an_axum_router_is_served_in_three_lines_and_has_its_connection() {
    use axum::extract::ConnectInfo;
    use axum::routing::get;
    use axum::{Extension, Router};
    use portcullis::Connection;

    async fn who(
        ConnectInfo(info): ConnectInfo<Connection>,
        Extension(connection): Extension<Connection>,
    ) -> String {
        assert_eq!(info.id(), connection.id());
        format!("{:?}", connection.client_addr().ip())
    }

    let app = Router::new().route("/", get(who));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let guard = Guard::builder().build();
    tokio::spawn(Server::new(guard).serve(listener, app));
    let answer = ask(&mut connect(address).await, GET).await;
    assert!(answer.ends_with("127.0.0.1"), "{answer}");
}

#[tokio::test]
async fn the_guard_refuses_by_the_address_of_the_connection() {
    let networks = portcullis::source::Networks::allow(["127.0.0.1/32".parse().unwrap()]);
    let guard = Guard::builder().networks(networks).build();
    let running = start(Server::new(guard), service_fn(whoami)).await;
    let allowed = ask(&mut connect(running.address).await, GET).await;
    assert!(allowed.starts_with("HTTP/1.1 200 "), "{allowed}");
    let other = std::net::Ipv4Addr::new(127, 0, 0, 9);
    let refused = ask(&mut connect_from(other, running.address).await, GET).await;
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
}

#[tokio::test]
async fn a_server_without_a_guard_serves_in_the_clear() {
    let running = start(Server::unguarded(), service_fn(whoami)).await;
    let answer = ask(&mut connect(running.address).await, GET).await;
    assert!(answer.ends_with("127.0.0.1"), "{answer}");
}

#[tokio::test]
async fn a_guard_with_an_acceptor_is_served_over_tls_unless_told_otherwise() {
    let tls = Tls::new();
    let running = start(tls.open(), service_fn(whoami)).await;
    let mut client = tls.connect(running.address, "http/1.1").await.unwrap();
    let answer = ask(&mut client, GET).await;
    assert!(answer.ends_with("127.0.0.1"), "{answer}");
    let plain = start(tls.open().plain(), service_fn(whoami)).await;
    let answer = ask(&mut connect(plain.address).await, GET).await;
    assert!(answer.ends_with("127.0.0.1"), "{answer}");
    let with = open().with_acceptor(tls.acceptor.clone());
    let running = start(with, service_fn(whoami)).await;
    let mut client = tls.connect(running.address, "http/1.1").await.unwrap();
    let answer = ask(&mut client, GET).await;
    assert!(answer.ends_with("127.0.0.1"), "{answer}");
}

#[tokio::test]
async fn a_proxy_names_its_client_with_tls_and_without() {
    let proxy = std::net::Ipv4Addr::new(127, 0, 0, 3);
    let tls = Tls::new();
    let server = || open().with_proxy_protocol(["127.0.0.3/32".parse().unwrap()]);
    let plain = start(server(), service_fn(whoami)).await;
    let mut client = connect_from(proxy, plain.address).await;
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 443\r\n";
    client.write_all(header).await.unwrap();
    let named = ask(&mut client, GET).await;
    assert!(named.ends_with("192.0.2.7"), "{named}");
    // From anyone else it is no HTTP, and from a proxy it must be there.
    let mut client = connect(plain.address).await;
    client.write_all(header).await.unwrap();
    let refused = answer(&mut client).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    let mut client = connect_from(proxy, plain.address).await;
    client.write_all(GET).await.unwrap();
    assert_eq!(ended(&mut client).await, "");

    let secured = server().with_acceptor(tls.acceptor.clone());
    let secured = start(secured, service_fn(whoami)).await;
    let mut client = connect_from(proxy, secured.address).await;
    client.write_all(header).await.unwrap();
    let mut client = tls.on(client).await.unwrap();
    let named = ask(&mut client, GET).await;
    assert!(named.ends_with("192.0.2.7"), "{named}");
}

#[tokio::test]
async fn a_proxy_that_sends_no_header_in_time_is_ended() {
    let server = open()
        .with_proxy_protocol(["127.0.0.1/32".parse().unwrap()])
        .with_handshake_timeout(SHORT);
    let running = start(server, service_fn(whoami)).await;
    assert_eq!(ended(&mut connect(running.address).await).await, "");
}

#[cfg(feature = "config")]
#[tokio::test]
async fn the_configuration_file_sets_the_server() {
    use portcullis::config::Config;
    let text = "[serve]\nfirst_byte_timeout = \"200ms\"\nmax_head_size = \"8KiB\"\n";
    let config = Config::from_toml(text, ".").unwrap();
    let guard = Guard::from_config(&config).unwrap();
    let running = start(Server::new(guard), service_fn(whoami)).await;
    assert_eq!(ended(&mut connect(running.address).await).await, "");
    let large = format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(9000));
    let refused = ask(&mut connect(running.address).await, large.as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");

    let text = "[serve]\nproxy_protocol = [\"127.0.0.1/32\"]\nhandshake_timeout = \"200ms\"\n";
    let config = Config::from_toml(text, ".").unwrap();
    let guard = Guard::from_config(&config).unwrap();
    let running = start(Server::new(guard), service_fn(whoami)).await;
    // No header of the PROXY protocol comes.
    assert_eq!(ended(&mut connect(running.address).await).await, "");
}

#[cfg(feature = "config")]
#[test]
fn the_report_warns_of_a_server_that_believes_everyone() {
    use portcullis::config::Config;
    let text = "[serve]\nproxy_protocol = [\"0.0.0.0/0\"]\n";
    let config = Config::from_toml(text, ".").unwrap();
    let guard = Guard::from_config(&config).unwrap();
    let danger = ":2:19: serve.proxy_protocol[0]: it has every address in it";
    let report = guard.report().to_string();
    assert!(report.contains(danger), "{report}");
}
