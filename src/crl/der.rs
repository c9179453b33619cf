use std::fmt;
use std::ops::Range;

use crate::util::calendar;
pub(super) use crate::util::der::encode;

/// Bytes that are not DER (X.690), or not what stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// What was being read there.
    pub(super) field: &'static str,
    /// How many bytes stand before it.
    pub(super) offset: usize,
}

impl Malformed {
    /// The same, of bytes that so many others stand before.
    pub(super) fn after(self, bytes: usize) -> Self {
        Self {
            offset: self.offset + bytes,
            ..self
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.field, self.offset)
    }
}

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// A context-specific tag.
pub(super) const fn context(number: u8, constructed: bool) -> u8 {
    0x80 | number | if constructed { 0x20 } else { 0 }
}

/// Reads one value after another. Copies nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    whole: &'a [u8],
    at: usize,
    end: usize,
    /// What is read, for errors.
    field: &'static str,
}

/// A tag with its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// Tag, length and content.
    pub(super) encoded: &'a [u8],
    /// Where it begins in what the first reader was made of.
    pub(super) offset: usize,
    content_offset: usize,
    whole: &'a [u8],
    field: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            whole: bytes,
            at: 0,
            end: bytes.len(),
            field: "DER",
        }
    }

    /// Names what is read next, and what is inside it until that has a name of its own.
    pub(super) fn at(&mut self, field: &'static str) -> &mut Self {
        self.field = field;
        self
    }

    /// That what stands next is not what it must be.
    pub(super) fn wrong(&self) -> Malformed {
        Malformed {
            field: self.field,
            offset: self.at,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at == self.end
    }

    pub(super) fn finish(self) -> Result<(), Malformed> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Malformed {
                field: "something unexpected",
                ..self.wrong()
            })
        }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        (!self.is_empty()).then(|| self.whole[self.at])
    }

    /// The next value, whatever it is.
    pub(super) fn any(&mut self) -> Result<Value<'a>, Malformed> {
        let (tag, content) =
            header(&self.whole[..self.end], self.at).ok_or_else(|| self.wrong())?;
        let value = Value {
            tag,
            content: &self.whole[content.clone()],
            encoded: &self.whole[self.at..content.end],
            offset: self.at,
            content_offset: content.start,
            whole: self.whole,
            field: self.field,
        };
        self.at = content.end;
        Ok(value)
    }

    /// The next value, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<Value<'a>, Malformed> {
        let value = self.any()?;
        if value.tag == tag {
            Ok(value)
        } else {
            Err(value.wrong())
        }
    }

    /// The next value if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Value<'a>>, Malformed> {
        if self.peek() == Some(tag) {
            self.any().map(Some)
        } else {
            Ok(None)
        }
    }
}

impl<'a> Value<'a> {
    pub(super) fn reader(&self) -> Reader<'a> {
        Reader {
            whole: self.whole,
            at: self.content_offset,
            end: self.content_offset + self.content.len(),
            field: self.field,
        }
    }

    /// Where its content begins in what the first reader was made of.
    pub(super) fn content_offset(&self) -> usize {
        self.content_offset
    }

    /// That it is not what it must be.
    pub(super) fn wrong(&self) -> Malformed {
        Malformed {
            field: self.field,
            offset: self.offset,
        }
    }

    pub(super) fn boolean(&self) -> Result<bool, Malformed> {
        match (self.tag & 0x1f, self.content) {
            (_, [0x00]) => Ok(false),
            (_, [0xff]) => Ok(true),
            _ => Err(self.wrong()),
        }
    }

    /// A BIT STRING's octets, which must be whole.
    pub(super) fn octets(&self) -> Result<&'a [u8], Malformed> {
        match self.content {
            [0, octets @ ..] => Ok(octets),
            _ => Err(self.wrong()),
        }
    }

    /// `UTCTime` or `GeneralizedTime` in seconds after 1970.
    pub(super) fn time(&self) -> Result<u64, Malformed> {
        time(self.tag, self.content).ok_or_else(|| self.wrong())
    }

    /// The bits of a short BIT STRING, bit 0 of ASN.1 lowest.
    pub(super) fn flags(&self) -> Result<u16, Malformed> {
        let flags = |first: u8, second: u8| u16::from_be_bytes([first, second]).reverse_bits();
        match *self.content {
            [0] => Ok(0),
            [0..=7, first] => Ok(flags(first, 0)),
            [0..=7, first, second] => Ok(flags(first, second)),
            _ => Err(self.wrong()),
        }
    }
}

/// `UTCTime` or `GeneralizedTime` as RFC 5280 §4.1.2.5 allows them, in seconds after 1970; what lies
/// before is 0.
#[inline]
pub(super) fn time(tag: u8, content: &[u8]) -> Option<u64> {
    let (year, month, of_day) = match (tag, content) {
        (UTC_TIME, [date @ .., b'Z']) if date.len() == 12 => match pairs(&date[..8])? {
            [year, month, ..] if year >= 50 => (1900 + year, month, &date[4..]),
            [year, month, ..] => (2000 + year, month, &date[4..]),
        },
        (GENERALIZED_TIME, [date @ .., b'Z']) if date.len() == 14 => {
            let [century, year, month, _] = pairs(&date[..8])?;
            (century * 100 + year, month, &date[6..])
        }
        _ => return None,
    };
    let [day, hour, minute, second] = pairs(of_day)?;
    let seconds = calendar::seconds([year, month, day], [hour, minute, second])?;
    Some(u64::try_from(seconds).unwrap_or(0))
}

/// Eight digits as four numbers, all at once.
#[inline]
fn pairs(digits: &[u8]) -> Option<[u32; 4]> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let Ok(digits) = digits.try_into().map(u64::from_le_bytes) else {
        return None;
    };
    let (low, high) = (digits & (0x0f * EACH), digits & (0xf0 * EACH));
    // Six more than a digit reaches the next sixteen only above nine.
    if high != 0x30 * EACH || (low + 0x06 * EACH) & (0xf0 * EACH) != 0 {
        return None;
    }
    let [first, _, second, _, third, _, fourth, _] = (low * 10 + (low >> 8)).to_le_bytes();
    Some([first, second, third, fourth].map(u32::from))
}

/// The tag at `at` and where its content is. Lengths are definite and minimal (X.690 §10.1).
fn header(bytes: &[u8], at: usize) -> Option<(u8, Range<usize>)> {
    let rest = bytes.get(at..)?;
    let [tag, length, ..] = *rest else {
        return None;
    };
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (start, length) = match length {
        0..=0x7f => (at + 2, usize::from(length)),
        // 0x80 is the indefinite length, which DER has not.
        0x81..=0x84 => {
            let count = usize::from(length & 0x7f);
            let octets = rest.get(2..2 + count)?;
            let length = octets
                .iter()
                .fold(0, |sum, &octet| sum << 8 | usize::from(octet));
            if octets[0] == 0 || length < 0x80 {
                return None;
            }
            (at + 2 + count, length)
        }
        _ => return None,
    };
    let end = start.checked_add(length)?;
    if end > bytes.len() {
        return None;
    }
    Some((tag, start..end))
}

/// An integer's content without what adds nothing to its value, so that equal numbers are equal
/// bytes even where an issuer does not write them minimally (X.690 §8.3.2).
pub(super) fn minimal(mut integer: &[u8]) -> &[u8] {
    while let [first, second, ..] = *integer {
        match (first, second & 0x80) {
            (0x00, 0) | (0xff, 0x80) => integer = &integer[1..],
            _ => break,
        }
    }
    integer
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(tag: u8, text: &str) -> Option<u64> {
        let mut der = vec![tag, u8::try_from(text.len()).unwrap()];
        der.extend(text.bytes());
        Reader::new(&der).any().unwrap().time().ok()
    }

    #[test]
    fn times_are_read_as_rfc_5280_has_them() {
        assert_eq!(time(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(time(UTC_TIME, "490101000000Z"), Some(2_493_072_000));
        assert_eq!(time(UTC_TIME, "500101000000Z"), Some(0));
        assert_eq!(
            time(GENERALIZED_TIME, "20240229235959Z"),
            Some(1_709_251_199)
        );
        assert_eq!(time(GENERALIZED_TIME, "00000101000000Z"), Some(0));
        assert_eq!(
            time(GENERALIZED_TIME, "21000301000000Z"),
            Some(4_107_542_400)
        );
        assert_eq!(
            time(GENERALIZED_TIME, "99991231235959Z"),
            Some(253_402_300_799)
        );
        for text in [
            "20241301000000Z",
            "20240101000000",
            "2024010100000Z",
            "20240101006000Z",
        ] {
            assert_eq!(time(GENERALIZED_TIME, text), None, "{text}");
        }
        assert_eq!(time(UTC_TIME, "7001010000Z"), None);
    }

    #[test]
    fn lengths_are_minimal_and_stay_inside() {
        for wrong in [
            &[0x30][..],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x81, 0x01, 0],
            &[0x30, 0x82, 0x00, 0x80],
            &[0x30, 0x05, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x3f, 0x01, 0],
        ] {
            assert!(Reader::new(wrong).any().is_err(), "{wrong:x?}");
        }
    }

    #[test]
    fn an_error_names_the_field_and_where_it_is() {
        let der = b"\x30\x07\x02\x01\x05\x04\x02\x01";
        assert_eq!(
            Reader::new(der).any().unwrap_err(),
            Malformed {
                field: "DER",
                offset: 0
            }
        );
        let der = b"\x30\x07\x02\x01\x05\x30\x02\x17\x00";
        let mut fields = Reader::new(der).expect(SEQUENCE).unwrap().reader();
        fields.at("version").expect(INTEGER).unwrap();
        let dates = fields.at("dates").expect(SEQUENCE).unwrap();
        let date = dates.reader().at("thisUpdate").any().unwrap();
        let error = date.time().unwrap_err();
        assert_eq!(error.to_string(), "thisUpdate at byte 7");
        assert_eq!(error.after(10).offset, 17);
        let error = dates.reader().expect(INTEGER).unwrap_err();
        assert_eq!(error.to_string(), "dates at byte 7");
        let mut fields = Reader::new(der).expect(SEQUENCE).unwrap().reader();
        fields.at("version").any().unwrap();
        let error = fields.finish().unwrap_err();
        assert_eq!(error.to_string(), "something unexpected at byte 5");
    }

    #[test]
    fn equal_numbers_have_equal_minimal_bytes() {
        for (written, minimal_bytes) in [
            (&[0x00, 0x01][..], &[0x01][..]),
            (&[0x00, 0x00, 0x80], &[0x00, 0x80]),
            (&[0xff, 0xff, 0x80], &[0x80]),
            (&[0xff, 0x7f], &[0xff, 0x7f]),
            (&[0x00], &[0x00]),
        ] {
            assert_eq!(minimal(written), minimal_bytes);
        }
    }

    #[test]
    fn what_is_encoded_is_read_back() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let content = vec![7; length];
            let encoded = encode(SEQUENCE, &content);
            let mut reader = Reader::new(&encoded);
            assert_eq!(reader.expect(SEQUENCE).unwrap().content, content);
            assert!(reader.is_empty());
        }
    }

    proptest! {
        #[test]
        fn digits_are_read_in_pairs_and_nothing_else_is(
            digits in proptest::array::uniform8(prop_oneof![9 => b'0'..=b'9', 1 => any::<u8>()]),
        ) {
            let pair = |at: usize| match digits[at..at + 2] {
                [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
                    Some(u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
                }
                _ => None,
            };
            let all = || Some([pair(0)?, pair(2)?, pair(4)?, pair(6)?]);
            prop_assert_eq!(pairs(&digits), all());
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = Reader::new(&bytes);
            while let Ok(value) = reader.any() {
                let _ = (value.time(), value.flags(), value.octets(), value.boolean());
            }
        }
    }
}
