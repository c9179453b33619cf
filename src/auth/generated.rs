use std::fmt;
use std::io;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Secret;
use crate::util::hex;

/// How every generated token begins, for secret scanners: `pcls_[0-9A-Za-z]{49}`.
const PREFIX: &str = "pcls_";

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// 62^43 > 2^256.
const BODY: usize = 43;

/// 62^6 > 2^32.
const CHECKSUM: usize = 6;

/// A new token: `pcls_`, 256 random bits in 43 characters, and a CRC-32 of all that in 6, so that a
/// leaked one is found by its looks and a truncated one is known for what it is.
pub struct GeneratedToken(Zeroizing<String>);

impl GeneratedToken {
    /// Makes one from the operating system's random bytes.
    ///
    /// # Errors
    /// The operating system gives none.
    pub fn generate() -> io::Result<Self> {
        let mut random = Zeroizing::new([0; 32]);
        getrandom::fill(random.as_mut())?;
        Ok(Self::from_bytes(&random))
    }

    fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + BODY + CHECKSUM));
        text.push_str(PREFIX);
        let mut rest = Zeroizing::new(*bytes);
        for _ in 0..BODY {
            text.push(digit(divide(&mut rest)));
        }
        let sum = checksum(text.as_bytes());
        text.extend(sum.map(char::from));
        Self(text)
    }

    /// Returns the token itself. Show it once, keep it nowhere.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Computes the digest, which is what a server keeps of the token.
    pub fn digest(&self) -> Secret {
        Secret::of_token(self.0.as_bytes())
    }

    /// Writes [`GeneratedToken::digest`] as a credentials file has it, `sha256:…`.
    pub fn digest_text(&self) -> String {
        format!("sha256:{}", hex::encode(&Sha256::digest(self.0.as_bytes())))
    }
}

impl fmt::Debug for GeneratedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GeneratedToken")
    }
}

/// Whether a text is a whole generated token.
pub(super) fn is_generated(text: &[u8]) -> bool {
    text.starts_with(PREFIX.as_bytes()) && !is_damaged(text)
}

/// Whether a text that begins as a generated token is not a whole one.
pub(super) fn is_damaged(text: &[u8]) -> bool {
    if !text.starts_with(PREFIX.as_bytes()) {
        return false;
    }
    let Some(body) = text.len().checked_sub(CHECKSUM) else {
        return true;
    };
    text.len() != PREFIX.len() + BODY + CHECKSUM || text[body..] != checksum(&text[..body])
}

/// Divides the big-endian number by 62 and gives the remainder.
fn divide(number: &mut [u8; 32]) -> usize {
    let mut remainder = 0;
    for byte in number {
        let dividend = remainder * 256 + usize::from(*byte);
        // Below 256, since the remainder was below 62.
        *byte = u8::try_from(dividend / 62).unwrap_or(u8::MAX);
        remainder = dividend % 62;
    }
    remainder
}

fn digit(value: usize) -> char {
    char::from(DIGITS[value % 62])
}

fn checksum(text: &[u8]) -> [u8; CHECKSUM] {
    let mut sum = crc32(text);
    let mut digits = [0; CHECKSUM];
    for place in digits.iter_mut().rev() {
        *place = DIGITS[(sum % 62) as usize];
        sum /= 62;
    }
    digits
}

/// CRC-32 of IEEE 802.3. A handful of bytes, seldom: no table.
fn crc32(text: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in text {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 * (crc & 1));
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_checksum_is_crc_32() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_token_is_its_bytes_in_base_62_from_the_last_digit_on_and_their_checksum() {
        let bytes = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let token = GeneratedToken::from_bytes(&bytes);
        let text = "pcls_flDIBkGwcRKRL9GXCgaFM3UNu2jQTCljt7CJTlUa3004fFZsX";
        assert_eq!(token.expose(), text);
        // Memory that was let go while it grew would keep a part of it.
        assert_eq!(token.0.capacity(), text.len());
    }

    #[test]
    fn two_tokens_differ_and_debug_shows_neither() {
        let (one, other) = (
            GeneratedToken::generate().unwrap(),
            GeneratedToken::generate().unwrap(),
        );
        assert_ne!(one.expose(), other.expose());
        assert_eq!(format!("{one:?}"), "GeneratedToken");
        assert_eq!(one.digest_text().parse::<Secret>().unwrap(), one.digest());
    }

    proptest! {
        #[test]
        fn a_token_with_any_one_character_changed_is_damaged(
            bytes: [u8; 32], at in 5usize..54, with in 0usize..62,
        ) {
            let token = GeneratedToken::from_bytes(&bytes);
            let text = token.expose().as_bytes();
            prop_assert_eq!(text.len(), 54);
            prop_assert!(!is_damaged(text));
            prop_assert!(is_damaged(&text[..53]));
            let mut changed = text.to_vec();
            changed[at] = DIGITS[with];
            prop_assert_eq!(is_damaged(&changed), changed != text);
        }
    }
}
