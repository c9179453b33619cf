//! A PEM certificate in percent encoding: nginx's `$ssl_client_escaped_cert`, and `Cert` and
//! `Chain` in Envoy's header.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::ForwardedError;
use crate::identity::IdentityError;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
const LONGEST_CHAIN: usize = 16;

/// Reads the certificates, in order.
///
/// # Errors
/// Returns an error for a wrong escape, and for anything that is no PEM certificate.
pub fn unescape(value: &str) -> Result<Vec<Vec<u8>>, IdentityError> {
    let text = percent_decoded(value)?;
    let mut rest = text.trim();
    let mut found = Vec::new();
    while !rest.is_empty() {
        if found.len() == LONGEST_CHAIN {
            return Err(ForwardedError::TooLong.into());
        }
        let (body, after) = rest
            .strip_prefix(BEGIN)
            .and_then(|rest| rest.split_once(END))
            .ok_or(ForwardedError::Pem)?;
        let body: String = body.split_ascii_whitespace().collect();
        found.push(STANDARD.decode(body).map_err(|_| ForwardedError::Pem)?);
        rest = after.trim_start();
    }
    if found.is_empty() {
        return Err(ForwardedError::Empty.into());
    }
    Ok(found)
}

/// A plus sign stays one: base64 has it, and both proxies escape the space as `%20`.
fn percent_decoded(value: &str) -> Result<String, IdentityError> {
    let mut decoded = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 3).ok_or(ForwardedError::Percent)?;
        let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let byte = u8::from_str_radix(digits, 16).ok().filter(|_| hex);
        let byte = byte.ok_or(ForwardedError::Percent)?;
        if !byte.is_ascii() {
            return Err(ForwardedError::Characters.into());
        }
        decoded.push(char::from(byte));
        rest = &rest[at + 3..];
    }
    decoded.push_str(rest);
    Ok(decoded)
}
