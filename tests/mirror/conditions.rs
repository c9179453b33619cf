//! Conditional requests (RFC 9110 §13), and what an answer tells a browser.

use axum::Router;
use axum::body::Body as AxumBody;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::any;
use futures_util::future::join_all;
use reqwest::{Method, Response};
use std::time::Duration;

use crate::support::{Data, INDEX, Server, assert_error, header, sha256};

const INDEX_TEXT: &[u8] = br#"{"schemaVersion":2,"manifests":[]}"#;

async fn ask(server: &Server, method: Method, path: &str, name: &str, value: &str) -> Response {
    let request = server.request(method, path).header(name, value);
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_condition_decides_before_anything_is_sent() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let blob = server.push_blob("a", b"content").await;
    server.put_manifest("a", "tag", INDEX, INDEX_TEXT).await;
    let manifest = sha256(INDEX_TEXT);
    for (path, digest) in [
        (format!("/v2/a/blobs/{blob}"), &blob),
        ("/v2/a/manifests/tag".to_owned(), &manifest),
        (format!("/v2/a/manifests/{manifest}"), &manifest),
    ] {
        let (own, weak) = (format!("\"{digest}\""), format!("W/\"{digest}\""));
        let two = format!("\"x\", {own}");
        for method in [Method::GET, Method::HEAD] {
            for (name, value, expected) in [
                ("if-none-match", &*own, 304),
                ("if-none-match", &*weak, 304),
                ("if-none-match", "*", 304),
                ("if-none-match", &*two, 304),
                ("if-none-match", "\"x\"", 200),
                ("if-match", &*own, 200),
                ("if-match", "*", 200),
                ("if-match", &*two, 200),
                ("if-match", "\"x\"", 412),
                // A weak tag never matches strongly.
                ("if-match", &*weak, 412),
                ("if-match", "garbage", 412),
            ] {
                let response = ask(&server, method.clone(), &path, name, value).await;
                assert_eq!(
                    response.status(),
                    expected,
                    "{method} {path} {name}: {value}"
                );
                if expected == 304 {
                    assert_eq!(header(&response, "etag"), own);
                }
            }
        }
        // It goes before what else is asked (RFC 9110 §13.2.2).
        let request = server
            .request(Method::GET, &path)
            .header("if-match", "\"x\"");
        let response = request.header("if-none-match", &own).send().await.unwrap();
        assert_error(response, 412, "UNSUPPORTED").await;
    }
}

#[tokio::test]
async fn a_condition_that_fails_keeps_a_manifest_as_it_is() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let path = "/v2/a/manifests/tag";
    let put = async |name: &str, value: &str| {
        let request = server.request(Method::PUT, path).header(name, value);
        let request = request.header("content-type", INDEX).body(INDEX_TEXT);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(put("if-match", "*").await, 412);
    assert_eq!(put("if-none-match", "*").await, 201);
    assert_eq!(put("if-none-match", "*").await, 412);
    let own = format!("\"{}\"", sha256(INDEX_TEXT));
    assert_eq!(put("if-match", &own).await, 201);
    assert_eq!(put("if-match", "\"other\"").await, 412);
    let delete = ask(&server, Method::DELETE, path, "if-match", "\"other\"").await;
    assert_error(delete, 412, "UNSUPPORTED").await;
    let delete = ask(&server, Method::DELETE, path, "if-match", &own).await;
    assert_eq!(delete.status(), 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_writers_that_saw_a_tag_as_it_is_one_wins() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let path = "/v2/a/manifests/tag";
    let index = |number: usize| {
        let text = r#"{"schemaVersion":2,"manifests":[],"annotations":{"n":"NUMBER"}}"#;
        text.replace("NUMBER", &number.to_string())
    };
    let change = async |method: Method, number: usize, seen: &Option<String>| {
        let request = server.request(method, path);
        let request = match seen {
            Some(seen) => request.header("if-match", seen),
            None => request.header("if-none-match", "*"),
        };
        let request = request.header("content-type", INDEX).body(index(number));
        request.send().await.unwrap().status().as_u16()
    };
    let mut seen = None;
    for round in 0..30 {
        // Every third time others would delete what they saw.
        let deletes = seen.is_some() && round % 3 == 0;
        let writers = (0..8).map(|writer| {
            let method = match deletes && writer % 2 == 0 {
                true => Method::DELETE,
                false => Method::PUT,
            };
            change(method, round * 8 + writer, &seen)
        });
        let answers = join_all(writers).await;
        let won: Vec<usize> = (0..8).filter(|at| answers[*at] != 412).collect();
        let [won] = won[..] else {
            panic!("round {round}: {answers:?}");
        };
        let get = server.get(path).await;
        if answers[won] == 202 {
            assert_eq!(get.status(), 404);
            seen = None;
        } else {
            assert_eq!(answers[won], 201);
            seen = Some(header(&get, "etag"));
            assert_eq!(get.text().await.unwrap(), index(round * 8 + won));
        }
    }
}

#[tokio::test]
async fn a_head_of_a_blob_without_a_known_length_says_none() {
    // Without `Content-Length`: the length is not known before the end.
    let handler = || async {
        let nothing = futures_util::stream::empty::<std::io::Result<Vec<u8>>>();
        (StatusCode::OK, AxumBody::from_stream(nothing)).into_response()
    };
    let upstream = Server::serve(Router::new().route("/{*path}", any(handler))).await;
    let data = Data::new();
    let mirror = Server::mirror(&data, &upstream.url(), Duration::ZERO).await;
    let path = format!("/v2/a/blobs/{}", sha256(b"unknown"));
    let head = mirror.head(&path).await;
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers().get("content-length"), None);
    let etag = format!("\"{}\"", sha256(b"unknown"));
    let head = ask(&mirror, Method::HEAD, &path, "if-none-match", &etag).await;
    assert_eq!(head.status(), 304);
}

#[tokio::test]
async fn a_browser_neither_guesses_a_type_nor_runs_anything() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let blob = server.push_blob("a", b"<script>alert(1)</script>").await;
    server.put_manifest("a", "tag", INDEX, INDEX_TEXT).await;
    let json = "application/json";
    for (path, media_type) in [
        (format!("/v2/a/blobs/{blob}"), "application/octet-stream"),
        ("/v2/a/manifests/tag".to_owned(), INDEX),
        ("/v2/a/tags/list".to_owned(), json),
        ("/v2/_catalog".to_owned(), json),
        (format!("/v2/a/referrers/{blob}"), INDEX),
        ("/v2/".to_owned(), json),
        ("/v2/a/manifests/none".to_owned(), json),
    ] {
        let get = server.get(&path).await;
        assert_eq!(header(&get, "content-type"), media_type, "{path}");
        assert_eq!(header(&get, "x-content-type-options"), "nosniff", "{path}");
        let policy = header(&get, "content-security-policy");
        assert_eq!(
            policy,
            "default-src 'none'; frame-ancestors 'none'; sandbox"
        );
    }
}
