use std::fmt;
use std::str::FromStr;

use super::{Pattern, PolicyError};
use crate::identity::Method;
use crate::{PeerIdentity, Principal};

/// The callers that a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Who {
    /// Every caller, known or not: `anyone`.
    Anyone,
    /// Callers who showed nothing: `anonymous`.
    Anonymous,
    /// Callers who showed something: `authenticated`.
    Authenticated,
    /// One caller, by how they showed it and their id: `token:ci`, `cert:node-1`, `jwt:alice`, `custom:bob`. The
    /// same id shown in another way is another caller.
    Principal(Method, Box<str>),
    /// Callers in a group: `group:builders`.
    Group(Box<str>),
    /// Callers whose certificate has a SPIFFE ID that matches: `spiffe://example.org/ns/*/sa/ci`.
    Spiffe(Pattern),
    /// Callers whose certificate has a DNS name that matches: `dns:*.nodes.example.org`.
    Dns(Pattern),
    /// Callers whose certificate has an e-mail address that matches: `email:*@example.org`.
    Email(Pattern),
    /// Callers whose certificate has a URI that matches: `uri:https://example.org/**`.
    Uri(Pattern),
    /// Callers whose certificate has this subject, in the form of RFC 4514: `subject:CN=node-1,O=example`.
    Subject(Box<str>),
    /// Callers whose certificate has this issuer, in the form of RFC 4514: `issuer:CN=nodes CA`.
    Issuer(Box<str>),
    /// The caller whose certificate has this SHA-256 fingerprint in hexadecimal: `fingerprint:0a1b…`.
    Fingerprint(Box<str>),
}

/// Why a text names no caller.
#[derive(Debug, thiserror::Error)]
enum WhoError {
    /// Neither a word nor a known kind with a value.
    #[error(
        "{0:?} is nobody: write \"anyone\", \"anonymous\", \"authenticated\", \"token:ID\", \
         \"cert:NAME\", \"jwt:SUBJECT\", \"custom:ID\", \"group:NAME\", \"spiffe://DOMAIN/PATH\", \"dns:NAME\", \
         \"email:ADDRESS\", \"uri:URI\", \"subject:DN\", \"issuer:DN\" or \"fingerprint:HEX\""
    )]
    Unknown(Box<str>),
    /// Nothing after the colon.
    #[error("{0:?} names nobody after the colon")]
    Empty(Box<str>),
    /// A trust domain that a pattern could leave open (SPIFFE-ID §2.1).
    #[error("{0:?} needs a trust domain without wildcards: \"spiffe://example.org/ns/*/sa/ci\"")]
    TrustDomain(Box<str>),
    /// Not the hexadecimal form of 32 bytes.
    #[error("{0:?} is no SHA-256 fingerprint: 64 hexadecimal digits, with or without colons")]
    Fingerprint(Box<str>),
}

impl From<WhoError> for PolicyError {
    fn from(error: WhoError) -> Self {
        Self::Text(error.to_string().into())
    }
}

impl Who {
    /// Returns whether `principal` is one of these; `None` is the caller who showed nothing.
    pub fn includes(&self, principal: Option<&Principal>) -> bool {
        let known = principal.filter(|principal| principal.method() != Method::Anonymous);
        match self {
            Self::Anyone => true,
            Self::Anonymous => known.is_none(),
            Self::Authenticated => known.is_some(),
            Self::Principal(method, id) => {
                known.is_some_and(|caller| caller.method() == *method && caller.id() == &**id)
            }
            Self::Group(group) => known.is_some_and(|caller| caller.groups().contains(group)),
            Self::Spiffe(pattern) => peer(known)
                .and_then(PeerIdentity::spiffe_id)
                .is_some_and(|id| pattern.matches(id, None)),
            Self::Dns(pattern) => {
                peer(known).is_some_and(|peer| any_matches(pattern, peer.dns_names()))
            }
            Self::Email(pattern) => {
                peer(known).is_some_and(|peer| any_matches(pattern, peer.emails()))
            }
            Self::Uri(pattern) => peer(known).is_some_and(|peer| any_matches(pattern, peer.uris())),
            Self::Subject(name) => peer(known).is_some_and(|peer| peer.subject() == &**name),
            Self::Issuer(name) => peer(known).is_some_and(|peer| peer.issuer() == &**name),
            Self::Fingerprint(digits) => {
                peer(known).is_some_and(|peer| peer.fingerprint_hex() == **digits)
            }
        }
    }

    /// Whether an anonymous caller is one of these.
    pub(super) fn includes_the_anonymous(&self) -> bool {
        matches!(self, Self::Anyone | Self::Anonymous)
    }

    /// Whether surely everybody in `other` is here too.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Anyone, _) => true,
            (Self::Authenticated, other) => !other.includes_the_anonymous(),
            (Self::Spiffe(ours), Self::Spiffe(theirs))
            | (Self::Dns(ours), Self::Dns(theirs))
            | (Self::Email(ours), Self::Email(theirs))
            | (Self::Uri(ours), Self::Uri(theirs)) => ours.covers(theirs),
            _ => self == other,
        }
    }
}

/// Returns whether one of the certificate's names matches.
fn any_matches(pattern: &Pattern, names: &[Box<str>]) -> bool {
    names.iter().any(|name| pattern.matches(name, None))
}

fn peer(principal: Option<&Principal>) -> Option<&PeerIdentity> {
    principal.and_then(Principal::peer)
}

impl FromStr for Who {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        match text {
            "anyone" => return Ok(Self::Anyone),
            "anonymous" => return Ok(Self::Anonymous),
            "authenticated" => return Ok(Self::Authenticated),
            _ => {}
        }
        let unknown = || WhoError::Unknown(text.into());
        let (kind, value) = text.split_once(':').ok_or_else(unknown)?;
        if value.trim().is_empty() {
            return Err(WhoError::Empty(text.into()).into());
        }
        Ok(match kind {
            "token" => Self::Principal(Method::Token, value.into()),
            "cert" => Self::Principal(Method::Certificate, value.into()),
            "jwt" => Self::Principal(Method::Jwt, value.into()),
            "custom" => Self::Principal(Method::Custom, value.into()),
            "group" => Self::Group(value.into()),
            "spiffe" => Self::Spiffe(spiffe(text)?),
            "dns" => Self::Dns(Pattern::dns(value)?),
            "email" => Self::Email(Pattern::uri(value)?),
            "uri" => Self::Uri(Pattern::uri(value)?),
            "subject" => Self::Subject(value.into()),
            "issuer" => Self::Issuer(value.into()),
            "fingerprint" => {
                let digits = value.replace(':', "").to_ascii_lowercase();
                if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(WhoError::Fingerprint(value.into()).into());
                }
                Self::Fingerprint(digits.into())
            }
            _ => return Err(unknown().into()),
        })
    }
}

fn spiffe(text: &str) -> Result<Pattern, PolicyError> {
    let domain = text
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.split('/').next())
        .filter(|domain| !domain.is_empty() && !domain.contains('*'));
    if domain.is_none() {
        return Err(WhoError::TrustDomain(text.into()).into());
    }
    Pattern::uri(text)
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::Anonymous => f.write_str("anonymous"),
            Self::Authenticated => f.write_str("authenticated"),
            Self::Principal(method, id) => write!(f, "{}:{id}", method.as_str()),
            Self::Group(group) => write!(f, "group:{group}"),
            Self::Spiffe(pattern) => pattern.fmt(f),
            Self::Dns(pattern) => write!(f, "dns:{pattern}"),
            Self::Email(pattern) => write!(f, "email:{pattern}"),
            Self::Uri(pattern) => write!(f, "uri:{pattern}"),
            Self::Subject(name) => write!(f, "subject:{name}"),
            Self::Issuer(name) => write!(f, "issuer:{name}"),
            Self::Fingerprint(digits) => write!(f, "fingerprint:{digits}"),
        }
    }
}

#[cfg(feature = "schema")]
crate::document::schema::schemas! {
    Who, "Who" => {
        "description": "Whom a rule is about: `anyone`, `anonymous`, `authenticated`, `token:ID`, \
            `cert:NAME`, `jwt:SUBJECT`, `group:NAME`, `spiffe://DOMAIN/PATH`, `dns:NAME`, \
            `email:ADDRESS`, `uri:URI`, `subject:DN`, `issuer:DN` or `fingerprint:HEX`.",
        "type": "string",
        "minLength": 1,
    };
}
