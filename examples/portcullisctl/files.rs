use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// As much as a gate reads of a CRL by default, compressed or not.
const MOST: u64 = 256 * 1024 * 1024;

/// The content of a regular file. Nothing else has an end that is known.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Before it is opened: that of a FIFO waits for its writer.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let too_large = || io::Error::other(format!("it is larger than {MOST} bytes"));
    if metadata.len() > MOST {
        return Err(too_large());
    }
    let mut content = Vec::new();
    File::open(path)?.take(MOST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MOST {
        return Err(too_large());
    }
    Ok(content)
}
