use std::net::IpAddr;

#[cfg(feature = "x509")]
use x509_parser::extensions::GeneralName;
#[cfg(feature = "x509")]
use x509_parser::prelude::X509Certificate;

use super::IdentityError;
use super::spiffe::SpiffeId;

/// The alternative names that a certificate gives its owner (RFC 5280 §4.2.1.6).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) dns: Vec<Box<str>>,
    pub(super) emails: Vec<Box<str>>,
    pub(super) uris: Vec<Box<str>>,
    pub(super) ips: Vec<IpAddr>,
}

impl Names {
    #[cfg(feature = "x509")]
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
                GeneralName::RFC822Name(name) => names.emails.push(email(name)?),
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

    /// The URI name, where it is the only one and a SPIFFE ID.
    pub(super) fn spiffe_id(&self) -> Option<SpiffeId> {
        match self.uris.as_slice() {
            [uri] => SpiffeId::parse(uri).ok(),
            _ => None,
        }
    }

    /// A name for an owner without a subject and without a DNS name. It says of which kind it is:
    /// a URI or an e-mail name may read like another's subject, or like the id that a rule gives.
    /// A `spiffe:` URI is no name here: it is a SPIFFE ID, or one that must not be taken for one.
    pub(super) fn last_resort(&self) -> Option<Box<str>> {
        let email = self.emails.first().map(|email| format!("email:{email}"));
        let uri = || {
            let mut uris = self.uris.iter().filter(|uri| !is_spiffe(uri));
            uris.next().map(|uri| format!("uri:{uri}"))
        };
        let ip = || self.ips.first().map(|ip| format!("ip:{ip}"));
        email.or_else(uri).or_else(ip).map(Into::into)
    }
}

/// Whether a URI has the scheme `spiffe`, in whatever case.
fn is_spiffe(uri: &str) -> bool {
    let scheme = uri.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe"))
}

/// `Local-part@Domain` (RFC 5280 §4.2.1.6).
fn email(name: &str) -> Result<Box<str>, IdentityError> {
    let name = plain("e-mail", name, 320)?;
    match name.rsplit_once('@') {
        Some((local, domain)) if !local.is_empty() && !domain.is_empty() => Ok(name),
        _ => Err(IdentityError::Name {
            kind: "e-mail",
            reason: "it is not of the form local-part@domain",
        }),
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

/// A host name in lower case: DNS names are compared without regard to it (RFC 4343).
pub(super) fn dns(name: &str) -> Result<Box<str>, IdentityError> {
    let name = plain("DNS", name, 253)?.to_ascii_lowercase();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._*".contains(&byte);
    if !name.bytes().all(allowed) {
        return Err(IdentityError::Name {
            kind: "DNS",
            reason: "it has a character that no host name has",
        });
    }
    Ok(name.into())
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
