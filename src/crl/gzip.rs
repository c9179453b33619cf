use std::io::{ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;

use super::LoadError;

/// Whether it begins as gzip does (RFC 1952 §2.3.1), which neither DER nor PEM can.
pub(super) fn is_gzip(content: &[u8]) -> bool {
    content.starts_with(&[0x1f, 0x8b])
}

/// What a whole gzip file holds, its members one after the other (RFC 1952 §2.2), each checked by its
/// length and CRC. A few bytes can hold a thousand times as many, hence the limit.
pub(super) fn decompress(
    origin: &str,
    content: &[u8],
    max_size: u64,
) -> Result<Vec<u8>, LoadError> {
    let mut plain = Vec::new();
    let one_more = max_size.saturating_add(1);
    let read = MultiGzDecoder::new(content)
        .take(one_more)
        .read_to_end(&mut plain);
    let origin = || origin.to_owned();
    match read {
        Ok(length) if length as u64 == one_more => Err(LoadError::TooLarge {
            origin: origin(),
            max_size,
        }),
        Ok(_) => Ok(plain),
        Err(error) if error.kind() == ErrorKind::OutOfMemory => Err(LoadError::TooLarge {
            origin: origin(),
            max_size,
        }),
        Err(error) => Err(LoadError::Gzip {
            origin: origin(),
            error,
        }),
    }
}
