use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RemoveKind};
use notify::{Event, RecursiveMode, Watcher};

use crate::util::patience::within;

/// More symlinks than this on one path are a loop (Linux itself follows 40).
const SYMLINKS: usize = 40;

/// What a watcher calls for each event.
pub(super) type Handler = Box<dyn FnMut(notify::Result<Event>) + Send>;

/// What follows directories.
pub(super) type Following = Box<dyn Watcher + Send>;

/// Reports when something may have changed in the directories that decide what the files are.
pub(super) struct Notifications<M> {
    make: M,
    watcher: Option<Following>,
    /// With the inode that is watched: a directory made anew under its name is another.
    followed: BTreeMap<PathBuf, u64>,
    /// A followed directory was removed or renamed, so that its watch has ended or leads elsewhere.
    /// The inode alone is not enough: the next directory may get the same.
    gone: Arc<AtomicBool>,
    /// What decides in those directories.
    entries: Arc<Mutex<Entries>>,
    wake: SyncSender<()>,
    events: Receiver<()>,
    refused: bool,
}

impl<M: Fn(Handler) -> notify::Result<Following>> Notifications<M> {
    pub(super) fn new(make: M) -> Self {
        // Full means that a wake-up is already on its way.
        let (wake, events) = mpsc::sync_channel(1);
        Self {
            make,
            watcher: None,
            followed: BTreeMap::new(),
            gone: Arc::default(),
            entries: Arc::default(),
            wake,
            events,
            refused: false,
        }
    }

    /// Waits for an event.
    pub(super) fn wait(&self, timeout: Duration) -> Result<(), RecvTimeoutError> {
        self.events.recv_timeout(timeout)
    }

    /// Follows what these paths lead through now. True if something new is followed, so that a
    /// change before it went unseen.
    pub(super) fn follow(&mut self, paths: &[PathBuf]) -> bool {
        let gone = self.gone.swap(false, Ordering::AcqRel);
        let mut all = Wanted::default();
        for path in paths {
            let owned = path.clone();
            let found = within(path, move |_| {
                let (mut found, mut left) = (Wanted::default(), SYMLINKS);
                directories(&owned, &mut found, &mut left);
                found
            });
            // Of what is stuck there is nothing to follow.
            let found = found.unwrap_or_default();
            all.directories.extend(found.directories);
            all.entries.names.extend(found.entries.names);
            all.entries.folders.extend(found.entries.folders);
        }
        let wanted = all.directories;
        *self.entries.lock().unwrap_or_else(PoisonError::into_inner) = all.entries;
        let stale = |(path, inode): (&PathBuf, &u64)| wanted.get(path) != Some(inode);
        if gone || self.watcher.is_none() || self.followed.iter().any(stale) {
            self.begin_anew();
        }
        let Some(watcher) = &mut self.watcher else {
            return false;
        };
        let mut more = false;
        let mut refusal = None;
        for (path, inode) in wanted {
            if self.followed.contains_key(&path) {
                continue;
            }
            match watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.followed.insert(path, inode);
                    more = true;
                }
                // It went away since it was found here, and that is a change.
                Err(_) if fs::metadata(&path).is_err() => more = true,
                Err(error) => refusal = Some((path, error)),
            }
        }
        if let Some((path, error)) = &refusal
            && !self.refused
        {
            tracing::warn!(
                directory = %path.display(), %error, "changes here are seen by polling only"
            );
        }
        self.refused = refusal.is_some();
        more
    }

    /// A new watcher instead of changing the old one, which removes watches by their path when the
    /// event of a removal reaches it: by then the path may be another directory's.
    fn begin_anew(&mut self) {
        self.followed.clear();
        self.watcher = None;
        let gone = self.gone.clone();
        let entries = self.entries.clone();
        let wake = self.wake.clone();
        let handler: Handler = Box::new(move |event| {
            let of_these = || {
                let entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
                concerns(&event, &entries)
            };
            if !reports_change(&event) || !of_these() {
                return;
            }
            if ends_a_watch(&event) {
                gone.store(true, Ordering::Release);
            }
            let _ = wake.try_send(());
        });
        match (self.make)(handler) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => {
                if !self.refused {
                    // inotify instances are few for one user, and some file systems have none.
                    tracing::warn!(%error, "file notifications are off, changes are seen by polling");
                }
                self.refused = true;
            }
        }
    }
}

/// Whether an event may report a change. Opening and reading are events too, our own included.
fn reports_change(event: &notify::Result<Event>) -> bool {
    match event {
        Ok(event) => !matches!(
            event.kind,
            EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write)
        ),
        // Events were lost, perhaps.
        Err(_) => true,
    }
}

/// Whether an event may be of these entries. Files that have nothing to do with them are written in their directories
/// too, an access log for each batch of requests.
fn concerns(event: &notify::Result<Event>, entries: &Entries) -> bool {
    let Ok(event) = event else {
        return true;
    };
    let writes = matches!(
        event.kind,
        EventKind::Modify(ModifyKind::Data(_)) | EventKind::Access(_)
    );
    !writes || event.paths.is_empty() || event.paths.iter().any(|path| entries.have(path))
}

/// Whether what is gone may be a directory that is followed.
fn ends_a_watch(event: &notify::Result<Event>) -> bool {
    match event {
        Ok(event) => match event.kind {
            EventKind::Remove(kind) => kind != RemoveKind::File,
            EventKind::Modify(kind) => matches!(kind, ModifyKind::Name(_)),
            EventKind::Other => true,
            _ => false,
        },
        Err(_) => true,
    }
}

/// What decides what the files are.
#[derive(Debug, Default)]
struct Wanted {
    /// With their inodes.
    directories: BTreeMap<PathBuf, u64>,
    entries: Entries,
}

/// The entries of directories that decide.
#[derive(Debug, Default)]
struct Entries {
    /// By name alone: one directory may be known by several paths, and its events come by one of them.
    names: BTreeSet<OsString>,
    /// Those of which every entry does, as absolute paths.
    folders: BTreeSet<PathBuf>,
}

/// Every directory in which an entry decides what `path` leads to: its own, those of the symlinks
/// on the way, and where something is missing, the last one that is there.
fn directories(path: &Path, wanted: &mut Wanted, left: &mut usize) {
    let mut so_far = PathBuf::new();
    let mut components = path.components();
    if !path.is_absolute() {
        so_far.push(".");
    }
    while let Some(component) = components.next() {
        let parent = so_far.clone();
        so_far.push(component);
        let Ok(metadata) = fs::symlink_metadata(&so_far) else {
            wanted.add(&parent, &so_far);
            return;
        };
        if metadata.is_symlink() {
            wanted.add(&parent, &so_far);
            let Ok(target) = fs::read_link(&so_far) else {
                return;
            };
            if *left == 0 {
                return;
            }
            *left -= 1;
            return directories(
                &parent.join(target).join(components.as_path()),
                wanted,
                left,
            );
        }
        let is_last = components.as_path() == Path::new("");
        if is_last {
            let directory = if metadata.is_dir() { &so_far } else { &parent };
            wanted.add(directory, &so_far);
            if metadata.is_dir() {
                let folder = std::path::absolute(&so_far).unwrap_or_else(|_| so_far.clone());
                wanted.entries.folders.insert(folder);
            }
            // Its own name may be taken by another.
            if metadata.is_dir() && component != Component::RootDir {
                wanted.add(&parent, &so_far);
            }
        }
    }
}

impl Wanted {
    fn add(&mut self, directory: &Path, entry: &Path) {
        let directory = if directory.as_os_str().is_empty() {
            Path::new(".")
        } else {
            directory
        };
        self.entries
            .names
            .extend(entry.file_name().map(ToOwned::to_owned));
        if let Ok(metadata) = fs::metadata(directory) {
            self.directories
                .insert(directory.to_owned(), inode(&metadata));
        }
    }
}

impl Entries {
    fn have(&self, path: &Path) -> bool {
        let is_named = path
            .file_name()
            .is_some_and(|name| self.names.contains(name));
        is_named
            || path
                .parent()
                .is_some_and(|parent| self.folders.contains(parent))
    }
}

#[cfg(unix)]
fn inode(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> u64 {
    0
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn opening_and_reading_report_no_change() {
        use notify::event::{CreateKind, ModifyKind};
        for (kind, tells) in [
            (EventKind::Access(AccessKind::Open(AccessMode::Any)), false),
            (
                EventKind::Access(AccessKind::Close(AccessMode::Read)),
                false,
            ),
            (
                EventKind::Access(AccessKind::Close(AccessMode::Write)),
                true,
            ),
            (EventKind::Create(CreateKind::Any), true),
            (EventKind::Modify(ModifyKind::Any), true),
            (EventKind::Other, true),
        ] {
            assert_eq!(reports_change(&Ok(Event::new(kind))), tells, "{kind:?}");
        }
        assert!(reports_change(&Err(notify::Error::generic("lost"))));
    }

    #[test]
    fn a_symlink_anywhere_on_the_way_has_its_directory_watched() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        fs::create_dir_all(root.join("..v1/sub")).unwrap();
        fs::write(root.join("..v1/sub/ca.crt"), "x").unwrap();
        symlink("..v1", root.join("..data")).unwrap();
        symlink("..data/sub", root.join("sub")).unwrap();
        let mut wanted = Wanted::default();
        let mut left = SYMLINKS;
        directories(&root.join("sub/ca.crt"), &mut wanted, &mut left);
        let directories: Vec<_> = wanted.directories.into_keys().collect();
        assert_eq!(directories, [root.clone(), root.join("..v1/sub")]);
        let names: Vec<_> = wanted.entries.names.into_iter().collect();
        assert_eq!(names, ["..data", "ca.crt", "sub"]);
    }

    #[test]
    fn a_loop_of_symlinks_and_a_missing_file_end_somewhere() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        for path in ["a/x", "not/there/yet"] {
            let mut wanted = Wanted::default();
            let mut left = SYMLINKS;
            directories(&root.join(path), &mut wanted, &mut left);
            assert!(wanted.directories.into_keys().eq([root.clone()]));
        }
    }

    #[test]
    fn what_is_written_beside_the_files_is_no_change_of_theirs() {
        use notify::event::{CreateKind, DataChange};
        let entries = Entries {
            names: BTreeSet::from(["ca.crt".into(), "crls".into()]),
            folders: BTreeSet::from(["/etc/gate/crls".into()]),
        };
        let data = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let close = EventKind::Access(AccessKind::Close(AccessMode::Write));
        for (kind, path, tells) in [
            (data, "/etc/gate/ca.crt", true),
            (close, "/etc/gate/ca.crt", true),
            (data, "/etc/gate/crls/any.crl", true),
            (data, "/etc/gate/../gate/ca.crt", true),
            (data, "/etc/gate/access.jsonl", false),
            (close, "/etc/gate/access.jsonl", false),
            // What comes, goes or takes another name may be a directory on the way.
            (EventKind::Create(CreateKind::Any), "/etc/gate/x", true),
            (EventKind::Modify(ModifyKind::Any), "/etc/gate/x", true),
            (EventKind::Other, "/etc/gate/x", true),
        ] {
            let event = Ok(Event::new(kind).add_path(path.into()));
            assert_eq!(concerns(&event, &entries), tells, "{kind:?} {path}");
        }
        assert!(concerns(&Ok(Event::new(data)), &entries));
        assert!(concerns(&Err(notify::Error::generic("lost")), &entries));
    }
}
