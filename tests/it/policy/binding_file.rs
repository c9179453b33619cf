//! What is known of digests, kept in a file.
#![cfg(feature = "digest-binding")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use portcullis::policy::{DigestBinding, PolicyError};
use tempfile::TempDir;

use crate::waiting::until;

fn digest(number: usize) -> String {
    format!("sha256:{number:064x}")
}

/// So seldom that only [`DigestBinding::save`] and the end write.
fn seldom() -> DigestBinding {
    DigestBinding::new(1000).with_save_interval(Duration::from_secs(24 * 60 * 60))
}

fn kept(path: &Path) -> Result<DigestBinding, PolicyError> {
    seldom().kept_in(path)
}

/// [`kept`], where a damaged file may be forgotten.
fn forgiving(path: &Path) -> Result<DigestBinding, PolicyError> {
    seldom().with_damaged_forgotten(true).kept_in(path)
}

fn bind(binding: &DigestBinding, numbers: std::ops::Range<usize>) {
    for number in numbers {
        binding.bind(Some("docker.io"), "lib/x", &digest(number));
    }
}

fn known(binding: &DigestBinding, numbers: std::ops::Range<usize>) -> usize {
    numbers
        .filter(|number| binding.leads_to(Some("docker.io"), "lib/x", &digest(*number)))
        .count()
}

fn files(folder: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.path()).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn what_is_known_outlives_a_restart() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("digests");
    let first = kept(&file).unwrap();
    bind(&first, 0..100);
    first.save().unwrap();
    let second = kept(&file).unwrap();
    assert_eq!(known(&second, 0..100), 100);
    assert_eq!(known(&second, 100..200), 0);
    second.unbind("lib/x", &digest(0));
    second.save().unwrap();
    assert_eq!(known(&kept(&file).unwrap(), 0..100), 99);
    assert_eq!(files(&folder), [&*file]);
}

#[cfg(unix)]
#[test]
fn the_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;

    let folder = TempDir::new().unwrap();
    let file = folder.path().join("digests");
    let binding = kept(&file).unwrap();
    bind(&binding, 0..1);
    binding.save().unwrap();
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn nothing_is_written_while_nothing_is_new() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("digests");
    let binding = kept(&file).unwrap();
    binding.save().unwrap();
    assert!(!file.exists());
    bind(&binding, 0..10);
    binding.save().unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(known(&binding, 0..10), 10);
    bind(&binding, 0..10);
    binding.save().unwrap();
    assert!(!file.exists());
    bind(&binding, 10..11);
    binding.save().unwrap();
    assert_eq!(known(&kept(&file).unwrap(), 0..11), 11);
}

#[test]
fn what_is_new_is_written_now_and_then_and_at_the_end() {
    let folder = TempDir::new().unwrap();
    let often = folder.path().join("digests");
    let binding = DigestBinding::new(1000).with_save_interval(Duration::ZERO);
    let binding = binding.kept_in(&often).unwrap();
    bind(&binding, 0..1);
    until("nothing is written", || often.exists());
    let seldom = folder.path().join("others");
    let binding = kept(&seldom).unwrap();
    bind(&binding, 0..5);
    let clone = binding.clone();
    drop(binding);
    assert!(!seldom.exists());
    drop(clone);
    until("nothing is written at the end", || seldom.exists());
    assert_eq!(known(&kept(&seldom).unwrap(), 0..5), 5);
}

#[test]
fn a_damaged_file_is_an_error_unless_it_may_be_forgotten() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("digests");
    for content in [
        "",
        "portcullis digests 2\n",
        "portcullis digests 3\nxyz",
        "x",
    ] {
        fs::write(&path, content).unwrap();
        let error = kept(&path).unwrap_err();
        assert!(
            matches!(error, PolicyError::DigestsDamaged { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains("digests: "), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    let binding = forgiving(&path).unwrap();
    binding.save().unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "x",
        "nothing is known yet"
    );
    bind(&binding, 0..3);
    binding.save().unwrap();
    assert_eq!(known(&kept(&path).unwrap(), 0..10), 3);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("digests");
    fs::create_dir(&path).unwrap();
    let error = kept(&path).unwrap_err();
    assert!(
        matches!(error, PolicyError::DigestsUnreadable { .. }),
        "{error:?}"
    );
    forgiving(&path).unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_to_is_an_error_at_the_start_and_at_each_write() {
    let folder = TempDir::new().unwrap();
    let inner = folder.path().join("inner");
    let file = inner.join("digests");
    let error = forgiving(&file).unwrap_err();
    assert!(
        matches!(error, PolicyError::DigestsUnwritable { .. }),
        "{error:?}"
    );
    fs::create_dir(&inner).unwrap();
    let binding = kept(&file).unwrap();
    bind(&binding, 0..10);
    fs::remove_dir(&inner).unwrap();
    for _ in 0..2 {
        let error = binding.save().unwrap_err();
        assert!(
            matches!(error, PolicyError::DigestsUnwritable { .. }),
            "{error:?}"
        );
    }
    // What could not be written is still new.
    fs::create_dir(&inner).unwrap();
    binding.save().unwrap();
    assert_eq!(known(&kept(&file).unwrap(), 0..10), 10);
}

#[test]
fn a_reader_of_the_file_while_it_is_written_reads_a_whole_one() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("digests");
    let binding = kept(&file).unwrap();
    bind(&binding, 0..1);
    binding.save().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 1..3 {
            let binding = &binding;
            let done = &done;
            scope.spawn(move || {
                let mut number = writer * 1_000_000;
                while !done.load(Ordering::Relaxed) {
                    bind(binding, number..number + 5);
                    number += 5;
                    binding.save().unwrap();
                }
            });
        }
        for _ in 0..50 {
            let content = fs::read(&file).unwrap();
            let read = DigestBinding::new(1000);
            read.read_from(Cursor::new(content)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(files(&folder), [&*file]);
}
