//! Files that change while they are watched, in all the ways in which they do.
#![cfg(all(unix, feature = "reload"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use portcullis::Watched;
use portcullis::reload::{Load, Pinned, WatchOptions};

use crate::waiting::until;

/// Two files that belong together: both hold the same text.
struct Pair {
    first: PathBuf,
    second: PathBuf,
}

#[derive(Debug, thiserror::Error)]
enum PairError {
    #[error("cannot be read")]
    Read(#[from] std::io::Error),
    #[error("{0:?} and {1:?} do not belong together")]
    Unequal(String, String),
    #[error("half-written")]
    Half,
}

impl Pair {
    fn at(directory: &Path) -> Self {
        Self {
            first: directory.join("first"),
            second: directory.join("second"),
        }
    }
}

impl Load for Pair {
    type Value = String;
    type Error = PairError;

    fn name(&self) -> &'static str {
        "pair"
    }

    fn paths(&self) -> Vec<PathBuf> {
        vec![self.first.clone(), self.second.clone()]
    }

    fn load(&mut self, _: Option<&String>) -> Result<String, PairError> {
        let mut pinned = Pinned::new();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let first = text(pinned.read(&self.first)?);
        let second = text(pinned.read(&self.second)?);
        if !first.ends_with('.') {
            return Err(PairError::Half);
        }
        if first != second {
            return Err(PairError::Unequal(first, second));
        }
        Ok(first)
    }
}

/// Notifications only: the next poll is out of reach of the test.
fn notified() -> WatchOptions {
    WatchOptions::default()
        .with_poll_interval(Duration::from_secs(60 * 60))
        .with_settle(Duration::from_millis(10))
}

fn polled() -> WatchOptions {
    WatchOptions::default().with_poll_interval(Duration::from_millis(20))
}

fn write(directory: &Path, text: &str) {
    fs::write(directory.join("first"), text).unwrap();
    fs::write(directory.join("second"), text).unwrap();
}

fn open(path: &Path) -> fs::File {
    fs::File::options().write(true).open(path).unwrap()
}

/// A new version of a Secret volume, swapped in as the kubelet does; the old one is removed at once.
fn swap(volume: &Path, version: &str, text: &str) {
    let directory = volume.join(version);
    fs::create_dir_all(&directory).unwrap();
    write(&directory, text);
    let old = fs::read_link(volume.join("..data")).ok();
    symlink(version, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    for name in ["first", "second"] {
        let link = volume.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
    if let Some(old) = old {
        fs::remove_dir_all(volume.join(old)).unwrap();
    }
}

#[test]
fn a_secret_that_is_swapped_is_seen_at_once_many_times() {
    let volume = tempfile::tempdir().unwrap();
    swap(volume.path(), "..v0", "0.");
    let watched = Watched::watch(Pair::at(volume.path()), notified()).unwrap();
    for version in 1..20 {
        let text = format!("{version}.");
        swap(volume.path(), &format!("..v{version}"), &text);
        until(&text, || **watched.load() == *text);
    }
    assert!(watched.health().failure.is_none());
}

#[test]
fn a_swap_one_directory_deeper_is_seen_at_once() {
    let volume = tempfile::tempdir().unwrap();
    let version = |name: &str, text: &str| {
        let directory = volume.path().join(name).join("sub");
        fs::create_dir_all(&directory).unwrap();
        write(&directory, text);
        symlink(name, volume.path().join("..data_tmp")).unwrap();
        let data = volume.path().join("..data");
        fs::rename(volume.path().join("..data_tmp"), data).unwrap();
    };
    version("..v0", "0.");
    symlink("..data/sub", volume.path().join("sub")).unwrap();
    let watched = Watched::watch(Pair::at(&volume.path().join("sub")), notified()).unwrap();
    for (name, text) in [("..v1", "1."), ("..v2", "2.")] {
        version(name, text);
        until(text, || **watched.load() == *text);
    }
}

#[test]
fn a_directory_that_is_deleted_and_made_again_is_seen_at_once() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("a/b");
    fs::create_dir_all(&directory).unwrap();
    write(&directory, "0.");
    let watched = Watched::watch(Pair::at(&directory), notified()).unwrap();
    for text in ["1.", "2."] {
        fs::remove_dir_all(root.path().join("a")).unwrap();
        until("gone", || watched.health().failure.is_some());
        fs::create_dir_all(&directory).unwrap();
        write(&directory, text);
        until(text, || **watched.load() == *text);
        assert!(watched.health().failure.is_none());
    }
}

#[test]
fn half_written_files_leave_the_last_good_value_active() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "0.");
    let watched = Watched::watch(Pair::at(directory.path()), notified()).unwrap();
    fs::write(directory.path().join("first"), "1").unwrap();
    until("refused", || watched.health().failure.is_some());
    assert_eq!(watched.health().failure.as_deref(), Some("half-written"));
    assert_eq!(**watched.load(), *"0.");
    fs::write(directory.path().join("first"), "1.").unwrap();
    let unequal = "\"1.\" and \"0.\" do not belong together";
    until("refused", || {
        watched.health().failure.as_deref() == Some(unequal)
    });
    fs::write(directory.path().join("second"), "1.").unwrap();
    until("whole", || **watched.load() == *"1.");
    assert!(watched.health().failure.is_none());
}

#[test]
fn a_rewrite_with_the_same_length_and_times_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let before = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let put = |text: &str| {
        write(directory.path(), text);
        for name in ["first", "second"] {
            open(&directory.path().join(name))
                .set_modified(before)
                .unwrap();
        }
    };
    put("0.");
    let watched = Watched::watch(Pair::at(directory.path()), polled()).unwrap();
    put("1.");
    until("seen", || **watched.load() == *"1.");
}

#[test]
fn modification_times_that_jump_back_hide_nothing() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "0.");
    let watched = Watched::watch(Pair::at(directory.path()), polled()).unwrap();
    let years = Duration::from_secs(24 * 365 * 20 * 60 * 60);
    for (text, time) in [
        ("1.", SystemTime::now() + years),
        ("2.", SystemTime::UNIX_EPOCH),
        ("3.", SystemTime::now() - years),
    ] {
        write(directory.path(), text);
        open(&directory.path().join("first"))
            .set_modified(time)
            .unwrap();
        until(text, || **watched.load() == *text);
    }
}

#[test]
fn files_that_become_unreadable_are_told_and_heal() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "0.");
    let watched = Watched::watch(Pair::at(directory.path()), notified()).unwrap();
    // Root reads every file, so the file itself is made one that cannot be read.
    let first = directory.path().join("first");
    let root = fs::read("/proc/self/status").is_ok_and(|_| {
        fs::set_permissions(&first, Permissions::from_mode(0o000)).unwrap();
        fs::read(&first).is_ok()
    });
    if root {
        fs::remove_file(&first).unwrap();
        fs::create_dir(&first).unwrap();
    }
    until("told", || watched.health().failure.is_some());
    assert_eq!(**watched.load(), *"0.");
    if root {
        fs::remove_dir(&first).unwrap();
        fs::write(&first, "0.").unwrap();
    } else {
        fs::set_permissions(&first, Permissions::from_mode(0o600)).unwrap();
    }
    until("healed", || watched.health().failure.is_none());
}

#[test]
fn pinned_files_are_of_one_version_though_it_is_swapped_between() {
    let volume = tempfile::tempdir().unwrap();
    swap(volume.path(), "..v0", "0.");
    let mut pinned = Pinned::new();
    let first = pinned.read(&volume.path().join("first")).unwrap();
    assert_eq!(first, b"0.");
    swap(volume.path(), "..v1", "1.");
    // The old version is gone: an error, and never a mixture.
    let second = pinned.read(&volume.path().join("second"));
    assert!(second.is_err() || second.unwrap() == b"0.");
    assert_eq!(
        Pinned::new().read(&volume.path().join("second")).unwrap(),
        b"1."
    );
    let listed = Pinned::new().list(volume.path()).unwrap();
    assert_eq!(
        listed,
        [volume.path().join("first"), volume.path().join("second")]
    );
}
