use std::io;

use axum::body::Body;
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::problem::Problem;
use super::range::Selection;
use super::registry::{Call, Registry, empty};
use super::uploads::DIGEST;
use crate::store::{Blob, Caller, Digest, Store, StoreError};
use crate::upstream::{Live, Pulled};

const PIECE: usize = 64 * 1024;

/// Where a blob's bytes come from.
enum Source {
    Stored(Blob),
    /// Still on its way from upstream; the length where that told it.
    Live(Live),
    /// Only the headers are asked for, and upstream has the blob.
    Elsewhere(Option<u64>),
}

/// GET and HEAD.
pub(super) async fn get(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let repository = call.repository()?;
    let digest: Digest = call.reference()?.parse()?;
    let source = find(registry, &call.caller, &repository, &digest, call.is_head()).await?;
    let etag = format!("\"{digest}\"");
    let length = source.length();
    let selection = Selection::of(call.request.headers(), &etag, length, call.is_head());
    let mut headers = HeaderMap::new();
    set(
        &mut headers,
        CONTENT_TYPE,
        "application/octet-stream".into(),
    );
    set(&mut headers, DIGEST, digest.to_string());
    set(&mut headers, ETAG, etag);
    if length.is_some() {
        set(&mut headers, ACCEPT_RANGES, "bytes".into());
    }
    let (status, start, end) = match (selection, length) {
        (Selection::Failed, _) => return Err(StoreError::ConditionFailed.into()),
        (Selection::Unchanged, _) => {
            return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
        }
        (Selection::Unsatisfiable, Some(length)) => {
            return Err(Problem::RangeNotSatisfiable { length });
        }
        (Selection::Part(start, end), Some(length)) => {
            let range = format!("bytes {start}-{}/{length}", end - 1);
            set(&mut headers, CONTENT_RANGE, range);
            (StatusCode::PARTIAL_CONTENT, start, end)
        }
        (_, length) => (StatusCode::OK, 0, length.unwrap_or(u64::MAX)),
    };
    if length.is_some() {
        set(&mut headers, CONTENT_LENGTH, (end - start).to_string());
    }
    let body = source.body(registry, start, end);
    Ok((status, headers, body).into_response())
}

/// DELETE.
pub(super) async fn delete(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let repository = call.repository()?;
    let digest: Digest = call.reference()?.parse()?;
    let delete = move |store: &Store| store.delete_blob(&repository, &digest);
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
    let open = move |store: &Store| store.open_blob(&name, &blob);
    let pull = match (registry.store.run(open).await, &registry.pull) {
        (Ok(blob), _) => return Ok(Source::Stored(blob)),
        (Err(StoreError::BlobUnknown), Some(pull)) => pull,
        (Err(error), _) => return Err(error.into()),
    };
    let found = if head {
        let length = pull.blob_length(caller, repository, digest).await;
        length.map(Source::Elsewhere)
    } else {
        let pulled = pull.blob(caller, repository, digest).await;
        pulled.map(|pulled| match pulled {
            Pulled::Stored(blob) => Source::Stored(blob),
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
            Self::Stored(blob) => Some(blob.length),
            Self::Live(live) => live.length(),
            Self::Elsewhere(length) => *length,
        }
    }

    /// The bytes from `start` up to, not with, `end`.
    fn body(self, registry: &Registry, start: u64, end: u64) -> Body {
        match self {
            Self::Stored(blob) => stored(registry.store.clone(), blob, start, end),
            Self::Live(live) => Body::from_stream(live.read(start, end)),
            // Of no known length, which is not that of an empty one.
            Self::Elsewhere(_) => Body::from_stream(stream::empty::<io::Result<&[u8]>>()),
        }
    }
}

/// Reads a piece when the client takes one: between two pieces no thread waits.
fn stored(store: Store, blob: Blob, start: u64, end: u64) -> Body {
    let caller = Caller::current();
    let pieces = stream::try_unfold((blob, start), move |(blob, at)| {
        let (store, caller) = (store.clone(), caller.clone());
        async move {
            if at >= end {
                return Ok::<_, StoreError>(None);
            }
            let read = move |_: &Store| {
                let piece = blob.read(at, end, PIECE)?;
                Ok((piece, blob))
            };
            let (piece, blob) = store.run_for(caller.as_ref(), read).await?;
            let next = at + piece.len() as u64;
            Ok(Some((piece, (blob, next))))
        }
    });
    Body::from_stream(pieces)
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: String) {
    // Made of digits, digests and punctuation.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}
