use std::io;
use std::path::Path;

use portcullis::reload::Pinned;

/// As much as a gate reads of a CRL by default, compressed or not.
const MOST: u64 = 256 * 1024 * 1024;

/// The content of a regular file. Nothing else has an end that is known.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    Pinned::new().read_at_most(path, MOST)
}
