/// The highest rate that a [`Limit`](super::Limit) takes, in bytes per second.
pub const MAX_RATE: u64 = 1_000_000_000_000;

/// The largest burst that a [`Limit`](super::Limit) takes, in bytes.
pub const MAX_BURST: u64 = 1 << 63;
