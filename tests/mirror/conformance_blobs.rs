//! The ways to push a blob, to mount it, to read a part of it and to give it up: what the distribution-spec's
//! conformance suite tries of them.

use reqwest::{Body, Method, Response};

use crate::conformance::{NAME, Suite};
use crate::store::{Algorithm, Digest};
use crate::support::{assert_error, header, noise};

const OTHER: &str = "conformance/other";
const CHUNK: usize = 1024;

/// The ways to push a blob.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Post,
    PostPut,
    Stream,
    Chunks {
        last_in_put: bool,
        out_of_order: bool,
    },
}

const WAYS: [Way; 7] = [
    Way::Post,
    Way::PostPut,
    Way::Stream,
    Way::Chunks {
        last_in_put: false,
        out_of_order: false,
    },
    Way::Chunks {
        last_in_put: true,
        out_of_order: false,
    },
    Way::Chunks {
        last_in_put: false,
        out_of_order: true,
    },
    Way::Chunks {
        last_in_put: true,
        out_of_order: true,
    },
];

impl Suite {
    async fn patch(&self, location: &str, start: usize, chunk: &[u8]) -> Response {
        let range = format!("{start}-{}", start + chunk.len() - 1);
        self.server.patch(location, Some(&range), chunk).await
    }

    /// Pushes a blob; returns the last answer.
    pub(crate) async fn upload(&self, way: Way, content: &[u8], digest: &Digest) -> Response {
        if let Way::Post = way {
            let path = format!("/v2/{NAME}/blobs/uploads/?digest={digest}");
            return self.server.post(&path, content.to_vec()).await;
        }
        let mut location = self.server.begin(NAME).await;
        let (mut last, mut range) = (Vec::new(), None);
        match way {
            Way::Post => {}
            Way::PostPut => last = content.to_vec(),
            Way::Stream => {
                let pieces = content.chunks(100).map(|piece| Ok(piece.to_vec()));
                let pieces: Vec<std::io::Result<_>> = pieces.collect();
                let body = Body::wrap_stream(futures_util::stream::iter(pieces));
                let patch = self.server.request(Method::PATCH, &location).body(body);
                let patch = patch.send().await.unwrap();
                assert_eq!(patch.status(), 202);
                location = header(&patch, "location");
            }
            Way::Chunks {
                last_in_put,
                out_of_order,
            } => {
                let chunks: Vec<_> = content.chunks(CHUNK).collect();
                let in_put = usize::from(last_in_put);
                for (number, chunk) in chunks[..chunks.len() - in_put].iter().enumerate() {
                    let start = number * CHUNK;
                    if out_of_order && let Some(next) = chunks.get(number + 1) {
                        let early = self.patch(&location, start + CHUNK, next).await;
                        assert_eq!(early.status(), 416);
                    }
                    let patch = self.patch(&location, start, chunk).await;
                    assert_eq!(patch.status(), 202);
                    let so_far = format!("0-{}", start + chunk.len() - 1);
                    assert_eq!(header(&patch, "range"), so_far);
                    location = header(&patch, "location");
                    if out_of_order {
                        let again = self.patch(&location, start, chunk).await;
                        assert_eq!(again.status(), 416);
                        let status = self.server.get(&location).await;
                        assert_eq!(status.status(), 204);
                        assert_eq!(header(&status, "range"), so_far);
                        location = header(&status, "location");
                    }
                }
                if last_in_put {
                    last = chunks[chunks.len() - 1].to_vec();
                    let start = content.len() - last.len();
                    range = Some(format!("{start}-{}", content.len() - 1));
                }
            }
        }
        let path = format!("{location}?digest={digest}");
        let request = self.server.request(Method::PUT, &path);
        let request = match range {
            Some(range) => request.header("content-range", range),
            None => request,
        };
        request.body(last).send().await.unwrap()
    }

    pub(crate) async fn blobs(&self, algorithm: Algorithm) {
        let digest_of = |content: &[u8]| Digest::of(algorithm, content);
        let none = digest_of(b"none");
        self.lacks(&format!("blobs/{none}"), "BLOB_UNKNOWN").await;
        for (number, way) in WAYS.into_iter().enumerate() {
            // Of three chunks, the last of which is shorter; and what comes in one chunk.
            for length in [3 * CHUNK - 5 - number, 512 - number] {
                let content = noise(length);
                let digest = digest_of(&content);
                let push = self.upload(way, &content, &digest).await;
                assert_eq!(push.status(), 201, "{way:?}");
                let blob = self.server.get(&header(&push, "location")).await;
                assert!(blob.bytes().await.unwrap() == content, "{way:?}");
                self.has_blob(&content, &digest).await;
                let path = format!("blobs/{digest}");
                self.delete(&path, "BLOB_UNKNOWN").await;
                let wrong = [&content[..], b"oh no"].concat();
                let push = self.upload(way, &wrong, &digest).await;
                assert_error(push, 400, "DIGEST_INVALID").await;
                self.lacks(&path, "BLOB_UNKNOWN").await;
            }
        }
        for content in [&b""[..], b"{}"] {
            let digest = digest_of(content);
            let push = self.upload(Way::PostPut, content, &digest).await;
            assert_eq!(push.status(), 201);
            self.has_blob(content, &digest).await;
            self.delete(&format!("blobs/{digest}"), "BLOB_UNKNOWN")
                .await;
        }
        self.mounts(algorithm).await;
        self.cancel(algorithm).await;
        self.ranges(algorithm).await;
    }

    async fn mounts(&self, algorithm: Algorithm) {
        let content = noise(512);
        let digest = Digest::of(algorithm, &content);
        let push = self.upload(Way::PostPut, &content, &digest).await;
        assert_eq!(push.status(), 201);
        let mount = async |digest: &Digest, from: &str| {
            let path = format!("/v2/{OTHER}/blobs/uploads/?mount={digest}{from}");
            self.server.post(&path, "").await
        };
        let from = format!("&from={NAME}");
        // Anonymously nothing is mounted: that a digest is known gives no right to what it names.
        let none = Digest::of(algorithm, b"none");
        for (digest, from) in [(&none, &*from), (&digest, "")] {
            let answer = mount(digest, from).await;
            assert_eq!(answer.status(), 202);
            let location = header(&answer, "location");
            assert_eq!(self.server.get(&location).await.status(), 204);
        }
        let mounted = mount(&digest, &from).await;
        assert_eq!(mounted.status(), 201);
        let location = header(&mounted, "location");
        let blob = self.server.get(&location).await;
        assert!(blob.bytes().await.unwrap() == content);
        assert_eq!(self.server.delete(&location).await.status(), 202);
        self.has_blob(&content, &digest).await;
        self.delete(&format!("blobs/{digest}"), "BLOB_UNKNOWN")
            .await;
    }

    async fn cancel(&self, algorithm: Algorithm) {
        let content = noise(512);
        let location = self.server.begin(NAME).await;
        let patch = self.patch(&location, 0, &content).await;
        assert_eq!(patch.status(), 202);
        assert_eq!(self.server.delete(&location).await.status(), 204);
        assert_eq!(self.server.get(&location).await.status(), 404);
        let digest = Digest::of(algorithm, &content);
        let put = self.server.put(&location, &digest, b"").await;
        assert_error(put, 404, "BLOB_UPLOAD_UNKNOWN").await;
        self.lacks(&format!("blobs/{digest}"), "BLOB_UNKNOWN").await;
    }

    async fn ranges(&self, algorithm: Algorithm) {
        let content = noise(2048);
        let digest = Digest::of(algorithm, &content);
        let push = self.upload(Way::Post, &content, &digest).await;
        assert_eq!(push.status(), 201);
        let path = format!("/v2/{NAME}/blobs/{digest}");
        for (range, part) in [
            ("500-1499", Some(500..1500)),
            ("500-", Some(500..2048)),
            ("-500", Some(1548..2048)),
            ("2000-5000", Some(2000..2048)),
            ("500-0", None),
            ("5000-10000", None),
        ] {
            let request = self.server.request(Method::GET, &path);
            let request = request.header("range", format!("bytes={range}"));
            let response = request.send().await.unwrap();
            let Some(part) = part else {
                assert_eq!(response.status(), 416, "{range}");
                continue;
            };
            assert_eq!(response.status(), 206, "{range}");
            assert_eq!(header(&response, "content-length"), part.len().to_string());
            let place = format!("bytes {}-{}/2048", part.start, part.end - 1);
            assert_eq!(header(&response, "content-range"), place);
            assert!(response.bytes().await.unwrap() == content[part], "{range}");
        }
        self.delete(&format!("blobs/{digest}"), "BLOB_UNKNOWN")
            .await;
    }
}
