use std::time::Duration;

use super::UnknownCause;

/// How revocation is checked. The defaults are the strict ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Which certificates of a path are looked at.
    pub depth: Depth,
    /// What becomes of one that no CRL answers for.
    pub unknown: OnUnknown,
    /// How long a CRL still counts after its `nextUpdate`. Default: not at all.
    pub grace: Duration,
    /// Lets end-entity certificates pass that no CRL answers for if their whole validity, from `notBefore` to
    /// `notAfter`, is no longer than this. Default: none.
    pub short_lived: Option<Duration>,
    /// How many bytes a CRL file and a fetched CRL may have, as they are or decompressed. Default
    /// 256 MiB: some six million entries.
    pub max_size: u64,
}

/// Which certificates of a path are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Depth {
    /// Every one below the trust anchor.
    #[default]
    Chain,
    /// The client's own.
    Leaf,
}

/// What happens to a certificate that no CRL covers: there is none, or none that covers it and all reasons, or
/// it is not by its issuer. A forged list is so no more than none at all: it lets no client in that its absence
/// would not, and locks no client out.
///
/// This is not about a CRL of the issuer that is past its `nextUpdate` and [`Options::grace`], or dated ahead.
/// There the issuer has said something that does not count now, and the certificate is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnUnknown {
    /// It is refused.
    #[default]
    Refuse,
    /// It is let pass, which the log and the metrics tell.
    Allow,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            depth: Depth::default(),
            unknown: OnUnknown::default(),
            grace: Duration::ZERO,
            short_lived: None,
            max_size: 256 * 1024 * 1024,
        }
    }
}

impl Options {
    /// Whether a certificate passes though it is unknown, for this cause, whether it is revoked.
    pub(super) fn allow(&self, cause: UnknownCause) -> bool {
        self.unknown == OnUnknown::Allow && cause.is_without_answer()
    }

    /// Sets [`Options::depth`].
    pub fn with_depth(mut self, depth: Depth) -> Self {
        self.depth = depth;
        self
    }

    /// Sets [`Options::unknown`].
    pub fn with_unknown(mut self, unknown: OnUnknown) -> Self {
        self.unknown = unknown;
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
