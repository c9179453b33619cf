use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use super::descriptors;
use super::file_error::FileError;
use super::patience::Progress;
#[cfg(any(feature = "config", feature = "crl-fetch", feature = "jwt"))]
use super::patience::within;

const MIB: u64 = 1024 * 1024;

/// The largest file with a token, a password or a URL.
#[cfg(any(feature = "auth", feature = "crl-fetch"))]
pub(crate) const SECRET: u64 = 64 * 1024;
/// The largest file with a private key.
#[cfg(feature = "tls")]
pub(crate) const PRIVATE_KEY: u64 = MIB;
/// The largest file with certificates: a bundle of every public CA has 300 KiB.
#[cfg(any(feature = "tls", feature = "jwt-fetch"))]
pub(crate) const CERTIFICATES: u64 = 16 * MIB;
/// The largest key set of an issuer of signed tokens.
#[cfg(feature = "jwt")]
pub(crate) const KEY_SET: u64 = MIB;
/// The largest configuration, policy, credentials file or htpasswd file.
#[cfg(feature = "passwords")]
pub(crate) const DOCUMENT: u64 = 64 * MIB;
/// The largest of any other kind.
pub(crate) const ANY: u64 = 256 * MIB;

/// How much is read between two signs of life.
const CHUNK: u64 = MIB;

/// A regular file's content, unless it is larger than `max` bytes or reading it does not end.
#[cfg(any(feature = "config", feature = "crl-fetch", feature = "jwt"))]
pub(crate) fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = path.to_owned();
    within(path, move |progress| read_here(&file, max, progress))?
}

/// As [`read`], of a text in UTF-8, without its byte-order mark.
#[cfg(feature = "config")]
pub(crate) fn read_text(path: &Path, max: u64) -> io::Result<String> {
    let mut content = read(path, max)?;
    let marked = content.len() - super::text::unmarked(&content).len();
    content.drain(..marked);
    String::from_utf8(content).map_err(|error| {
        // Not the error itself, which has the content.
        let valid = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..valid];
        let line = before.split(|&byte| byte == b'\n').count();
        let words = format!("line {line}: not UTF-8");
        io::Error::new(io::ErrorKind::InvalidData, words)
    })
}

/// [`read`] on this thread, for as long as it takes.
pub(crate) fn read_here(path: &Path, max: u64, progress: &Progress) -> io::Result<Vec<u8>> {
    let (file, metadata) = open(path)?;
    progress.made();
    let too_large = || FileError::TooLarge { max };
    if metadata.len() > max {
        return Err(too_large().into());
    }
    // Room for all of it at once, so that no part of a secret stays behind in smaller room.
    let length = usize::try_from(metadata.len()).map_err(|_| too_large())?;
    let mut content = Vec::with_capacity(length.saturating_add(1));
    let mut rest = file.take(max.saturating_add(1));
    while rest.by_ref().take(CHUNK).read_to_end(&mut content)? > 0 {
        progress.made();
    }
    if content.len() as u64 > max {
        return Err(too_large().into());
    }
    Ok(content)
}

/// Opens a regular file, without waiting for anything that is none.
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let mut options = OpenOptions::new();
    options.read(true);
    // A FIFO without a writer would keep the caller for ever. Of what was opened is asked what it is: the
    // name may lead elsewhere at any time.
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits().cast_signed());
    }
    let file =
        descriptors::with_spare(|| options.open(path)).map_err(|error| named(path, error))?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        let kind = kind(&metadata);
        return Err(FileError::NotRegular { kind }.into());
    }
    Ok((file, metadata))
}

/// What cannot be opened at all, a socket, is reported as what it is.
fn named(path: &Path, error: io::Error) -> io::Error {
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => FileError::NotRegular {
            kind: kind(&metadata),
        }
        .into(),
        _ => error,
    }
}

#[cfg(unix)]
fn kind(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn kind(metadata: &Metadata) -> &'static str {
    if metadata.is_dir() {
        "a directory"
    } else {
        "something else"
    }
}

#[cfg(all(test, unix, feature = "config"))]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn error(path: &Path, max: u64) -> FileError {
        let error = read(path, max).unwrap_err();
        let inner = error.get_ref().unwrap();
        inner.downcast_ref::<FileError>().unwrap().clone()
    }

    #[test]
    fn a_file_of_just_the_size_is_read_and_one_byte_more_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, [7; 10]).unwrap();
        assert_eq!(read(&path, 10).unwrap(), [7; 10]);
        assert_eq!(error(&path, 9), FileError::TooLarge { max: 9 });
        // Sparse: 2 GiB by its length, nothing on the disk.
        fs::File::create(&path).unwrap().set_len(2 << 30).unwrap();
        assert_eq!(error(&path, ANY), FileError::TooLarge { max: ANY });
        // The kernel's files have no length.
        assert!(
            !read(Path::new("/proc/self/status"), SECRET)
                .unwrap()
                .is_empty()
        );
        let max = 4;
        let long = error(Path::new("/proc/self/status"), max);
        assert_eq!(long, FileError::TooLarge { max });
    }

    #[test]
    fn what_is_no_regular_file_is_told_as_what_it_is_and_never_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let fifo = at("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        symlink("/dev/zero", at("zero")).unwrap();
        for (path, kind) in [
            (fifo, "a FIFO"),
            (at("socket"), "a socket"),
            (at("zero"), "a device"),
            (folder.path().to_owned(), "a directory"),
        ] {
            assert_eq!(error(&path, ANY), FileError::NotRegular { kind });
        }
        assert_eq!(
            read(&at("none"), ANY).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn a_text_loses_its_byte_order_mark_and_what_is_no_text_has_its_line_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        fs::write(&path, "\u{feff}a = 1\n").unwrap();
        assert_eq!(read_text(&path, ANY).unwrap(), "a = 1\n");
        fs::write(&path, b"secret\nsecret\xff\n").unwrap();
        let error = read_text(&path, ANY).unwrap_err();
        assert_eq!(error.to_string(), "line 2: not UTF-8");
    }
}
