use std::io;
use std::sync::Arc;

use axum::body::Bytes;
use futures_util::stream::{self, Stream};
use tokio::sync::watch;

use super::UpstreamError;
use crate::store::Along;

const PIECE: usize = 64 * 1024;

/// A blob that is still on its way from upstream, for any number of readers. `Clone` costs an `Arc`.
#[derive(Clone)]
pub(crate) struct Live {
    file: Arc<Along>,
    length: Option<u64>,
    progress: watch::Receiver<Progress>,
}

/// How far the transfer has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// How many bytes may be read. The newest piece is held back until the next one is there or the
    /// whole is verified, so that no reader gets all of a blob that is not what it should be.
    pub(super) ready: u64,
    /// How it ended, once it has.
    pub(super) end: Option<Result<(), UpstreamError>>,
}

impl Progress {
    /// That of a transfer that goes on after so many bytes.
    pub(super) fn at(ready: u64) -> Self {
        Self { ready, end: None }
    }
}

impl Live {
    pub(super) fn new(
        file: Along,
        length: Option<u64>,
        progress: watch::Receiver<Progress>,
    ) -> Self {
        Self {
            file: Arc::new(file),
            length,
            progress,
        }
    }

    /// The blob's length, where upstream states it.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// The bytes from `start` up to, not with, `end`, or up to the blob's end, as they come. Fails,
    /// which cuts the client's body, if the transfer does.
    pub(crate) fn read(self, start: u64, end: u64) -> impl Stream<Item = io::Result<Bytes>> {
        stream::try_unfold((self, start), move |(mut live, at)| async move {
            if at >= end {
                return Ok(None);
            }
            let ready = live.ready_after(at).await?.min(end);
            if ready == at {
                return Ok(None);
            }
            let file = Arc::clone(&live.file);
            let piece = tokio::task::spawn_blocking(move || read_at(&file, at, ready)).await??;
            let next = at + piece.len() as u64;
            Ok(Some((piece, (live, next))))
        })
    }

    /// Waits for bytes after `at`; returns `at` itself at the end.
    async fn ready_after(&mut self, at: u64) -> io::Result<u64> {
        let changed = self
            .progress
            .wait_for(|progress| progress.ready > at || progress.end.is_some());
        let progress = changed
            .await
            .map_err(|_| io::Error::other("the transfer was given up"))?;
        match &progress.end {
            // A client can go on from the end of what came, unless something of that is wrong.
            Some(Err(error))
                if progress.ready <= at
                    || matches!(error, UpstreamError::DigestMismatch { .. }) =>
            {
                Err(io::Error::other(error.clone()))
            }
            Some(Ok(())) => Ok(progress.ready.max(at)),
            Some(Err(_)) | None => Ok(progress.ready),
        }
    }
}

fn read_at(file: &Along, start: u64, end: u64) -> io::Result<Bytes> {
    let size = usize::try_from(end - start).unwrap_or(PIECE).min(PIECE);
    let mut piece = vec![0; size];
    file.read_exact_at(&mut piece, start)?;
    Ok(piece.into())
}
