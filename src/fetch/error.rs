/// Why an HTTP server returned no usable document.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// The address is not the URL of an HTTP server.
    #[error("it is no http:// or https:// URL without a user and a fragment")]
    Address,
    /// The text is not the name of a host, with or without a port.
    #[error("{0:?} is no host, nor host:port")]
    Host(String),
    /// A redirect led to a host that is not allowed, or to one too many.
    #[error("it leads elsewhere: {0}")]
    Redirected(String),
    /// The server cannot be reached, or broke off.
    #[error("{0}")]
    Unreachable(String),
    /// The answer took too long.
    #[error("it took too long")]
    TimedOut,
    /// The answer is neither a document nor that there is no newer one.
    #[error("the answer is {0}")]
    Status(u16),
    /// The answer is too large.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(u64),
    /// There is no thread, runtime or TLS client to fetch with.
    #[error("nothing can be fetched: {0}")]
    NoClient(String),
}

impl HttpError {
    /// As a closed-set label.
    #[cfg(feature = "crl-fetch")]
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Address | Self::Host(_) | Self::NoClient(_) => "configuration",
            Self::Redirected(_) => "redirected",
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Status(_) => "status",
            Self::TooLarge(_) => "too_large",
        }
    }

    // No `From`: it would make the client's version part of this crate's API.
    pub(super) fn of(error: reqwest::Error) -> Self {
        let is_timeout = error.is_timeout();
        let is_redirect = error.is_redirect();
        // A URL may hold a token.
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        if is_timeout {
            Self::TimedOut
        } else if is_redirect {
            Self::Redirected(cause.to_string())
        } else {
            Self::Unreachable(cause.to_string())
        }
    }
}
