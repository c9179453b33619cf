/// A certificate that says nothing usable about its holder.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Not a certificate by RFC 5280 §4.1.
    #[error("the certificate is malformed: {0}")]
    Malformed(String),
    /// A subject alternative name extension that cannot be read, or two of them.
    #[error("the certificate's subject alternative names are malformed: {0}")]
    SubjectAltName(String),
    /// An alternative name that is not what RFC 5280 §4.2.1.6 allows: control characters, invalid
    /// UTF-8, a length that no such name has.
    #[error("the certificate has an unusable {kind} name: {reason}")]
    Name {
        /// `DNS`, `e-mail`, `URI` or `IP`.
        kind: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A subject that a proxy tells of is not written as RFC 4514 has it.
    #[error("the subject is not written as RFC 4514 has it")]
    Subject,
    /// The certificate has no subject, and no alternative name that can be an identity.
    #[error(
        "the certificate names nobody: it has no subject and no alternative name that is an identity"
    )]
    Nobody,
    /// The certificate or a name in it is larger than any honest one.
    #[error("the certificate's {what} has {length} bytes, more than {limit}")]
    TooLarge {
        /// `DER`, `subject` or `issuer`.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The bound.
        limit: usize,
    },
}
