use super::distinguished_name::{self as name, Attribute};

/// A distinguished name that was text, and is again in our own spelling.
pub(super) struct SubjectText {
    pub(super) text: String,
    pub(super) attributes: Box<[Attribute]>,
}

/// One attribute: its type, and its value as text, or in hexadecimal after a `#`.
struct Part<'a> {
    kind: &'a str,
    value: Value<'a>,
    /// Whether it belongs to the same relative name as the one before.
    joined: bool,
}

enum Value<'a> {
    Text(String),
    Hex(&'a str),
}

impl SubjectText {
    /// Reads a name in the form of RFC 4514, or of RFC 2253 as OpenSSL writes it. `None` where it is not
    /// written so: what may be read in two ways is nobody's name.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        let mut joined = false;
        while !rest.is_empty() || joined || !parts.is_empty() {
            let (kind, after) = rest.split_once('=').filter(|(kind, _)| is_type(kind))?;
            let (value, after) = value(after)?;
            parts.push(Part {
                kind,
                value,
                joined,
            });
            let Some(separator) = after.chars().next() else {
                break;
            };
            joined = separator == '+';
            rest = &after[1..];
        }
        Some(Self::of(&parts))
    }

    fn of(parts: &[Part<'_>]) -> Self {
        let mut text = String::new();
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                text.push(if part.joined { '+' } else { ',' });
            }
            text.push_str(name::known(part.kind).unwrap_or(part.kind));
            text.push('=');
            match &part.value {
                Value::Text(value) => name::escape(&mut text, value),
                Value::Hex(value) => {
                    text.push('#');
                    text.push_str(&value.to_ascii_lowercase());
                }
            }
        }
        // A certificate has them the other way round (RFC 4514 §2.1).
        let attributes = parts.iter().rev().filter_map(|part| {
            let value = match &part.value {
                Value::Text(value) => name::usable(value.clone()),
                Value::Hex(_) => None,
            };
            Some((name::known(part.kind)?, value))
        });
        let attributes = attributes.collect();
        Self { text, attributes }
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
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let whole = is_hex && !digits.is_empty() && digits.len().is_multiple_of(2);
        return whole.then_some((Value::Hex(digits), rest));
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

    fn read(text: &str) -> Option<(String, Vec<Attribute>)> {
        let parsed = SubjectText::parse(text)?;
        Some((parsed.text, parsed.attributes.into_vec()))
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
        ] {
            assert_eq!(read(text).unwrap().0, ours, "{text}");
        }
        let (_, attributes) = read("CN=x+UID=y,O=\\00,O=z").unwrap();
        let expected = [
            ("O", Some("z")),
            ("O", None),
            ("UID", Some("y")),
            ("CN", Some("x")),
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
