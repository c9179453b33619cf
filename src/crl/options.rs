use std::time::Duration;

use super::UnknownCause;

/// How revocation is checked. The defaults are the strict ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Whether only the client's own certificate is looked at. Default: no, every one below the trust anchor is.
    pub leaf_only: bool,
    /// Whether a certificate passes that no CRL covers, which the log and the metrics tell: there is none, or none
    /// that covers it and all reasons, or it is not by its issuer. A forged CRL is so no more than none at all: it
    /// lets no client in that its absence would not, and locks no client out. Default: no, it is refused.
    ///
    /// This is not about a CRL of the issuer that is past its `nextUpdate` and [`Options::grace`], or dated ahead.
    /// There the issuer has said something that does not count now, and the certificate is refused.
    pub unknown_allowed: bool,
    /// How long a CRL still counts after its `nextUpdate`. Default: not at all.
    pub grace: Duration,
    /// Lets end-entity certificates pass that no CRL answers for if their whole validity, from `notBefore` to
    /// `notAfter`, is no longer than this. Default: none.
    pub short_lived: Option<Duration>,
    /// How many bytes a CRL file and a fetched CRL may have, as they are or decompressed. Default
    /// 256 MiB: some six million entries.
    pub max_size: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            leaf_only: false,
            unknown_allowed: false,
            grace: Duration::ZERO,
            short_lived: None,
            max_size: 256 * 1024 * 1024,
        }
    }
}

impl Options {
    /// Whether a certificate passes though it is unknown, for this cause, whether it is revoked.
    pub(super) fn allow(&self, cause: UnknownCause) -> bool {
        self.unknown_allowed && cause.is_without_answer()
    }

    /// Sets [`Options::leaf_only`].
    pub fn with_leaf_only(mut self, leaf_only: bool) -> Self {
        self.leaf_only = leaf_only;
        self
    }

    /// Sets [`Options::unknown_allowed`].
    pub fn with_unknown_allowed(mut self, allowed: bool) -> Self {
        self.unknown_allowed = allowed;
        self
    }

    /// Sets [`Options::grace`].
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets [`Options::short_lived`].
    pub fn with_short_lived(mut self, longest: Option<Duration>) -> Self {
        self.short_lived = longest;
        self
    }

    /// Sets [`Options::max_size`].
    pub fn with_max_size(mut self, bytes: u64) -> Self {
        self.max_size = bytes;
        self
    }
}
