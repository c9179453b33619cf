/// Why a certificate gives no usable identity, or why a text about identities cannot be used.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The certificate is none by RFC 5280 §4.1.
    #[error("the certificate is malformed: {0}")]
    Malformed(String),
    /// The subject alternative name extension cannot be read, or is there twice.
    #[error("the certificate's subject alternative names are malformed: {0}")]
    SubjectAltName(String),
    /// An alternative name is not what RFC 5280 §4.2.1.6 allows: it has control characters, invalid UTF-8, or a
    /// length that no such name has.
    #[error("the certificate has an unusable {kind} name: {reason}")]
    Name {
        /// `DNS`, `e-mail`, `URI` or `IP`.
        kind: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A subject that a proxy forwards is not written as RFC 4514 requires.
    #[error("the subject is not written as RFC 4514 has it")]
    Subject,
    /// The certificate has no subject, and no alternative name that can be an identity.
    #[error(
        "the certificate names nobody: it has no subject and no alternative name that is an identity"
    )]
    Nobody,
    /// The certificate, or a name in it, is larger than any honest one.
    #[error("the certificate's {what} has {length} bytes, more than {limit}")]
    TooLarge {
        /// `DER`, `subject` or `issuer`.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The bound.
        limit: usize,
    },
    /// A text is no SPIFFE ID.
    #[error("{0}")]
    SpiffeId(Box<str>),
    /// The certificate is no X.509-SVID leaf, though it may be a good certificate.
    #[error("{0}")]
    Svid(Box<str>),
    /// A header with a client certificate cannot be read.
    #[cfg(feature = "x509")]
    #[error("{0}")]
    Header(Box<str>),
    /// A rule of a [`Mapping`](super::Mapping) cannot be used.
    #[cfg(feature = "auth")]
    #[error("{0}")]
    Mapping(Box<str>),
}
