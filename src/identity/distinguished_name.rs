use std::fmt::Write as _;

#[cfg(feature = "x509")]
use x509_parser::der_parser::asn1_rs::ToDer;
#[cfg(feature = "x509")]
use x509_parser::x509::X509Name;

#[cfg(feature = "x509")]
use super::directory_string;

/// The attribute types that RFC 4514 §3 has short names for.
const KEYWORDS: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// A keyword and the value, if it is usable.
pub(super) type Attribute = (&'static str, Option<Box<str>>);

/// The name in RFC 4514 form: the most specific part first, every character that could be taken for
/// another's, or for a line's end, escaped.
#[cfg(feature = "x509")]
pub(crate) fn text(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    // RFC 4514 §2.1: the last first.
    for (at, part) in parts.into_iter().rev().enumerate() {
        if at > 0 {
            text.push(',');
        }
        for (at, attribute) in part.iter().enumerate() {
            if at > 0 {
                text.push('+');
            }
            let oid = attribute.attr_type().to_id_string();
            let value = attribute.attr_value();
            match (keyword(&oid), directory_string::decode(value)) {
                (Some(keyword), Some(string)) => {
                    let _ = write!(text, "{keyword}=");
                    escape(&mut text, &string);
                }
                (keyword, _) => {
                    // RFC 4514 §2.4: what has no keyword or no string is the value's BER in hex.
                    let _ = write!(text, "{}=#", keyword.unwrap_or(&oid));
                    for byte in value.to_der_vec().unwrap_or_default() {
                        let _ = write!(text, "{byte:02x}");
                    }
                }
            }
        }
    }
    text
}

/// The attributes that have a keyword, in order; those that are no honest text without a value.
#[cfg(feature = "x509")]
pub(super) fn attributes(name: &X509Name<'_>) -> Box<[Attribute]> {
    name.iter_attributes()
        .filter_map(|attribute| {
            let keyword = keyword(&attribute.attr_type().to_id_string())?;
            let value = directory_string::decode(attribute.attr_value());
            Some((keyword, value.and_then(usable)))
        })
        .collect()
}

/// The value, if it is honest text: a name with a control character in it is nobody's.
pub(super) fn usable(value: String) -> Option<Box<str>> {
    let plain = !value.is_empty() && !value.chars().any(char::is_control);
    plain.then(|| value.into())
}

/// A keyword in our spelling.
#[cfg(feature = "tls")]
pub(super) fn known(keyword: &str) -> Option<&'static str> {
    let mut known = KEYWORDS.iter().map(|(_, known)| *known);
    known.find(|known| known.eq_ignore_ascii_case(keyword))
}

pub(super) fn keyword(oid: &str) -> Option<&'static str> {
    let known = KEYWORDS.iter().find(|(known, _)| *known == oid);
    known.map(|(_, keyword)| *keyword)
}

/// RFC 4514 §2.4; control characters besides, so that a name stays on its line.
pub(super) fn escape(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (at, character) in value.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => {
                text.push('\\');
                text.push(character);
            }
            ' ' if at == 0 || at == last => text.push_str("\\ "),
            '#' if at == 0 => text.push_str("\\#"),
            _ if character.is_control() || is_invisible(character) => {
                let mut buffer = [0; 4];
                for byte in character.encode_utf8(&mut buffer).bytes() {
                    let _ = write!(text, "\\{byte:02X}");
                }
            }
            _ => text.push(character),
        }
    }
}

/// Marks that reorder or end lines, which make a name look like another.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
