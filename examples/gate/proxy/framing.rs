use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

/// Why a message does not say in one way where its body ends and what is in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum FramingError {
    #[error("it has another transfer coding than chunked")]
    Coding,
    #[error("it has both Transfer-Encoding and Content-Length")]
    Both,
    #[error("its Content-Length is not one length")]
    Length,
}

/// Refuses what another hop could read otherwise (RFC 9112 §6.3): hyper takes chunks off, and no other transfer
/// coding; `Transfer-Encoding` itself ends at this hop.
pub(super) fn check(headers: &HeaderMap) -> Result<(), FramingError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let chunked = coding.as_bytes().trim_ascii();
        if codings.next().is_some() || !chunked.eq_ignore_ascii_case(b"chunked") {
            return Err(FramingError::Coding);
        }
        if headers.contains_key(CONTENT_LENGTH) {
            return Err(FramingError::Both);
        }
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let lengths = lengths.try_fold(None, |before, value| {
        let length = value.to_str().ok().and_then(one_length);
        let length = length.ok_or(FramingError::Length)?;
        match before {
            Some(before) if before != length => Err(FramingError::Length),
            _ => Ok(Some(length)),
        }
    });
    lengths.map(|_: Option<u64>| ())
}

/// Of `5` and of `5, 5` (RFC 9110 §8.6).
fn one_length(text: &str) -> Option<u64> {
    let mut all = text.split(',').map(|part| {
        let part = part.trim_matches([' ', '\t']);
        let digits = part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse::<u64>().ok()).flatten()
    });
    let first = all.next()??;
    all.all(|other| other == Some(first)).then_some(first)
}

/// Makes `Content-Length` what the body that goes out has, or takes it off where that is not known.
pub(super) fn set_length(headers: &mut HeaderMap, length: Option<u64>) {
    if !headers.contains_key(CONTENT_LENGTH) {
        return;
    }
    match length {
        Some(length) => {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        None => {
            headers.remove(CONTENT_LENGTH);
        }
    }
}
