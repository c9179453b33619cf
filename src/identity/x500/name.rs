use std::borrow::Cow;
use std::fmt::{self, Write as _};

use x509_parser::der_parser::Oid;
use x509_parser::der_parser::asn1_rs::{Any, FromDer, Tag};

use super::directory_string;
#[cfg(feature = "tls")]
use super::keyword::keyword;
use super::keyword::keyword_of;
use crate::identity::attribute::Attribute;
use crate::util::hex;

/// A name as its relative names in the order of a certificate, the most general first.
pub(in crate::identity) struct Name<'a>(pub(super) Vec<Vec<Part<'a>>>);

/// One attribute of a relative name.
pub(super) struct Part<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) value: Value<'a>,
}

/// The type of an attribute.
pub(super) enum Kind<'a> {
    Oid(Oid<'a>),
    /// A keyword or an object identifier, as it was written.
    #[cfg(feature = "tls")]
    Written(&'a str),
}

pub(super) enum Value<'a> {
    /// As a certificate has it.
    Der(Cow<'a, [u8]>),
    #[cfg(feature = "tls")]
    Text(String),
}

/// Returns the text of a `Name` in DER, in the form of RFC 4514.
#[cfg(feature = "tls")]
pub(crate) fn text(der: &[u8]) -> String {
    Name::read(der).map_or_else(
        || "a name that cannot be read".to_owned(),
        |name| name.to_string(),
    )
}

impl<'a> Name<'a> {
    /// Reads a `Name` in DER. It is read whole, or `None`: of two names that differ in what is left out
    /// both would have one text.
    pub(in crate::identity) fn read(der: &'a [u8]) -> Option<Self> {
        let relative = all(only(der, Tag::Sequence)?, Tag::Set).map(|relative| {
            let parts = all(relative?, Tag::Sequence).map(|part| Part::read(part?));
            let parts = parts.collect::<Option<Vec<_>>>()?;
            (!parts.is_empty()).then_some(parts)
        });
        relative.collect::<Option<_>>().map(Self)
    }

    /// The attributes that have a keyword, in order; those that are no honest text without a value.
    pub(in crate::identity) fn attributes(&self) -> Box<[Attribute]> {
        let parts = self.0.iter().flatten();
        let attributes = parts.filter_map(|part| {
            let value = part.value.text();
            Some((part.kind.keyword()?, value.and_then(usable)))
        });
        attributes.collect()
    }
}

impl<'a> Part<'a> {
    /// Reads the content of an `AttributeTypeAndValue`.
    fn read(content: &'a [u8]) -> Option<Self> {
        let (value, kind) = Oid::from_der(content).ok()?;
        let (rest, _) = Any::from_der(value).ok()?;
        rest.is_empty().then_some(Self {
            kind: Kind::Oid(kind),
            value: Value::Der(value.into()),
        })
    }
}

impl Kind<'_> {
    fn keyword(&self) -> Option<&'static str> {
        match self {
            Self::Oid(oid) => keyword_of(oid.as_bytes()),
            #[cfg(feature = "tls")]
            Self::Written(written) => keyword(written),
        }
    }

    /// The object identifier; `None` for a keyword that is not known.
    #[cfg(feature = "crl")]
    pub(super) fn oid(&self) -> Option<Oid<'_>> {
        match self {
            Self::Oid(oid) => Some(oid.clone()),
            Self::Written(written) => {
                let arcs = super::keyword::identifier(written)?.split('.');
                let arcs: Option<Vec<u64>> = arcs.map(|arc| arc.parse().ok()).collect();
                Oid::from(&arcs?).ok()
            }
        }
    }
}

impl Value<'_> {
    /// The value as text, where it is of a string type and well-formed.
    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Der(der) => {
                let (rest, value) = Any::from_der(der).ok()?;
                let text = directory_string::decode(&value)?;
                rest.is_empty().then_some(Cow::Owned(text))
            }
            #[cfg(feature = "tls")]
            Self::Text(text) => Some(Cow::Borrowed(text)),
        }
    }
}

/// The form of RFC 4514: the most specific relative name first, and every character escaped that could
/// be taken for another, or for the end of a line.
impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RFC 4514 §2.1: the last first.
        for (at, relative) in self.0.iter().rev().enumerate() {
            for (within, part) in relative.iter().enumerate() {
                match (at, within) {
                    (0, 0) => {}
                    (_, 0) => f.write_char(',')?,
                    _ => f.write_char('+')?,
                }
                part.fmt(f)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keyword = self.kind.keyword();
        match (keyword, &self.kind) {
            (Some(keyword), _) => f.write_str(keyword)?,
            (None, Kind::Oid(oid)) => f.write_str(&oid.to_id_string())?,
            #[cfg(feature = "tls")]
            (None, Kind::Written(written)) => f.write_str(written)?,
        }
        f.write_char('=')?;
        match (&self.value, self.value.text()) {
            (_, Some(text)) if keyword.is_some() => escape(f, &text),
            // RFC 4514 §2.4: what has no keyword or no string is the value's BER in hex.
            (Value::Der(der), _) => write!(f, "#{}", hex::encode(der)),
            #[cfg(feature = "tls")]
            (Value::Text(text), _) => escape(f, text),
        }
    }
}

/// The value, if it is honest text: a name with a control character in it is no one's.
fn usable(value: Cow<'_, str>) -> Option<Box<str>> {
    let plain = !value.is_empty() && !value.chars().any(char::is_control);
    plain.then(|| value.into())
}

/// The content of the one value in these bytes, which must have this tag.
fn only(der: &[u8], tag: Tag) -> Option<&[u8]> {
    let (rest, value) = Any::from_der(der).ok()?;
    (rest.is_empty() && value.tag() == tag).then_some(value.data)
}

/// The contents of the values in these bytes, each of which must have this tag. `None`, and nothing
/// after it, for what is none.
fn all(mut der: &[u8], tag: Tag) -> impl Iterator<Item = Option<&[u8]>> {
    std::iter::from_fn(move || {
        if der.is_empty() {
            return None;
        }
        let value = Any::from_der(der).ok().filter(|(_, one)| one.tag() == tag);
        der = value.as_ref().map_or(&[], |(rest, _)| rest);
        Some(value.map(|(_, value)| value.data))
    })
}

/// RFC 4514 §2.4; control characters besides, so that a name stays on its line.
fn escape(f: &mut fmt::Formatter<'_>, value: &str) -> fmt::Result {
    let last = value.chars().count().saturating_sub(1);
    for (at, character) in value.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => {
                f.write_char('\\')?;
                f.write_char(character)?;
            }
            ' ' if at == 0 || at == last => f.write_str("\\ ")?,
            '#' if at == 0 => f.write_str("\\#")?,
            _ if character.is_control() || is_invisible(character) => {
                let mut buffer = [0; 4];
                for byte in character.encode_utf8(&mut buffer).bytes() {
                    write!(f, "\\{byte:02X}")?;
                }
            }
            _ => f.write_char(character)?,
        }
    }
    Ok(())
}

/// Marks that reorder or end lines, which make a name look like another.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
