use super::der::{self, Malformed, Reader, Value};

const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
const BMP_STRING: u8 = 0x1e;

/// A `Name` so that two of the same meaning are the same bytes (RFC 5280 §7.1): a string's type,
/// the case of its letters and how many spaces are between its words do not count, nor does the
/// order of what stands at one level.
pub(super) fn canonical(name: &[u8]) -> Result<Box<[u8]>, Malformed> {
    let mut outer = Reader::new(name);
    let mut levels = outer.expect(der::SEQUENCE)?.reader();
    outer.finish()?;
    let mut canonical = Vec::with_capacity(name.len());
    while !levels.is_empty() {
        let mut level = levels.expect(der::SET)?.reader();
        let mut attributes = Vec::new();
        while !level.is_empty() {
            let mut attribute = level.expect(der::SEQUENCE)?.reader();
            let kind = attribute.expect(der::OID)?.encoded;
            let value = attribute.any()?;
            attribute.finish()?;
            let value = match text(&value) {
                Some(text) => der::encode(UTF8_STRING, folded(&text).as_bytes()),
                None => value.encoded.to_vec(),
            };
            attributes.push([kind, &value].concat());
        }
        attributes.sort();
        canonical.extend(der::encode(der::SET, &attributes.concat()));
    }
    Ok(canonical.into())
}

fn text(value: &Value<'_>) -> Option<String> {
    match value.tag {
        UTF8_STRING | PRINTABLE_STRING | IA5_STRING => {
            Some(str::from_utf8(value.content).ok()?.to_owned())
        }
        BMP_STRING => {
            let (units, []) = value.content.as_chunks::<2>() else {
                return None;
            };
            let units: Vec<u16> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
            String::from_utf16(&units).ok()
        }
        _ => None,
    }
}

fn folded(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name of one level of common names, each of a string type.
    fn name(values: &[(u8, &[u8])]) -> Vec<u8> {
        let attributes: Vec<u8> = values
            .iter()
            .flat_map(|(tag, content)| {
                let value = der::encode(*tag, content);
                let attribute = [b"\x06\x03\x55\x04\x03", &*value].concat();
                der::encode(der::SEQUENCE, &attribute)
            })
            .collect();
        der::encode(der::SEQUENCE, &der::encode(der::SET, &attributes))
    }

    #[test]
    fn names_of_the_same_meaning_are_the_same() {
        let one = canonical(&name(&[(PRINTABLE_STRING, b"Nodes  2026")])).unwrap();
        for same in [
            name(&[(UTF8_STRING, b" nodes 2026 ")]),
            name(&[(IA5_STRING, b"NODES 2026")]),
            name(&[(BMP_STRING, b"\0N\0o\0d\0e\0s\0 \x002\x000\x002\x006")]),
        ] {
            assert_eq!(canonical(&same).unwrap(), one);
        }
        for other in [
            name(&[(UTF8_STRING, b"nodes2026")]),
            name(&[(0x14, b"Nodes 2026")]),
            name(&[(UTF8_STRING, b"nodes 2026"), (UTF8_STRING, b"x")]),
        ] {
            assert_ne!(canonical(&other).unwrap(), one);
        }
        let (a, b) = ((UTF8_STRING, &b"a"[..]), (UTF8_STRING, &b"b"[..]));
        assert_eq!(canonical(&name(&[a, b])), canonical(&name(&[b, a])));
    }

    #[test]
    fn what_is_no_name_is_malformed() {
        for wrong in [&b""[..], b"\x30\x02\x31", b"\x31\x00", b"\x30\x02\x30\x00"] {
            assert_eq!(canonical(wrong), Err(Malformed), "{wrong:x?}");
        }
    }
}
