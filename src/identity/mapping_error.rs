use super::IdentityError;

/// Why a rule, or a set of rules, cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MappingError {
    /// There is no such field.
    #[error(
        "{0:?} is no field of a certificate: use subject, subject.CN, subject.O, subject.OU, subject.UID, \
         subject.DC, subject.C, subject.L, subject.ST, subject.STREET, issuer, anchor, anchor.key, \
         spiffe, dns, ip, email, uri, serial or fingerprint"
    )]
    Field(String),
    /// A pattern's braces are wrong, or a capture is there twice.
    #[error(
        "{0:?} is no pattern: captures are {{name}}, of letters, digits and underscores, each once"
    )]
    Pattern(String),
    /// A template of nothing.
    #[error("an id and a group are not empty")]
    Empty,
    /// `ip` takes a network.
    #[error("{0:?} is no IP address or network")]
    Network(String),
    /// A template has braces that are no capture of the rule's.
    #[error("{{{0}}} is used, but no condition of the rule captures it")]
    Template(String),
    /// A rule would match every certificate.
    #[error("a rule needs a condition")]
    Unconditional,
}

impl From<MappingError> for IdentityError {
    fn from(error: MappingError) -> Self {
        Self::Mapping(error.to_string().into())
    }
}
