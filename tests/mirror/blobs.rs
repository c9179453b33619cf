//! end-1, end-2, end-10, end-11.

use reqwest::Method;

use crate::support::{Data, Server, assert_error, header, noise, sha256};

#[tokio::test]
async fn the_api_says_that_it_is_there() {
    let data = Data::new();
    let server = Server::start(&data).await;
    for path in ["/v2/", "/v2"] {
        let response = server.get(path).await;
        assert_eq!(response.status(), 200);
        assert_eq!(
            header(&response, "docker-distribution-api-version"),
            "registry/2.0"
        );
        assert_eq!(response.text().await.unwrap(), "{}");
    }
    assert_eq!(server.head("/v2/").await.status(), 200);
    assert_eq!(server.get("/").await.status(), 404);
}

#[tokio::test]
async fn a_blob_comes_back_byte_for_byte() {
    let data = Data::new();
    let server = Server::start(&data).await;
    for size in [0, 1, 65_536, 3_000_001] {
        let content = noise(size);
        let digest = server.push_blob("a/b", &content).await;
        let path = format!("/v2/a/b/blobs/{digest}");
        let head = server.head(&path).await;
        assert_eq!(head.status(), 200);
        assert_eq!(header(&head, "content-length"), size.to_string());
        assert_eq!(header(&head, "docker-content-digest"), digest.to_string());
        let get = server.get(&path).await;
        assert_eq!(get.status(), 200);
        assert_eq!(header(&get, "content-length"), size.to_string());
        assert_eq!(header(&get, "docker-content-digest"), digest.to_string());
        assert_eq!(header(&get, "accept-ranges"), "bytes");
        assert_eq!(header(&get, "content-type"), "application/octet-stream");
        assert!(get.bytes().await.unwrap() == content);
    }
}

#[tokio::test]
async fn a_range_gives_that_part() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let content = noise(200_000);
    let digest = server.push_blob("a", &content).await;
    let path = format!("/v2/a/blobs/{digest}");
    for (range, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=100000-", 100_000, 200_000),
        ("bytes=-7", 199_993, 200_000),
        ("bytes=70000-140000", 70_000, 140_001),
        ("bytes=199999-300000", 199_999, 200_000),
    ] {
        let request = server.request(Method::GET, &path).header("range", range);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 206, "{range}");
        let expected = format!("bytes {start}-{}/200000", end - 1);
        assert_eq!(header(&response, "content-range"), expected);
        assert_eq!(
            header(&response, "content-length"),
            (end - start).to_string()
        );
        assert!(
            response.bytes().await.unwrap() == content[start..end],
            "{range}"
        );
    }
    let request = server.request(Method::GET, &path);
    let response = request
        .header("range", "bytes=200000-")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 416);
    assert_eq!(header(&response, "content-range"), "bytes */200000");
    let request = server.request(Method::GET, &path);
    let response = request
        .header("range", "bytes=0-1,5-6")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_range_counts_only_while_the_entity_tag_is_the_same() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let digest = server.push_blob("a", b"content").await;
    let path = format!("/v2/a/blobs/{digest}");
    let etag = header(&server.head(&path).await, "etag");
    assert_eq!(etag, format!("\"{digest}\""));
    for (condition, status) in [(etag.as_str(), 206), ("\"other\"", 200), ("W/\"x\"", 200)] {
        let request = server
            .request(Method::GET, &path)
            .header("range", "bytes=1-2");
        let response = request.header("if-range", condition).send().await.unwrap();
        assert_eq!(response.status(), status, "{condition}");
    }
    let request = server.request(Method::GET, &path);
    let response = request.header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(response.status(), 304);
}

#[tokio::test]
async fn a_blob_that_is_not_there_is_unknown() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let path = format!("/v2/a/blobs/{}", sha256(b"nothing"));
    assert_error(server.get(&path).await, 404, "BLOB_UNKNOWN").await;
    assert_eq!(server.head(&path).await.status(), 404);
    assert_error(server.delete(&path).await, 404, "BLOB_UNKNOWN").await;
    let response = server.get("/v2/a/blobs/sha256:short").await;
    assert_error(response, 400, "DIGEST_INVALID").await;
}

#[tokio::test]
async fn a_blob_is_served_under_no_other_name_than_those_that_have_it() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let digest = server.push_blob("secret", b"content").await;
    for path in ["/v2/public", "/v2/secret/more", "/v2/se"] {
        let path = format!("{path}/blobs/{digest}");
        assert_error(server.get(&path).await, 404, "BLOB_UNKNOWN").await;
        assert_eq!(server.head(&path).await.status(), 404);
        assert_error(server.delete(&path).await, 404, "BLOB_UNKNOWN").await;
    }
    assert_eq!(
        server
            .get(&format!("/v2/secret/blobs/{digest}"))
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn a_mount_gives_a_blob_to_another_repository() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let digest = server.push_blob("from/here", b"content").await;
    let path = format!("/v2/to/there/blobs/uploads/?mount={digest}&from=from/here");
    let response = server.post(&path, "").await;
    assert_eq!(response.status(), 201);
    let location = header(&response, "location");
    assert_eq!(location, format!("/v2/to/there/blobs/{digest}"));
    assert_eq!(server.get(&location).await.text().await.unwrap(), "content");
    assert_eq!(data.files("blobs").len(), 1);
}

#[tokio::test]
async fn a_mount_of_what_the_source_lacks_begins_an_upload() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let digest = server.push_blob("secret", b"content").await;
    // Not from where it is, and not from anywhere.
    for query in [
        format!("mount={digest}&from=elsewhere"),
        format!("mount={digest}"),
        format!("mount={}&from=secret", sha256(b"other")),
    ] {
        let response = server
            .post(&format!("/v2/a/blobs/uploads/?{query}"), "")
            .await;
        assert_eq!(response.status(), 202, "{query}");
        assert!(header(&response, "location").starts_with("/v2/a/blobs/uploads/"));
    }
    assert_eq!(
        server.get(&format!("/v2/a/blobs/{digest}")).await.status(),
        404
    );
}

#[tokio::test]
async fn a_deleted_blob_stays_where_another_repository_has_it() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let digest = server.push_blob("a", b"content").await;
    server.push_blob("b", b"content").await;
    assert_eq!(
        server
            .delete(&format!("/v2/a/blobs/{digest}"))
            .await
            .status(),
        202
    );
    assert_eq!(
        server.get(&format!("/v2/a/blobs/{digest}")).await.status(),
        404
    );
    assert_eq!(
        server.get(&format!("/v2/b/blobs/{digest}")).await.status(),
        200
    );
    assert_eq!(data.files("blobs").len(), 1);
    assert_eq!(
        server
            .delete(&format!("/v2/b/blobs/{digest}"))
            .await
            .status(),
        202
    );
    assert_eq!(data.files("blobs").len(), 0);
}

#[tokio::test]
async fn a_method_that_an_endpoint_has_not_is_refused() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let digest = sha256(b"");
    for (method, path) in [
        (Method::POST, "/v2/".to_owned()),
        (Method::PUT, format!("/v2/a/blobs/{digest}")),
        (Method::PATCH, "/v2/a/manifests/tag".to_owned()),
        (Method::DELETE, "/v2/a/tags/list".to_owned()),
        (Method::OPTIONS, "/v2/a/tags/list".to_owned()),
    ] {
        let response = server.request(method.clone(), &path).send().await.unwrap();
        assert!(header(&response, "allow").starts_with("GET, HEAD"));
        assert_error(response, 405, "UNSUPPORTED").await;
    }
}

#[tokio::test]
async fn an_extension_that_is_not_there_is_not_found() {
    let data = Data::new();
    let server = Server::start(&data).await;
    for path in [
        "/v2/_oci/ext/discover",
        "/v2/a/_oci/ext/discover",
        "/metrics",
    ] {
        assert_eq!(server.get(path).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn a_name_that_is_no_name_is_refused() {
    let data = Data::new();
    let server = Server::start(&data).await;
    for path in [
        "/v2/UPPER/tags/list",
        "/v2/_tags/tags/list",
        "/v2/.hidden/tags/list",
    ] {
        let response = server.get(path).await;
        assert!(response.status().is_client_error(), "{path}");
    }
    // As a client without manners would send it.
    let request = "GET /v2/a/../b/tags/list HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = crate::uploads::raw(server.address, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(data.files("repositories").len(), 0);
}
