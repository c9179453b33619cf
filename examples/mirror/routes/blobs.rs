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
use crate::store::{Blob, Caller, Check, Digest, Store, StoreError};
use crate::upstream::{Live, Pulled};

const PIECE: usize = 64 * 1024;

/// Up to what length a blob that was not read since the process began is read before the answer, which is then right
/// even if the disk damaged the blob. Of a longer one the last piece waits. A part need not have that piece, so more is
/// read before it: as much as is hashed in a second.
const READ_FIRST: u64 = 16 * 1024 * 1024;
const READ_BEFORE_A_PART: u64 = 256 * 1024 * 1024;
/// How often a blob is looked up, where what was found turned out to be damaged and was taken away.
const LOOKS: usize = 3;

/// Where a blob's bytes come from.
enum Source {
    Stored(Blob),
    /// In flight from upstream, with its length where upstream states it.
    Live(Live),
    /// Only the headers are asked for, and upstream has the blob.
    Elsewhere(Option<u64>),
}

/// A GET or HEAD of a blob.
struct Wanted<'a> {
    registry: &'a Registry,
    caller: &'a Caller,
    headers: &'a HeaderMap,
    repository: &'a str,
    digest: &'a Digest,
    head: bool,
}

/// GET and HEAD.
pub(super) async fn get(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let wanted = Wanted {
        registry,
        caller: &call.caller,
        headers: call.request.headers(),
        repository: &call.repository()?,
        digest: &call.reference()?.parse()?,
        head: call.is_head(),
    };
    let mut looks = 1;
    loop {
        let source = wanted.find().await?;
        match wanted.answer(source).await {
            Err(Problem::Store(StoreError::BlobUnknown)) if looks < LOOKS => looks += 1,
            answered => return answered,
        }
    }
}

/// DELETE.
pub(super) async fn delete(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let repository = call.repository()?;
    let digest: Digest = call.reference()?.parse()?;
    let delete = move |store: &Store| store.delete_blob(&repository, &digest);
    registry.store.run(delete).await?;
    Ok(empty(StatusCode::ACCEPTED, []))
}

impl Wanted<'_> {
    async fn find(&self) -> Result<Source, Problem> {
        let Self {
            registry,
            caller,
            repository,
            digest,
            ..
        } = *self;
        let (name, blob) = (repository.to_owned(), digest.clone());
        let open = move |store: &Store| store.open_blob(&name, &blob);
        let pull = match (registry.store.run(open).await, &registry.pull) {
            (Ok(blob), _) => return Ok(Source::Stored(blob)),
            (Err(StoreError::BlobUnknown), Some(pull)) => pull,
            (Err(error), _) => return Err(error.into()),
        };
        let found = if self.head {
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

    async fn answer(&self, source: Source) -> Result<Response, Problem> {
        let etag = format!("\"{}\"", self.digest);
        let length = source.length();
        let selection = Selection::of(self.headers, &etag, length, self.head);
        // Before the range is judged: what is damaged may have another length.
        let check = match &source {
            Source::Stored(blob) if !self.head => self.check(blob, selection).await?,
            _ => None,
        };
        let mut headers = HeaderMap::new();
        set(
            &mut headers,
            CONTENT_TYPE,
            "application/octet-stream".into(),
        );
        set(&mut headers, DIGEST, self.digest.to_string());
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
        let body = source.body(self.registry, (start, end), check);
        Ok((status, headers, body).into_response())
    }

    /// The check that goes on beside the answer, if there is one.
    ///
    /// # Errors
    /// It has ended, and the blob is not what its digest says.
    async fn check(&self, blob: &Blob, selection: Selection) -> Result<Option<Check>, StoreError> {
        let first = match selection {
            Selection::Unchanged | Selection::Failed => return Ok(None),
            Selection::Part(start, end) if end - start < blob.length => READ_BEFORE_A_PART,
            Selection::Unsatisfiable => READ_BEFORE_A_PART,
            Selection::Part(..) | Selection::Whole => READ_FIRST,
        };
        if blob.is_checked {
            return Ok(None);
        }
        let check = self.registry.store.check_blob(self.caller, blob).await;
        if blob.length > first {
            return Ok(Some(check));
        }
        check.wait().await?;
        Ok(None)
    }
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
    fn body(self, registry: &Registry, part: (u64, u64), check: Option<Check>) -> Body {
        match self {
            Self::Stored(blob) => stored(registry.store.clone(), blob, part, check),
            Self::Live(live) => Body::from_stream(live.read(part.0, part.1)),
            // Of no known length, which is not that of an empty one.
            Self::Elsewhere(_) => Body::from_stream(stream::empty::<io::Result<&[u8]>>()),
        }
    }
}

/// Reads a piece when the client takes one: between two pieces no thread waits. The last one of the blob waits for
/// the check, so that no client gets all of what is damaged, at once or in parts.
fn stored(store: Store, blob: Blob, (start, end): (u64, u64), check: Option<Check>) -> Body {
    let caller = Caller::current();
    let pieces = stream::try_unfold((blob, start), move |(blob, at)| {
        let (store, caller, check) = (store.clone(), caller.clone(), check.clone());
        async move {
            if at >= end {
                return Ok::<_, StoreError>(None);
            }
            let read = move |store: &Store| {
                let piece = blob.read(store, at, end, PIECE)?;
                Ok((piece, blob))
            };
            let (piece, blob) = store.run_for(caller.as_ref(), read).await?;
            let next = at + piece.len() as u64;
            match check {
                Some(check) if next == blob.length => check.wait().await?,
                Some(check) => check.so_far()?,
                None => {}
            }
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
