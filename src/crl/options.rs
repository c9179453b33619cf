use std::time::Duration;

/// How revocation is checked. The defaults are the strict ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Which certificates of a path are looked at.
    pub depth: Depth,
    /// What becomes of one that no usable CRL answers for.
    pub unknown: OnUnknown,
    /// How long a CRL still counts after its `nextUpdate`. Default: not at all.
    pub grace: Duration,
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
}
