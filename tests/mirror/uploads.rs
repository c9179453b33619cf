//! end-4, end-5, end-6, end-13, end-14.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Data, Server, assert_error, header, noise, sha256, sha512};

/// Sends bytes and reads until the server closes.
pub(crate) async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends `sent` of a body of `length` bytes and goes away.
async fn cut(server: &Server, method: &str, path: &str, headers: &str, sent: &[u8], length: usize) {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(sent).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    // The server may well reset a connection that it gave up.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 2"));
}

/// Waits until the upload has this many bytes.
async fn wait_for(server: &Server, location: &str, length: usize) {
    let expected = format!("0-{}", length - 1);
    loop {
        let status = server.get(location).await;
        assert_eq!(status.status(), 204);
        if header(&status, "range") == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn post_then_put_stores_a_blob() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let content = noise(1_500_000);
    let digest = sha256(&content);
    let location = server.begin("a/b").await;
    let response = server.put(&location, &digest, &content).await;
    assert_eq!(response.status(), 201);
    assert_eq!(
        header(&response, "location"),
        format!("/v2/a/b/blobs/{digest}")
    );
    assert_eq!(
        header(&response, "docker-content-digest"),
        digest.to_string()
    );
    let blob = server.get(&header(&response, "location")).await;
    assert!(blob.bytes().await.unwrap() == content);
    assert_error(server.get(&location).await, 404, "BLOB_UPLOAD_UNKNOWN").await;
    assert_eq!(data.files("uploads").len(), 0);
}

#[tokio::test]
async fn a_blob_may_be_addressed_by_sha512() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let digest = sha512(b"content");
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    assert_eq!(server.post(&path, "content").await.status(), 201);
    let blob = server.get(&format!("/v2/a/blobs/{digest}")).await;
    assert_eq!(header(&blob, "docker-content-digest"), digest.to_string());
    // Announced at the start, or not until the end.
    for query in ["?digest-algorithm=sha512", ""] {
        let response = server
            .post(&format!("/v2/b/blobs/uploads/{query}"), "")
            .await;
        assert_eq!(response.status(), 202);
        let location = header(&response, "location");
        assert_eq!(server.patch(&location, None, b"con").await.status(), 202);
        let response = server.put(&location, &digest, b"tent").await;
        assert_eq!(response.status(), 201);
    }
    let response = server
        .post("/v2/b/blobs/uploads/?digest-algorithm=md5", "")
        .await;
    assert_error(response, 400, "DIGEST_INVALID").await;
}

#[tokio::test]
async fn chunks_make_a_blob() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let content = noise(300_000);
    let location = server.begin("a").await;
    let first = server
        .patch(&location, Some("0-99999"), &content[..100_000])
        .await;
    assert_eq!(first.status(), 202);
    assert_eq!(header(&first, "range"), "0-99999");
    let location = header(&first, "location");
    let second = server
        .patch(&location, Some("100000-249999"), &content[100_000..250_000])
        .await;
    assert_eq!(header(&second, "range"), "0-249999");
    let status = server.get(&location).await;
    assert_eq!(status.status(), 204);
    assert_eq!(header(&status, "range"), "0-249999");
    assert_eq!(header(&status, "location"), location);
    let path = format!("{location}?digest={}", sha256(&content));
    let last = server
        .request(Method::PUT, &path)
        .header("content-range", "250000-299999");
    let last = last.body(content[250_000..].to_vec()).send().await.unwrap();
    assert_eq!(last.status(), 201);
    let blob = server.get(&header(&last, "location")).await;
    assert!(blob.bytes().await.unwrap() == content);
}

#[tokio::test]
async fn a_chunk_out_of_order_is_refused_and_changes_nothing() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let location = server.begin("a").await;
    let response = server.patch(&location, Some("5-6"), b"xx").await;
    assert_eq!(header(&response, "range"), "0-0");
    assert_error(response, 416, "BLOB_UPLOAD_INVALID").await;
    assert_eq!(
        server
            .patch(&location, Some("0-4"), b"01234")
            .await
            .status(),
        202
    );
    for range in ["0-4", "4-5", "6-7"] {
        let response = server.patch(&location, Some(range), b"xx").await;
        assert_eq!(header(&response, "range"), "0-4");
        assert_eq!(header(&response, "location"), location);
        assert_error(response, 416, "BLOB_UPLOAD_INVALID").await;
    }
    let path = format!("{location}?digest={}", sha256(b"01234xx"));
    let put = server
        .request(Method::PUT, &path)
        .header("content-range", "6-7");
    let response = put.body("xx").send().await.unwrap();
    assert_error(response, 416, "BLOB_UPLOAD_INVALID").await;
    assert_eq!(header(&server.get(&location).await, "range"), "0-4");
}

#[tokio::test]
async fn a_content_range_that_is_none_is_refused() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let location = server.begin("a").await;
    for range in [
        "",
        "0",
        "a-b",
        "bytes 0-1/2",
        "1-0",
        "0--1",
        "+0-1",
        "0-18446744073709551615",
    ] {
        let response = server.patch(&location, Some(range), b"xx").await;
        assert_error(response, 400, "BLOB_UPLOAD_INVALID").await;
    }
    let response = server.patch(&location, Some("0-4"), b"xx").await;
    assert_error(response, 400, "SIZE_INVALID").await;
    // Without Content-Length the body itself shows that it is not what was promised.
    for body in ["xx", "xxxxxxxx"] {
        let pieces = futures_util::stream::iter([Ok::<_, std::io::Error>(body)]);
        let request = server
            .request(Method::PATCH, &location)
            .header("content-range", "0-4");
        let request = request.body(reqwest::Body::wrap_stream(pieces));
        assert_error(request.send().await.unwrap(), 400, "SIZE_INVALID").await;
        assert_eq!(header(&server.get(&location).await, "range"), "0-0");
    }
    let response = server.put(&location, sha256(b"right"), b"right").await;
    assert_eq!(response.status(), 201);
}

#[tokio::test]
async fn content_of_another_digest_is_not_stored() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let digest = sha256(b"right");
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    assert_error(server.post(&path, "wrong").await, 400, "DIGEST_INVALID").await;
    let location = server.begin("a").await;
    let response = server.put(&location, &digest, b"wrong").await;
    assert_error(response, 400, "DIGEST_INVALID").await;
    assert_eq!(
        server.get(&format!("/v2/a/blobs/{digest}")).await.status(),
        404
    );
    for part in ["blobs", "tmp", "uploads", "repositories"] {
        assert_eq!(data.files(part), Vec::<std::path::PathBuf>::new());
    }
}

#[tokio::test]
async fn a_put_without_a_usable_digest_is_refused_and_the_upload_goes_on() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let location = server.begin("a").await;
    for digest in [
        "",
        "sha256:",
        "sha256:ABC",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
    ] {
        let response = server.put(&location, digest, b"x").await;
        assert!(response.status() == 400, "{digest}");
    }
    let request = server.request(Method::PUT, &location).body("x");
    assert_error(request.send().await.unwrap(), 400, "DIGEST_INVALID").await;
    let response = server.put(&location, sha256(b"y"), b"y").await;
    assert_eq!(response.status(), 201);
}

#[tokio::test]
async fn a_cut_upload_leaves_no_blob_and_a_cut_post_nothing_at_all() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let content = noise(400_000);
    let digest = sha256(&content);
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    cut(
        &server,
        "POST",
        &path,
        "",
        &content[..300_000],
        content.len(),
    )
    .await;
    let location = server.begin("a").await;
    let path = format!("{location}?digest={digest}");
    cut(
        &server,
        "PUT",
        &path,
        "",
        &content[..300_000],
        content.len(),
    )
    .await;
    wait_for(&server, &location, 300_000).await;
    assert_eq!(
        server.get(&format!("/v2/a/blobs/{digest}")).await.status(),
        404
    );
    assert_eq!(data.files("blobs").len(), 0);
    while !data.files("tmp").is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_cut_chunk_goes_on_where_it_ended() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let content = noise(400_000);
    let location = server.begin("a").await;
    let headers = "content-range: 0-399999\r\n";
    cut(
        &server,
        "PATCH",
        &location,
        headers,
        &content[..250_000],
        content.len(),
    )
    .await;
    wait_for(&server, &location, 250_000).await;
    let rest = server
        .patch(&location, Some("250000-399999"), &content[250_000..])
        .await;
    assert_eq!(rest.status(), 202);
    let response = server.put(&location, sha256(&content), b"").await;
    assert_eq!(response.status(), 201);
    let blob = server.get(&header(&response, "location")).await;
    assert!(blob.bytes().await.unwrap() == content);
}

#[tokio::test]
async fn only_one_request_writes_to_an_upload_at_a_time() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let location = server.begin("a").await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    let head =
        format!("PATCH {location} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    slow.write_all(head.as_bytes()).await.unwrap();
    // Only half of it is written at once, so look until the first has it.
    loop {
        let response = server.patch(&location, None, b"").await;
        if response.status() == 409 {
            assert_error(response, 409, "BLOB_UPLOAD_INVALID").await;
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    slow.write_all(b"3\r\nabc\r\n0\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 202");
    assert_eq!(
        server.put(&location, sha256(b"abc"), b"").await.status(),
        201
    );
}

#[tokio::test]
async fn an_upload_can_be_given_up() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let location = server.begin("a").await;
    server.patch(&location, None, b"something").await;
    assert_eq!(server.delete(&location).await.status(), 204);
    for response in [
        server.get(&location).await,
        server.delete(&location).await,
        server.patch(&location, None, b"x").await,
        server.put(&location, sha256(b"x"), b"x").await,
    ] {
        assert_error(response, 404, "BLOB_UPLOAD_UNKNOWN").await;
    }
    assert_eq!(data.files("uploads").len(), 0);
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let location = server.begin("mine").await;
    let other = location.replace("/mine/", "/yours/");
    for response in [
        server.get(&other).await,
        server.delete(&other).await,
        server.patch(&other, None, b"x").await,
        server.put(&other, sha256(b"x"), b"x").await,
        server.get("/v2/mine/blobs/uploads/about").await,
        server
            .get("/v2/mine/blobs/uploads/00000000000000000000000000000000")
            .await,
    ] {
        assert_error(response, 404, "BLOB_UPLOAD_UNKNOWN").await;
    }
    assert_eq!(server.get(&location).await.status(), 204);
}

#[tokio::test]
async fn two_uploads_of_the_same_content_are_one_blob() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let content = noise(700_000);
    let pushes = (0..8).map(|number| {
        let (server, content) = (&server, &content);
        async move { server.push_blob(&format!("r{}", number % 3), content).await }
    });
    futures_util::future::join_all(pushes).await;
    assert_eq!(data.files("blobs").len(), 1);
    assert_eq!(data.files("tmp").len(), 0);
}

#[tokio::test]
async fn an_upload_that_nobody_goes_on_with_expires() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let location = server.begin("a").await;
    let uploads = &server.registry().uploads;
    assert_eq!(
        uploads.expire(Duration::from_secs(60 * 60)).await.unwrap(),
        0
    );
    assert_eq!(server.get(&location).await.status(), 204);
    assert_eq!(uploads.expire(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(server.get(&location).await.status(), 404);
    assert_eq!(data.files("uploads").len(), 0);
}
