//! `GET` and `HEAD` of manifests and blobs, and nothing else.

use std::io;

use bytes::{Bytes, BytesMut};
use futures_util::stream::try_unfold;
use http::header::{
    ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, RETRY_AFTER,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use portcullis::Body;
use portcullis::oci::{Endpoint, ErrorCode, Route, RouteError, error_body};
use portcullis::serve::Incoming;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::holdings::{Holdings, NotFollowed};
use crate::known::Held;
use crate::range::Selection;

type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// The largest manifest, in bytes, which is that of clients.
const LARGEST: u64 = 4 * 1024 * 1024;

const API: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Why a request is not answered with what it asks for.
enum Problem {
    Route(RouteError),
    /// It is no `GET` or `HEAD`.
    Method,
    Unknown(ErrorCode),
    NotFollowed,
    /// Another representation is asked for than there is.
    Condition,
    Range(u64),
    /// containerd gives nothing.
    Containerd,
}

/// What says of a manifest what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    /// Which a configuration and a layer do not have.
    schema_version: u32,
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
}

pub(crate) async fn answer(holdings: &Holdings, mut request: Request<Body<Incoming>>) -> Answer {
    let head_only = request.method() == Method::HEAD;
    let mut answer = match read(holdings, &mut request, head_only).await {
        Ok(answer) => answer,
        Err(problem) => problem.answer(),
    };
    if head_only {
        *answer.body_mut() = whole(Bytes::new());
    }
    answer
}

async fn read(
    holdings: &Holdings,
    request: &mut Request<Body<Incoming>>,
    head_only: bool,
) -> Result<Answer, Problem> {
    let route = Route::of(request)?;
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return Err(Problem::Method);
    }
    let unknown = || Problem::Unknown(route.unknown_code());
    if route.endpoint() == Endpoint::Base {
        return Ok(base());
    }
    let (Some(registry), Some(repository)) = (route.registry(), route.repository()) else {
        return Err(unknown());
    };
    let held = match (route.endpoint(), route.tag(), route.digest()) {
        (Endpoint::Manifest, Some(tag), _) => holdings.find_tag(registry, repository, tag)?,
        (Endpoint::Manifest | Endpoint::Blob, _, Some(digest)) => {
            holdings.find(registry, repository, digest)?
        }
        _ => None,
    };
    let held = held.ok_or_else(unknown)?;
    let given = if route.endpoint() == Endpoint::Manifest {
        manifest(holdings, &held, request.headers()).await
    } else {
        blob(holdings, &held, request.headers(), head_only).await
    };
    match given {
        Ok(answer) => answer,
        // It has gone meanwhile, or it is no manifest.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(unknown()),
        Err(error) => {
            tracing::error!(%error, held.digest, "containerd does not give what it holds: see its log");
            Err(Problem::Containerd)
        }
    }
}

/// distribution-spec, "Determining Support".
fn base() -> Answer {
    let mut answer = json(StatusCode::OK, Bytes::from_static(b"{}"));
    let version = HeaderValue::from_static("registry/2.0");
    answer.headers_mut().insert(API, version);
    answer
}

async fn blob(
    holdings: &Holdings,
    held: &Held,
    asked: &HeaderMap,
    head_only: bool,
) -> io::Result<Result<Answer, Problem>> {
    let etag = etag(held);
    let (status, start, end) = match Selection::of(asked, &etag, Some(held.size), head_only) {
        Selection::Failed => return Ok(Err(Problem::Condition)),
        Selection::Unchanged => return Ok(Ok(unchanged(held))),
        Selection::Unsatisfiable => return Ok(Err(Problem::Range(held.size))),
        Selection::Part(start, end) => (StatusCode::PARTIAL_CONTENT, start, end),
        Selection::Whole => (StatusCode::OK, 0, held.size),
    };
    // For a HEAD it is enough to see that it is there.
    let last = if head_only { end.min(1) } else { end };
    let content = holdings.content(&held.digest, start, last).await?;
    let stream = try_unfold(content, |mut content| async move {
        let part = content.next().await?;
        Ok::<_, io::Error>(part.map(|part| (Frame::data(part), content)))
    });
    let body = StreamBody::new(stream).boxed_unsync();
    let mut answer = found(held, "application/octet-stream", end - start, body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {start}-{}/{}", end - 1, held.size);
        set(headers, CONTENT_RANGE, &range);
    }
    Ok(Ok(answer))
}

async fn manifest(
    holdings: &Holdings,
    held: &Held,
    asked: &HeaderMap,
) -> io::Result<Result<Answer, Problem>> {
    if held.size > LARGEST {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut parts = holdings.content(&held.digest, 0, held.size).await?;
    let mut content = BytesMut::new();
    while let Some(part) = parts.next().await? {
        content.extend_from_slice(&part);
    }
    // A layer or a configuration is no manifest.
    let kind = kind(&content).ok_or(io::ErrorKind::NotFound)?;
    Ok(match Selection::of(asked, &etag(held), None, false) {
        Selection::Failed => Err(Problem::Condition),
        Selection::Unchanged => Ok(unchanged(held)),
        _ => Ok(found(held, &kind, held.size, whole(content.freeze()))),
    })
}

/// The media type of a manifest, which one of the OCI may leave out.
fn kind(content: &[u8]) -> Option<String> {
    let manifest: Manifest = serde_json::from_slice(content).ok()?;
    let kind = match (manifest.manifests, manifest.config) {
        (Some(_), None) => "index",
        (None, Some(_)) => "manifest",
        _ => return None,
    };
    let oci = || format!("application/vnd.oci.image.{kind}.v1+json");
    (manifest.schema_version == 2).then(|| manifest.media_type.unwrap_or_else(oci))
}

fn found(held: &Held, kind: &str, length: u64, body: UnsyncBoxBody<Bytes, io::Error>) -> Answer {
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_LENGTH, length.into());
    set(headers, CONTENT_TYPE, kind);
    set(headers, DIGEST, &held.digest);
    set(headers, ETAG, &etag(held));
    answer
}

fn unchanged(held: &Held) -> Answer {
    let mut answer = Response::new(whole(Bytes::new()));
    *answer.status_mut() = StatusCode::NOT_MODIFIED;
    set(answer.headers_mut(), ETAG, &etag(held));
    answer
}

fn etag(held: &Held) -> String {
    format!("\"{}\"", held.digest)
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // A media type of a manifest may be any text, and what is no header is left out.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

impl Problem {
    fn answer(&self) -> Answer {
        let (status, code) = match self {
            Self::Route(error) => (error.status(), error.code()),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported),
            Self::Unknown(code) => (StatusCode::NOT_FOUND, *code),
            Self::NotFollowed => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable),
            Self::Condition => (StatusCode::PRECONDITION_FAILED, ErrorCode::Unsupported),
            Self::Range(_) => (StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::Unsupported),
            Self::Containerd => (StatusCode::BAD_GATEWAY, ErrorCode::Unavailable),
        };
        let message = match self {
            Self::Route(error) => error.message(),
            _ => code.message(),
        };
        let mut answer = json(status, error_body(code, message));
        let headers = answer.headers_mut();
        match self {
            Self::Route(error) => {
                if let Some(methods) = error.allow() {
                    set(headers, ALLOW, methods);
                }
            }
            Self::Method => set(headers, ALLOW, "GET, HEAD"),
            Self::NotFollowed => set(headers, RETRY_AFTER, "1"),
            Self::Range(length) => set(headers, CONTENT_RANGE, &format!("bytes */{length}")),
            _ => {}
        }
        answer
    }
}

impl From<RouteError> for Problem {
    fn from(error: RouteError) -> Self {
        Self::Route(error)
    }
}

impl From<NotFollowed> for Problem {
    fn from(_: NotFollowed) -> Self {
        Self::NotFollowed
    }
}

fn json(status: StatusCode, content: Bytes) -> Answer {
    let length = content.len();
    let mut answer = Response::new(whole(content));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    let headers = answer.headers_mut();
    headers.insert(CONTENT_LENGTH, length.into());
    headers.insert(CONTENT_TYPE, kind);
    answer
}

fn whole(content: Bytes) -> UnsyncBoxBody<Bytes, io::Error> {
    Full::new(content)
        .map_err(|never| match never {})
        .boxed_unsync()
}
