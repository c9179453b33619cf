use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

#[cfg(feature = "x509")]
use x509_parser::prelude::{FromDer, X509Certificate};
#[cfg(feature = "x509")]
use x509_parser::x509::X509Name;

use super::anchor::Anchor;
use super::attribute::Attribute;
use super::error::IdentityError;
use super::fingerprints::Fingerprints;
use super::names::Names;
use super::spiffe::{SpiffeId, SvidError};
#[cfg(feature = "x509")]
use super::x500::Name;
#[cfg(feature = "x509")]
use crate::util::calendar;
use crate::util::hex;
#[cfg(feature = "x509")]
use crate::util::x509_error;

/// No larger certificate is looked at: rustls takes no larger handshake message either.
const LARGEST_CERTIFICATE: usize = 64 * 1024;
/// No longer subject or issuer is an identity.
const LONGEST_NAME: usize = 4 * 1024;

/// What a verified client certificate says. Built once a connection; `Clone` costs an `Arc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    subject: Box<str>,
    attributes: Box<[Attribute]>,
    issuer: Box<str>,
    anchor: Option<Arc<Anchor>>,
    serial: Box<str>,
    fingerprints: Fingerprints,
    not_before: SystemTime,
    not_after: SystemTime,
    spiffe_id: Option<SpiffeId>,
    svid: Result<(), SvidError>,
    names: Names,
    /// What to call the owner by.
    name: Box<str>,
}

impl PeerIdentity {
    /// Reads a certificate that was verified already: only its form is checked.
    ///
    /// # Errors
    /// Returns what is malformed in the certificate.
    #[cfg(feature = "x509")]
    pub fn from_der(der: &[u8]) -> Result<Self, IdentityError> {
        Self::of(der, &Self::parse(der)?, None)
    }

    /// A certificate of which [`Self::of`] makes an identity, for who needs more of it.
    #[cfg(feature = "x509")]
    pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, IdentityError> {
        bounded("DER", der.len(), LARGEST_CERTIFICATE)?;
        let (rest, certificate) = X509Certificate::from_der(der)
            .map_err(|error| IdentityError::Malformed(x509_error::words(&error)))?;
        if !rest.is_empty() {
            let trailing = "bytes follow the certificate".to_owned();
            return Err(IdentityError::Malformed(trailing));
        }
        Ok(certificate)
    }

    /// What the certificate says that was read from these bytes, and whose path ends at this CA.
    #[cfg(feature = "x509")]
    pub(crate) fn of(
        der: &[u8],
        certificate: &X509Certificate<'_>,
        anchor: Option<Arc<Anchor>>,
    ) -> Result<Self, IdentityError> {
        bounded(
            "subject",
            certificate.subject().as_raw().len(),
            LONGEST_NAME,
        )?;
        bounded("issuer", certificate.issuer().as_raw().len(), LONGEST_NAME)?;
        let names = Names::of(certificate)?;
        let svid = svid(certificate, &names);
        let spiffe_id = names.spiffe_id();
        let subject = distinguished_name("subject", certificate.subject())?;
        let issuer = distinguished_name("issuer", certificate.issuer())?;
        let attributes = subject.attributes();
        let subject: Box<str> = subject.to_string().into();
        let name = name(spiffe_id.as_ref(), &names, &subject)?;
        let validity = certificate.validity();
        Ok(Self(Arc::new(Inner {
            subject,
            attributes,
            issuer: issuer.to_string().into(),
            anchor,
            serial: hex::with_colons(certificate.raw_serial()).into(),
            fingerprints: Fingerprints::of(der),
            not_before: calendar::system_time(validity.not_before.timestamp()),
            not_after: calendar::system_time(validity.not_after.timestamp()),
            spiffe_id,
            svid,
            name,
            names,
        })))
    }

    /// What a trusted proxy says of a certificate that is not at hand: no issuer, serial or end.
    #[cfg(feature = "tls")]
    pub(crate) fn vouched(
        subject: &str,
        uris: &[String],
        dns_names: &[String],
        fingerprint: Option<[u8; 32]>,
    ) -> Result<Self, IdentityError> {
        bounded("subject", subject.len(), LONGEST_NAME)?;
        let mut names = Names::default();
        for uri in uris {
            names.uris.push(super::names::plain("URI", uri, 2_048)?);
        }
        for name in dns_names {
            names.dns.push(super::names::dns(name)?);
        }
        let spiffe_id = names.spiffe_id();
        let subject = Name::parse(subject).ok_or(IdentityError::Subject)?;
        let attributes = subject.attributes();
        let subject: Box<str> = subject.to_string().into();
        let name = name(spiffe_id.as_ref(), &names, &subject)?;
        Ok(Self(Arc::new(Inner {
            subject,
            attributes,
            issuer: Box::default(),
            anchor: None,
            serial: Box::default(),
            fingerprints: Fingerprints::vouched(fingerprint.unwrap_or_default()),
            not_before: SystemTime::UNIX_EPOCH,
            // The last second of the last year that a certificate can name.
            not_after: calendar::system_time(253_402_300_799),
            spiffe_id,
            svid: Err(SvidError::KeyUsage),
            name,
            names,
        })))
    }

    /// Returns the name to call the certificate's owner by: the SPIFFE ID, else the first DNS name, else the
    /// subject, else the first e-mail, URI or IP name as `email:…`, `uri:…` or `ip:…`. One kind cannot be taken
    /// for another, and no name is empty.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the SPIFFE ID: the URI name, where it is the only one and what SPIFFE-ID §2 allows.
    pub fn spiffe_id(&self) -> Option<&str> {
        self.0.spiffe_id.as_ref().map(SpiffeId::as_str)
    }

    /// Returns the trust domain of the SPIFFE ID, if there is one.
    pub fn trust_domain(&self) -> Option<&str> {
        self.0.spiffe_id.as_ref().map(SpiffeId::trust_domain)
    }

    /// Returns the SPIFFE ID of an X.509-SVID leaf, with the constraints that X.509-SVID §4 and §5.2 put on the
    /// certificate.
    ///
    /// # Errors
    /// Returns the constraint that the certificate breaks.
    pub fn x509_svid(&self) -> Result<&str, IdentityError> {
        self.0.svid?;
        let none = SvidError::UriNames(self.0.names.uris.len());
        Ok(self.spiffe_id().ok_or(none)?)
    }

    /// Returns the values of a subject attribute by its RFC 4514 keyword: `CN`, `O`, `OU`, `UID`, `DC`… In the
    /// order of the certificate; values with control characters are left out. A common name is not an identity
    /// unless the operator decides so.
    pub fn subject_attribute<'a>(&'a self, keyword: &'a str) -> impl Iterator<Item = &'a str> {
        let attributes = self.0.attributes.iter();
        attributes.filter_map(move |(known, value)| value.as_deref().filter(|_| *known == keyword))
    }

    /// The value of a subject attribute that is there once: beside another, usable or not, it is no
    /// answer to who this is.
    #[cfg(feature = "auth")]
    pub(super) fn single_subject_attribute(&self, keyword: &str) -> Option<&str> {
        let mut values = self.0.attributes.iter();
        let (_, value) = values.find(|(known, _)| *known == keyword)?;
        let another = values.any(|(known, _)| *known == keyword);
        value.as_deref().filter(|_| !another)
    }

    /// Whether this is that very value, and not only an equal one.
    #[cfg(feature = "auth")]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the subject in RFC 4514 form.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// Returns the issuer in RFC 4514 form, as the certificate names it: of several client CAs each may have an
    /// intermediate of this name. [`PeerIdentity::anchor_key_hex`] distinguishes them.
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Returns the subject, in RFC 4514 form, of the client CA that the path was verified up to; `None` where it was
    /// not verified here.
    pub fn anchor_subject(&self) -> Option<&str> {
        self.anchor().map(Anchor::subject)
    }

    /// Returns the SHA-256 of that CA's public key (the DER of `SubjectPublicKeyInfo`) in lower-case hexadecimal:
    /// no other CA of the same name has it, and it stays when the CA renews its certificate.
    pub fn anchor_key_hex(&self) -> Option<&str> {
        self.anchor().map(Anchor::key_hex)
    }

    pub(crate) fn anchor(&self) -> Option<&Anchor> {
        self.0.anchor.as_deref()
    }

    /// Returns the serial number in hexadecimal, octets parted by colons.
    pub fn serial(&self) -> &str {
        &self.0.serial
    }

    /// Returns the SHA-256 of the certificate.
    pub fn fingerprint(&self) -> &[u8; 32] {
        self.0.fingerprints.own()
    }

    /// Returns the SHA-256 of the certificate in lower-case hexadecimal.
    pub fn fingerprint_hex(&self) -> String {
        hex::encode(self.fingerprint())
    }

    #[cfg(any(feature = "auth", feature = "crl"))]
    pub(crate) fn fingerprints(&self) -> &Fingerprints {
        &self.0.fingerprints
    }

    /// Returns the first moment at which the certificate is valid.
    pub fn not_before(&self) -> SystemTime {
        self.0.not_before
    }

    /// Returns the last moment at which the certificate is valid.
    pub fn not_after(&self) -> SystemTime {
        self.0.not_after
    }

    /// Returns the DNS names.
    pub fn dns_names(&self) -> &[Box<str>] {
        &self.0.names.dns
    }

    /// Returns the e-mail names.
    pub fn emails(&self) -> &[Box<str>] {
        &self.0.names.emails
    }

    /// Returns the URI names.
    pub fn uris(&self) -> &[Box<str>] {
        &self.0.names.uris
    }

    /// Returns the IP addresses.
    pub fn ip_addresses(&self) -> &[IpAddr] {
        &self.0.names.ips
    }
}

#[cfg(feature = "x509")]
fn distinguished_name<'a>(whose: &str, name: &'a X509Name<'_>) -> Result<Name<'a>, IdentityError> {
    Name::read(name.as_raw())
        .ok_or_else(|| IdentityError::Malformed(format!("the {whose} is not a name")))
}

fn name(
    spiffe_id: Option<&SpiffeId>,
    names: &Names,
    subject: &str,
) -> Result<Box<str>, IdentityError> {
    let dns = names.dns.first().map(|name| &**name);
    let name = spiffe_id.map(SpiffeId::as_str).or(dns);
    let name = name.or((!subject.is_empty()).then_some(subject));
    let name = name.map(Into::into).or_else(|| names.last_resort());
    name.ok_or(IdentityError::Nobody)
}

fn bounded(what: &'static str, length: usize, limit: usize) -> Result<(), IdentityError> {
    if length > limit {
        return Err(IdentityError::TooLarge {
            what,
            length,
            limit,
        });
    }
    Ok(())
}

#[cfg(feature = "x509")]
fn svid(certificate: &X509Certificate<'_>, names: &Names) -> Result<(), SvidError> {
    let [uri] = names.uris.as_slice() else {
        return Err(SvidError::UriNames(names.uris.len()));
    };
    if SpiffeId::read(uri)?.path().is_empty() {
        return Err(SvidError::NoPath);
    }
    if certificate.is_ca() {
        return Err(SvidError::Ca);
    }
    match certificate.key_usage() {
        Ok(Some(usage))
            if usage.critical
                && usage.value.digital_signature()
                && !usage.value.key_cert_sign()
                && !usage.value.crl_sign() => {}
        _ => return Err(SvidError::KeyUsage),
    }
    match certificate.extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.server_auth && usage.value.client_auth => Ok(()),
        _ => Err(SvidError::ExtendedKeyUsage),
    }
}
