/// The attribute types that RFC 4514 §3 has short names for, in dotted form.
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

/// The same in DER, without tag and length, as each certificate has them.
const ENCODED: [&[u8]; 9] = [
    b"\x55\x04\x03",
    b"\x55\x04\x07",
    b"\x55\x04\x08",
    b"\x55\x04\x0a",
    b"\x55\x04\x0b",
    b"\x55\x04\x06",
    b"\x55\x04\x09",
    b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19",
    b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01",
];

/// Returns the keyword of an attribute type in DER.
pub(super) fn keyword_of(encoded: &[u8]) -> Option<&'static str> {
    let at = ENCODED.iter().position(|known| *known == encoded)?;
    Some(KEYWORDS[at].1)
}

/// Returns the keyword of an attribute type, which is given as an object identifier, or as a keyword in
/// either case.
#[cfg(feature = "tls")]
pub(super) fn keyword(kind: &str) -> Option<&'static str> {
    let is_of = |(oid, keyword): &&(&str, &str)| *oid == kind || keyword.eq_ignore_ascii_case(kind);
    KEYWORDS.iter().find(is_of).map(|(_, keyword)| *keyword)
}

/// Returns the object identifier in dotted form of an attribute type that is given as a keyword in either
/// case, or as an object identifier. It knows two keywords besides those of RFC 4514, as OpenSSL writes them.
#[cfg(feature = "crl")]
pub(super) fn identifier(kind: &str) -> Option<&str> {
    const OPENSSL: [(&str, &str); 2] = [
        ("1.2.840.113549.1.9.1", "emailAddress"),
        ("2.5.4.5", "serialNumber"),
    ];
    let mut known = KEYWORDS.iter().chain(&OPENSSL);
    let found = known.find(|(_, keyword)| keyword.eq_ignore_ascii_case(kind));
    let is_dotted = kind.starts_with(|first: char| first.is_ascii_digit());
    found.map(|(oid, _)| *oid).or(is_dotted.then_some(kind))
}

#[cfg(test)]
mod tests {
    use x509_parser::der_parser::Oid;

    use super::*;

    #[test]
    fn each_keyword_is_found_by_its_dotted_form_and_by_its_encoding() {
        for ((dotted, keyword), encoded) in KEYWORDS.iter().zip(ENCODED) {
            assert_eq!(Oid::new(encoded.into()).to_id_string(), *dotted);
            assert_eq!(keyword_of(encoded), Some(*keyword));
        }
        assert_eq!(keyword_of(b"\x55\x04\x05"), None);
    }
}
