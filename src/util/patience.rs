use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::clock;
use super::file_error::FileError;

/// For how long nothing may come of a file, unless [`with_deadline`] says otherwise.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// What goes on slowly ends after so many deadlines.
const MOST_DEADLINES: u32 = 30;

/// How many files may be stuck at once: each keeps a thread.
const MOST_STUCK: usize = 64;

/// How many of them may be in one folder, so that a large folder whose server is gone neither holds up its reader for
/// a deadline a file nor takes the threads of all others.
const MOST_STUCK_BESIDE: usize = 8;

thread_local! {
    static SET: Cell<Duration> = const { Cell::new(DEADLINE) };
}

/// The files that are stuck, and how often.
static STUCK: LazyLock<Mutex<HashMap<PathBuf, Stuck>>> = LazyLock::new(Mutex::default);

struct Stuck {
    since: Instant,
    threads: usize,
}

/// Sign of life of work that may take its time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

impl Progress {
    pub(crate) fn made(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs `work`, whose reads on this thread have this deadline.
pub(crate) fn with_deadline<T>(deadline: Duration, work: impl FnOnce() -> T) -> T {
    struct Before(Duration);
    impl Drop for Before {
        fn drop(&mut self) {
            SET.set(self.0);
        }
    }
    let _before = Before(SET.replace(deadline));
    work()
}

/// Runs `work` about this file on a thread of its own, and gives up on it if nothing comes of it: a
/// network mount whose server is gone keeps whatever touches it, and nothing can end that. While it is
/// stuck the file is not tried again.
pub(crate) fn within<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Progress) -> T + Send + 'static,
) -> io::Result<T> {
    check(path)?;
    let begun = clock::instant();
    let progress = Progress::default();
    let (send, receive) = mpsc::sync_channel(1);
    let given_up = Arc::new(AtomicBool::new(false));
    // Where there is no thread to be had, it is done here.
    let work = Arc::new(Mutex::new(Some(work)));
    let thread = thread::Builder::new().name("portcullis-read".to_owned());
    let spawned = thread.spawn({
        let (work, progress) = (Arc::clone(&work), progress.clone());
        let over = Over {
            path: path.to_owned(),
            given_up: Arc::clone(&given_up),
        };
        move || {
            let _over = over;
            if let Some(work) = taken(&work) {
                let _ = send.send(work(&progress));
            }
        }
    });
    if spawned.is_err()
        && let Some(work) = taken(&work)
    {
        return Ok(work(&progress));
    }
    let deadline = SET.get();
    let mut seen = 0;
    loop {
        match receive.recv_timeout(deadline) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("reading it panicked"));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let made = progress.0.load(Ordering::Relaxed);
        if made != seen && begun.elapsed() < deadline * MOST_DEADLINES {
            seen = made;
            continue;
        }
        let mut stuck = stuck();
        // It may have come meanwhile, and then is over already or will be.
        if let Ok(result) = receive.try_recv() {
            return Ok(result);
        }
        let entry = stuck.entry(path.to_owned()).or_insert(Stuck {
            since: begun,
            threads: 0,
        });
        entry.threads += 1;
        given_up.store(true, Ordering::Relaxed);
        drop(stuck);
        let seconds = begun.elapsed().as_secs();
        tracing::error!(
            file = %path.display(), seconds,
            "reading this file does not end: is its mount's server gone? Others are read without it"
        );
        return Err(FileError::Stuck { seconds }.into());
    }
}

/// Fails for a file that is stuck.
fn check(path: &Path) -> io::Result<()> {
    let stuck = stuck();
    if let Some(entry) = stuck.get(path) {
        let seconds = entry.since.elapsed().as_secs();
        return Err(FileError::Stuck { seconds }.into());
    }
    let beside = stuck.keys().filter(|one| one.parent() == path.parent());
    let beside = beside.count();
    if stuck.len() >= MOST_STUCK || beside >= MOST_STUCK_BESIDE {
        let stuck = stuck.len();
        return Err(FileError::ManyStuck { stuck }.into());
    }
    Ok(())
}

/// Ends with the work about a file, however that ends.
struct Over {
    path: PathBuf,
    /// Written and read under the lock of [`STUCK`].
    given_up: Arc<AtomicBool>,
}

impl Drop for Over {
    fn drop(&mut self) {
        let mut stuck = stuck();
        if !self.given_up.load(Ordering::Relaxed) {
            return;
        }
        if let Some(entry) = stuck.get_mut(&self.path) {
            entry.threads -= 1;
            if entry.threads == 0 {
                stuck.remove(&self.path);
            }
        }
    }
}

fn stuck() -> MutexGuard<'static, HashMap<PathBuf, Stuck>> {
    STUCK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn taken<W>(work: &Mutex<Option<W>>) -> Option<W> {
    work.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuck_for(path: &Path) -> Option<FileError> {
        let error = check(path).err()?;
        error.get_ref()?.downcast_ref::<FileError>().cloned()
    }

    #[test]
    fn what_is_stuck_is_given_up_on_once_and_tried_again_when_it_is_over() {
        let path = Path::new("patience-tests/stuck");
        let (release, released) = mpsc::channel::<()>();
        let begun = Instant::now();
        let result = with_deadline(Duration::from_millis(20), || {
            within(path, move |_| released.recv())
        });
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // At once, and without a further thread.
        let again = with_deadline(Duration::from_secs(60 * 60), || within(path, |_| ()));
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(60));
        assert_eq!(within(Path::new("patience-tests/other"), |_| 7).unwrap(), 7);
        release.send(()).unwrap();
        while stuck_for(path).is_some() {
            thread::yield_now();
        }
        assert_eq!(within(path, |_| 7).unwrap(), 7);
    }

    #[test]
    fn a_folder_of_files_that_are_stuck_leaves_other_folders_readable() {
        let folder = Path::new("patience-tests/hung");
        let mut hung = Vec::new();
        for number in 0..MOST_STUCK_BESIDE {
            let (release, released) = mpsc::channel::<()>();
            let path = folder.join(number.to_string());
            let result = with_deadline(Duration::from_millis(5), || {
                within(&path, move |_| released.recv())
            });
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
            hung.push((path, release));
        }
        let begun = Instant::now();
        let next = with_deadline(Duration::from_secs(60 * 60), || {
            within(&folder.join("next"), |_| ())
        });
        assert_eq!(next.unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        assert!(begun.elapsed() < Duration::from_secs(60));
        assert_eq!(within(Path::new("patience-tests/well"), |_| 7).unwrap(), 7);
        for (path, release) in hung {
            drop(release);
            while stuck_for(&path).is_some() {
                thread::yield_now();
            }
        }
        assert!(within(&folder.join("next"), |_| ()).is_ok());
    }

    #[test]
    fn what_goes_on_slowly_is_waited_for() {
        let path = Path::new("patience-tests/slow");
        let result = with_deadline(Duration::from_millis(100), || {
            within(path, |progress| {
                for _ in 0..10 {
                    thread::sleep(Duration::from_millis(20));
                    progress.made();
                }
            })
        });
        assert!(result.is_ok());
    }

    #[test]
    fn work_that_panics_is_an_error() {
        let path = Path::new("patience-tests/panics");
        let result = within(path, |_| panic!("on purpose"));
        assert!(result.is_err());
        assert_eq!(stuck_for(path), None);
    }
}
