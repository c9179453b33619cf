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
