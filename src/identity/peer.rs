use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What a verified client certificate says. Built once a connection; `Clone` costs an `Arc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity(Arc<Inner>);

/// A certificate that says nothing usable about its holder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Not a certificate by RFC 5280 §4.1.
    #[error("the certificate is malformed: {0}")]
    Malformed(String),
    /// A subject alternative name that cannot be read.
    #[error("the certificate's subject alternative names are malformed: {0}")]
    SubjectAltName(String),
}

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    subject: Box<str>,
    issuer: Box<str>,
    serial: Box<str>,
    fingerprint: [u8; 32],
    not_before: SystemTime,
    not_after: SystemTime,
    spiffe_id: Option<Box<str>>,
    dns: Box<[Box<str>]>,
    emails: Box<[Box<str>]>,
    uris: Box<[Box<str>]>,
    ips: Box<[IpAddr]>,
}

impl PeerIdentity {
    /// Reads a certificate that was verified already: nothing is checked here but its form.
    ///
    /// # Errors
    /// What is malformed in it.
    pub fn from_der(der: &[u8]) -> Result<Self, IdentityError> {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|error| IdentityError::Malformed(error.to_string()))?;
        let mut dns = Vec::new();
        let mut emails = Vec::new();
        let mut uris: Vec<Box<str>> = Vec::new();
        let mut ips = Vec::new();
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| IdentityError::SubjectAltName(error.to_string()))?;
        for name in names
            .iter()
            .flat_map(|extension| &extension.value.general_names)
        {
            match name {
                GeneralName::DNSName(name) => dns.push((*name).into()),
                GeneralName::RFC822Name(name) => emails.push((*name).into()),
                GeneralName::URI(name) => uris.push((*name).into()),
                GeneralName::IPAddress(bytes) => ips.extend(ip(bytes)),
                _ => {}
            }
        }
        let spiffe_id = match uris.as_slice() {
            [uri] if uri.starts_with("spiffe://") => Some(uri.clone()),
            _ => None,
        };
        let time = |at: i64| {
            let seconds = Duration::from_secs(at.unsigned_abs());
            if at < 0 {
                SystemTime::UNIX_EPOCH - seconds
            } else {
                SystemTime::UNIX_EPOCH + seconds
            }
        };
        let validity = certificate.validity();
        Ok(Self(Arc::new(Inner {
            subject: certificate.subject().to_string().into(),
            issuer: certificate.issuer().to_string().into(),
            serial: certificate.raw_serial_as_string().into(),
            fingerprint: Sha256::digest(der).into(),
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
            spiffe_id,
            dns: dns.into(),
            emails: emails.into(),
            uris: uris.into(),
            ips: ips.into(),
        })))
    }

    /// The name to call the holder by: the SPIFFE ID, else the first DNS name, else the subject.
    pub fn name(&self) -> &str {
        let inner = &*self.0;
        let spiffe = inner.spiffe_id.as_deref();
        spiffe
            .or(inner.dns.first().map(|name| &**name))
            .unwrap_or(&inner.subject)
    }

    /// The SPIFFE ID: the URI name, where it is the only one and of that scheme.
    pub fn spiffe_id(&self) -> Option<&str> {
        self.0.spiffe_id.as_deref()
    }

    /// The subject in RFC 4514 form.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The issuer in RFC 4514 form.
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// The serial number in hexadecimal, octets parted by colons.
    pub fn serial(&self) -> &str {
        &self.0.serial
    }

    /// SHA-256 of the certificate.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.0.fingerprint
    }

    /// SHA-256 of the certificate in lower-case hexadecimal.
    pub fn fingerprint_hex(&self) -> String {
        let mut text = String::with_capacity(64);
        for byte in self.fingerprint() {
            text.extend(
                [byte >> 4, byte & 15]
                    .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])),
            );
        }
        text
    }

    /// The first moment at which the certificate is valid.
    pub fn not_before(&self) -> SystemTime {
        self.0.not_before
    }

    /// The last moment at which the certificate is valid.
    pub fn not_after(&self) -> SystemTime {
        self.0.not_after
    }

    /// The DNS names.
    pub fn dns_names(&self) -> &[Box<str>] {
        &self.0.dns
    }

    /// The e-mail names.
    pub fn emails(&self) -> &[Box<str>] {
        &self.0.emails
    }

    /// The URI names.
    pub fn uris(&self) -> &[Box<str>] {
        &self.0.uris
    }

    /// The IP addresses.
    pub fn ip_addresses(&self) -> &[IpAddr] {
        &self.0.ips
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let four: Option<[u8; 4]> = bytes.try_into().ok();
    let sixteen: Option<[u8; 16]> = bytes.try_into().ok();
    four.map(IpAddr::from).or(sixteen.map(IpAddr::from))
}
