//! An upstream that answers rightly until it is asked to misbehave.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use futures_util::stream;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::store::Digest;
use crate::support::{MANIFEST, Server, image, sha256};

/// How a request is answered that begins with a text.
#[derive(Clone)]
pub(crate) enum Fault {
    Status(u16),
    /// Anything: status, headers and body.
    Answer(u16, Vec<(&'static str, String)>, Bytes),
    /// The right headers and so many bytes of the right body.
    Cut(usize),
    /// The right headers, and a byte now and then.
    Trickle,
    /// The right answer when a permit is there.
    Hold(Arc<Semaphore>),
    /// Nothing at all.
    Silence,
    /// All of it, whatever range is asked for.
    NoRanges,
    /// Without its length.
    NoLength,
    /// Bytes without an end, as long as the flag is held elsewhere, too.
    Endless(Arc<()>),
}

impl Fault {
    /// A text of this type.
    pub(crate) fn text(status: u16, media_type: &str, body: impl Into<Bytes>) -> Self {
        let headers = vec![("content-type", media_type.to_owned())];
        Self::Answer(status, headers, body.into())
    }

    /// What a registry answers that does not give something.
    pub(crate) fn error(status: u16, code: &str) -> Self {
        let body = json!({"errors": [{"code": code, "message": "x"}]});
        Self::text(status, "application/json", body.to_string())
    }
}

#[derive(Clone)]
struct Rule {
    begins: String,
    fault: Fault,
    left: usize,
}

#[derive(Clone)]
struct Content {
    media_type: String,
    content: Bytes,
}

#[derive(Default)]
struct State {
    content: HashMap<String, Content>,
    rules: Vec<Rule>,
    asked: Vec<(String, HeaderMap)>,
    /// How often it was asked.
    count: usize,
    challenges: Vec<String>,
    grant: String,
    /// Of a hundred requests, how many are answered by a fault at random.
    faulty: usize,
}

pub(crate) struct Misbehaving {
    pub(crate) server: Server,
    state: Arc<Mutex<State>>,
}

impl Misbehaving {
    pub(crate) async fn start() -> Self {
        let state = Arc::new(Mutex::new(State {
            grant: r#"{"token":"t0k","expires_in":300}"#.to_owned(),
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        let handler = move |request: Request| {
            let shared = Arc::clone(&shared);
            let (head, _) = request.into_parts();
            async move { answer(&shared, &head).await }
        };
        let router = Router::new().fallback(any(handler));
        let server = Server::serve(router).await;
        Self { server, state }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// What is at a path.
    pub(crate) fn put(&self, path: &str, media_type: &str, content: impl Into<Bytes>) {
        let content = Content {
            media_type: media_type.to_owned(),
            content: content.into(),
        };
        self.state().content.insert(path.to_owned(), content);
    }

    pub(crate) fn put_blob(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = sha256(content);
        let path = format!("/v2/{repository}/blobs/{digest}");
        self.put(&path, "application/octet-stream", content.to_vec());
        digest
    }

    /// An image of one layer under a tag; returns its manifest and digest.
    pub(crate) fn put_image(&self, repository: &str, tag: &str, layer: &[u8]) -> (Vec<u8>, Digest) {
        let manifest = image(b"{}", layer, &json!({}));
        self.put_blob(repository, b"{}");
        self.put_blob(repository, layer);
        let digest = sha256(&manifest);
        for reference in [tag, &digest.to_string()] {
            let path = format!("/v2/{repository}/manifests/{reference}");
            self.put(&path, MANIFEST, manifest.clone());
        }
        (manifest, digest)
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state().content.remove(path);
    }

    /// Misbehaves at what begins with this: `GET /v2/a/`. The last rule that fits counts.
    pub(crate) fn at(&self, begins: &str, fault: Fault) {
        self.times(usize::MAX, begins, fault);
    }

    /// The same, so many times.
    pub(crate) fn times(&self, left: usize, begins: &str, fault: Fault) {
        let begins = begins.to_owned();
        self.state().rules.push(Rule {
            begins,
            fault,
            left,
        });
    }

    /// Misbehaves at so many of a hundred requests, in one way or another.
    pub(crate) fn sometimes(&self, faulty: usize) {
        self.state().faulty = faulty;
    }

    /// Behaves again.
    pub(crate) fn mend(&self) {
        let mut state = self.state();
        state.rules.clear();
        state.faulty = 0;
    }

    /// Wants the token that `/token` gives, and says so by these challenges; `URL` in them is its own.
    pub(crate) fn challenge(&self, challenges: &[&str]) {
        let url = self.url();
        let challenges = challenges.iter().map(|text| text.replace("URL", &url));
        self.state().challenges = challenges.collect();
    }

    /// What `/token` gives.
    pub(crate) fn grant(&self, text: &str) {
        text.clone_into(&mut self.state().grant);
    }

    /// What was asked that begins with this.
    pub(crate) fn asked(&self, begins: &str) -> Vec<String> {
        let state = self.state();
        let lines = state.asked.iter().map(|(line, _)| line);
        lines
            .filter(|line| line.starts_with(begins))
            .cloned()
            .collect()
    }

    /// The header of each request that begins with this; empty where it has none.
    pub(crate) fn headers(&self, begins: &str, name: &str) -> Vec<String> {
        let state = self.state();
        let asked = state
            .asked
            .iter()
            .filter(|(line, _)| line.starts_with(begins));
        let value = |headers: &HeaderMap| {
            let value = headers.get(name);
            value.map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        asked.map(|(_, headers)| value(headers)).collect()
    }

    pub(crate) fn forget_asked(&self) {
        self.state().asked.clear();
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

async fn answer(state: &Mutex<State>, request: &Parts) -> Response {
    let line = format!("{} {}", request.method, request.uri);
    let path = request.uri.path();
    let headers = &request.headers;
    let (fault, found, challenges, grant) = {
        let mut state = state.lock().unwrap();
        state.asked.push((line.clone(), headers.clone()));
        state.count += 1;
        let rules = state.rules.iter_mut().rev();
        let mut fitting = rules.filter(|rule| rule.left > 0 && line.starts_with(&rule.begins));
        let fault = fitting.next().map(|rule| {
            rule.left -= 1;
            rule.fault.clone()
        });
        let fault = fault.or_else(|| at_random(state.count, state.faulty));
        (
            fault,
            state.content.get(path).cloned(),
            state.challenges.clone(),
            state.grant.clone(),
        )
    };
    match &fault {
        Some(Fault::Status(status)) => {
            return StatusCode::from_u16(*status).unwrap().into_response();
        }
        Some(Fault::Answer(status, headers, body)) => {
            let mut response = Response::new(Body::from(body.clone()));
            *response.status_mut() = StatusCode::from_u16(*status).unwrap();
            for (name, value) in headers {
                response.headers_mut().append(*name, value.parse().unwrap());
            }
            return response;
        }
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::Hold(permits)) => permits.acquire().await.unwrap().forget(),
        _ => {}
    }
    if path == "/token" {
        return grant.into_response();
    }
    if !challenges.is_empty()
        && headers
            .get("authorization")
            .is_none_or(|value| value != "Bearer t0k")
    {
        let mut response = StatusCode::UNAUTHORIZED.into_response();
        for challenge in challenges {
            let headers = response.headers_mut();
            headers.append("www-authenticate", challenge.parse().unwrap());
        }
        return response;
    }
    let Some(found) = found else {
        let code = ["blob", "manifest"]
            .into_iter()
            .find(|kind| path.contains(&format!("/{kind}s/")))
            .unwrap_or("name");
        let code = format!("{}_UNKNOWN", code.to_uppercase());
        let body = json!({"errors": [{"code": code, "message": "not here"}]});
        return (StatusCode::NOT_FOUND, body.to_string()).into_response();
    };
    // One that lies about a blob says what it is asked for.
    let digest = match path.rsplit_once("/blobs/") {
        Some((_, digest)) => digest.to_owned(),
        None => sha256(&found.content).to_string(),
    };
    right(&request.method, headers, (found, digest), fault)
}

/// A fault for so many of a hundred requests, by the number of the request.
fn at_random(number: usize, faulty: usize) -> Option<Fault> {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    (mixed % 100 < faulty).then(|| match mixed / 100 % 6 {
        0 => Fault::Status(500),
        1 => Fault::Status(503),
        2 => Fault::text(200, "text/html", "<html>"),
        3 => Fault::NoRanges,
        4 => Fault::NoLength,
        _ => Fault::Cut(mixed / 600 % 90_000),
    })
}

/// What a good registry answers, as far as the fault leaves it.
fn right(
    method: &Method,
    headers: &HeaderMap,
    (found, digest): (Content, String),
    fault: Option<Fault>,
) -> Response {
    let asked = |name| {
        headers
            .get(name)
            .and_then(|value: &axum::http::HeaderValue| value.to_str().ok())
    };
    if asked("if-none-match") == Some(&format!("\"{digest}\"")) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    let whole = found.content.len();
    let range = asked("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let range = range.filter(|_| !matches!(fault, Some(Fault::NoRanges)));
    let (start, end) = match range {
        Some((start, end)) => {
            let end = end
                .parse::<usize>()
                .map_or(whole, |last| last + 1)
                .min(whole);
            (start.parse::<usize>().unwrap(), end)
        }
        None => (0, whole),
    };
    let mut response = Response::builder()
        .header("content-type", found.media_type)
        .header("docker-content-digest", digest);
    if range.is_some() {
        if start >= end {
            return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
        }
        let range = format!("bytes {start}-{}/{whole}", end - 1);
        response = response.status(206).header("content-range", range);
    }
    let body = found.content.slice(start..end);
    if !matches!(fault, Some(Fault::NoLength | Fault::Endless(_))) {
        response = response.header("content-length", body.len());
    }
    if method == Method::HEAD {
        return response.body(Body::empty()).unwrap();
    }
    let body = match fault {
        Some(Fault::Cut(length)) if length < body.len() => {
            let sent = Ok(body.slice(..length));
            let cut = Err(io::Error::other("cut"));
            // What was sent goes out before the connection ends.
            let pieces = stream::unfold(vec![cut, sent], |mut left| async move {
                if left.len() == 1 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Some((left.pop()?, left))
            });
            Body::from_stream(pieces)
        }
        Some(Fault::Trickle) => Body::from_stream(stream::unfold(body, |mut left| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            (!left.is_empty()).then(|| (Ok::<_, io::Error>(left.split_to(1)), left))
        })),
        Some(Fault::Endless(alive)) => {
            Body::from_stream(stream::unfold(alive, |alive| async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                Some((Ok::<_, io::Error>(Bytes::from(vec![7; 65536])), alive))
            }))
        }
        Some(Fault::NoLength) => {
            Body::from_stream(stream::once(async { Ok::<_, io::Error>(body) }))
        }
        _ => Body::from(body),
    };
    response.body(body).unwrap()
}
