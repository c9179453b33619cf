use std::time::Duration;

/// How revocation is checked. The defaults are the strict ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Which certificates of a path are looked at.
    pub depth: Depth,
    /// What becomes of one that no usable CRL answers for.
    pub unknown: OnUnknown,
    /// How long a CRL still counts after its `nextUpdate`. Default: not at all.
    pub grace: Duration,
    /// How many bytes a compressed CRL file may be decompressed to, and a fetched one have. Default
    /// 256 MiB: some six million entries.
    pub max_size: u64,
}

/// Which certificates of a path are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Depth {
    /// Every one below the trust anchor.
    #[default]
    Chain,
    /// The client's own.
    Leaf,
}

/// What becomes of a certificate that no usable CRL answers for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnUnknown {
    /// It is refused.
    #[default]
    Refuse,
    /// It counts as good.
    Allow,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            depth: Depth::default(),
            unknown: OnUnknown::default(),
            grace: Duration::ZERO,
            max_size: 256 * 1024 * 1024,
        }
    }
}

impl Options {
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

    /// Sets [`Options::max_size`].
    pub fn with_max_size(mut self, bytes: u64) -> Self {
        self.max_size = bytes;
        self
    }
}
