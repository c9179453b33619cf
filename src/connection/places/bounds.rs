/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) all: usize,
    /// That have shown nothing yet.
    pub(crate) strangers: usize,
    /// Of an IPv4 address or an IPv6 /64.
    pub(crate) source: usize,
    /// Of an IPv6 /48.
    pub(crate) network: usize,
}

impl Bounds {
    /// Where all places are taken, a network with more connections than this makes room for others.
    pub(super) fn crowd(&self) -> usize {
        (self.all / 16).max(128)
    }
}

/// Why a connection gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// Its source has all that it may have, and each is in use.
    Source,
    /// Its IPv6 /48 has.
    Network,
    /// All places are taken, and each connection is in use.
    All,
}
