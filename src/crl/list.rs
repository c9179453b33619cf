use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use super::der::{self, Malformed, Reader, Value};
use super::scope::Scope;
use super::{CrlError, RevocationReason};

/// One CRL (RFC 5280 §5): its DER, and an index of where each serial number stands in it.
#[derive(Debug)]
pub(super) struct List {
    der: Box<[u8]>,
    signed: std::ops::Range<usize>,
    algorithm: std::ops::Range<usize>,
    signature: std::ops::Range<usize>,
    issuer: std::ops::Range<usize>,
    pub(super) this_update: u64,
    pub(super) next_update: u64,
    /// `CRLNumber`, its minimal bytes.
    pub(super) number: Option<Box<[u8]>>,
    pub(super) authority_key: Option<Box<[u8]>>,
    pub(super) scope: Scope,
    entries: HashTable<u32>,
    hasher: RandomState,
    /// Public keys that its signature was checked with, and whether it is theirs.
    pub(super) checked: Mutex<Vec<(Box<[u8]>, bool)>>,
}

/// What a CRL says of one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) date: u64,
    pub(super) reason: RevocationReason,
}

/// Extensions by the last arcs of 2.5.29.
mod id_ce {
    pub(super) const CRL_NUMBER: u8 = 20;
    pub(super) const REASON_CODE: u8 = 21;
    pub(super) const INVALIDITY_DATE: u8 = 24;
    pub(super) const DELTA_CRL_INDICATOR: u8 = 27;
    pub(super) const ISSUING_DISTRIBUTION_POINT: u8 = 28;
    pub(super) const CERTIFICATE_ISSUER: u8 = 29;
    pub(super) const AUTHORITY_KEY_IDENTIFIER: u8 = 35;
}

/// An `Extension` (RFC 5280 §4.1).
struct Extension<'a> {
    oid: &'a [u8],
    critical: bool,
    value: &'a [u8],
}

impl List {
    pub(super) fn parse(der: &[u8]) -> Result<Self, CrlError> {
        let mut outer = Reader::new(der);
        let list = outer.expect(der::SEQUENCE)?;
        outer.finish()?;
        let mut list = list.reader();
        let signed = list.expect(der::SEQUENCE)?;
        let algorithm = list.expect(der::SEQUENCE)?;
        let signature = list.expect(der::BIT_STRING)?;
        list.finish()?;

        let mut fields = signed.reader();
        if let Some(version) = fields.optional(der::INTEGER)?
            && version.content != [1]
        {
            return Err(CrlError::Version);
        }
        // RFC 5280 §5.1.1.2: the two algorithm fields must be the same.
        if fields.expect(der::SEQUENCE)?.encoded != algorithm.encoded {
            return Err(CrlError::Malformed);
        }
        let issuer = fields.expect(der::SEQUENCE)?;
        let this_update = fields.any()?.time()?;
        // RFC 5280 §5.1.2.5: conforming issuers must include nextUpdate.
        let next_update = match fields.peek() {
            Some(der::UTC_TIME | der::GENERALIZED_TIME) => fields.any()?.time()?,
            _ => return Err(CrlError::NoNextUpdate),
        };
        let revoked = fields.optional(der::SEQUENCE)?;
        let extensions = fields.optional(der::context(0, true))?;
        fields.finish()?;

        let octets = signature.octets()?;
        let range = |value: &Value<'_>| value.offset..value.offset + value.encoded.len();
        let end = range(&signature).end;
        let mut made = Self {
            signed: range(&signed),
            algorithm: range(&algorithm),
            signature: end - octets.len()..end,
            issuer: range(&issuer),
            this_update,
            next_update,
            number: None,
            authority_key: None,
            scope: Scope::default(),
            entries: HashTable::new(),
            hasher: RandomState::new(),
            checked: Mutex::default(),
            der: der.into(),
        };
        if let Some(extensions) = extensions {
            made.read_extensions(extensions)?;
        }
        if let Some(revoked) = revoked {
            made.index(revoked)?;
        }
        Ok(made)
    }

    fn read_extensions(&mut self, explicit: Value<'_>) -> Result<(), CrlError> {
        each_extension(explicit.reader().expect(der::SEQUENCE)?, |extension| {
            match extension.id_ce() {
                Some(id_ce::CRL_NUMBER) => {
                    let number = Reader::new(extension.value).expect(der::INTEGER)?;
                    self.number = Some(der::minimal(number.content).into());
                }
                Some(id_ce::AUTHORITY_KEY_IDENTIFIER) => {
                    let mut fields = Reader::new(extension.value).expect(der::SEQUENCE)?.reader();
                    let key = fields.optional(der::context(0, false))?;
                    self.authority_key = key.map(|key| key.content.into());
                }
                Some(id_ce::ISSUING_DISTRIBUTION_POINT) => {
                    self.scope = Scope::parse(extension.value)?;
                }
                Some(id_ce::DELTA_CRL_INDICATOR) => return Err(CrlError::Delta),
                _ if extension.critical => return Err(extension.unknown()),
                _ => {}
            }
            Ok(())
        })
    }

    fn index(&mut self, revoked: Value<'_>) -> Result<(), CrlError> {
        let mut entries = revoked.reader();
        while !entries.is_empty() {
            let entry = entries.expect(der::SEQUENCE)?;
            let mut fields = entry.reader();
            let serial = fields.expect(der::INTEGER)?;
            read_entry(fields)?;
            let offset = u32::try_from(entry.offset).map_err(|_| CrlError::TooLarge)?;
            let serial = der::minimal(serial.content);
            let hash = self.hasher.hash_one(serial);
            let slot = self.entries.entry(
                hash,
                |&at| serial_at(&self.der, at) == Some(serial),
                |&at| {
                    self.hasher
                        .hash_one(serial_at(&self.der, at).unwrap_or_default())
                },
            );
            if let Slot::Vacant(slot) = slot {
                slot.insert(offset);
            }
        }
        Ok(())
    }

    /// What the list says of the certificate with this serial number.
    pub(super) fn find(&self, serial: &[u8]) -> Option<Entry> {
        let serial = der::minimal(serial);
        let hash = self.hasher.hash_one(serial);
        let at = self
            .entries
            .find(hash, |&at| serial_at(&self.der, at) == Some(serial))?;
        let mut fields = fields_at(&self.der, *at)?;
        fields.any().ok()?;
        // It was read once already.
        read_entry(fields).ok()
    }

    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The issuer's name, DER.
    pub(super) fn issuer(&self) -> &[u8] {
        &self.der[self.issuer.clone()]
    }

    /// What is signed, DER.
    pub(super) fn signed(&self) -> &[u8] {
        &self.der[self.signed.clone()]
    }

    /// The signature's algorithm, DER.
    pub(super) fn algorithm(&self) -> &[u8] {
        &self.der[self.algorithm.clone()]
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.der[self.signature.clone()]
    }
}

fn fields_at(der: &[u8], at: u32) -> Option<Reader<'_>> {
    let entry = der.get(at as usize..)?;
    Some(Reader::new(entry).any().ok()?.reader())
}

fn serial_at(der: &[u8], at: u32) -> Option<&[u8]> {
    let serial = fields_at(der, at)?.any().ok()?;
    Some(der::minimal(serial.content))
}

/// The fields of a `revokedCertificates` entry after its serial number (RFC 5280 §5.3).
fn read_entry(mut fields: Reader<'_>) -> Result<Entry, CrlError> {
    let date = fields.any()?.time()?;
    let mut reason = RevocationReason::Unspecified;
    if let Some(extensions) = fields.optional(der::SEQUENCE)? {
        each_extension(extensions, |extension| {
            match extension.id_ce() {
                Some(id_ce::REASON_CODE) => {
                    let code = Reader::new(extension.value).expect(der::ENUMERATED)?;
                    reason = RevocationReason::from_code(code.content).ok_or(Malformed)?;
                }
                Some(id_ce::INVALIDITY_DATE) => {}
                Some(id_ce::CERTIFICATE_ISSUER) => return Err(CrlError::Indirect),
                _ if extension.critical => return Err(extension.unknown()),
                _ => {}
            }
            Ok(())
        })?;
    }
    fields.finish()?;
    Ok(Entry { date, reason })
}

fn each_extension<'a>(
    extensions: Value<'a>,
    mut read: impl FnMut(Extension<'a>) -> Result<(), CrlError>,
) -> Result<(), CrlError> {
    let mut extensions = extensions.reader();
    while !extensions.is_empty() {
        let mut fields = extensions.expect(der::SEQUENCE)?.reader();
        let oid = fields.expect(der::OID)?.content;
        let critical = match fields.optional(der::BOOLEAN)? {
            Some(critical) => critical.boolean()?,
            None => false,
        };
        let value = fields.expect(der::OCTET_STRING)?.content;
        fields.finish()?;
        read(Extension {
            oid,
            critical,
            value,
        })?;
    }
    Ok(())
}

impl Extension<'_> {
    fn id_ce(&self) -> Option<u8> {
        match *self.oid {
            [0x55, 0x1d, arc] => Some(arc),
            _ => None,
        }
    }

    fn unknown(&self) -> CrlError {
        let oid = x509_parser::der_parser::Oid::new(self.oid.into());
        CrlError::UnknownCritical(oid.to_id_string())
    }
}
