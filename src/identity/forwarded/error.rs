use crate::identity::IdentityError;

/// Why a header with a client certificate cannot be read.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum ForwardedError {
    /// The value has characters that no such header has.
    #[error("the value is not visible ASCII")]
    Characters,
    /// A quoted value does not end.
    #[error("a quote is not closed")]
    OpenQuote,
    /// Something follows a quoted value that is no separator.
    #[error("something follows a closing quote")]
    AfterQuote,
    /// An element has no `=`.
    #[error("a part has no equals sign")]
    NoValue,
    /// A field that may be there once is there twice.
    #[error("a field is there twice")]
    Twice,
    /// The header has no element.
    #[error("there is nothing in it")]
    Empty,
    /// The value is no RFC 8941 byte sequence (`:base64:`).
    #[error("it is no byte sequence of RFC 8941")]
    ByteSequence,
    /// A percent sign is not followed by two hexadecimal digits.
    #[error("a percent sign is not followed by two hexadecimal digits")]
    Percent,
    /// The value is not one PEM certificate or more.
    #[error("it is no PEM certificate")]
    Pem,
    /// The value is longer than any honest one.
    #[error("it is too long")]
    TooLong,
}

impl From<ForwardedError> for IdentityError {
    fn from(error: ForwardedError) -> Self {
        Self::Header(error.to_string().into())
    }
}
