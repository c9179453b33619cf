/// `bytes` in lower-case hexadecimal.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let [high, low] = digits(*byte);
        text.push(high);
        text.push(low);
    }
    text
}

/// `bytes` in lower-case hexadecimal with colons between the octets, the form of serial numbers.
#[cfg(any(test, feature = "x509"))]
pub(crate) fn with_colons(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for byte in bytes {
        if !text.is_empty() {
            text.push(':');
        }
        text.extend(digits(*byte));
    }
    text
}

/// Writes `bytes` to `out` in lower-case hexadecimal, as far as there is room.
pub(crate) fn write(bytes: &[u8], out: &mut [u8]) {
    for (byte, two) in bytes.iter().zip(out.as_chunks_mut::<2>().0) {
        *two = ascii(*byte);
    }
}

/// Reads bytes in hexadecimal of either case.
#[cfg(any(feature = "auth", feature = "redis", feature = "tls"))]
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let byte = |&[high, low]: &[u8; 2]| {
        let [high, low] = [high, low].map(|digit| char::from(digit).to_digit(16));
        u8::try_from(high? << 4 | low?).ok()
    };
    pairs.iter().map(byte).collect()
}

/// Reads exactly `N` bytes in hexadecimal of either case.
#[cfg(any(feature = "auth", feature = "redis", feature = "tls"))]
pub(crate) fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode(text)?.try_into().ok()
}

fn digits(byte: u8) -> [char; 2] {
    ascii(byte).map(char::from)
}

fn ascii(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_two_lower_case_digits() {
        assert_eq!(encode(&[0x00, 0x1f, 0xa0, 0xff]), "001fa0ff");
        assert_eq!(encode(&[]), "");
        for byte in 0..=u8::MAX {
            assert_eq!(encode(&[byte]), format!("{byte:02x}"));
        }
        let mut out = [b'-'; 5];
        write(&[0x1f, 0xa0, 0x00], &mut out);
        assert_eq!(&out, b"1fa0-");
    }

    #[test]
    fn octets_of_a_serial_number_are_parted_by_colons() {
        assert_eq!(with_colons(&[0x00, 0x9a, 0x01]), "00:9a:01");
        assert_eq!(with_colons(&[0x07]), "07");
        assert_eq!(with_colons(&[]), "");
    }

    #[cfg(any(feature = "auth", feature = "redis", feature = "tls"))]
    #[test]
    fn digits_of_either_case_are_read_and_nothing_else() {
        assert_eq!(decode_array("001Fa0"), Some([0x00, 0x1f, 0xa0]));
        assert_eq!(decode("001Fa0"), Some(vec![0x00, 0x1f, 0xa0]));
        assert_eq!(decode(""), Some(vec![]));
        for wrong in [
            "001fa", "001fa000", "001fag", "+01fa0", " 01fa0", "0x1fa0", "é1fa",
        ] {
            assert_eq!(decode_array::<3>(wrong), None, "{wrong}");
        }
    }
}
