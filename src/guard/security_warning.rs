use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// A weakness of a configuration that an operator should know of before an attacker does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecurityWarning {
    /// Tokens are sent in the clear.
    #[error(
        "tokens are sent in the clear to {0}, where others can read them: give the guard a [tls] \
         section, or listen on a loopback address behind what ends TLS"
    )]
    TokensInTheClear(SocketAddr),
    /// No caller is authenticated.
    #[error("there is no [auth]: who shows nothing is let in as anonymous")]
    NoAuthentication,
    /// Every caller may do everything.
    #[error("there is no [policy]: whoever is let in may pull, push and delete everything")]
    NoPolicy,
    /// One caller can take the whole link.
    #[error("there is no [limits]: one caller can take the whole line")]
    NoLimits,
    /// A stolen certificate stays good until it ends.
    #[error(
        "client certificates count, but there is no [crl]: a stolen one is good until it expires"
    )]
    NoRevocation,
    /// Revoked certificates are let in while a CRL is missing or late.
    #[error(
        "crl.unknown is \"allow\": whoever keeps a CRL from coming lets revoked certificates in"
    )]
    UnknownStatusAllowed,
    /// No client is asked for the certificate that callers are known by.
    #[error("callers must show a certificate, but the TLS server asks for none")]
    CertificateNotAsked,
    /// Callers must show a certificate on a port that no certificate can be shown on.
    #[error(
        "callers must show a certificate on {0}, which is in the clear and where no proxy vouches for one: nobody gets \
         in; take `clear` out there, or let callers show a token"
    )]
    CertificateInTheClear(SocketAddr),
    /// Passwords and weak tokens can be guessed at any speed. Generated and signed tokens cannot be guessed.
    #[error(
        "auth.throttle is off: passwords, and tokens with `weak = true`, can be guessed as fast as a client \
         can ask; leave it on, or take only generated or signed tokens"
    )]
    NoThrottle,
    /// Every peer is believed as a proxy.
    #[error("{0} has every address in it: whoever connects can say whose address it has")]
    EveryoneIsAProxy(&'static str),
    /// Nothing in such fields is signed.
    #[error(
        "forwarded.certificate believes fields without a certificate: nothing in them is verified, \
         and they are never revoked"
    )]
    FieldsBelieved,
    /// Content that was pushed is not given again.
    #[error(
        "{place}rule {rule:?} lets callers push, but policy.digest_binding.learn is \"pulls\": what is \
         pushed cannot be pulled by its digest until a manifest that leads to it was pulled by a tag; \
         set it to \"both\", or to \"pushes\" for a registry of its own",
        place = Place(file.as_deref(), *line, *column)
    )]
    PushesNotLearnt {
        /// The file with the policy.
        file: Option<Arc<Path>>,
        /// The rule's name.
        rule: Arc<str>,
        /// The line of the policy file that the rule begins in, from 1.
        line: Option<usize>,
        /// The column of that line, in characters, from 1.
        column: Option<usize>,
    },
    /// A rule is about a group that no caller can be in.
    #[error(
        "{place}rule {rule:?} is about the group {group:?}, in which nobody can be",
        place = Place(file.as_deref(), *line, *column)
    )]
    UnknownGroup {
        /// The file with the policy.
        file: Option<Arc<Path>>,
        /// The rule's name.
        rule: Arc<str>,
        /// The line of the policy file that the rule begins in, from 1.
        line: Option<usize>,
        /// The column of that line, in characters, from 1.
        column: Option<usize>,
        /// The group.
        group: Box<str>,
    },
    /// A setting of the program is about a group that no caller can be in.
    #[error("{setting} is about the group {group:?}, in which nobody can be")]
    UnknownGroupOfSetting {
        /// The setting, as the operator writes it.
        setting: Box<str>,
        /// The group.
        group: Box<str>,
    },
    /// A setting of the configuration file that is probably not meant.
    #[cfg(feature = "config")]
    #[error("{place}: {problem}")]
    Doubtful {
        /// Where it is.
        place: crate::config::Place,
        /// What is doubtful about it.
        problem: super::Problem,
    },
}

impl SecurityWarning {
    /// Whether it is that no client is asked for a certificate, with a place or without.
    #[cfg(all(feature = "auth", feature = "tls"))]
    pub(super) fn is_certificate_not_asked(&self) -> bool {
        match self {
            Self::CertificateNotAsked => true,
            #[cfg(feature = "config")]
            Self::Doubtful { problem, .. } => *problem == super::Problem::CertificateNotAsked,
            _ => false,
        }
    }

    /// Whether it is that a list of proxies has every address, with a place or without.
    pub(super) fn is_of_everyone(&self, list: &str) -> bool {
        match self {
            Self::EveryoneIsAProxy(key) => *key == list,
            #[cfg(feature = "config")]
            Self::Doubtful { place, problem } => {
                *problem == super::Problem::EveryoneIsAProxy && place.key.starts_with(list)
            }
            _ => false,
        }
    }
}

struct Place<'a>(Option<&'a Path>, Option<usize>, Option<usize>);

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.0, self.1, self.2) {
            (Some(file), Some(line), Some(column)) => {
                write!(f, "{}:{line}:{column}: ", file.display())
            }
            (None, Some(line), Some(column)) => write!(f, "line {line}, column {column}: "),
            _ => Ok(()),
        }
    }
}
