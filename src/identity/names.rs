use std::net::IpAddr;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

use super::IdentityError;

/// The alternative names that a certificate gives its holder (RFC 5280 §4.2.1.6).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) dns: Vec<Box<str>>,
    pub(super) emails: Vec<Box<str>>,
    pub(super) uris: Vec<Box<str>>,
    pub(super) ips: Vec<IpAddr>,
}

impl Names {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Result<Self, IdentityError> {
        let mut names = Self::default();
        let extension = certificate
            .subject_alternative_name()
            .map_err(|error| IdentityError::SubjectAltName(error.to_string()))?;
        let Some(extension) = extension else {
            return Ok(names);
        };
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.dns.push(dns(name)?),
                GeneralName::RFC822Name(name) => names.emails.push(plain("e-mail", name, 320)?),
                GeneralName::URI(name) => names.uris.push(plain("URI", name, 2_048)?),
                GeneralName::IPAddress(bytes) => names.ips.push(ip(bytes)?),
                GeneralName::Invalid(..) => {
                    let reason = "it cannot be read".to_owned();
                    return Err(IdentityError::SubjectAltName(reason));
                }
                _ => {}
            }
        }
        Ok(names)
    }

    /// A name for a holder without a subject.
    pub(super) fn last_resort(&self) -> Box<str> {
        let text = self.emails.first().or(self.uris.first()).cloned();
        let ip = self.ips.first().map(|ip| ip.to_string().into());
        text.or(ip).unwrap_or_default()
    }
}

/// A name of visible ASCII, which is what an `IA5String` may have in these names.
pub(super) fn plain(
    kind: &'static str,
    name: &str,
    longest: usize,
) -> Result<Box<str>, IdentityError> {
    let reason = match name.len() {
        0 => "it is empty",
        length if length > longest => "it is too long",
        _ if !name.bytes().all(|byte| byte.is_ascii_graphic()) => {
            "it has a character outside visible ASCII"
        }
        _ => return Ok(name.into()),
    };
    Err(IdentityError::Name { kind, reason })
}

pub(super) fn dns(name: &str) -> Result<Box<str>, IdentityError> {
    let name = plain("DNS", name, 253)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._*".contains(&byte);
    if !name.bytes().all(allowed) {
        return Err(IdentityError::Name {
            kind: "DNS",
            reason: "it has a character that no host name has",
        });
    }
    Ok(name)
}

fn ip(bytes: &[u8]) -> Result<IpAddr, IdentityError> {
    let four: Option<[u8; 4]> = bytes.try_into().ok();
    let sixteen: Option<[u8; 16]> = bytes.try_into().ok();
    let address = four.map(IpAddr::from).or(sixteen.map(IpAddr::from));
    address.ok_or(IdentityError::Name {
        kind: "IP",
        reason: "it has neither 4 nor 16 bytes",
    })
}
