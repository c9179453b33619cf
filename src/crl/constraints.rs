//! What a CA's certificate demands of those beneath it (RFC 5280 §6.1), for the chains of CRL signers.
//! Those of clients are webpki's, which takes no CA for an end entity, and so no signer that is one.

use x509_parser::prelude::{ParsedExtension, X509Certificate};

use super::der::{self, Malformed, Reader};
use crate::identity::{NameKey, canonical};

/// The extensions that may be critical: the same as in clients' chains.
const UNDERSTOOD: [&[u8]; 6] = [
    // keyUsage, subjectAltName and basicConstraints.
    b"\x55\x1d\x0f",
    b"\x55\x1d\x11",
    b"\x55\x1d\x13",
    // nameConstraints, cRLDistributionPoints and extKeyUsage, which is about no CRL.
    b"\x55\x1d\x1e",
    b"\x55\x1d\x1f",
    b"\x55\x1d\x25",
];

/// `emailAddress` in a subject, as it is encoded.
const EMAIL_ADDRESS: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01";

const RFC822_NAME: u8 = der::context(1, false);
const DIRECTORY_NAME: u8 = der::context(4, true);

/// What a certificate demands of those beneath it, and what those above it may demand of it.
#[derive(Debug)]
pub(super) struct Constraints {
    names: Vec<Name>,
    is_self_issued: bool,
    path_length: Option<u32>,
    subtrees: Option<Subtrees>,
    /// Whether every critical extension is known here (RFC 5280 §6.1.4 (o), §6.1.5 (f)).
    is_understood: bool,
}

/// A `GeneralName` as constraints see it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    form: u8,
    /// Of a directory name, canonical.
    directory: Option<Box<[u8]>>,
}

/// `NameConstraints` (RFC 5280 §4.2.1.10).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Subtrees {
    permitted: Vec<Name>,
    excluded: Vec<Name>,
}

impl Constraints {
    /// `None` if something in it cannot be read.
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Option<Self> {
        let subject = certificate.subject().as_raw();
        let mut own = Self {
            names: Vec::new(),
            is_self_issued: NameKey::of(certificate.issuer().as_raw()) == NameKey::of(subject),
            path_length: None,
            subtrees: None,
            is_understood: true,
        };
        let directory = canonical(subject)?;
        if !directory.is_empty() {
            own.names.push(Name::directory(directory));
        }
        if subject
            .windows(EMAIL_ADDRESS.len())
            .any(|part| part == EMAIL_ADDRESS)
        {
            own.names.push(Name::of_form(RFC822_NAME));
        }
        for extension in certificate.extensions() {
            if extension.critical && !UNDERSTOOD.contains(&extension.oid.as_bytes()) {
                own.is_understood = false;
            }
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(basic) => {
                    own.path_length = basic.path_len_constraint;
                }
                ParsedExtension::NameConstraints(_) => {
                    let value = Reader::new(extension.value).expect(der::SEQUENCE).ok()?;
                    own.subtrees = Some(Subtrees::parse(value.reader()).ok()?);
                }
                ParsedExtension::SubjectAlternativeName(_) => {
                    let names = Reader::new(extension.value).expect(der::SEQUENCE).ok()?;
                    let mut names = names.reader();
                    while !names.is_empty() {
                        own.names.push(Name::parse(&mut names).ok()?);
                    }
                }
                ParsedExtension::ParseError { .. } => return None,
                _ => {}
            }
        }
        Some(own)
    }

    /// Whether a chain, the CRL signer first, keeps to what its CAs and its anchor demand.
    pub(super) fn hold(chain: &[&Self], anchor: Option<&Subtrees>) -> bool {
        let understood = chain.iter().all(|one| one.is_understood);
        understood
            && chain.iter().enumerate().all(|(at, ca)| {
                let beneath = &chain[..at];
                at == 0
                    || ca.allows_length(beneath) && Self::are_within(beneath, ca.subtrees.as_ref())
            })
            && Self::are_within(chain, anchor)
    }

    /// RFC 5280 §6.1.4 (l) and (m): neither the last certificate nor those that are self-issued count.
    fn allows_length(&self, beneath: &[&Self]) -> bool {
        let between = beneath
            .iter()
            .skip(1)
            .filter(|one| !one.is_self_issued)
            .count();
        self.path_length
            .is_none_or(|longest| u32::try_from(between).is_ok_and(|between| between <= longest))
    }

    /// RFC 5280 §6.1.3 (b) and (c): of those that are self-issued only the last certificate counts.
    fn are_within(chain: &[&Self], subtrees: Option<&Subtrees>) -> bool {
        let Some(subtrees) = subtrees else {
            return true;
        };
        let mut bound = chain
            .iter()
            .enumerate()
            .filter(|(at, one)| *at == 0 || !one.is_self_issued);
        bound.all(|(_, one)| one.names.iter().all(|name| subtrees.allow(name)))
    }
}

impl Subtrees {
    /// Reads the content of the SEQUENCE.
    pub(super) fn parse(mut fields: Reader<'_>) -> Result<Self, Malformed> {
        let mut subtrees = |number| -> Result<Vec<Name>, Malformed> {
            let mut names = Vec::new();
            let Some(all) = fields.optional(der::context(number, true))? else {
                return Ok(names);
            };
            let mut all = all.reader();
            while !all.is_empty() {
                let mut subtree = all.expect(der::SEQUENCE)?.reader();
                names.push(Name::parse(&mut subtree)?);
                // Minimum and maximum are not used (RFC 5280 §4.2.1.10).
                subtree.finish()?;
            }
            Ok(names)
        };
        let (permitted, excluded) = (subtrees(0)?, subtrees(1)?);
        fields.finish()?;
        Ok(Self {
            permitted,
            excluded,
        })
    }

    /// A certificate with a name of a constrained form that is not processed is rejected (RFC 5280
    /// §4.2.1.10). Directory names are processed: CRL signers seldom have others.
    fn allow(&self, name: &Name) -> bool {
        let mut permitted = self
            .permitted
            .iter()
            .filter(|one| one.form == name.form)
            .peekable();
        let is_permitted = permitted.peek().is_none() || permitted.any(|one| one.has(name));
        let mut excluded = self.excluded.iter().filter(|one| one.form == name.form);
        is_permitted && !excluded.any(|one| one.directory.is_none() || one.has(name))
    }
}

impl Name {
    fn directory(canonical: Box<[u8]>) -> Self {
        Self {
            form: DIRECTORY_NAME,
            directory: Some(canonical),
        }
    }

    fn of_form(form: u8) -> Self {
        Self {
            form,
            directory: None,
        }
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let name = reader.any()?;
        if name.tag == DIRECTORY_NAME {
            return canonical(name.content)
                .map(Self::directory)
                .ok_or_else(|| name.wrong());
        }
        Ok(Self::of_form(name.tag))
    }

    /// Whether a directory name is this one or beneath it.
    fn has(&self, name: &Self) -> bool {
        match (&self.directory, &name.directory) {
            // Both begin with whole levels.
            (Some(base), Some(name)) => name.starts_with(base),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, DnType, DnValue, KeyPair};

    use super::*;

    fn read(change: impl FnOnce(&mut CertificateParams)) -> Option<Constraints> {
        let mut params = CertificateParams::default();
        change(&mut params);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate.der()).unwrap();
        Constraints::of(&certificate)
    }

    /// RFC 5280 §6.1.3 (b) and (c).
    #[test]
    fn of_what_is_self_issued_only_the_last_certificate_is_bound_by_name() {
        // E-mail addresses are not processed: one that is constrained at all is outside.
        let bound = Subtrees {
            permitted: vec![Name::of_form(RFC822_NAME)],
            excluded: vec![],
        };
        let of = |is_outside: bool, is_self_issued: bool| Constraints {
            names: is_outside
                .then(|| Name::of_form(RFC822_NAME))
                .into_iter()
                .collect(),
            is_self_issued,
            path_length: None,
            subtrees: None,
            is_understood: true,
        };
        for (chain, is_within) in [
            (vec![of(false, false)], true),
            (vec![of(true, false)], false),
            (vec![of(true, true)], false),
            (vec![of(false, true), of(true, true)], true),
            (vec![of(false, false), of(true, true)], true),
            (vec![of(false, false), of(true, false)], false),
            (
                vec![of(false, false), of(true, true), of(true, false)],
                false,
            ),
        ] {
            let chain: Vec<_> = chain.iter().collect();
            assert_eq!(Constraints::are_within(&chain, Some(&bound)), is_within);
            assert!(Constraints::are_within(&chain, None));
        }
    }

    /// RFC 5280 §4.2.1.10: constraints on e-mail addresses are about those in a subject too.
    #[test]
    fn an_address_in_the_subject_is_a_name() {
        let names = |address: bool| {
            let own = read(|params| {
                if address {
                    let kind = DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]);
                    let value = DnValue::Ia5String("ca@example.org".try_into().unwrap());
                    params.distinguished_name.push(kind, value);
                }
            });
            own.unwrap().names
        };
        assert!(names(true).contains(&Name::of_form(RFC822_NAME)));
        assert!(!names(false).contains(&Name::of_form(RFC822_NAME)));
    }

    #[test]
    fn what_cannot_be_read_constrains_nothing_and_counts_for_nothing() {
        let with = |oid: &[u64], content: &[u8]| {
            let extension = CustomExtension::from_oid_content(oid, content.to_vec());
            read(|params| params.custom_extensions.push(extension))
        };
        assert!(with(&[1, 2, 3], &[5, 0]).is_some());
        // keyUsage, subjectAltName and nameConstraints.
        for last in [15, 17, 30] {
            assert!(with(&[2, 5, 29, last], &[5, 0]).is_none(), "{last}");
        }
    }
}
