use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::Watched;
use super::watched::Shared;

/// How to make a value from files, again and again.
pub trait Load: Send + 'static {
    /// What the files hold.
    type Value: Send + Sync + 'static;
    /// Why they cannot be used. Says which file; never holds a secret.
    type Error: Error + Send + Sync + 'static;

    /// What is loaded, as a closed-set label: `tokens`, `crl`, `policy`…
    fn name(&self) -> &'static str;

    /// The files and directories to watch. Asked again after each load.
    fn paths(&self) -> Vec<PathBuf>;

    /// Reads the files. Runs on a thread of its own, so it may block and take its time.
    ///
    /// # Errors
    /// What is wrong with the files; the value in force then stays.
    fn load(&mut self, previous: Option<&Self::Value>) -> Result<Self::Value, Self::Error>;
}

/// How files are watched.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WatchOptions {
    /// How often the files are looked at besides the notifications. Default 5 s.
    pub poll_interval: Duration,
    /// How long a burst of changes must have been quiet before the files are read. Default 50 ms.
    pub settle: Duration,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(5),
            settle: Duration::from_millis(50),
        }
    }
}

impl WatchOptions {
    /// Sets [`WatchOptions::poll_interval`].
    pub fn with_poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// Sets [`WatchOptions::settle`].
    pub fn with_settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Loads once, then again whenever the files change, until the last clone is dropped.
    ///
    /// # Errors
    /// The first load's: without a snapshot there is no service.
    pub fn watch<L>(mut loader: L, options: WatchOptions) -> Result<Self, L::Error>
    where
        L: Load<Value = T>,
    {
        // Before the load, so that a change during it is seen after it.
        let seen = fingerprint(&loader.paths());
        let value = loader.load(None)?;
        let watched = Self::named(loader.name(), value);
        let worker = Worker {
            shared: watched.downgrade(),
            loader,
            options,
            seen,
        };
        let spawned = thread::Builder::new()
            .name("portcullis-reload".to_owned())
            .spawn(move || worker.run());
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread to watch files with: they will not be reloaded");
            watched
                .downgrade()
                .upgrade()
                .inspect(|shared| shared.failed(error.to_string()));
        }
        Ok(watched)
    }
}

struct Worker<L: Load> {
    shared: Weak<Shared<L::Value>>,
    loader: L,
    options: WatchOptions,
    seen: Fingerprint,
}

impl<L: Load> Worker<L> {
    fn run(mut self) {
        let (sender, events) = mpsc::sync_channel(1);
        let mut watcher = notify::recommended_watcher(move |_event| {
            // Full means that a wake-up is already on its way.
            let _ = sender.try_send(());
        })
        .inspect_err(|error| tracing::warn!(%error, "file notifications are off, polling only"))
        .ok();
        let mut directories = BTreeSet::new();
        loop {
            if let Some(watcher) = &mut watcher {
                follow(watcher, &mut directories, &self.loader.paths());
            }
            if !self.wait(watcher.is_some(), &events) {
                return;
            }
            self.look();
        }
    }

    /// Waits for a change or the next poll; false when nobody holds the value any more.
    fn wait(&self, notified: bool, events: &Receiver<()>) -> bool {
        // Short waits, so that a dropped `Watched` does not leave its thread behind for long.
        let step = self.options.poll_interval.min(Duration::from_millis(500));
        let mut waited = Duration::ZERO;
        while waited < self.options.poll_interval {
            if self.shared.strong_count() == 0 {
                return false;
            }
            if !notified {
                thread::sleep(step);
            } else if events.recv_timeout(step) != Err(RecvTimeoutError::Timeout) {
                while events.recv_timeout(self.options.settle).is_ok() {}
                break;
            }
            waited += step;
        }
        self.shared.strong_count() > 0
    }

    fn look(&mut self) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let paths = self.loader.paths();
        let now = fingerprint(&paths);
        if now == self.seen {
            return;
        }
        self.seen = now;
        let name = shared.name();
        let previous = shared.value();
        match self.loader.load(Some(&previous)) {
            Ok(value) => {
                drop(previous);
                let generation = shared.publish(value);
                tracing::info!(what = name, generation, "reloaded");
            }
            Err(error) => {
                let reason = chain(&error);
                tracing::error!(
                    what = name, files = ?paths, reason,
                    "reload failed, the last good value stays in force"
                );
                shared.failed(reason);
            }
        }
    }
}

fn follow(
    watcher: &mut RecommendedWatcher,
    directories: &mut BTreeSet<PathBuf>,
    paths: &[PathBuf],
) {
    let wanted: BTreeSet<PathBuf> = paths.iter().map(|path| directory_of(path)).collect();
    for gone in directories.difference(&wanted) {
        // It may have been deleted, which ended the watch already.
        let _ = watcher.unwatch(gone);
    }
    let mut followed = BTreeSet::new();
    for directory in wanted {
        let known = directories.contains(&directory);
        if known
            || watcher
                .watch(&directory, RecursiveMode::NonRecursive)
                .is_ok()
        {
            followed.insert(directory);
        } else {
            tracing::warn!(directory = %directory.display(), "cannot be watched, polling only");
        }
    }
    *directories = followed;
}

fn directory_of(path: &Path) -> PathBuf {
    if path.is_dir() {
        return path.to_owned();
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// What tells one state of the files from another without reading them.
type Fingerprint = Vec<(PathBuf, Option<Stamp>)>;

#[derive(PartialEq, Eq)]
struct Stamp {
    target: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

fn fingerprint(paths: &[PathBuf]) -> Fingerprint {
    let mut stamps = Vec::new();
    for path in paths {
        stamps.push((path.clone(), stamp(path)));
        let Ok(entries) = fs::read_dir(path) else {
            continue;
        };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        stamps.extend(files.into_iter().map(|file| {
            let stamp = stamp(&file);
            (file, stamp)
        }));
    }
    stamps
}

fn stamp(path: &Path) -> Option<Stamp> {
    // Through symlinks: a Secret's `tls.crt` points to `..data/tls.crt`, `..data` to a directory.
    let target = fs::canonicalize(path).ok()?;
    let metadata = fs::metadata(&target).ok()?;
    Some(Stamp {
        target,
        length: metadata.len(),
        modified: metadata.modified().ok(),
        inode: inode(&metadata),
    })
}

#[cfg(unix)]
fn inode(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> u64 {
    0
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
