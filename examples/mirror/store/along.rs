//! Reads content while it is written, from the disk or, where that is full, from memory.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

/// How much of what the disk does not take waits for its readers.
const WINDOW: u64 = 1024 * 1024;
/// How long the writer waits for readers that take nothing, and how long in all for one that others would
/// not have to wait for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What has been written, for those who read along and cannot write.
#[derive(Debug)]
pub(crate) struct Along {
    file: File,
    window: Arc<Window>,
}

/// One that reads along. What is not kept waits for it, until it is too slow.
#[derive(Debug)]
pub(crate) struct Reader {
    along: Arc<Along>,
    number: u64,
}

/// The newest content, where the disk has no room for it.
#[derive(Debug, Default)]
pub(super) struct Window {
    content: Mutex<Content>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Content {
    /// Where the file ends and the window began, once it has.
    began: Option<u64>,
    start: u64,
    end: u64,
    pieces: VecDeque<Bytes>,
    readers: HashMap<u64, Place>,
    last: u64,
}

#[derive(Debug, Default)]
struct Place {
    at: u64,
    /// For how long the writer has waited for it while others had come on.
    held_up: Duration,
}

impl Along {
    pub(super) fn new(file: File, window: Arc<Window>) -> Self {
        Self { file, window }
    }

    /// One more that reads from the beginning; `None` if that is not kept any more.
    pub(crate) fn reader(self: &Arc<Self>) -> Option<Reader> {
        let number = self.window.join()?;
        let along = Arc::clone(self);
        Some(Reader { along, number })
    }

    /// Whether all of it can still be read.
    pub(crate) fn is_whole(&self) -> bool {
        self.window.content.lock().is_whole()
    }
}

impl Reader {
    /// Nothing before this is read.
    pub(crate) fn skip_to(&self, start: u64) {
        self.along.window.moved(self.number, start);
    }

    /// Fills `piece` with the bytes from `start` on.
    ///
    /// # Errors
    /// They are not there, or, of what the disk did not take, no longer.
    pub(crate) fn read_exact_at(&self, piece: &mut [u8], start: u64) -> io::Result<()> {
        let Along { file, window } = &*self.along;
        let began = window.content.lock().began.unwrap_or(u64::MAX);
        let on_disk = began.saturating_sub(start).min(piece.len() as u64);
        let end = start + piece.len() as u64;
        // No longer than the piece.
        let (disk, memory) = piece.split_at_mut(usize::try_from(on_disk).unwrap_or(0));
        file.read_exact_at(disk, start)?;
        window.read(memory, start + on_disk)?;
        window.moved(self.number, end);
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.along
            .window
            .content
            .lock()
            .readers
            .remove(&self.number);
        self.along.window.changed.notify_all();
    }
}

impl Window {
    /// Adds what comes at `start`, as soon as there is room; false if no reader makes any. The pace is that of
    /// the slowest reader. One for which the others have waited too long is cut.
    pub(super) fn write(&self, start: u64, piece: &[u8]) -> bool {
        let mut content = self.content.lock();
        if content.began.is_none() {
            (content.began, content.start, content.end) = (Some(start), start, start);
        }
        let length = piece.len() as u64;
        let mut waited = Duration::ZERO;
        while content.end - content.start + length > WINDOW {
            let Some(first) = content.pieces.front().map(|first| first.len() as u64) else {
                break;
            };
            let end = content.start + first;
            let slow = |place: &Place| place.at < end;
            let behind = content.readers.values().filter(|place| slow(place)).count();
            if behind == 0 && !content.readers.is_empty() {
                content.pieces.pop_front();
                content.start = end;
                waited = Duration::ZERO;
                continue;
            }
            let alone = behind == content.readers.len();
            let before = Instant::now();
            self.changed.wait_for(&mut content, PATIENCE / 30);
            let now = before.elapsed();
            waited += now;
            if alone && waited >= PATIENCE {
                return false;
            }
            if !alone {
                content.readers.retain(|_, place| {
                    if slow(place) {
                        place.held_up += now;
                    }
                    place.held_up < PATIENCE
                });
            }
        }
        content.pieces.push_back(Bytes::copy_from_slice(piece));
        content.end += length;
        true
    }

    fn join(&self) -> Option<u64> {
        let mut content = self.content.lock();
        if !content.is_whole() {
            return None;
        }
        content.last += 1;
        let number = content.last;
        content.readers.insert(number, Place::default());
        Some(number)
    }

    fn moved(&self, number: u64, to: u64) {
        let mut content = self.content.lock();
        if let Some(place) = content.readers.get_mut(&number) {
            place.at = place.at.max(to);
        }
        if content.began.is_some() {
            drop(content);
            self.changed.notify_all();
        }
    }

    fn read(&self, mut target: &mut [u8], start: u64) -> io::Result<()> {
        if target.is_empty() {
            return Ok(());
        }
        let content = self.content.lock();
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
        Ok(())
    }
}

impl Content {
    fn is_whole(&self) -> bool {
        self.began.is_none_or(|began| began == self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: usize = 256 * 1024;

    fn read(reader: &Reader, pieces: std::ops::Range<u64>) -> io::Result<()> {
        for number in pieces {
            let mut piece = vec![0; PIECE];
            reader.read_exact_at(&mut piece, number * PIECE as u64)?;
            assert!(piece.iter().all(|byte| u64::from(*byte) == number));
        }
        Ok(())
    }

    fn write(window: &Window, number: u8) -> bool {
        window.write(u64::from(number) * PIECE as u64, &vec![number; PIECE])
    }

    #[test]
    fn what_is_not_kept_waits_for_the_slowest_and_nobody_joins_late() {
        let window = Arc::<Window>::default();
        let file = tempfile::tempfile().unwrap();
        let along = Arc::new(Along::new(file, Arc::clone(&window)));
        let (fast, slow) = (along.reader().unwrap(), along.reader().unwrap());
        for number in 0..4 {
            assert!(write(&window, number));
        }
        assert!(along.is_whole());
        read(&fast, 0..4).unwrap();
        let writer = std::thread::spawn({
            let window = Arc::clone(&window);
            move || write(&window, 4)
        });
        // It is all there for the slow one, whenever it comes.
        read(&slow, 0..4).unwrap();
        assert!(writer.join().unwrap());
        assert!(!along.is_whole());
        assert!(along.reader().is_none());
        read(&fast, 4..5).unwrap();
        // One that has left holds nothing up.
        drop(slow);
        for number in 5..12 {
            assert!(write(&window, number));
            read(&fast, u64::from(number)..u64::from(number) + 1).unwrap();
        }
    }

    #[test]
    fn one_that_is_too_slow_is_cut_alone() {
        let window = Arc::<Window>::default();
        let file = tempfile::tempfile().unwrap();
        let along = Arc::new(Along::new(file, Arc::clone(&window)));
        let (fast, slow) = (along.reader().unwrap(), along.reader().unwrap());
        for number in 0..4 {
            assert!(write(&window, number));
        }
        read(&fast, 0..4).unwrap();
        let held_up = PATIENCE / 30 * 29;
        window
            .content
            .lock()
            .readers
            .get_mut(&slow.number)
            .unwrap()
            .held_up = held_up;
        assert!(write(&window, 4));
        read(&fast, 4..5).unwrap();
        assert!(read(&slow, 0..1).is_err());
    }
}
