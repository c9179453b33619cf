//! Reads content while it is written, from the disk or, where that is full, from memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

/// How much of what the disk does not take waits for its readers.
const WINDOW: u64 = 1024 * 1024;
/// How long a writer waits for a reader that takes nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// What has been written, for those who read along and cannot write.
#[derive(Debug)]
pub(crate) struct Along {
    file: File,
    window: Arc<Window>,
}

/// The newest content, where the disk has no room for it.
#[derive(Debug, Default)]
pub(super) struct Window {
    content: Mutex<Content>,
    read: Condvar,
}

#[derive(Debug, Default)]
struct Content {
    /// Where the file ends and the window began, once it has.
    began: Option<u64>,
    start: u64,
    end: u64,
    pieces: VecDeque<Bytes>,
    /// How far the reader that is farthest has come.
    read: u64,
}

impl Along {
    pub(super) fn new(file: File, window: Arc<Window>) -> Self {
        Self { file, window }
    }

    /// Fills `piece` with the bytes from `start` on.
    ///
    /// # Errors
    /// They are not there, or, of what the disk did not take, no longer.
    pub(crate) fn read_exact_at(&self, piece: &mut [u8], start: u64) -> io::Result<()> {
        let began = self.window.content().began.unwrap_or(u64::MAX);
        let on_disk = began.saturating_sub(start).min(piece.len() as u64);
        // No longer than the piece.
        let (disk, memory) = piece.split_at_mut(usize::try_from(on_disk).unwrap_or(0));
        self.file.read_exact_at(disk, start)?;
        self.window.read(memory, start + on_disk)
    }
}

impl Window {
    /// Adds what comes at `start`, as soon as there is room; false if no reader makes any.
    pub(super) fn write(&self, start: u64, piece: &[u8]) -> bool {
        let mut content = self.content();
        if content.began.is_none() {
            (content.began, content.start, content.end) = (Some(start), start, start);
        }
        let length = piece.len() as u64;
        while content.end - content.start + length > WINDOW {
            let Some(first) = content.pieces.front().map(|first| first.len() as u64) else {
                break;
            };
            if content.read >= content.start + first {
                content.pieces.pop_front();
                content.start += first;
                continue;
            }
            let waited = self.read.wait_timeout(content, PATIENCE);
            let (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                return false;
            }
            content = next;
        }
        content.pieces.push_back(Bytes::copy_from_slice(piece));
        content.end += length;
        true
    }

    fn read(&self, mut target: &mut [u8], start: u64) -> io::Result<()> {
        if target.is_empty() {
            return Ok(());
        }
        let mut content = self.content();
        let end = start + target.len() as u64;
        if start < content.start || end > content.end {
            return Err(io::Error::other("the reader is too slow for a full disk"));
        }
        let mut at = content.start;
        for piece in &content.pieces {
            let skip = start.saturating_sub(at).min(piece.len() as u64);
            at += piece.len() as u64;
            let rest = &piece[usize::try_from(skip).unwrap_or(0)..];
            let count = rest.len().min(target.len());
            let (now, later) = target.split_at_mut(count);
            now.copy_from_slice(&rest[..count]);
            target = later;
        }
        content.read = content.read.max(end);
        drop(content);
        self.read.notify_all();
        Ok(())
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
