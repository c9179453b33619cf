//! DER (X.690), as far as more than one part writes it.

/// A value with this tag and content, encoded.
pub(crate) fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = magnitude(&length);
    let mut encoded = vec![tag];
    match (length, content.len()) {
        ([], _) => encoded.push(0),
        ([short], 0..=0x7f) => encoded.push(*short),
        // A length in memory has eight octets at most.
        _ => {
            encoded.push(0x80 | u8::try_from(length.len()).unwrap_or(8));
            encoded.extend(length);
        }
    }
    encoded.extend(content);
    encoded
}

/// An integer's octets without the zeros before it: DER writes one before a number whose first bit is set, and OpenSSL
/// prints none.
pub(crate) fn magnitude(octets: &[u8]) -> &[u8] {
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    &octets[zeros..]
}
