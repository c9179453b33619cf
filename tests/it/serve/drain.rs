//! The end of a server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tower::service_fn;

use super::support::{
    GENEROUS, GET, SHORT, Tls, answer, ask, connect, ended, get, http2, open, start, until, whoami,
    within,
};

#[tokio::test]
async fn a_server_that_stops_answers_what_is_in_flight_and_ends_what_is_not() {
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&begun), Arc::clone(&go_on));
    let waits = service_fn(move |request: http::Request<_>| {
        let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
        async move {
            if request.uri().path() == "/wait" {
                tell.notify_one();
                wait.notified().await;
            }
            whoami(request).await
        }
    });
    let mut running = start(open(), waits).await;
    let address = running.address;
    let mut idle = connect(address).await;
    ask(&mut idle, GET).await;
    let mut silent = connect(address).await;
    let mut in_flight = connect(address).await;
    let request = b"GET /wait HTTP/1.1\r\nhost: localhost\r\n\r\n";
    in_flight.write_all(request).await.unwrap();
    within(begun.notified()).await;
    let (mut sender, connection) = http2(connect(address).await).await;
    let mut request = get();
    *request.uri_mut() = "http://localhost/wait".parse().unwrap();
    let stream = tokio::spawn(sender.send_request(request));
    within(begun.notified()).await;

    running.begin_stop();
    ended(&mut idle).await;
    ended(&mut silent).await;
    until("the port is closed", || {
        std::net::TcpStream::connect(address).is_err()
    })
    .await;
    go_on.notify_one();
    go_on.notify_one();
    let answered = tokio::spawn(async move { answer(&mut in_flight).await });
    until("both go on", || {
        go_on.notify_one();
        answered.is_finished() && stream.is_finished()
    })
    .await;
    let answered = within(answered).await.unwrap().unwrap();
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
    assert!(answered.contains("connection: close"), "{answered}");
    assert_eq!(within(stream).await.unwrap().unwrap().status(), 200);
    within(connection).await.unwrap().unwrap();
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_of_http_2_that_answers_no_ping_does_not_hold_up_the_end() {
    let mut running = start(open(), service_fn(whoami)).await;
    let mut client = connect(running.address).await;
    client
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    // SETTINGS, without any.
    client
        .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
        .await
        .unwrap();
    let mut head = [0; 9];
    within(client.read_exact(&mut head)).await.unwrap();
    let stopped = Instant::now();
    running.begin_stop();
    running.stop().await.unwrap();
    assert!(stopped.elapsed() < GENEROUS / 2, "{:?}", stopped.elapsed());
}

#[tokio::test]
async fn what_is_in_flight_when_the_drains_time_is_over_is_cut() {
    let begun = Arc::new(Notify::new());
    let tell = Arc::clone(&begun);
    let never = service_fn(move |request| {
        tell.notify_one();
        async move {
            std::future::pending::<()>().await;
            whoami(request).await
        }
    });
    let server = open().with_drain_deadline(SHORT);
    let running = start(server, never).await;
    let mut client = connect(running.address).await;
    client.write_all(GET).await.unwrap();
    within(begun.notified()).await;
    let stopped = Instant::now();
    let unfinished = running.stop().await.unwrap_err();
    assert_eq!(unfinished.connections, 1);
    assert!(stopped.elapsed() >= SHORT);
    ended(&mut client).await;
}

#[tokio::test]
async fn a_handshake_in_flight_does_not_hold_up_the_end() {
    let tls = Tls::new();
    let running = start(tls.open(), service_fn(whoami)).await;
    let mut half_open = connect(running.address).await;
    // The server has accepted what was there before this is answered.
    let mut client = tls.connect(running.address, "http/1.1").await.unwrap();
    ask(&mut client, GET).await;
    let stopped = Instant::now();
    running.stop().await.unwrap();
    assert!(stopped.elapsed() < Duration::from_secs(10));
    ended(&mut half_open).await;
}

#[tokio::test]
async fn a_server_that_is_dropped_ends_its_connections() {
    let running = start(open(), service_fn(whoami)).await;
    let mut client: TcpStream = connect(running.address).await;
    ask(&mut client, GET).await;
    drop(running);
    ended(&mut client).await;
}
