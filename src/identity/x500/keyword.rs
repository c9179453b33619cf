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

/// Returns the keyword of an attribute type, which is given as an object identifier, or as a keyword in
/// either case.
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
