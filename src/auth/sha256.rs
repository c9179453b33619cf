use sha2::block_api::compress256;
use sha2::{Digest, Sha256};

/// A SHA-256 digest, as numbers in the order of its octets.
pub(super) type Words = [u64; 4];

/// The digest of a secret. Those that fit into one block, as generated tokens do, are padded in registers:
/// octets that a hasher copies to its buffer are read back so soon that the processor waits for them.
pub(super) fn sha256(secret: &[u8]) -> Words {
    one_block(secret).unwrap_or_else(|| words(&Sha256::digest(secret).into()))
}

pub(super) fn words(digest: &[u8; 32]) -> Words {
    let mut words = Words::default();
    for (word, octets) in words.iter_mut().zip(digest.as_chunks().0) {
        *word = u64::from_be_bytes(*octets);
    }
    words
}

/// FIPS 180-4 §5.3.3.
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// Of 16 to 55 octets (FIPS 180-4 §5.1.1 and §6.2).
#[inline]
fn one_block(secret: &[u8]) -> Option<Words> {
    let last = secret.last_chunk::<16>()?;
    let length = u8::try_from(secret.len())
        .ok()
        .filter(|length| *length <= 55)?;
    let mut block = [0_u128; 4];
    let whole = secret.as_chunks::<16>().0;
    for (part, octets) in block.iter_mut().zip(whole) {
        *part = u128::from_le_bytes(*octets);
    }
    let rest = 8 * u32::from(length % 16);
    let tail = u128::from_le_bytes(*last).unbounded_shr(128 - rest);
    block[whole.len()] = tail | 0x80 << rest;
    block[3] |= u128::from((8 * u64::from(length)).swap_bytes()) << 64;
    let block = block.map(u128::to_le_bytes);
    let mut state = INITIAL;
    compress256(&mut state, block.as_flattened().as_chunks().0);
    let mut words = Words::default();
    for (word, [high, low]) in words.iter_mut().zip(state.as_chunks().0) {
        *word = u64::from(*high) << 32 | u64::from(*low);
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_any_length_has_the_digest_that_a_hasher_gives() {
        let secret: Vec<u8> = (0..=200_u8).map(|at| at.wrapping_mul(167)).collect();
        for length in 0..=secret.len() {
            let secret = &secret[..length];
            let expected = words(&Sha256::digest(secret).into());
            assert_eq!(sha256(secret), expected, "{length}");
        }
    }

    #[test]
    fn words_are_in_the_order_of_octets() {
        // The example of NIST for "abc".
        let digest = sha256(b"abc");
        assert_eq!(digest[0], 0xba78_16bf_8f01_cfea);
        assert_eq!(digest[3], 0xb410_ff61_f200_15ad);
    }
}
