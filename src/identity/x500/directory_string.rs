use x509_parser::der_parser::asn1_rs::{Any, Tag};

/// The value as text, where it is of a string type and well-formed.
pub(super) fn decode(value: &Any<'_>) -> Option<String> {
    let data = value.data;
    match value.tag() {
        Tag::Utf8String
        | Tag::PrintableString
        | Tag::Ia5String
        | Tag::NumericString
        | Tag::VisibleString => String::from_utf8(data.to_vec()).ok(),
        // RFC 5280 §4.1.2.4: of old, and Latin-1 in practice.
        Tag::TeletexString => Some(data.iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString => {
            let (pairs, []) = data.as_chunks::<2>() else {
                return None;
            };
            let units: Vec<_> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
            String::from_utf16(&units).ok()
        }
        Tag::UniversalString => {
            let (fours, []) = data.as_chunks::<4>() else {
                return None;
            };
            let codes = fours.iter().map(|four| u32::from_be_bytes(*four));
            codes.map(char::from_u32).collect()
        }
        _ => None,
    }
}
