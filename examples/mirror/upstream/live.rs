use std::io;
use std::sync::Arc;

use axum::body::Bytes;
use futures_util::stream::{self, Stream};
use tokio::sync::watch;

use super::UpstreamError;
use super::places::Place;
use crate::store::{Along, Reader};

const PIECE: usize = 64 * 1024;

/// A blob that is still on its way from upstream, for any number of readers. `Clone` costs an `Arc`.
#[derive(Clone)]
pub(super) struct Transferred {
    along: Arc<Along>,
    length: Option<u64>,
    progress: watch::Receiver<Progress>,
}

/// One reader of it, which has a place of its caller's.
pub(crate) struct Live {
    reader: Arc<Reader>,
    length: Option<u64>,
    progress: watch::Receiver<Progress>,
    _place: Place,
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

impl Transferred {
    pub(super) fn new(
        along: Along,
        length: Option<u64>,
        progress: watch::Receiver<Progress>,
    ) -> Self {
        Self {
            along: Arc::new(along),
            length,
            progress,
        }
    }

    /// The blob's length, where upstream states it.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether one who comes now can have all of it.
    pub(super) fn is_whole(&self) -> bool {
        self.along.is_whole()
    }

    /// Whether it is the same transfer.
    pub(super) fn is(&self, progress: &watch::Sender<Progress>) -> bool {
        self.progress.same_channel(&progress.subscribe())
    }

    /// A reader, unless what came first is gone already.
    pub(super) fn reader(&self, place: Place) -> Result<Live, Place> {
        let Some(reader) = self.along.reader() else {
            return Err(place);
        };
        Ok(Live {
            reader: Arc::new(reader),
            length: self.length,
            progress: self.progress.clone(),
            _place: place,
        })
    }
}

impl Live {
    /// The blob's length, where upstream states it.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// The bytes from `start` up to, not with, `end`, or up to the blob's end, as they come. Fails,
    /// which cuts the client's body, if the transfer does. The last of them come once the whole is verified,
    /// also where they are not the last of the blob.
    pub(crate) fn read(self, start: u64, end: u64) -> impl Stream<Item = io::Result<Bytes>> {
        self.reader.skip_to(start);
        stream::try_unfold((self, start), move |(mut live, at)| async move {
            if at >= end {
                return Ok(None);
            }
            let ready = live.ready_after(at).await?.min(end);
            if ready == at {
                return Ok(None);
            }
            let reader = Arc::clone(&live.reader);
            let piece = tokio::task::spawn_blocking(move || read_at(&reader, at, ready)).await??;
            let next = at + piece.len() as u64;
            if next == end {
                live.end().await?;
            }
            Ok(Some((piece, (live, next))))
        })
    }

    /// Waits until all of the blob is there and verified.
    async fn end(&mut self) -> io::Result<()> {
        let changed = self.progress.wait_for(|progress| progress.end.is_some());
        let progress = changed.await.map_err(|_| given_up())?;
        match &progress.end {
            Some(Err(error)) => Err(io::Error::other(error.clone())),
            _ => Ok(()),
        }
    }

    /// Waits for bytes after `at`; returns `at` itself at the end.
    async fn ready_after(&mut self, at: u64) -> io::Result<u64> {
        let changed = self
            .progress
            .wait_for(|progress| progress.ready > at || progress.end.is_some());
        let progress = changed.await.map_err(|_| given_up())?;
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

fn given_up() -> io::Error {
    io::Error::other("the transfer was given up")
}

fn read_at(reader: &Reader, start: u64, end: u64) -> io::Result<Bytes> {
    let size = usize::try_from(end - start).unwrap_or(PIECE).min(PIECE);
    let mut piece = vec![0; size];
    reader.read_exact_at(&mut piece, start)?;
    Ok(piece.into())
}
