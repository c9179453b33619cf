use std::sync::{Mutex, PoisonError};

use super::authority::Authorities;
use super::der::{self, Value};
use super::entries::{Entry, each_extension, id_ce};
use super::index::Index;
use super::indirect::Indirect;
use super::key::Key;
use super::number::Number;
use super::scope::Scope;
use super::signed::{Frame, Signed};
#[cfg(feature = "crl-fetch")]
use super::verdict::date;
use super::verdict::time;
use super::{CrlError, UnknownCause, Verdict};
use crate::identity::DistinguishedName;
use crate::util::hex;

/// A `revokedCertificates` this large is indexed while another thread checks the signature.
const LARGE: usize = 256 * 1024;

/// One CRL (RFC 5280 §5), indexed.
#[derive(Debug)]
pub(super) struct Crl {
    pub(super) issuer: DistinguishedName,
    pub(super) this_update: u64,
    pub(super) next_update: u64,
    /// `CRLNumber`.
    pub(super) number: Option<Number>,
    /// `BaseCRLNumber` of a delta CRL (RFC 5280 §5.2.4).
    pub(super) base: Option<Number>,
    /// The key identifier of its signer. The other form that names one, by the issuer and the serial
    /// number of its certificate, is not compared: it says less than the signature, and is out of date
    /// once a CA's certificate is renewed.
    pub(super) authority_key: Option<Box<[u8]>>,
    pub(super) scope: Scope,
    revoked: Revoked,
    signature: Mutex<Signature>,
    /// The octets of the signature, which no other list has.
    pub(super) signature_value: Box<[u8]>,
}

#[derive(Debug)]
enum Revoked {
    ByIssuer(Index),
    Indirect(Indirect),
}

/// Whose the signature is. The bytes are kept only until that is known: they are most of a list.
#[derive(Debug)]
enum Signature {
    Of(Key),
    Open { signed: Signed, not_of: Vec<Key> },
}

impl Crl {
    /// Reads a list, and checks its signature by those of the authorities that have its issuer's name and key
    /// identifier: one that none of them signed is an error. A list of an unknown issuer is read all the same: a
    /// path may prove the issuer.
    pub(super) fn parse(der: &[u8], authorities: &Authorities) -> Result<Self, CrlError> {
        let frame = Frame::parse(der)?;
        let (mut list, revoked) = Self::head(&frame)?;
        authorities.supports(&frame.algorithm)?;
        let check = || list.signer_of(&frame, authorities);
        let (key, revoked) = if revoked.is_some_and(|revoked| revoked.content.len() >= LARGE) {
            std::thread::scope(|scope| {
                let checking = scope.spawn(check);
                let indexed = list.index(revoked);
                // A panic there is as good as a signature by an unknown key.
                let signer = checking.join();
                (signer.unwrap_or(Err(UnknownCause::NotSigned)), indexed)
            })
        } else {
            (check(), list.index(revoked))
        };
        list.revoked = revoked?;
        list.signature = Mutex::new(match key {
            Ok(key) => Signature::Of(key),
            Err(UnknownCause::SignerUnsupported) => return Err(list.unsupported_key(authorities)),
            // One that is known is its issuer by name and key identifier, and did not sign it.
            Err(UnknownCause::NotSigned) => {
                let issuer = list.issuer.to_string();
                return Err(CrlError::NotSigned { issuer });
            }
            Err(_) => Signature::Open {
                signed: frame.keep(der),
                not_of: Vec::new(),
            },
        });
        Ok(list)
    }

    /// As [`Crl::parse`], for what may be from anybody: nothing is made of a list that none of the
    /// authorities signed, for which this is why not.
    #[cfg(feature = "crl-fetch")]
    pub(super) fn parse_signed(
        der: &[u8],
        authorities: &Authorities,
    ) -> Result<Result<Self, UnknownCause>, CrlError> {
        let frame = Frame::parse(der)?;
        let (mut list, revoked) = Self::head(&frame)?;
        authorities.supports(&frame.algorithm)?;
        let key = match list.signer_of(&frame, authorities) {
            Ok(key) => key,
            Err(UnknownCause::SignerUnsupported) => return Err(list.unsupported_key(authorities)),
            Err(cause) => return Ok(Err(cause)),
        };
        list.revoked = list.index(revoked)?;
        list.signature = Mutex::new(Signature::Of(key));
        Ok(Ok(list))
    }

    fn signer_of(&self, frame: &Frame<'_>, authorities: &Authorities) -> Result<Key, UnknownCause> {
        authorities.signer(&self.issuer, self.authority_key.as_deref(), |key| {
            frame.is_by(key, authorities.algorithms())
        })
    }

    #[cold]
    fn unsupported_key(&self, authorities: &Authorities) -> CrlError {
        let key = authorities.unsupported(&self.issuer, self.authority_key.as_deref());
        CrlError::UnsupportedKey {
            signer: self.issuer.to_string(),
            key: key.unwrap_or_default(),
        }
    }

    /// The entries of a list with this head.
    fn index(&self, revoked: Option<Value<'_>>) -> Result<Revoked, CrlError> {
        let Some(revoked) = revoked else {
            return Ok(Revoked::ByIssuer(Index::default()));
        };
        let indexed = if self.scope.indirect {
            Indirect::new(revoked.content, &self.issuer).map(Revoked::Indirect)
        } else {
            Index::new(revoked.content).map(Revoked::ByIssuer)
        };
        indexed.map_err(|error| error.after(revoked.content_offset()))
    }

    /// The issuer's name in what may be no list otherwise.
    pub(super) fn issuer_of(der: &[u8]) -> Option<DistinguishedName> {
        let mut fields = Frame::parse(der).ok()?.message.reader();
        fields.optional(der::INTEGER).ok()?;
        fields.expect(der::SEQUENCE).ok()?;
        let issuer = fields.expect(der::SEQUENCE).ok()?;
        Some(DistinguishedName::new(issuer.encoded))
    }

    /// Looks for its signer among authorities that it was not read with.
    pub(super) fn find_signer(&self, authorities: &Authorities) {
        if self.signer().is_none() {
            let by = |key: &Key| self.is_by(key, authorities);
            // What it finds is kept.
            let _ = authorities.signer(&self.issuer, self.authority_key.as_deref(), by);
        }
    }

    /// What says which list it is.
    #[cfg(feature = "crl-fetch")]
    pub(super) fn without_entries(mut self) -> Self {
        self.revoked = Revoked::ByIssuer(Index::default());
        self
    }

    /// Everything but the entries, whose content is handed back.
    fn head<'a>(frame: &Frame<'a>) -> Result<(Self, Option<Value<'a>>), CrlError> {
        let mut fields = frame.message.reader();
        // RFC 5280 §5.1.2.1: 1 is version 2, and without it there are no extensions.
        let version = fields.at("version").optional(der::INTEGER)?;
        if version.is_some_and(|version| version.content != [1]) {
            return Err(CrlError::Version);
        }
        // RFC 5280 §5.1.1.2: the two algorithm fields must be the same.
        let algorithm = fields.at("signature").expect(der::SEQUENCE)?;
        if algorithm.encoded != frame.algorithm.encoded {
            return Err(algorithm.wrong().into());
        }
        let issuer = fields.at("issuer").expect(der::SEQUENCE)?.encoded;
        let this_update = fields.at("thisUpdate").any()?.time()?;
        // RFC 5280 §5.1.2.5: conforming issuers must include nextUpdate.
        let next_update = match fields.peek() {
            Some(der::UTC_TIME | der::GENERALIZED_TIME) => fields.at("nextUpdate").any()?.time()?,
            _ => return Err(CrlError::NoNextUpdate),
        };
        if next_update < this_update {
            return Err(CrlError::EndsBeforeItBegins);
        }
        let revoked = fields.at("revokedCertificates").optional(der::SEQUENCE)?;
        let extensions = fields.at("crlExtensions").optional(der::context(0, true))?;
        fields.finish()?;
        if version.is_none() && extensions.is_some() {
            return Err(CrlError::Version);
        }
        let mut list = Self {
            issuer: DistinguishedName::new(issuer),
            this_update,
            next_update,
            number: None,
            base: None,
            authority_key: None,
            scope: Scope::default(),
            revoked: Revoked::ByIssuer(Index::default()),
            signature: Mutex::new(Signature::Of(Key::none())),
            signature_value: frame.signature_value().into(),
        };
        if let Some(extensions) = extensions {
            list.read_extensions(extensions)?;
        }
        Ok((list, revoked))
    }

    fn read_extensions(&mut self, explicit: Value<'_>) -> Result<(), CrlError> {
        each_extension(explicit.reader().expect(der::SEQUENCE)?, |extension| {
            match extension.id_ce() {
                Some(id_ce::CRL_NUMBER) => {
                    self.number = Some(Number::parse("cRLNumber", extension.value)?);
                }
                Some(id_ce::DELTA_CRL_INDICATOR) => {
                    self.base = Some(Number::parse("BaseCRLNumber", extension.value)?);
                }
                Some(id_ce::AUTHORITY_KEY_IDENTIFIER) => {
                    let mut value = extension.value.reader();
                    let value = value.at("authorityKeyIdentifier").expect(der::SEQUENCE)?;
                    let key = value.reader().optional(der::context(0, false))?;
                    self.authority_key = key.map(|key| key.content.into());
                }
                Some(id_ce::ISSUING_DISTRIBUTION_POINT) => {
                    self.scope = Scope::parse(extension.value.reader(), &self.issuer)?;
                }
                _ if extension.critical => return Err(extension.unknown()),
                _ => {}
            }
            Ok(())
        })
    }

    /// What the list says of the certificate of this issuer and serial number.
    pub(super) fn find(&self, issuer: &DistinguishedName, serial: &[u8]) -> Option<Entry> {
        match &self.revoked {
            Revoked::ByIssuer(index) => index.find(serial),
            Revoked::Indirect(indirect) => indirect.find(issuer.key(), serial),
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.revoked {
            Revoked::ByIssuer(index) => index.len(),
            Revoked::Indirect(indirect) => indirect.len(),
        }
    }

    /// How many bytes of memory its entries take.
    pub(super) fn size(&self) -> usize {
        let kept = match &*self.lock() {
            Signature::Of(_) => 0,
            Signature::Open { signed, .. } => signed.der.len(),
        };
        kept + match &self.revoked {
            Revoked::ByIssuer(index) => index.size(),
            Revoked::Indirect(indirect) => indirect.size(),
        }
    }

    /// How many of these a look-up reads from that finds nothing.
    pub(super) fn searched_size(&self) -> usize {
        match &self.revoked {
            Revoked::ByIssuer(index) => index.searched_size(),
            Revoked::Indirect(indirect) => indirect.searched_size(),
        }
    }

    /// Whether this key signed the list (RFC 5280 §6.3.3 (g)). Each key is tried once.
    pub(super) fn is_by(&self, key: &Key, authorities: &Authorities) -> bool {
        let mut signature = self.lock();
        let (signed, not_of) = match &mut *signature {
            Signature::Of(own) => return own == key,
            Signature::Open { signed, not_of } => (signed, not_of),
        };
        if not_of.contains(key) {
            return false;
        }
        let is_by = signed.is_by(key, authorities.algorithms());
        if is_by {
            *signature = Signature::Of(key.clone());
        } else {
            not_of.push(key.clone());
        }
        is_by
    }

    /// Whose signature it has, as far as that is known.
    pub(super) fn signer(&self) -> Option<Key> {
        match &*self.lock() {
            Signature::Of(key) => Some(key.clone()),
            Signature::Open { .. } => None,
        }
    }

    /// Whether its time has come at `now`, in seconds after 1970.
    pub(super) fn is_begun(&self, now: u64) -> bool {
        self.this_update <= now
    }

    /// Whether its time is over at `now`, in seconds after 1970.
    pub(super) fn is_over(&self, now: u64) -> bool {
        self.next_update < now
    }

    /// Its number and time, in words.
    #[cfg(feature = "crl-fetch")]
    pub(super) fn version_text(&self) -> String {
        let number = self.number_text();
        let number = number.as_deref().unwrap_or("none");
        format!("number {number} of {}", date(self.this_update))
    }

    /// What the entry says of the certificate with this serial number.
    pub(super) fn revoked(&self, entry: Entry, serial: &[u8]) -> Verdict {
        Verdict::Revoked {
            serial: hex::with_colons(serial),
            date: time(entry.date),
            reason: entry.reason,
            crl_number: self.number_text(),
        }
    }

    /// Its number in hexadecimal.
    pub(super) fn number_text(&self) -> Option<String> {
        self.number.as_ref().map(Number::text)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Signature> {
        let signature = self.signature.lock();
        signature.unwrap_or_else(PoisonError::into_inner)
    }
}
