use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file to append to, opened again where it was moved away or removed, as log rotation does.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Everything so far was flushed: what comes next begins a line.
    is_between_lines: bool,
}

impl LogFile {
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let file = append(&path)?;
        Ok(Self {
            path,
            file,
            is_between_lines: true,
        })
    }

    /// Opens the file anew if another one, or none, has its name.
    fn follow(&mut self) -> io::Result<()> {
        let named = match self.path.metadata() {
            Ok(named) => Some(named),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let is_same = match named {
            Some(named) => is_same(&named, &self.file.metadata()?),
            None => false,
        };
        if !is_same {
            self.file = append(&self.path)?;
        }
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).append(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        // A FIFO that nothing reads would keep the caller for ever, at the start and with each line.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        options.mode(0o640).custom_flags(flags.bits().cast_signed());
    }
    options.open(path).map_err(unread)
}

/// That nothing reads a FIFO, in words.
#[cfg(unix)]
fn unread(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) {
        return io::Error::new(error.kind(), "it is a FIFO or a socket that nothing reads");
    }
    error
}

#[cfg(not(unix))]
fn unread(error: io::Error) -> io::Error {
    error
}

#[cfg(unix)]
fn is_same(named: &Metadata, open: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (named.dev(), named.ino()) == (open.dev(), open.ino())
}

#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_between_lines {
            self.follow()?;
            self.is_between_lines = false;
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.is_between_lines = true;
        self.file.flush()
    }
}
