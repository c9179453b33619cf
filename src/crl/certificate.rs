use sha2::{Digest, Sha256};
use x509_parser::extensions::KeyUsage;
use x509_parser::oid_registry::{
    OID_KEY_TYPE_EC_PUBLIC_KEY, OID_X509_EXT_CRL_DISTRIBUTION_POINTS,
    OID_X509_EXT_SUBJECT_KEY_IDENTIFIER,
};
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

use super::der::Reader;
use super::key::Key;
use super::no_rev_avail::{self, NoRevAvail};
use super::scope::{DistributionPoint, TOO_MANY_POINTS};
use super::signed::Signed;
use super::{CrlError, UnknownCause};
use crate::identity::{DistinguishedName, Fingerprints};
use crate::util::x509_error;

/// What revocation needs to know of a certificate.
#[derive(Clone, Debug)]
pub(super) struct CertificateInfo {
    pub(super) serial: Box<[u8]>,
    pub(super) issuer: DistinguishedName,
    pub(super) subject: DistinguishedName,
    pub(super) is_ca: bool,
    /// Those it names, and the implicit one.
    pub(super) points: Box<[DistributionPoint]>,
    pub(super) not_before: u64,
    pub(super) not_after: u64,
    pub(super) key: Key,
    pub(super) key_id: Option<Box<[u8]>>,
    /// Whether it may sign CRLs (RFC 5280 §6.3.3 (f)).
    pub(super) signs_crls: bool,
    /// Whether it may sign certificates (RFC 5280 §6.1.4 (n)).
    pub(super) signs_certificates: bool,
    pub(super) no_rev_avail: NoRevAvail,
    /// What a deny list may name besides the serial number: the certificate's fingerprints, SHA-256 of its
    /// `SubjectPublicKeyInfo`, and its URI names.
    pub(super) fingerprints: Fingerprints,
    pub(super) key_digest: [u8; 32],
    pub(super) uris: Box<[Box<str>]>,
}

/// Whether a certificate lets its owner sign CRLs: it has no key usage, or one with cRLSign (RFC 5280
/// §4.2.1.3).
pub(crate) fn signs_crls(certificate: &X509Certificate<'_>) -> bool {
    match certificate.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.crl_sign()),
        Err(_) => false,
    }
}

/// Whether its key is a point of a curve in another form than the usual, of which the digest is another.
fn is_compressed(certificate: &X509Certificate<'_>) -> bool {
    const UNCOMPRESSED: u8 = 4;
    let key = certificate.public_key();
    key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
        && key.subject_public_key.data.first() != Some(&UNCOMPRESSED)
}

impl CertificateInfo {
    pub(super) fn parse(der: &[u8]) -> Result<Self, CrlError> {
        Self::of(&Self::read(der)?)
    }

    pub(super) fn read(der: &[u8]) -> Result<X509Certificate<'_>, CrlError> {
        let read = X509Certificate::from_der(der);
        let (_, certificate) =
            read.map_err(|error| CrlError::MalformedCertificate(x509_error::words(&error)))?;
        Ok(certificate)
    }

    pub(super) fn of(certificate: &X509Certificate<'_>) -> Result<Self, CrlError> {
        let fingerprints = Fingerprints::of(certificate.as_raw());
        Self::issued(certificate, None, fingerprints)
    }

    /// As [`CertificateInfo::of`], where the certificate is hashed already and its issuer's name may be read already.
    pub(super) fn issued(
        certificate: &X509Certificate<'_>,
        by: Option<&DistinguishedName>,
        fingerprints: Fingerprints,
    ) -> Result<Self, CrlError> {
        let malformed =
            |error: &dyn std::fmt::Display| CrlError::MalformedCertificate(error.to_string());
        let usage = certificate.key_usage().map_err(|error| malformed(&error))?;
        let is_ca = certificate
            .basic_constraints()
            .map_err(|error| malformed(&error))?
            .is_some_and(|constraints| constraints.value.ca);
        let issuer = certificate.issuer().as_raw();
        let issuer = match by {
            Some(by) if by.der() == issuer => by.clone(),
            _ => DistinguishedName::new(issuer),
        };
        let mut points = Vec::new();
        let mut key_id = None;
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                // Whether or not the library can read them.
                _ if extension.oid == OID_X509_EXT_CRL_DISTRIBUTION_POINTS => {
                    points = DistributionPoint::parse_all(extension.value, &issuer).map_err(
                        |error| match error.field {
                            TOO_MANY_POINTS => CrlError::TooManyPoints,
                            _ => malformed(&error),
                        },
                    )?;
                }
                ParsedExtension::SubjectKeyIdentifier(id) => key_id = Some(id.0.into()),
                _ if extension.oid == OID_X509_EXT_SUBJECT_KEY_IDENTIFIER => {
                    return Err(malformed(&"its subject key identifier is no OCTET STRING"));
                }
                _ => {}
            }
        }
        points.push(DistributionPoint::implicit(&issuer));
        let key = Reader::new(certificate.public_key().raw)
            .any()
            .map_err(|_| malformed(&"the public key is no DER"))?;
        if is_compressed(certificate) {
            return Err(malformed(
                &"its public key is a compressed point, and a list of keys knows the other form (RFC 5480 §2.2)",
            ));
        }
        let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
        let allows = |usage_of: fn(&KeyUsage) -> bool| {
            usage.as_ref().is_none_or(|usage| usage_of(usage.value))
        };
        Ok(Self {
            serial: certificate.raw_serial().into(),
            issuer,
            subject: DistinguishedName::new(certificate.subject().as_raw()),
            is_ca,
            // Each connection keeps them.
            points: points.into(),
            not_before: seconds(certificate.validity().not_before.timestamp()),
            not_after: seconds(certificate.validity().not_after.timestamp()),
            key: Key::new(key.content),
            key_id,
            signs_crls: signs_crls(certificate),
            signs_certificates: is_ca && allows(KeyUsage::key_cert_sign),
            no_rev_avail: NoRevAvail::of(certificate, is_ca),
            fingerprints,
            key_digest: Sha256::digest(certificate.public_key().raw).into(),
            uris: no_rev_avail::uris(certificate),
        })
    }

    pub(super) fn signed(der: &[u8]) -> Result<Signed, CrlError> {
        let no_der = || CrlError::MalformedCertificate("the certificate is no DER".to_owned());
        Signed::parse(der).map_err(|_| no_der())
    }

    /// Whether the key is the one with this identifier, as far as that is known.
    pub(super) fn is_key(&self, key_id: Option<&[u8]>) -> bool {
        match (key_id, self.key_id.as_deref()) {
            (Some(named), Some(own)) => named == own,
            _ => true,
        }
    }

    /// Why a list that names this key identifier, and is in its name, is not by it: by what shows
    /// without the signature, and else that the signature is not its own.
    pub(super) fn why_not_signer(
        &self,
        key_id: Option<&[u8]>,
        is_unsupported: bool,
    ) -> UnknownCause {
        if !self.is_key(key_id) {
            UnknownCause::SignerOtherKey
        } else if is_unsupported {
            UnknownCause::SignerUnsupported
        } else if !self.signs_crls {
            UnknownCause::SignerMayNotSign
        } else {
            UnknownCause::NotSigned
        }
    }
}
