use rustls::pki_types::{CertificateDer, TrustAnchor};
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

use super::PathError;
use super::der::{self, Malformed, Reader};
use super::scope::full_names;

/// A path that webpki verified, as what revocation needs to know of it: enough to check it again
/// later without building it again.
#[derive(Clone, Debug)]
pub struct CertPath {
    /// The client's own first; each is issued by the next, the last by the anchor.
    certificates: Vec<Facts>,
    anchor: Signer,
}

/// What revocation needs to know of a certificate.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) serial: Box<[u8]>,
    /// DER.
    pub(super) issuer: Box<[u8]>,
    pub(super) is_ca: bool,
    /// The full names of its distribution points, DER.
    pub(super) points: Vec<Box<[u8]>>,
    pub(super) not_after: u64,
    as_signer: Signer,
}

/// What is needed to check a CRL's signature.
#[derive(Clone, Debug)]
pub(super) struct Signer {
    /// `SubjectPublicKeyInfo`, the content of its SEQUENCE.
    pub(super) key: Box<[u8]>,
    pub(super) key_id: Option<Box<[u8]>>,
    /// Whether its certificate lets it sign CRLs (RFC 5280 §6.3.3 (f)).
    pub(super) signs_crls: bool,
}

impl CertPath {
    /// The facts of a path: the end entity's certificate, those of the CAs between in the order of
    /// the path, and the anchor that issued the last.
    ///
    /// # Errors
    /// A certificate that cannot be read, which webpki would not have verified.
    pub fn new(
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        anchor: &TrustAnchor<'_>,
    ) -> Result<Self, PathError> {
        let certificates = std::iter::once(end_entity)
            .chain(intermediates)
            .map(|der| Facts::parse(der))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            certificates,
            anchor: Signer {
                key: anchor.subject_public_key_info.as_ref().into(),
                key_id: None,
                // An anchor is a name and a key; the operator's word for it is all there is.
                signs_crls: true,
            },
        })
    }

    /// Each certificate with whoever issued it.
    pub(super) fn steps(&self) -> impl Iterator<Item = (&Facts, &Signer)> {
        let issuers = self
            .certificates
            .iter()
            .skip(1)
            .map(|issuer| &issuer.as_signer);
        self.certificates.iter().zip(issuers.chain([&self.anchor]))
    }

    /// The last moment at which every certificate is valid.
    pub(super) fn not_after(&self) -> u64 {
        let ends = self
            .certificates
            .iter()
            .map(|certificate| certificate.not_after);
        ends.min().unwrap_or(0)
    }
}

impl Facts {
    fn parse(der: &[u8]) -> Result<Self, PathError> {
        let malformed = |error: &dyn std::fmt::Display| PathError(error.to_string());
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| malformed(&error))?;
        let usage = certificate.key_usage().map_err(|error| malformed(&error))?;
        let is_ca = certificate
            .basic_constraints()
            .map_err(|error| malformed(&error))?
            .is_some_and(|constraints| constraints.value.ca);
        let mut points = Vec::new();
        let mut key_id = None;
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::CRLDistributionPoints(_) => {
                    points = distribution_points(extension.value)
                        .map_err(|_| malformed(&"a distribution point is no DER"))?;
                }
                ParsedExtension::SubjectKeyIdentifier(id) => key_id = Some(id.0.into()),
                _ => {}
            }
        }
        let key = Reader::new(certificate.public_key().raw)
            .any()
            .map_err(|_| malformed(&"the public key is no DER"))?;
        Ok(Self {
            serial: certificate.raw_serial().into(),
            issuer: certificate.issuer().as_raw().into(),
            is_ca,
            points,
            not_after: u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0),
            as_signer: Signer {
                key: key.content.into(),
                key_id,
                signs_crls: usage.is_none_or(|usage| usage.value.crl_sign()),
            },
        })
    }
}

/// The full names of all points in a `CRLDistributionPoints` (RFC 5280 §4.2.1.13).
fn distribution_points(value: &[u8]) -> Result<Vec<Box<[u8]>>, Malformed> {
    let mut names = Vec::new();
    let mut points = Reader::new(value).expect(der::SEQUENCE)?.reader();
    while !points.is_empty() {
        let mut fields = points.expect(der::SEQUENCE)?.reader();
        if let Some(name) = fields.optional(der::context(0, true))? {
            names.extend(full_names(name.reader())?.unwrap_or_default());
        }
    }
    Ok(names)
}
