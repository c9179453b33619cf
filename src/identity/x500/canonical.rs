use sha2::{Digest, Sha256};
use stringprep::x520prep;

use super::name::{Kind, Name, Part, Value};

/// What begins an attribute value that is text, and one that is not: no two of them are the same.
const TEXT: u8 = 0;
const OPAQUE: u8 = 1;

/// The SHA-256 of a distinguished name's [`canonical`] form: two names that match by RFC 5280 §7.1 have
/// the same key, so that a comparison costs 32 octets however the names are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NameKey([u8; 32]);

impl NameKey {
    /// The key of a `Name` in DER. What is no name matches the very same bytes only.
    pub(crate) fn of(der: &[u8]) -> Self {
        Self::read(der).unwrap_or_else(|| {
            let mut digest = Sha256::new_with_prefix(b"not a name");
            digest.update(der);
            Self(digest.finalize().into())
        })
    }

    /// As [`NameKey::of`]; `None` for what is no name.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        Some(Self(Sha256::digest(canonical(der)?).into()))
    }

    /// The key of a name that is written in the form of RFC 4514. `None` for a text that is no name, or has
    /// an attribute type that is neither a known keyword nor an object identifier.
    pub(crate) fn written(text: &str) -> Option<Self> {
        let name = Name::parse(text).filter(|name| !name.0.is_empty())?;
        let mut parts = name.0.iter().flatten();
        let is_known = parts.all(|part| part.kind.oid().is_some());
        is_known.then(|| Self(Sha256::digest(canonical_form(&name)).into()))
    }
}

/// A `Name` in DER so that two names that match by RFC 5280 §7.1 are the same bytes: the string type,
/// the case of letters, the number of spaces and the order inside one relative name do not count.
/// A name beneath another begins with the bytes of that one. `None` for what is no name.
pub(crate) fn canonical(der: &[u8]) -> Option<Box<[u8]>> {
    Some(canonical_form(&Name::read(der)?))
}

fn canonical_form(name: &Name<'_>) -> Box<[u8]> {
    let mut canonical = Vec::new();
    for relative in &name.0 {
        let mut attributes: Vec<_> = relative.iter().map(attribute).collect();
        attributes.sort();
        put(&mut canonical, &attributes.concat());
    }
    canonical.into()
}

fn attribute(part: &Part<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    match (part.kind.oid(), &part.kind) {
        (Some(oid), _) => put(&mut bytes, oid.as_bytes()),
        (None, Kind::Written(written)) => put(&mut bytes, written.as_bytes()),
        (None, Kind::Oid(_)) => {}
    }
    match (
        part.value.text().and_then(|text| prepared(&text)),
        &part.value,
    ) {
        (Some(text), _) => {
            bytes.push(TEXT);
            put(&mut bytes, text.as_bytes());
        }
        (None, Value::Der(der)) => {
            bytes.push(OPAQUE);
            put(&mut bytes, der);
        }
        (None, Value::Text(text)) => {
            bytes.push(OPAQUE);
            put(&mut bytes, text.as_bytes());
        }
    }
    bytes
}

/// RFC 4518, for `caseIgnoreMatch`. `None` for characters that must not be compared, which match the
/// same bytes only.
fn prepared(text: &str) -> Option<String> {
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let folded = if plain {
        text.to_ascii_lowercase()
    } else {
        // The crate normalizes or folds, and folding may undo what was normalized.
        let normal = x520prep(text, false).ok()?;
        let folded = x520prep(&normal, true).ok()?;
        x520prep(&folded, false).ok()?.into_owned()
    };
    // RFC 4518 §2.6.1.
    let words = folded.split(' ').filter(|word| !word.is_empty());
    Some(words.collect::<Vec<_>>().join(" "))
}

/// Appends bytes after their length, so that no two sequences of them are the same.
fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend((bytes.len() as u64).to_be_bytes());
    to.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::der::encode;

    const UTF8: u8 = 0x0c;
    const NUMERIC: u8 = 0x12;
    const PRINTABLE: u8 = 0x13;
    const TELETEX: u8 = 0x14;
    const IA5: u8 = 0x16;
    const VISIBLE: u8 = 0x1a;
    const UNIVERSAL: u8 = 0x1c;
    const BMP: u8 = 0x1e;

    const COMMON_NAME: &[u8] = b"\x55\x04\x03";
    const ORGANIZATION: &[u8] = b"\x55\x04\x0a";
    const DOMAIN_COMPONENT: &[u8] = b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19";

    type Value<'a> = (&'a [u8], u8, &'a [u8]);

    /// A name of these relative names, each of some attributes: type, tag and content.
    fn name(relative: &[&[Value<'_>]]) -> Vec<u8> {
        let sets = relative.iter().flat_map(|attributes| {
            let set = attributes.iter().flat_map(|(kind, tag, content)| {
                encode(0x30, &[encode(6, kind), encode(*tag, content)].concat())
            });
            encode(0x31, &set.collect::<Vec<_>>())
        });
        encode(0x30, &sets.collect::<Vec<_>>())
    }

    fn common(tag: u8, content: &[u8]) -> Vec<u8> {
        name(&[&[(COMMON_NAME, tag, content)]])
    }

    fn wide<const N: usize>(text: &str, unit: fn(char) -> [u8; N]) -> Vec<u8> {
        text.chars().flat_map(unit).collect()
    }

    fn bmp(text: &str) -> Vec<u8> {
        wide(text, |one| u16::try_from(one).unwrap().to_be_bytes())
    }

    #[test]
    fn names_of_the_same_meaning_have_the_same_key() {
        let universal = |text| wide(text, |one| u32::from(one).to_be_bytes());
        let key = NameKey::of(&common(PRINTABLE, b"Nodes  2026"));
        for same in [
            common(UTF8, b" nodes 2026 "),
            common(IA5, b"NODES 2026"),
            common(VISIBLE, b"Nodes 2026"),
            common(TELETEX, b"nodes 2026"),
            common(BMP, &bmp("Nodes 2026")),
            common(UNIVERSAL, &universal("nodes 2026")),
            common(UTF8, "Nodes\u{a0}2026".as_bytes()),
            common(UTF8, "No\u{ad}des\t2026".as_bytes()),
            common(UTF8, "\u{ff2e}odes 2026".as_bytes()),
        ] {
            assert_eq!(NameKey::of(&same), key, "{same:x?}");
        }
        assert_eq!(
            NameKey::of(&common(NUMERIC, b"20 26")),
            NameKey::of(&common(UTF8, b"20  26"))
        );
        let latin = NameKey::of(&common(TELETEX, b"\xc4RZTE"));
        for same in [
            common(UTF8, "ärzte".as_bytes()),
            common(UTF8, "A\u{308}rzte".as_bytes()),
            common(BMP, &bmp("Ärzte")),
        ] {
            assert_eq!(NameKey::of(&same), latin, "{same:x?}");
        }
        assert_eq!(
            NameKey::of(&common(UTF8, "STRASSE".as_bytes())),
            NameKey::of(&common(UTF8, "straße".as_bytes()))
        );
        let domain = |text: &[u8]| NameKey::of(&name(&[&[(DOMAIN_COMPONENT, IA5, text)]]));
        assert_eq!(domain(b"Example"), domain(b"example"));
        let (a, b) = (
            (COMMON_NAME, UTF8, &b"a"[..]),
            (ORGANIZATION, UTF8, &b"b"[..]),
        );
        assert_eq!(
            NameKey::of(&name(&[&[a, b]])),
            NameKey::of(&name(&[&[b, a]]))
        );
    }

    #[test]
    fn names_of_another_meaning_have_another_key() {
        let key = NameKey::of(&common(UTF8, b"nodes 2026"));
        let (a, b) = (
            (COMMON_NAME, UTF8, &b"a"[..]),
            (ORGANIZATION, UTF8, &b"b"[..]),
        );
        for other in [
            common(UTF8, b"nodes2026"),
            common(UTF8, b"nodes 2027"),
            // A BIT STRING is no text.
            common(3, b"nodes 2026"),
            common(UTF8, b"\xff\xfe"),
            name(&[&[(ORGANIZATION, UTF8, b"nodes 2026")]]),
            name(&[]),
            b"no name".to_vec(),
        ] {
            assert_ne!(NameKey::of(&other), key, "{other:x?}");
        }
        assert_ne!(
            NameKey::of(&name(&[&[a], &[b]])),
            NameKey::of(&name(&[&[b], &[a]]))
        );
        assert_ne!(
            NameKey::of(&name(&[&[a], &[b]])),
            NameKey::of(&name(&[&[a, b]]))
        );
        // Private use: no two systems need mean the same by it, and case is none of it.
        let private = |letter| NameKey::of(&common(UTF8, format!("\u{e000}{letter}").as_bytes()));
        assert_ne!(private('a'), private('A'));
        assert_eq!(private('a'), private('a'));
    }

    #[test]
    fn a_name_beneath_another_begins_with_it() {
        let (a, b) = (
            (COMMON_NAME, UTF8, &b"A "[..]),
            (ORGANIZATION, UTF8, &b"b"[..]),
        );
        let above = canonical(&name(&[&[(COMMON_NAME, PRINTABLE, b"a")]])).unwrap();
        assert!(canonical(&name(&[&[a], &[b]])).unwrap().starts_with(&above));
        assert!(!canonical(&name(&[&[a, b]])).unwrap().starts_with(&above));
        let longer = common(UTF8, b"ab");
        assert!(!canonical(&longer).unwrap().starts_with(&above));
    }

    #[test]
    fn what_is_no_name_is_the_same_as_itself_only() {
        let mut longer = common(UTF8, b"a");
        longer.push(0);
        // A name, and something that is none inside it.
        let mut with_more = common(UTF8, b"a");
        with_more[1] += 2;
        with_more.extend([0x05, 0x00]);
        assert_ne!(NameKey::of(&with_more), NameKey::of(&common(UTF8, b"a")));
        for wrong in [
            &b""[..],
            b"\x30\x02\x31",
            b"\x31\x00",
            b"\x30\x02\x30\x00",
            &longer,
            &with_more,
        ] {
            assert_eq!(NameKey::read(wrong), None, "{wrong:x?}");
            assert_eq!(NameKey::of(wrong), NameKey::of(wrong));
            assert_ne!(NameKey::of(wrong), NameKey::of(b"x"));
        }
    }
}
