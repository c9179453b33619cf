//! Certificates and CRLs with what rcgen does not write.

use rcgen::{CertificateRevocationList, SigningKey};

use super::Ca;

pub const SEQUENCE: u8 = 0x30;

/// One value of DER: its tag and length, its content, and what comes after it.
fn value(bytes: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (header, length) = match bytes[1] {
        short @ 0..=0x7f => (2, usize::from(short)),
        long => {
            let header = 2 + usize::from(long & 0x7f);
            let octets = bytes[2..header].iter();
            (
                header,
                octets.fold(0, |sum, octet| sum << 8 | usize::from(*octet)),
            )
        }
    };
    let (own, rest) = bytes.split_at(header + length);
    (&own[..header], &own[header..], rest)
}

pub fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length: Vec<u8> = length
        .iter()
        .copied()
        .skip_while(|octet| *octet == 0)
        .collect();
    let mut bytes = vec![tag];
    if content.len() >= 0x80 {
        bytes.push(0x80 | u8::try_from(length.len()).unwrap());
    }
    if content.is_empty() {
        bytes.push(0);
    }
    bytes.extend(length);
    bytes.extend(content);
    bytes
}

impl Ca {
    /// The list as a delta over the complete list of this number.
    pub fn delta(&self, list: &CertificateRevocationList, base: u8) -> Vec<u8> {
        let indicator = [
            &[0x06, 0x03, 0x55, 0x1d, 0x1b, 0x01, 0x01, 0xff][..],
            &[0x04, 0x03, 0x02, 0x01, base],
        ];
        self.extended(list, &indicator.concat())
    }

    /// The list with an unknown critical extension.
    pub fn with_unknown_extension(&self, list: &CertificateRevocationList) -> Vec<u8> {
        self.extended(
            list,
            &[
                0x06, 0x02, 0x2a, 0x03, 0x01, 0x01, 0xff, 0x04, 0x02, 0x05, 0x00,
            ],
        )
    }

    pub fn extended(&self, list: &CertificateRevocationList, extension: &[u8]) -> Vec<u8> {
        self.changed(list.der(), |field, content| {
            (field[0] == 0xa0).then(|| {
                let (_, extensions, _) = value(content);
                let extensions = [extensions, &encode(SEQUENCE, extension)].concat();
                encode(0xa0, &encode(SEQUENCE, &extensions))
            })
        })
    }

    /// The list with this in the place of its entries, of which it has some: the content of the SEQUENCE, in DER.
    pub fn with_entries(&self, list: &CertificateRevocationList, entries: &[u8]) -> Vec<u8> {
        self.with_entries_in(list.der(), entries)
    }

    /// As [`Ca::with_entries`], of a list that was changed before.
    pub fn with_entries_in(&self, list: &[u8], entries: &[u8]) -> Vec<u8> {
        self.changed(list, |_, content| {
            let is_entries = matches!(content, [SEQUENCE, _, 0x02, ..]);
            is_entries.then(|| encode(SEQUENCE, entries))
        })
    }

    /// The list as one of version 1, with the extensions that only version 2 has.
    pub fn without_version(&self, list: &CertificateRevocationList) -> Vec<u8> {
        self.changed(list.der(), |field, _| (field[0] == 0x02).then(Vec::new))
    }

    /// A certificate or CRL with another name where it has `old`, a `Name` in DER.
    pub fn renaming(&self, der: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
        self.changed(der, |field, _| (field == old).then(|| new.to_vec()))
    }

    /// What this CA signed, with some of its fields changed, which are given whole and as their content,
    /// and signed again.
    fn changed(&self, der: &[u8], change: impl Fn(&[u8], &[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
        let (_, whole, _) = value(der);
        let (_, signed, rest) = value(whole);
        let (header, algorithm, _) = value(rest);
        let algorithm = [header, algorithm].concat();
        let mut fields = Vec::new();
        let mut left = signed;
        while !left.is_empty() {
            let (header, content, rest) = value(left);
            let field = [header, content].concat();
            fields.extend(change(&field, content).unwrap_or(field));
            left = rest;
        }
        let signed = encode(SEQUENCE, &fields);
        let signature = self.issuer.key().sign(&signed).unwrap();
        let signature = encode(0x03, &[&[0], &signature[..]].concat());
        encode(SEQUENCE, &[signed, algorithm, signature].concat())
    }
}
