//! `Client-Cert` and `Client-Cert-Chain` (RFC 9440): certificates as byte sequences of RFC 8941.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::ForwardedError;
use crate::identity::IdentityError;

/// No chain is longer than this.
const LONGEST_CHAIN: usize = 16;

/// Reads the certificate in a `Client-Cert` (§2.2).
///
/// # Errors
/// Returns an error for a value that is no byte sequence. Parameters are not allowed (§2.2) and not accepted.
pub fn item(value: &str) -> Result<Vec<u8>, IdentityError> {
    let inner = value
        .trim_matches(' ')
        .strip_prefix(':')
        .and_then(|value| value.strip_suffix(':'))
        .filter(|inner| !inner.is_empty())
        .ok_or(ForwardedError::ByteSequence)?;
    STANDARD
        .decode(inner)
        .map_err(|_| ForwardedError::ByteSequence.into())
}

/// Reads the certificates in a `Client-Cert-Chain` (§2.3), each certifying the one before.
///
/// # Errors
/// Returns an error for a value that is no list of byte sequences, and for a long one.
pub fn list(value: &str) -> Result<Vec<Vec<u8>>, IdentityError> {
    if value.trim_matches(' ').is_empty() {
        return Ok(Vec::new());
    }
    if value.split(',').count() > LONGEST_CHAIN {
        return Err(ForwardedError::TooLong.into());
    }
    let trimmed = value.split(',').map(|one| one.trim_matches([' ', '\t']));
    trimmed.map(item).collect()
}
