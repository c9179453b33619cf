//! Over sockets.

use std::time::{Duration, Instant};

use portcullis::source::{Networks, SourceLayer};
use tokio::io::AsyncWriteExt;
use tower::{Layer, ServiceBuilder, service_fn};

use super::support::{Client, TOKEN, guard, head, measure, serve};

/// From nothing to a megabyte.
const SIZES: [usize; 14] = [
    0, 1, 100, 1_000, 8_000, 16_000, 60_000, 65_536, 100_000, 200_000, 262_144, 262_145, 500_000,
    1_000_000,
];

/// A quarter of a mebibyte.
const DRAINED: usize = 256 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upload_gets_its_answer_and_the_connection_is_kept_or_its_end_announced() {
    let address = serve(guard().layer(service_fn(measure))).await;
    let mut client = Client::new(address).await;
    let (mut kept, mut announced) = (0, 0);
    for size in SIZES.into_iter().cycle().take(140) {
        let body = vec![7; size];
        let answer = client.put(None, &body).await;
        let answer = answer.unwrap_or_else(|| panic!("no answer to {size} bytes"));
        assert_eq!(answer.status, 401, "{size}");
        assert!(answer.body.starts_with(b"{\"errors\""), "{size}");
        // What is small is read, and its connection is good for more.
        assert_eq!(answer.closes, size > DRAINED, "{size}");
        if answer.closes {
            announced += 1;
            client = Client::new(address).await;
        } else {
            kept += 1;
        }
        // The next request is answered on its own.
        let next = client.put(Some(TOKEN), b"0123456789").await.unwrap();
        assert_eq!((next.status, &*next.body), (200, &b"10"[..]), "{size}");
    }
    assert_eq!((kept, announced), (110, 30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_alone_keeps_the_connection_of_what_it_refuses_too() {
    let nobody = SourceLayer::new(Networks::allow(["192.0.2.0/24".parse().unwrap()]));
    let service = ServiceBuilder::new().layer(nobody).service_fn(
        async |_| -> Result<http::Response<String>, std::convert::Infallible> {
            unreachable!("it was let in")
        },
    );
    let address = serve(service).await;
    let mut client = Client::new(address).await;
    for size in [0, 100, 100_000, DRAINED].into_iter().cycle().take(40) {
        let answer = client.put(None, &vec![7; size]).await.unwrap();
        assert_eq!((answer.status, answer.closes), (403, false), "{size}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_without_end_are_read_up_to_the_bound_and_the_close_is_announced() {
    let address = serve(guard().layer(service_fn(measure))).await;
    let mut client = Client::new(address).await;
    let head = head(None, "Transfer-Encoding: chunked");
    client.0.write_all(head.as_bytes()).await.unwrap();
    let chunk = [&b"4000\r\n"[..], &[7; 0x4000], b"\r\n"].concat();
    for _ in 0..=DRAINED / 0x4000 {
        client.0.write_all(&chunk).await.unwrap();
    }
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status, answer.closes), (401, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_waits_to_be_asked_for_is_refused_at_once_and_the_close_announced() {
    let address = serve(guard().layer(service_fn(measure))).await;
    let mut client = Client::new(address).await;
    let begun = Instant::now();
    let head = head(None, "Content-Length: 1000\r\nExpect: 100-continue");
    client.0.write_all(head.as_bytes()).await.unwrap();
    // It is the final answer, not a `100`.
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status, answer.closes), (401, true));
    assert!(begun.elapsed() < Duration::from_secs(2));
}

/// A client that sends without pause costs two seconds and a frame, however many of them there are.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refused_uploads_is_over_after_the_bound() {
    const CLIENTS: usize = 200;
    let address = serve(guard().layer(service_fn(measure))).await;
    let begun = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(async move {
            let mut client = Client::new(address).await;
            let head = head(None, "Transfer-Encoding: chunked");
            client.0.write_all(head.as_bytes()).await.unwrap();
            // Some say nothing at all, some a byte now and then.
            let (read, mut write) = client.0.split();
            let trickle = async {
                while number % 2 == 0 && write.write_all(b"1\r\nx\r\n").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                std::future::pending().await
            };
            let read = async {
                let answer = super::support::read_answer(read).await;
                answer.unwrap_or_else(|| panic!("no answer to {number}"))
            };
            let answer = tokio::select! {
                answer = read => answer,
                never = trickle => never,
            };
            assert_eq!((answer.status, answer.closes), (401, true));
            begun.elapsed()
        });
    }
    let took = clients.join_all().await;
    let first = took.iter().min().unwrap();
    assert!(*first >= Duration::from_secs(2), "{first:?}");
    // All at once, not one after another; the machine may be busy.
    let last = took.iter().max().unwrap();
    assert!(*last < Duration::from_secs(30), "{last:?}");
}
