use super::name::{Kind, Name, Part, Value};
use crate::util::hex;

impl<'a> Name<'a> {
    /// Parses a name in the form of RFC 4514, or of RFC 2253 as OpenSSL writes it. `None` where it is not
    /// written so: what can be read in two ways is no name.
    pub(in crate::identity) fn parse(text: &'a str) -> Option<Self> {
        let mut relative: Vec<Vec<Part<'a>>> = Vec::new();
        let mut rest = text;
        let mut joined = false;
        while !rest.is_empty() || joined || !relative.is_empty() {
            let (kind, after) = rest.split_once('=').filter(|(kind, _)| is_type(kind))?;
            let (value, after) = value(after)?;
            let kind = Kind::Written(kind);
            let part = Part { kind, value };
            match relative.last_mut() {
                Some(last) if joined => last.push(part),
                _ => relative.push(vec![part]),
            }
            let Some(separator) = after.chars().next() else {
                break;
            };
            joined = separator == '+';
            rest = &after[1..];
        }
        // A certificate has them the other way round (RFC 4514 §2.1).
        relative.reverse();
        Some(Self(relative))
    }
}

/// A keyword or an object identifier.
fn is_type(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

/// The value at the beginning, and what follows it from its separator on.
fn value(text: &str) -> Option<(Value<'_>, &str)> {
    if let Some(hex) = text.strip_prefix('#') {
        let end = hex.find([',', '+']).unwrap_or(hex.len());
        let (digits, rest) = hex.split_at(end);
        let der = hex::decode(digits).filter(|der| !der.is_empty())?;
        return Some((Value::Der(der.into()), rest));
    }
    let mut value = Vec::new();
    let mut rest = text.as_bytes();
    // A space at an end of the value is escaped.
    let mut bare_space = rest.first() == Some(&b' ');
    if bare_space {
        return None;
    }
    loop {
        match rest {
            [] | [b',' | b'+', ..] => break,
            [b'"' | b';' | b'<' | b'>' | 0, ..] | [b'\\'] => return None,
            [b'\\', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digits = std::str::from_utf8(&rest[1..3]).ok()?;
                value.push(u8::from_str_radix(digits, 16).ok()?);
                (rest, bare_space) = (&rest[3..], false);
            }
            [b'\\', special, after @ ..] => {
                if !b" \"#+,;<=>\\".contains(special) {
                    return None;
                }
                value.push(*special);
                (rest, bare_space) = (after, false);
            }
            [byte, after @ ..] => {
                value.push(*byte);
                (rest, bare_space) = (after, *byte == b' ');
            }
        }
    }
    let value = String::from_utf8(value).ok().filter(|_| !bare_space)?;
    Some((Value::Text(value), &text[text.len() - rest.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::attribute::Attribute;

    fn read(text: &str) -> Option<(String, Vec<Attribute>)> {
        let name = Name::parse(text)?;
        Some((name.to_string(), name.attributes().into_vec()))
    }

    #[test]
    fn a_subject_as_openssl_writes_it_is_read_and_written_as_ours() {
        for (text, ours) in [
            ("", ""),
            ("CN=node-7,O=x", "CN=node-7,O=x"),
            ("cn=node-7,o=x", "CN=node-7,O=x"),
            ("CN=a\\,b\\+c\\=d", "CN=a\\,b\\+c=d"),
            ("CN=Lu\\C4\\8Di\\C4\\87", "CN=Lučić"),
            ("CN=a\\0Ab", "CN=a\\0Ab"),
            ("CN=\\ a\\ ", "CN=\\ a\\ "),
            ("1.2.3.4=#0C0178,CN=x", "1.2.3.4=#0c0178,CN=x"),
            ("emailAddress=a@b,CN=x+UID=y", "emailAddress=a@b,CN=x+UID=y"),
            ("CN=a=b", "CN=a=b"),
            // Written in other ways than ours.
            ("2.5.4.3=node-7", "CN=node-7"),
            ("CN=#0c066E6f64652d37", "CN=node-7"),
            ("CN=#1e0400410042", "CN=AB"),
            ("CN=#0301ff", "CN=#0301ff"),
            ("CN=#0c", "CN=#0c"),
            ("CN=", "CN="),
        ] {
            assert_eq!(read(text).unwrap().0, ours, "{text}");
        }
        let (_, attributes) = read("CN=x+UID=y,O=\\00,O=z").unwrap();
        let expected = [
            ("O", Some("z")),
            ("O", None),
            ("CN", Some("x")),
            ("UID", Some("y")),
        ];
        let expected = expected.map(|(kind, value)| (kind, value.map(Into::into)));
        assert_eq!(attributes, expected);
    }

    #[test]
    fn a_subject_that_may_be_read_in_two_ways_is_none() {
        for text in [
            "node-7",
            "=x",
            "CN=a,",
            "CN=a+",
            "CN=a, O=b",
            "CN=a;O=b",
            "CN=\"a\"",
            "CN= a",
            "CN=a ",
            "CN=a\\",
            "CN=a\\x",
            "CN=\\FF",
            "CN=#0c0",
            "CN=#xyz",
            "C N=a",
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
