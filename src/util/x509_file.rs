use std::borrow::Cow;
use std::path::Path;

use super::left_out::{Block, LeftOut};
use super::pem::{self, Section};
use super::pem_error::{PemError, PemProblem};

/// The tag of a SEQUENCE (X.690 §8.9), with which certificates, CRLs and keys begin in DER.
const SEQUENCE: u8 = 0x30;

/// Files that never hold what anybody looks for in a folder, and may be closed to this process.
const NEVER: [&str; 6] = ["key", "p12", "pfx", "jks", "srl", "csr"];

/// How names end that editors and package managers give to what a file was before, or is to be.
const COPIES: [&str; 14] = [
    "~",
    ".bak",
    ".old",
    ".orig",
    ".save",
    ".swp",
    ".tmp",
    ".new",
    ".part",
    ".rpmsave",
    ".rpmnew",
    ".rpmorig",
    ".dpkg-old",
    ".dpkg-dist",
];

/// What is looked for in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sought {
    Certificates,
    #[cfg(feature = "crl")]
    Crls,
}

/// What a file holds of what was asked for.
#[derive(Debug, Default)]
pub(crate) struct Contents<'a> {
    /// What was asked for.
    pub(crate) wanted: Vec<Item<'a>>,
    /// Where it holds something else.
    pub(crate) others: Vec<LeftOut>,
    /// Why there may be more.
    pub(crate) error: Option<PemError>,
}

/// A certificate or a CRL of a file.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    /// Where it begins, from 1.
    pub(crate) line: usize,
    /// Borrowed where the file is DER: a CRL may be as large as the memory that is left.
    pub(crate) der: Cow<'a, [u8]>,
}

/// What a file of a private key holds.
pub(crate) struct KeyFile {
    /// `None` if there is none.
    pub(crate) key: Option<Key>,
    /// Where it holds something else.
    pub(crate) others: Vec<LeftOut>,
}

/// A private key, by its form.
pub(crate) enum Key {
    Pkcs8(Section),
    Pkcs1(Section),
    Sec1(Section),
}

impl Sought {
    /// Whether a file of a folder is left out unread.
    pub(crate) fn are_never_in(file: &Path) -> bool {
        extension(file).is_some_and(|extension| NEVER.contains(&&*extension))
    }

    /// Whether a file of a folder is by its name what another was before, in which a CA that was taken out of that
    /// would be trusted still.
    pub(crate) fn is_copy(file: &Path) -> bool {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_ascii_lowercase();
        COPIES.iter().any(|end| name.ends_with(end))
    }

    /// Whether a file of a folder that holds nothing of a known kind is left out, rather than an error: by
    /// its name it is meant for something else.
    pub(crate) fn leaves_out(self, file: &Path, content: &[u8]) -> bool {
        let extension = extension(file);
        let is_meant = match self {
            Self::Certificates => matches!(
                extension.as_deref(),
                Some("crt" | "cer" | "cert" | "pem" | "der")
            ),
            #[cfg(feature = "crl")]
            Self::Crls => !matches!(extension.as_deref(), Some("crt" | "cer" | "cert")),
        };
        let is_known = pem::begins_a_section(content) || kind_of(content).is_some();
        !is_meant && !is_known
    }
}

fn extension(file: &Path) -> Option<String> {
    let extension = file.extension()?.to_string_lossy();
    Some(extension.to_ascii_lowercase())
}

/// The certificates of a PEM file, or the one of a DER file.
pub(crate) fn certificates(content: &[u8]) -> Result<Contents<'_>, PemError> {
    let contents = certificates_before_error(content);
    match contents.error {
        None => Ok(contents),
        Some(error) => Err(error),
    }
}

/// As [`certificates`], of a file that is for a chain and so has no CRL.
pub(crate) fn chain(content: &[u8]) -> Result<Contents<'_>, PemError> {
    if let Ok(sections) = pem::sections(content)
        && let Some(crl) = sections.iter().find(|section| section.label == "X509 CRL")
    {
        let problem = PemProblem::CrlInChain;
        let line = crl.line;
        return Err(PemError { line, problem });
    }
    certificates(content)
}

fn certificates_before_error(content: &[u8]) -> Contents<'_> {
    if is_der(content) {
        return match kind_of(content) {
            Some(Kind::Crl) => Contents::other(Block::Crl),
            Some(Kind::Certificate) => Contents::of(checked(1, Cow::Borrowed(content))),
            None => Contents::of(match container(content) {
                Some(problem) => Err(PemError { line: 1, problem }),
                None => checked(1, Cow::Borrowed(content)),
            }),
        };
    }
    contents(content, |section| match section.label.as_str() {
        "CERTIFICATE" | "X509 CERTIFICATE" => {
            Some(checked(section.line, Cow::Owned(take(section))))
        }
        "TRUSTED CERTIFICATE" => Some(trusted(section)),
        _ => None,
    })
}

/// The CRLs of a PEM file, or the one of a DER file. Whether that is whole is for the CRL's own reader to
/// say, which says more.
#[cfg(feature = "crl")]
pub(crate) fn crls(content: &[u8]) -> Contents<'_> {
    if is_der(content) {
        return match kind_of(content) {
            Some(Kind::Certificate) => Contents::other(Block::Certificate),
            _ => Contents::of(Ok(Item {
                line: 1,
                der: Cow::Borrowed(content),
            })),
        };
    }
    contents(content, |section| {
        (section.label == "X509 CRL").then(|| {
            Ok(Item {
                line: section.line,
                der: Cow::Owned(take(section)),
            })
        })
    })
}

/// The private key of a PEM file.
pub(crate) fn private_key(content: &[u8]) -> Result<KeyFile, PemError> {
    let mut found: Option<Section> = None;
    let mut others = Vec::new();
    if is_der(content) {
        let problem = PemProblem::DerKey;
        return Err(PemError { line: 1, problem });
    }
    for section in pem::sections(content)? {
        known(&section)?;
        let is_key = section.label.ends_with("PRIVATE KEY");
        if let (true, Some(first)) = (is_key, &found) {
            let problem = PemProblem::SecondKey { first: first.line };
            return Err(PemError {
                line: section.line,
                problem,
            });
        }
        if is_key {
            found = Some(section);
        } else {
            others.push(left_out(&section));
        }
    }
    let key = found.map(key).transpose()?;
    Ok(KeyFile { key, others })
}

fn key(section: Section) -> Result<Key, PemError> {
    let problem = match section.label.as_str() {
        "ENCRYPTED PRIVATE KEY" => PemProblem::EncryptedKey,
        _ if section.has_headers => PemProblem::EncryptedKey,
        "PRIVATE KEY" => return Ok(Key::Pkcs8(section)),
        "RSA PRIVATE KEY" => return Ok(Key::Pkcs1(section)),
        "EC PRIVATE KEY" => return Ok(Key::Sec1(section)),
        label => PemProblem::OtherKey {
            label: label.to_owned(),
        },
    };
    Err(PemError {
        line: section.line,
        problem,
    })
}

fn left_out(section: &Section) -> LeftOut {
    LeftOut {
        line: section.line,
        block: Block::of(&section.label),
    }
}

impl<'a> Contents<'a> {
    fn of(item: Result<Item<'a>, PemError>) -> Self {
        let mut contents = Self::default();
        match item {
            Ok(item) => contents.wanted.push(item),
            Err(error) => contents.error = Some(error),
        }
        contents
    }

    /// Of a DER file that holds something else.
    fn other(block: Block) -> Self {
        Self {
            others: vec![LeftOut { line: 1, block }],
            ..Self::default()
        }
    }
}

fn contents(
    content: &[u8],
    mut pick: impl FnMut(&mut Section) -> Option<Result<Item<'static>, PemError>>,
) -> Contents<'static> {
    let (sections, error) = pem::sections_before_error(content);
    let mut contents = Contents::default();
    for mut section in sections {
        let picked = known(&section).and_then(|()| pick(&mut section).transpose());
        match picked {
            Ok(Some(item)) => contents.wanted.push(item),
            Ok(None) => contents.others.push(left_out(&section)),
            Err(error) => {
                contents.error.get_or_insert(error);
            }
        }
    }
    contents.error = contents.error.or(error);
    contents
}

/// Refuses a section of an unknown kind: it may be a misspelt one of what is wanted.
fn known(section: &Section) -> Result<(), PemError> {
    if pem::is_known(&section.label) {
        return Ok(());
    }
    Err(PemError {
        line: section.line,
        problem: PemProblem::UnknownLabel {
            label: section.label.clone(),
        },
    })
}

/// A text can begin with a zero too, which is the same byte. What is a whole SEQUENCE of more than 127 octets is not
/// searched through for a section: a CRL can be large.
fn is_der(content: &[u8]) -> bool {
    let is_long = content.get(1).is_some_and(|length| !length.is_ascii());
    let is_whole = || sequence(content).is_some_and(|(_, rest)| rest.is_empty());
    content.first() == Some(&SEQUENCE)
        && ((is_long && is_whole()) || !pem::begins_a_section(content))
}

/// What else a DER structure is in which certificates come: PKCS #7 begins with the OID of its `signedData`
/// (RFC 2315 §7), PKCS #12 with its version 3 (RFC 7292 §4).
fn container(der: &[u8]) -> Option<PemProblem> {
    const PKCS7: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
    let (fields, _) = sequence(der)?;
    if fields.starts_with(PKCS7) {
        return Some(PemProblem::Pkcs7);
    }
    let (fields, _) = sequence(fields.strip_prefix(b"\x02\x01\x03")?)?;
    let is_pkcs12 = fields.starts_with(&PKCS7[..PKCS7.len() - 1]);
    is_pkcs12.then_some(PemProblem::Pkcs12)
}

fn take(section: &mut Section) -> Vec<u8> {
    std::mem::take(&mut *section.der)
}

fn checked(line: usize, der: Cow<'_, [u8]>) -> Result<Item<'_>, PemError> {
    if sequence(&der).is_some_and(|(_, rest)| rest.is_empty()) {
        return Ok(Item { line, der });
    }
    Err(PemError {
        line,
        problem: PemProblem::NotDer,
    })
}

/// A certificate of OpenSSL's own form: what it is trusted for and what not may follow it
/// (`X509_CERT_AUX`), and whatever that says is not to be passed over.
fn trusted(section: &mut Section) -> Result<Item<'static>, PemError> {
    let line = section.line;
    let error = |problem| PemError { line, problem };
    let mut der = take(section);
    let not_der = || error(PemProblem::NotDer);
    let (_, rest) = sequence(&der).ok_or_else(not_der)?;
    let length = der.len() - rest.len();
    if !rest.is_empty() {
        let (auxiliary, more) = sequence(rest).ok_or_else(not_der)?;
        if !more.is_empty() {
            return Err(not_der());
        }
        // trust SEQUENCE OF OID OPTIONAL, reject [0] IMPLICIT SEQUENCE OF OID OPTIONAL, then names.
        if matches!(auxiliary.first(), Some(&SEQUENCE | &0xa0)) {
            return Err(error(PemProblem::TrustSettings));
        }
    }
    der.truncate(length);
    let der = Cow::Owned(der);
    Ok(Item { line, der })
}

/// The content of the SEQUENCE that begins here, and what is after it.
fn sequence(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if tag != SEQUENCE {
        return None;
    }
    let (length, rest) = match usize::from(first) {
        short @ 0..0x80 => (short, rest),
        long => {
            let (length, rest) = rest.split_at_checked(long & 0x7f)?;
            if length.is_empty() || length.len() > 4 {
                return None;
            }
            let number = |number, &byte: &u8| number << 8 | usize::from(byte);
            (length.iter().fold(0, number), rest)
        }
    };
    rest.split_at_checked(length)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Certificate,
    Crl,
}

/// What a DER structure is by its first fields (RFC 5280 §4.1 and §5.1): `tbsCertificate` has a serial
/// number, and after the algorithm, as every CRL, the issuer; then `validity`, a SEQUENCE, where a CRL
/// has `thisUpdate`, a time.
fn kind_of(der: &[u8]) -> Option<Kind> {
    const INTEGER: u8 = 0x02;
    const VERSION: u8 = 0xa0;
    let (outer, _) = sequence(der)?;
    let (mut fields, _) = sequence(outer)?;
    for optional in [VERSION, INTEGER] {
        if fields.first() == Some(&optional) {
            let length = usize::from(*fields.get(1)?);
            // Neither is longer in what is worth telling apart.
            fields = fields.get(2 + length..)?;
        }
    }
    let (_, fields) = sequence(fields)?;
    let (_, fields) = sequence(fields)?;
    match fields.first()? {
        &SEQUENCE => Some(Kind::Certificate),
        0x17 | 0x18 => Some(Kind::Crl),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn section(label: &str, der: &[u8]) -> String {
        let base64 = STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
    }

    const SMALL: &[u8] = &[SEQUENCE, 1, 0];

    fn problem(content: &[u8]) -> (usize, PemProblem) {
        let error = certificates(content).unwrap_err();
        (error.line, error.problem)
    }

    #[test]
    fn certificates_are_taken_by_each_of_their_labels_and_the_rest_is_counted() {
        let all = ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"];
        let text: String = all.iter().map(|label| section(label, SMALL)).collect();
        let text = text + &section("PRIVATE KEY", SMALL) + &section("X509 CRL", SMALL);
        let contents = certificates(text.as_bytes()).unwrap();
        let lines: Vec<_> = contents.wanted.iter().map(|item| item.line).collect();
        assert_eq!(lines, [1, 4, 7]);
        let others: Vec<_> = contents
            .others
            .iter()
            .map(|one| (one.line, one.block))
            .collect();
        assert_eq!(others, [(10, Block::PrivateKey), (13, Block::Crl)]);
    }

    #[test]
    fn der_is_read_where_it_lies_and_a_text_that_begins_alike_is_searched() {
        let long = [&[SEQUENCE, 0x81, 200][..], &[0; 200]].concat();
        let der = &certificates(&long).unwrap().wanted[0].der;
        assert!(matches!(der, Cow::Borrowed(der) if *der == long));
        // "0" is the tag, and what follows it, in UTF-8 or not, may be taken for a length.
        for comment in ["0\n", "0é\n", "00\n"] {
            let text = format!("{comment}{}", section("CERTIFICATE", &long));
            let contents = certificates(text.as_bytes()).unwrap();
            assert_eq!(contents.wanted[0].der, long, "{comment}");
        }
    }

    #[test]
    fn what_openssl_trusts_a_certificate_for_is_not_passed_over() {
        // Its name only: `alias` is a UTF8String.
        let named = [SMALL, &[SEQUENCE, 3, 0x0c, 1, b'a']].concat();
        let text = section("TRUSTED CERTIFICATE", &named);
        let contents = certificates(text.as_bytes()).unwrap();
        assert_eq!(contents.wanted[0].der, SMALL);
        for purposes in [SEQUENCE, 0xa0] {
            let given = [SMALL, &[SEQUENCE, 2, purposes, 0]].concat();
            let text = section("TRUSTED CERTIFICATE", &given);
            assert_eq!(problem(text.as_bytes()), (1, PemProblem::TrustSettings));
        }
    }

    #[test]
    fn containers_of_other_kinds_are_named() {
        let oid = |last| [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 7, last];
        let of = |content: &[u8]| {
            let length = u8::try_from(content.len()).unwrap();
            [&[SEQUENCE, length], content].concat()
        };
        let signed = of(&[&oid(2)[..], &[0xa0, 0]].concat());
        assert_eq!(problem(&signed), (1, PemProblem::Pkcs7));
        let bag = of(&[&[2, 1, 3][..], &of(&oid(1))].concat());
        assert_eq!(problem(&bag), (1, PemProblem::Pkcs12));
        // What it is else is for the reader of certificates to say.
        assert_eq!(certificates(&of(&[2, 1, 3])).unwrap().wanted.len(), 1);
    }

    #[test]
    fn what_may_hold_a_certificate_is_not_passed_over() {
        let good = section("CERTIFICATE", SMALL);
        for (label, der, expected) in [
            ("CERTIFICATE", &[SEQUENCE, 2, 0][..], PemProblem::NotDer),
            ("CERTIFICATE", &[SEQUENCE, 1, 0, 0], PemProblem::NotDer),
            ("CERTIFICATE", &[2, 1, 0], PemProblem::NotDer),
        ] {
            let text = good.clone() + &section(label, der);
            assert_eq!(problem(text.as_bytes()), (4, expected));
        }
        for label in ["CERTIFICAT", "PKCS7"] {
            let text = good.clone() + &section(label, SMALL);
            let label = label.to_owned();
            let expected = (4, PemProblem::UnknownLabel { label });
            assert_eq!(problem(text.as_bytes()), expected);
        }
    }

    #[test]
    fn one_private_key_is_taken_and_what_hinders_that_is_told() {
        let problem = |text: &str| private_key(text.as_bytes()).err().map(|one| one.problem);
        let (ec, pkcs8) = (
            section("EC PRIVATE KEY", SMALL),
            section("PRIVATE KEY", SMALL),
        );
        let with_parameters = section("EC PARAMETERS", &[6, 1, 0]) + &ec;
        let file = private_key(with_parameters.as_bytes()).unwrap();
        assert!(matches!(file.key, Some(Key::Sec1(_))));
        assert_eq!(file.others[0].block, Block::Parameters);
        let beside_its_chain = section("CERTIFICATE", SMALL) + &pkcs8;
        let file = private_key(beside_its_chain.as_bytes()).unwrap();
        assert!(matches!(file.key, Some(Key::Pkcs8(_))));
        assert_eq!(file.others[0].block, Block::Certificate);
        let without = private_key(section("CERTIFICATE", SMALL).as_bytes()).unwrap();
        assert!(without.key.is_none());
        let second = Some(PemProblem::SecondKey { first: 1 });
        assert_eq!(problem(&(ec + &pkcs8)), second);
        assert!(matches!(private_key(SMALL), Err(error) if error.problem == PemProblem::DerKey));
        let encrypted = Some(PemProblem::EncryptedKey);
        assert_eq!(problem(&section("ENCRYPTED PRIVATE KEY", SMALL)), encrypted);
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----";
        assert_eq!(problem(old), encrypted);
        assert!(matches!(
            problem(&section("OPENSSH PRIVATE KEY", SMALL)),
            Some(PemProblem::OtherKey { .. })
        ));
    }
}
