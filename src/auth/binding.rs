use std::fmt;
use std::str::FromStr;

use super::CredentialError;
use crate::PeerIdentity;
use crate::util::hex;

/// The client certificate that a credential is good with, and no other. As text:
/// `spiffe://example.org/ns/build/sa/ci`, `dns:NAME`, `email:ADDRESS`, `uri:URI`, `subject:DN` or
/// `fingerprint:HEX` (SHA-256). Each is compared as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    attribute: Attribute,
    value: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attribute {
    Spiffe,
    Dns,
    Email,
    Uri,
    Subject,
    Fingerprint,
}

const PREFIXES: [(&str, Attribute); 5] = [
    ("dns:", Attribute::Dns),
    ("email:", Attribute::Email),
    ("uri:", Attribute::Uri),
    ("subject:", Attribute::Subject),
    ("fingerprint:", Attribute::Fingerprint),
];

impl Binding {
    /// Returns whether this is the certificate.
    pub(super) fn is(&self, peer: &PeerIdentity) -> bool {
        let among = |names: &[Box<str>]| names.contains(&self.value);
        match self.attribute {
            Attribute::Spiffe => peer.spiffe_id() == Some(&*self.value),
            Attribute::Dns => among(peer.dns_names()),
            Attribute::Email => among(peer.emails()),
            Attribute::Uri => among(peer.uris()),
            Attribute::Subject => peer.subject() == &*self.value,
            Attribute::Fingerprint => peer
                .fingerprints()
                .iter()
                .any(|digest| hex::encode(digest) == *self.value),
        }
    }
}

impl FromStr for Binding {
    type Err = CredentialError;

    fn from_str(text: &str) -> Result<Self, CredentialError> {
        let wrong = || {
            let words = format!(
                "{text:?} names no certificate: write \"spiffe://DOMAIN/PATH\", \"dns:NAME\", \
                 \"email:ADDRESS\", \"uri:URI\", \"subject:DN\" or \"fingerprint:\" and 64 hexadecimal digits"
            );
            CredentialError::Text(words.into())
        };
        let (attribute, value) = if text.starts_with("spiffe://") {
            (Attribute::Spiffe, text.into())
        } else {
            let mut known = PREFIXES.iter();
            let found = known.find_map(|(prefix, attribute)| {
                text.strip_prefix(prefix).map(|value| (*attribute, value))
            });
            let (attribute, value) = found.ok_or_else(wrong)?;
            let value = match attribute {
                Attribute::Fingerprint => value.replace(':', "").to_ascii_lowercase(),
                _ => value.to_owned(),
            };
            (attribute, value)
        };
        let hexadecimal =
            |value: &str| value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
        if value.is_empty() || attribute == Attribute::Fingerprint && !hexadecimal(&value) {
            return Err(wrong());
        }
        Ok(Self {
            attribute,
            value: value.into(),
        })
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut known = PREFIXES.iter();
        let prefix = known.find(|(_, attribute)| *attribute == self.attribute);
        write!(
            f,
            "{}{}",
            prefix.map_or("", |(prefix, _)| prefix),
            self.value
        )
    }
}

#[cfg(feature = "schema")]
crate::document::schema::schemas! {
    Binding, "Certificate" => {
        "description": "The client certificate that a token is good with: `spiffe://DOMAIN/PATH`, \
            `dns:NAME`, `email:ADDRESS`, `uri:URI`, `subject:DN` or `fingerprint:HEX`.",
        "type": "string",
        "pattern": "^(spiffe://|dns:|email:|uri:|subject:|fingerprint:).",
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_reads_back_and_an_open_one_is_an_error() {
        let fingerprint = format!("fingerprint:{}", "ab".repeat(32));
        for text in [
            "spiffe://example.org/ci",
            "dns:node-7",
            "subject:CN=a",
            &fingerprint,
        ] {
            let binding: Binding = text.parse().unwrap();
            assert_eq!(binding.to_string(), text);
        }
        let spaced = format!("fingerprint:{}", ["AB"; 32].join(":"));
        assert_eq!(spaced.parse::<Binding>().unwrap().to_string(), fingerprint);
        for text in ["", "node-7", "dns:", "fingerprint:ab", "cn:a"] {
            assert!(text.parse::<Binding>().is_err(), "{text}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn a_binding_is_one_certificate_by_each_of_its_names() {
        let mut params = rcgen::CertificateParams::default();
        let name = rcgen::DnType::CommonName;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(name, "ci");
        params.subject_alt_names = vec![
            rcgen::SanType::DnsName("ci.example.org".try_into().unwrap()),
            rcgen::SanType::Rfc822Name("ci@example.org".try_into().unwrap()),
            rcgen::SanType::URI("spiffe://example.org/ci".try_into().unwrap()),
        ];
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let peer = PeerIdentity::from_der(certificate.der()).unwrap();
        let fingerprint = format!("fingerprint:{}", peer.fingerprint_hex());
        for (text, is) in [
            ("spiffe://example.org/ci", true),
            ("spiffe://example.org/cd", false),
            ("dns:ci.example.org", true),
            ("dns:cd.example.org", false),
            ("email:ci@example.org", true),
            ("email:cd@example.org", false),
            ("uri:spiffe://example.org/ci", true),
            ("uri:spiffe://example.org/cd", false),
            ("subject:CN=ci", true),
            ("subject:CN=cd", false),
            (&fingerprint, true),
            (&format!("fingerprint:{}", "ab".repeat(32)), false),
        ] {
            assert_eq!(text.parse::<Binding>().unwrap().is(&peer), is, "{text}");
        }
    }
}
