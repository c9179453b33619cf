use std::fs::File;
use std::io::SeekFrom;

use axum::body::Body;
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::problem::Problem;
use super::range::Selection;
use super::registry::{Call, Registry, empty};
use super::uploads::DIGEST;
use crate::store::{Digest, StoreError};
use crate::upstream::{Caller, Live, Pulled};

const PIECE: usize = 64 * 1024;

/// Where a blob's bytes come from.
enum Source {
    Stored(File, u64),
    /// Still on its way from upstream; the length where that told it.
    Live(Live),
    /// Only the headers are asked for, and upstream has the blob.
    Elsewhere(Option<u64>),
}

/// GET and HEAD.
pub(super) async fn get(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let repository = call.repository()?;
    let digest: Digest = call.reference()?.parse()?;
    let source = find(
        registry,
        &call.caller(),
        &repository,
        &digest,
        call.is_head(),
    )
    .await?;
    let etag = format!("\"{digest}\"");
    let mut headers = HeaderMap::new();
    set(
        &mut headers,
        CONTENT_TYPE,
        "application/octet-stream".into(),
    );
    set(&mut headers, DIGEST, digest.to_string());
    set(&mut headers, ETAG, etag.clone());
    let Some(length) = source.length() else {
        // No range of what has no known end.
        let body = source.body(0, u64::MAX).await?;
        return Ok((StatusCode::OK, headers, body).into_response());
    };
    set(&mut headers, ACCEPT_RANGES, "bytes".into());
    // RFC 9110 §14.2: a range is for GET only.
    let selection = if call.is_head() {
        Selection::Whole
    } else {
        Selection::of(call.request.headers(), &etag, length)
    };
    let (status, start, end) = match selection {
        Selection::Unsatisfiable => return Err(Problem::RangeNotSatisfiable { length }),
        Selection::Unchanged => return Ok((StatusCode::NOT_MODIFIED, headers).into_response()),
        Selection::Whole => (StatusCode::OK, 0, length),
        Selection::Part(start, end) => {
            let range = format!("bytes {start}-{}/{length}", end - 1);
            set(&mut headers, CONTENT_RANGE, range);
            (StatusCode::PARTIAL_CONTENT, start, end)
        }
    };
    set(&mut headers, CONTENT_LENGTH, (end - start).to_string());
    let body = source.body(start, end).await?;
    Ok((status, headers, body).into_response())
}

/// DELETE.
pub(super) async fn delete(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let repository = call.repository()?;
    let digest: Digest = call.reference()?.parse()?;
    let delete = move |store: &crate::store::Store| store.delete_blob(&repository, &digest);
    registry.store.run(delete).await?;
    Ok(empty(StatusCode::ACCEPTED, []))
}

async fn find(
    registry: &Registry,
    caller: &Caller,
    repository: &str,
    digest: &Digest,
    head: bool,
) -> Result<Source, Problem> {
    let (name, blob) = (repository.to_owned(), digest.clone());
    let open = move |store: &crate::store::Store| store.open_blob(&name, &blob);
    let pull = match (registry.store.run(open).await, &registry.pull) {
        (Ok(blob), _) => return Ok(Source::Stored(blob.file, blob.length)),
        (Err(StoreError::BlobUnknown), Some(pull)) => pull,
        (Err(error), _) => return Err(error.into()),
    };
    let found = if head {
        let length = pull.blob_length(caller, repository, digest).await;
        length.map(Source::Elsewhere)
    } else {
        let pulled = pull.blob(caller, repository, digest).await;
        pulled.map(|pulled| match pulled {
            Pulled::Stored(blob) => Source::Stored(blob.file, blob.length),
            Pulled::Live(live) => Source::Live(live),
        })
    };
    found.map_err(|error| Problem::Upstream {
        error,
        unknown: "BLOB_UNKNOWN",
    })
}

impl Source {
    fn length(&self) -> Option<u64> {
        match self {
            Self::Stored(_, length) => Some(*length),
            Self::Live(live) => live.length(),
            Self::Elsewhere(length) => *length,
        }
    }

    /// The bytes from `start` up to, not with, `end`.
    async fn body(self, start: u64, end: u64) -> Result<Body, Problem> {
        match self {
            Self::Stored(file, _) => {
                let mut file = tokio::fs::File::from_std(file);
                if start > 0 {
                    let sought = file.seek(SeekFrom::Start(start)).await;
                    sought.map_err(|source| StoreError::Io {
                        path: "a blob".into(),
                        source,
                    })?;
                }
                let part = file.take(end - start);
                Ok(Body::from_stream(ReaderStream::with_capacity(part, PIECE)))
            }
            Self::Live(live) => Ok(Body::from_stream(live.read(start, end))),
            Self::Elsewhere(_) => Ok(Body::empty()),
        }
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: String) {
    // Made of digits, digests and punctuation.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}
