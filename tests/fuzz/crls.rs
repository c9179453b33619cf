use std::collections::BTreeMap;
use std::mem::discriminant;
use std::time::{Duration, SystemTime};

use portcullis::crl::{LoadError, Options, Revocation, Verdict};
use x509_parser::der_parser::{Oid, oid};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::number;

/// `d` and the entries of a CRL, DER; or `i` and those of an indirect one, in which `{A}` and `{B}` are
/// extensions that name an issuer; or `r` and whatever a file may hold.
pub fn crl(input: &[u8]) -> u64 {
    let Some((kind, entries)) = input.split_first() else {
        return 0;
    };
    let own = name("Lists");
    let issuers = [own.clone(), name("A"), name("B")];
    let der = match kind {
        b'r' => entries.to_vec(),
        b'i' => list(&own, &expanded(entries, &issuers), true),
        _ => list(&own, entries, false),
    };
    let revocation = match Revocation::from_bytes([&*der], Options::default()) {
        Ok(revocation) => revocation,
        Err(LoadError::List { error, .. }) => return number((1, discriminant(&error))),
        Err(error) => return number((2, discriminant(&error))),
    };
    let lists = revocation.lists().load();
    assert!(lists.searched_size() <= lists.size());
    let Some(known) = read(&der, &issuers) else {
        return number((3, kind, lists.entries().min(8)));
    };
    assert_eq!(lists.entries(), known.len(), "each is there once");
    let mut reasons = [0_u8; 11];
    for ((at, serial), (date, reason)) in &known {
        if *at == 0 {
            let Some(Verdict::Revoked {
                date: found,
                reason: why,
                ..
            }) = lists.find(&own, serial)
            else {
                panic!("what is listed is found: {serial:x?}");
            };
            assert_eq!(found, after_1970(*date));
            if let Some(reason) = reason {
                assert_eq!(format!("{why:?}"), REASONS[usize::from(*reason)]);
            }
        }
        reasons[usize::from(reason.unwrap_or(7))] = 1;
        let mut other = serial.clone();
        *other.last_mut().unwrap() ^= 1;
        let other = minimal(&other).to_vec();
        let expected = known
            .get(&(0, other.clone()))
            .map(|(date, _)| after_1970(*date));
        let found = match lists.find(&own, &other) {
            Some(Verdict::Revoked { date, .. }) => Some(date),
            _ => None,
        };
        assert_eq!(found, expected, "what is not listed is not found");
    }
    number((4, kind, known.len().min(8), reasons))
}

fn after_1970(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

const CERTIFICATE_ISSUER: Oid<'static> = oid!(2.5.29.29);

const REASONS: [&str; 11] = [
    "Unspecified",
    "KeyCompromise",
    "CaCompromise",
    "AffiliationChanged",
    "Superseded",
    "CessationOfOperation",
    "CertificateHold",
    "",
    "RemoveFromCrl",
    "PrivilegeWithdrawn",
    "AaCompromise",
];

type Known = BTreeMap<(usize, Vec<u8>), (u64, Option<u8>)>;

/// The entries by issuer and serial number, as another reader finds them, unless it cannot say.
fn read(der: &[u8], issuers: &[Vec<u8>]) -> Option<Known> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    let mut known = Known::new();
    let mut issuer = 0;
    for entry in list.iter_revoked_certificates() {
        let named = entry
            .extensions()
            .iter()
            .filter(|one| one.oid == CERTIFICATE_ISSUER);
        for named in named {
            issuer = issuers
                .iter()
                .position(|name| naming(name) == named.value)?;
        }
        if entry.extensions().len() > 2 {
            return None;
        }
        let reason = match entry.reason_code() {
            None => 0,
            Some((_, code)) => code.0,
        };
        let date = u64::try_from(entry.revocation_date.timestamp()).unwrap_or(0);
        let serial = minimal(entry.raw_serial()).to_vec();
        let twice = entry.extensions().len() == 2 && issuer == 0;
        let found = (date, (!twice).then_some(reason));
        let first = known.entry((issuer, serial)).or_insert(found);
        match first.1 {
            Some(8) => *first = found,
            None => return None,
            _ => {}
        }
    }
    Some(known)
}

fn minimal(mut serial: &[u8]) -> &[u8] {
    while let [0x00, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] = serial {
        serial = &serial[1..];
    }
    serial
}

fn expanded(entries: &[u8], issuers: &[Vec<u8>]) -> Vec<u8> {
    let mut expanded = Vec::new();
    let mut at = 0;
    while at < entries.len() {
        let issuer = match entries[at..] {
            [b'{', b'A', b'}', ..] => Some(&issuers[1]),
            [b'{', b'B', b'}', ..] => Some(&issuers[2]),
            _ => None,
        };
        if let Some(issuer) = issuer {
            let value = encode(0x04, &naming(issuer));
            let extension = [b"\x06\x03\x55\x1d\x1d\x01\x01\xff", &*value].concat();
            expanded.extend(encode(0x30, &extension));
            at += 3;
        } else {
            expanded.push(entries[at]);
            at += 1;
        }
    }
    expanded
}

/// `GeneralNames` of one directory name.
fn naming(name: &[u8]) -> Vec<u8> {
    encode(0x30, &encode(0xa4, name))
}

fn name(text: &str) -> Vec<u8> {
    let value = encode(0x0c, text.as_bytes());
    let attribute = encode(0x30, &[b"\x06\x03\x55\x04\x03", &*value].concat());
    encode(0x30, &encode(0x31, &attribute))
}

/// A list without a signer.
fn list(issuer: &[u8], entries: &[u8], indirect: bool) -> Vec<u8> {
    let algorithm = encode(0x30, b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02");
    let point = b"\x30\x0f\x06\x03\x55\x1d\x1c\x01\x01\xff\x04\x05\x30\x03\x84\x01\xff";
    let extensions = encode(0xa0, &encode(0x30, point));
    let message = [
        &b"\x02\x01\x01"[..],
        &algorithm,
        issuer,
        b"\x17\x0d250102030405Z",
        b"\x17\x0d490102030405Z",
        &encode(0x30, entries),
        if indirect { &extensions[..] } else { &[] },
    ];
    let message = encode(0x30, &message.concat());
    encode(0x30, &[&*message, &algorithm, b"\x03\x02\x00\x00"].concat())
}

fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|&&octet| octet == 0).count()..];
    let mut encoded = vec![tag];
    match content.len() {
        0 => encoded.push(0),
        1..0x80 => encoded.extend(length),
        _ => {
            encoded.push(0x80 | u8::try_from(length.len()).unwrap());
            encoded.extend(length);
        }
    }
    encoded.extend(content);
    encoded
}
