//! Pull-through: what the mirror lacks comes from upstream.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method as AxumMethod, StatusCode};
use axum::response::{IntoResponse as _, Response as AxumResponse};
use axum::routing::any;
use reqwest::Method;
use tokio::sync::mpsc;

use crate::support::{Data, INDEX, LONG, MANIFEST, Server, assert_error, header, noise, sha256};

/// What an upstream was asked: method and path.
pub(crate) type Asked = Arc<Mutex<Vec<(String, HeaderMap)>>>;

/// An upstream that answers by a function and remembers what it was asked.
pub(crate) async fn upstream<F>(answer: F) -> (Server, Asked)
where
    F: Fn(&AxumMethod, &str) -> AxumResponse + Clone + Send + Sync + 'static,
{
    let asked = Asked::default();
    let log = Arc::clone(&asked);
    let handler = move |request: Request| async move {
        let path = request.uri().to_string();
        let line = format!("{} {path}", request.method());
        log.lock().unwrap().push((line, request.headers().clone()));
        answer(request.method(), &path)
    };
    let router = Router::new().fallback(any(handler));
    (Server::serve(router).await, asked)
}

pub(crate) fn lines(asked: &Asked) -> Vec<String> {
    let asked = asked.lock().unwrap();
    asked.iter().map(|(line, _)| line.clone()).collect()
}

#[tokio::test]
async fn an_image_is_pulled_through_and_then_kept() {
    let (there, here) = (Data::new(), Data::new());
    let upstream = Server::start(&there).await;
    let layer = noise(2_000_000);
    let (manifest, digest) = upstream.push_image("lib/busybox", "1", &layer).await;
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let blob = format!("/v2/lib/busybox/blobs/{}", sha256(&layer));
    let head = mirror.head(&blob).await;
    assert_eq!(head.status(), 200);
    assert_eq!(header(&head, "content-length"), "2000000");
    let head = mirror.head("/v2/lib/busybox/manifests/1").await;
    assert_eq!(header(&head, "docker-content-digest"), digest.to_string());
    for round in ["from upstream", "from here"] {
        let get = mirror.get("/v2/lib/busybox/manifests/1").await;
        assert_eq!(header(&get, "content-type"), MANIFEST, "{round}");
        assert_eq!(get.bytes().await.unwrap(), manifest, "{round}");
        let get = mirror.get(&blob).await;
        assert_eq!(get.status(), 200);
        assert_eq!(header(&get, "content-length"), "2000000", "{round}");
        assert!(get.bytes().await.unwrap() == layer, "{round}");
        if round == "from upstream" {
            let by_digest = mirror
                .get(&format!("/v2/lib/busybox/manifests/{digest}"))
                .await;
            assert_eq!(by_digest.bytes().await.unwrap(), manifest);
            upstream.delete("/v2/lib/busybox/manifests/1").await;
            upstream.delete(&blob).await;
        }
    }
    assert_eq!(here.files("tmp").len(), 0);
}

#[tokio::test]
async fn what_upstream_has_not_is_not_here() {
    let (there, here) = (Data::new(), Data::new());
    let upstream = Server::start(&there).await;
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let digest = sha256(b"nothing");
    assert_error(
        mirror.get("/v2/a/manifests/tag").await,
        404,
        "MANIFEST_UNKNOWN",
    )
    .await;
    let path = format!("/v2/a/manifests/{digest}");
    assert_error(mirror.get(&path).await, 404, "MANIFEST_UNKNOWN").await;
    let path = format!("/v2/a/blobs/{digest}");
    assert_error(mirror.get(&path).await, 404, "BLOB_UNKNOWN").await;
    assert_eq!(mirror.head(&path).await.status(), 404);
    assert_eq!(here.files("repositories").len(), 0);
}

#[tokio::test]
async fn the_first_bytes_arrive_before_the_last_are_sent_and_all_readers_share_one_transfer() {
    let content = noise(600_000);
    let digest = sha256(&content);
    let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(64);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let fetches = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fetches);
    let (upstream, _) = upstream(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        let Some(receiver) = receiver.lock().unwrap().take() else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        });
        ([("content-length", "600000")], Body::from_stream(stream)).into_response()
    })
    .await;
    let here = Data::new();
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let path = format!("/v2/a/blobs/{digest}");
    let piece = |range: std::ops::Range<usize>| Ok(Bytes::copy_from_slice(&content[range]));
    sender.send(piece(0..200_000)).await.unwrap();
    let mut early = mirror.get(&path).await;
    assert_eq!(early.status(), 200);
    let mut late = mirror.get(&path).await;
    let request = mirror
        .request(Method::GET, &path)
        .header("range", "bytes=250000-550000");
    let part = tokio::spawn(request.send());
    // A piece is passed on when another one has come after it.
    sender.send(piece(200_000..300_000)).await.unwrap();
    let mut seen = early.chunk().await.unwrap().unwrap().to_vec();
    assert!(content.starts_with(&seen));
    assert_eq!(here.files("blobs").len(), 0);
    sender.send(piece(300_000..600_000)).await.unwrap();
    drop(sender);
    while let Some(chunk) = early.chunk().await.unwrap() {
        seen.extend_from_slice(&chunk);
    }
    assert!(seen == content);
    let mut also = Vec::new();
    while let Some(chunk) = late.chunk().await.unwrap() {
        also.extend_from_slice(&chunk);
    }
    assert!(also == content);
    let part = part.await.unwrap().unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(header(&part, "content-range"), "bytes 250000-550000/600000");
    assert!(part.bytes().await.unwrap() == content[250_000..=550_000]);
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
    assert_eq!(here.files("blobs").len(), 1);
}

#[tokio::test]
async fn content_of_another_digest_is_cut_and_not_kept() {
    let wrong = noise(500_000);
    let sent = wrong.clone();
    let (upstream, _) = upstream(move |_, _| Bytes::from(sent.clone()).into_response()).await;
    let here = Data::new();
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let digest = sha256(b"right");
    let mut response = mirror.get(&format!("/v2/a/blobs/{digest}")).await;
    let mut seen = 0;
    let end = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => seen += chunk.len(),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    assert!(end.is_err(), "the client must see that the body is cut");
    assert!(seen < wrong.len());
    for part in ["blobs", "tmp", "repositories"] {
        assert_eq!(here.files(part).len(), 0, "{part}");
    }
}

#[tokio::test]
async fn the_last_piece_of_wrong_content_is_held_back_though_the_end_comes_later() {
    let wrong = noise(200_000);
    let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let (upstream, _) = upstream(move |_, _| {
        let Some(receiver) = receiver.lock().unwrap().take() else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        });
        Body::from_stream(stream).into_response()
    })
    .await;
    let here = Data::new();
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let piece = |range: std::ops::Range<usize>| Ok(Bytes::copy_from_slice(&wrong[range]));
    sender.send(piece(0..100_000)).await.unwrap();
    let path = format!("/v2/a/blobs/{}", sha256(b"right"));
    let mut get = mirror.get(&path).await;
    let mut seen = 0;
    // The first piece is passed on when the next one is there.
    sender.send(piece(100_000..150_000)).await.unwrap();
    while seen < 100_000 {
        seen += get.chunk().await.unwrap().unwrap().len();
    }
    sender.send(piece(150_000..200_000)).await.unwrap();
    while seen < 150_000 {
        seen += get.chunk().await.unwrap().unwrap().len();
    }
    drop(sender);
    assert!(get.chunk().await.is_err());
    assert_eq!(seen, 150_000);
}

#[tokio::test]
async fn a_blob_of_another_repository_is_given_only_if_upstream_says_so() {
    let (there, here) = (Data::new(), Data::new());
    let upstream = Server::start(&there).await;
    let digest = upstream.push_blob("secret", b"content").await;
    upstream.push_blob("shared", b"content").await;
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let get = |name: &'static str| {
        let path = format!("/v2/{name}/blobs/{digest}");
        let mirror = &mirror;
        async move { mirror.get(&path).await }
    };
    assert_eq!(get("secret").await.text().await.unwrap(), "content");
    assert_eq!(get("public").await.status(), 404);
    assert_eq!(get("shared").await.text().await.unwrap(), "content");
    assert_eq!(here.files("blobs").len(), 1);
}

#[tokio::test]
async fn nothing_of_the_client_goes_upstream() {
    let unknown = r#"{"errors":[{"code":"BLOB_UNKNOWN"}]}"#;
    let (upstream, asked) =
        upstream(move |_, _| (StatusCode::NOT_FOUND, unknown).into_response()).await;
    let here = Data::new();
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let blob = format!("/v2/a/blobs/{}", sha256(b""));
    for path in ["/v2/a/manifests/tag?ns=docker.io", &blob] {
        for method in [Method::GET, Method::HEAD] {
            let request = mirror.request(method, path);
            let request = request.header("authorization", "Bearer secret");
            let request = request
                .header("cookie", "secret")
                .header("x-registry-token", "secret");
            assert_eq!(request.send().await.unwrap().status(), 404);
        }
    }
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 4);
    for (line, headers) in asked.iter() {
        assert!(!line.contains('?'), "{line}");
        assert!(!headers.contains_key("authorization"));
        let secret = |value: &axum::http::HeaderValue| value.as_bytes() == b"secret";
        assert!(!headers.values().any(secret), "{headers:?}");
    }
}

#[tokio::test]
async fn an_anonymous_token_is_fetched_once_and_shown() {
    // The realm's address is known only when the server is up.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let log = Asked::default();
    let seen = Arc::clone(&log);
    let handler = move |request: Request| async move {
        let path = request.uri().to_string();
        seen.lock()
            .unwrap()
            .push((path.clone(), request.headers().clone()));
        if path.starts_with("/token") {
            return r#"{"token":"t0k","expires_in":300}"#.into_response();
        }
        let authorization = request.headers().get("authorization");
        if authorization.is_none_or(|value| value != "Bearer t0k") {
            let challenge = format!("Bearer realm=\"http://{address}/token\",service=\"reg\"");
            return (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response();
        }
        (
            [("content-type", INDEX)],
            r#"{"schemaVersion":2,"manifests":[]}"#,
        )
            .into_response()
    };
    let router = Router::new().fallback(any(handler));
    let task = tokio::spawn(async move { axum::serve(listener, router).await });
    let here = Data::new();
    let mirror = Server::mirror(&here, &format!("http://{address}"), LONG).await;
    for tag in ["one", "two"] {
        let response = mirror.get(&format!("/v2/lib/a/manifests/{tag}")).await;
        assert_eq!(response.status(), 200, "{tag}");
    }
    let tokens: Vec<String> = lines(&log)
        .into_iter()
        .filter(|line| line.starts_with("/token"))
        .collect();
    assert_eq!(
        tokens,
        ["/token?service=reg&scope=repository%3Alib%2Fa%3Apull"]
    );
    task.abort();
}

#[tokio::test]
async fn an_upstream_that_refuses_or_fails_is_told_apart() {
    for (status, expected, code) in [
        (401, 502, "UNAVAILABLE"),
        (403, 502, "UNAVAILABLE"),
        (429, 503, "UNAVAILABLE"),
        (500, 502, "UNAVAILABLE"),
        (503, 503, "UNAVAILABLE"),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let answer =
            move |_: &AxumMethod, _: &str| (status, [("retry-after", "7")]).into_response();
        let (upstream, _) = upstream(answer).await;
        let here = Data::new();
        let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
        let response = mirror.get("/v2/a/manifests/tag").await;
        if expected == 503 {
            assert_eq!(header(&response, "retry-after"), "7");
        }
        assert_error(response, expected, code).await;
    }
}

#[tokio::test]
async fn a_manifest_of_another_digest_is_not_given() {
    let content = r#"{"schemaVersion":2,"manifests":[]}"#;
    let answer =
        move |_: &AxumMethod, _: &str| ([("content-type", INDEX)], content).into_response();
    let (upstream, _) = upstream(answer).await;
    let here = Data::new();
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let response = mirror
        .get(&format!("/v2/a/manifests/{}", sha256(b"right")))
        .await;
    assert_error(response, 502, "UNAVAILABLE").await;
    assert_eq!(here.files("repositories").len(), 0);
    let right = format!("/v2/a/manifests/{}", sha256(content.as_bytes()));
    assert_eq!(mirror.get(&right).await.status(), 200);
}

#[tokio::test]
async fn a_blob_pulled_for_two_repositories_at_once_is_what_its_digest_says_in_both() {
    let (there, here) = (Data::new(), Data::new());
    let upstream = Server::start(&there).await;
    let content = noise(700_000);
    let digest = upstream.push_blob("a", &content).await;
    upstream.push_blob("b", &content).await;
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let pulls = ["a", "b", "a", "b"].map(|name| {
        let (mirror, path) = (&mirror, format!("/v2/{name}/blobs/{digest}"));
        async move { mirror.get(&path).await.bytes().await.unwrap() }
    });
    for pulled in futures_util::future::join_all(pulls).await {
        assert!(pulled == content);
    }
    assert_eq!(here.files("blobs").len(), 1);
    assert_eq!(here.files("tmp").len(), 0);
    let blob = std::fs::metadata(&here.files("blobs")[0]).unwrap();
    assert!(blob.permissions().readonly());
}

#[tokio::test]
async fn what_is_damaged_here_is_pulled_again() {
    let (there, here) = (Data::new(), Data::new());
    let upstream = Server::start(&there).await;
    let (manifest, _) = upstream.push_image("a", "tag", b"layer").await;
    upstream.push_blob("b", b"layer").await;
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let digest = sha256(b"layer");
    for (name, read) in [("a", "a"), ("a", "b")] {
        // To its end: what is kept is in place before the last byte is sent.
        for path in [format!("blobs/{digest}"), "manifests/tag".to_owned()] {
            let get = mirror.get(&format!("/v2/{name}/{path}")).await;
            assert_eq!(get.status(), 200);
            get.bytes().await.unwrap();
        }
        let files = here.files("blobs").into_iter();
        for path in files.chain(here.files("repositories/a/_manifests")) {
            if path.extension().is_none() {
                // Not in place: what is committed cannot be written to.
                std::fs::remove_file(&path).unwrap();
                std::fs::write(&path, "damage").unwrap();
            }
        }
        let link = here.link("a", &digest);
        std::fs::remove_file(&link).unwrap();
        std::fs::write(&link, "damage").unwrap();
        let blob = mirror.get(&format!("/v2/{read}/blobs/{digest}")).await;
        assert_eq!(blob.text().await.unwrap(), "layer", "{read}");
        let get = mirror.get("/v2/a/manifests/tag").await;
        assert_eq!(get.bytes().await.unwrap(), manifest);
    }
}
