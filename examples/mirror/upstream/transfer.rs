use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Bytes;
use axum::http::StatusCode;
use futures_util::FutureExt as _;
use reqwest::Response;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::UpstreamError;
use super::client::Rest;
use super::download::{Downloads, Key, fits};
use super::live::Progress;
use super::options::Patience;
use super::places::Turn;
use crate::store::{Incoming, Store};

/// How much is gathered before it goes to the disk.
const BATCH: usize = 256 * 1024;
/// How often in a row a transfer goes on that does not come on.
const TRIES: u32 = 4;
/// How much of a blob is still fetched when its last reader has left.
const FOR_NOBODY: u64 = 1024 * 1024 * 1024;

/// Brings one blob to the disk. It goes on where the upstream cut it, as long as it comes on, and to its
/// end if its readers leave and no others want to go on so.
pub(super) struct Transfer {
    downloads: Downloads,
    key: Key,
    length: Option<u64>,
    progress: watch::Sender<Progress>,
    _turn: Turn,
}

impl Transfer {
    pub(super) fn new(
        downloads: Downloads,
        key: Key,
        length: Option<u64>,
        progress: watch::Sender<Progress>,
        turn: Turn,
    ) -> Self {
        Self {
            downloads,
            key,
            length,
            progress,
            _turn: turn,
        }
    }

    pub(super) async fn run(self, rest: Rest, incoming: Incoming) {
        let end = self.transfer(rest, incoming).await;
        let (repository, digest) = &self.key;
        if let Err(error) = &end {
            tracing::warn!(repository, %digest, %error, "a blob could not be pulled through");
        }
        // No later request joins a transfer that has ended.
        self.downloads.ended(&self.key, &self.progress);
        self.progress
            .send_modify(|progress| progress.end = Some(end));
    }

    async fn transfer(&self, first: Rest, mut incoming: Incoming) -> Result<(), UpstreamError> {
        let mut rest = Ok(first);
        let mut vain = 0;
        let mut for_nobody = None;
        loop {
            let before = incoming.length();
            let cut;
            (incoming, cut) = match rest {
                Ok(rest) => self.copy(rest, incoming, &mut for_nobody).await?,
                Err(error) => (incoming, Some(error)),
            };
            let Some(error) = cut else { break };
            let at = incoming.length();
            vain = if at - before >= Patience::PROGRESS {
                0
            } else {
                vain + 1
            };
            if vain > TRIES || !error.is_passing() {
                if error.is_passing() || matches!(error, UpstreamError::Unwanted) {
                    self.downloads.keep(self.key.clone(), incoming);
                }
                return Err(error);
            }
            let (repository, digest) = &self.key;
            tracing::debug!(repository, %digest, at, %error, "a transfer was cut and goes on");
            let upstream = self.downloads.upstream();
            let pause = upstream.patience().pause * 2_u32.pow(vain);
            sleep(pause.max(error.retry_after())).await;
            let gives_no_part = StatusCode::RANGE_NOT_SATISFIABLE;
            let from = match error {
                UpstreamError::Status(status) if status == gives_no_part => 0,
                _ => at,
            };
            rest = upstream.rest_of(repository, digest, from).await;
        }
        let length = incoming.length();
        let (repository, digest) = self.key.clone();
        let commit = move |store: &Store| {
            incoming.commit(store, &repository, &digest)?;
            store.note_upstream(&repository, true);
            Ok(())
        };
        self.downloads.store().run(commit).await?;
        self.progress
            .send_modify(|progress| progress.ready = length);
        Ok(())
    }

    /// Writes what comes until it ends; returns why it ended before the blob does, if so.
    async fn copy(
        &self,
        mut rest: Rest,
        mut incoming: Incoming,
        for_nobody: &mut Option<Arc<AtomicBool>>,
    ) -> Result<(Incoming, Option<UpstreamError>), UpstreamError> {
        if rest.start > incoming.length() || (self.length.is_some() && rest.length != self.length) {
            // As a page of a load balancer is.
            let error = UpstreamError::Unreachable("it gave another part of the blob".into());
            return Ok((incoming, Some(error)));
        }
        // What is here already comes again from an upstream that knows no ranges.
        let mut skip = incoming.length() - rest.start;
        let patience = self.downloads.upstream().patience().progress;
        let mut until = Instant::now() + patience;
        let mut came = 0;
        loop {
            let gathered = timeout_at(until, gather(&mut rest.response)).await;
            let Ok((batch, end)) = gathered else {
                return Ok((incoming, Some(UpstreamError::Stalled)));
            };
            self.downloads.upstream().heard();
            came += batch.iter().map(|piece| piece.len() as u64).sum::<u64>();
            if came >= Patience::PROGRESS {
                until = Instant::now() + patience;
                came = 0;
            }
            // All before this batch: the newest is held back, at the end too, where nothing comes any more. Before
            // it is written, which may wait for those who read what is not kept.
            if !batch.is_empty() && skip == 0 {
                let ready = incoming.length();
                self.progress.send_modify(|progress| {
                    progress.ready = progress.ready.max(ready);
                });
            }
            let write = move |_: &Store| {
                for mut piece in batch {
                    let known = usize::try_from(skip).unwrap_or(usize::MAX);
                    let new = piece.split_off(known.min(piece.len()));
                    skip -= piece.len() as u64;
                    incoming.write(&new)?;
                }
                Ok((incoming, skip))
            };
            (incoming, skip) = self.downloads.store().run(write).await?;
            let have = incoming.length();
            let error = match end {
                Some(Ok(())) if skip == 0 && self.length.is_none_or(|length| have == length) => {
                    return Ok((incoming, None));
                }
                Some(Ok(())) => UpstreamError::Unreachable("the blob ended early".into()),
                Some(Err(error)) => error,
                None if !fits(have) => UpstreamError::Invalid("a blob that is too long"),
                None if self.is_unwanted(have, for_nobody) => UpstreamError::Unwanted,
                None => continue,
            };
            return Ok((incoming, Some(error)));
        }
    }

    /// Whether it is not to go on because no client waits for it: much is still to come, or others are to go
    /// on in its stead.
    fn is_unwanted(&self, have: u64, for_nobody: &mut Option<Arc<AtomicBool>>) -> bool {
        // The list of what is running reads nothing.
        if self.progress.receiver_count() > 1 {
            *for_nobody = None;
            return false;
        }
        let left = self.length.map(|length| length.saturating_sub(have));
        if left.is_none_or(|left| left > FOR_NOBODY) {
            return true;
        }
        let over = for_nobody.get_or_insert_with(|| self.downloads.for_nobody());
        over.load(Ordering::Relaxed)
    }
}

/// What has arrived, without waiting for more than the first piece of it, and how it ended if it did.
async fn gather(response: &mut Response) -> (Vec<Bytes>, Option<Result<(), UpstreamError>>) {
    let mut batch = Vec::new();
    let mut size = 0;
    while size < BATCH {
        let chunk = if batch.is_empty() {
            response.chunk().await
        } else {
            match response.chunk().now_or_never() {
                Some(chunk) => chunk,
                None => break,
            }
        };
        match chunk {
            Ok(Some(chunk)) if chunk.is_empty() => {}
            Ok(Some(chunk)) => {
                size += chunk.len();
                batch.push(chunk);
            }
            Ok(None) => return (batch, Some(Ok(()))),
            Err(error) => return (batch, Some(Err(error.into()))),
        }
    }
    (batch, None)
}
