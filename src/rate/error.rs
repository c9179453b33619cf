use std::sync::Arc;

use super::bounds::{MAX_BURST, MAX_RATE};

/// Why a set of limits cannot be used.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// The name is empty, too long, or has characters that a header field cannot.
    #[error("limit {limit:?}: a name is 1 to 64 letters, digits, '-', '_' or '.'")]
    Name {
        /// Which limit.
        limit: Arc<str>,
    },
    /// Two limits have one name.
    #[error("limit {limit:?}: another limit has this name")]
    NameRepeated {
        /// Which limit.
        limit: Arc<str>,
    },
    /// The limit limits nothing.
    #[error("limit {limit:?}: give it a rate, a number of streams or a quota")]
    Nothing {
        /// Which limit.
        limit: Arc<str>,
    },
    /// A burst, a share or shedding was given without a rate.
    #[error("limit {limit:?}: a burst, a share and shedding need a rate")]
    NeedsRate {
        /// Which limit.
        limit: Arc<str>,
    },
    /// A rate, a number of streams or a quota is zero: refuse by policy, not by a limit.
    #[error("limit {limit:?}: a rate, a number of streams and a quota are 1 at least")]
    Zero {
        /// Which limit.
        limit: Arc<str>,
    },
    /// The rate is above [`MAX_RATE`].
    #[error("limit {limit:?}: {rate} bytes per second is above {MAX_RATE}")]
    RateTooHigh {
        /// Which limit.
        limit: Arc<str>,
        /// The rate, in bytes per second.
        rate: u64,
    },
    /// The burst is too small for the rate, or above [`MAX_BURST`].
    #[error(
        "limit {limit:?}: a burst of {burst} bytes is not between {least} (4 ms at the rate, or \
         late timers would waste it) and {MAX_BURST}"
    )]
    Burst {
        /// Which limit.
        limit: Arc<str>,
        /// The burst, in bytes.
        burst: u64,
        /// The smallest that does, in bytes.
        least: u64,
    },
    /// A limit on each stream has a quota, a cap on streams, a share or a longest wait.
    #[error(
        "limit {limit:?}: a limit on each stream can only have a rate, and shed by the time of the \
         transfer: nothing else is in its way"
    )]
    StreamOnlyRate {
        /// Which limit.
        limit: Arc<str>,
    },
    /// A limit on request bodies sheds: what has a body is slowed, because it cannot be sent twice.
    #[error(
        "limit {limit:?}: only pulls are shed, because clients cannot send a request with a body \
         twice: give the limit another direction than `request`, or no shedding"
    )]
    ShedsPushes {
        /// Which limit.
        limit: Arc<str>,
    },
    /// A limit that replicas share is neither a total rate nor a quota that means the same to all.
    #[cfg(feature = "redis")]
    #[error(
        "limit {limit:?}: a fleet can share a rate by total, and a quota by every key but connection"
    )]
    FleetKey {
        /// Which limit.
        limit: Arc<str>,
    },
    /// A quota that replicas share is too large for their server.
    #[cfg(feature = "redis")]
    #[error("limit {limit:?}: a quota that a fleet shares has at most {most} bytes")]
    FleetQuota {
        /// Which limit.
        limit: Arc<str>,
        /// The most.
        most: u64,
    },
    /// The URL of a fleet's server is not one of Redis. It is not shown, since it may hold a password.
    #[cfg(feature = "redis")]
    #[error("the URL of the fleet's server is not one of Redis, such as redis://host:6379/0")]
    FleetUrl,
    /// The URL of a fleet's server wants TLS, which is not spoken with Redis here.
    #[cfg(feature = "redis")]
    #[error(
        "the fleet's server cannot be spoken to by TLS: run a tunnel to it beside this process, such as \
         stunnel, and name that, as in redis://127.0.0.1:6379"
    )]
    FleetTls,
    /// A fleet's period is not between 10 ms and 10 s.
    #[cfg(feature = "redis")]
    #[error("the fleet's period of {0:?} is not between 10 ms and 10 s")]
    FleetPeriod(std::time::Duration),
    /// A share cannot be by the limit's own key, nor by total or stream.
    #[error(
        "limit {limit:?}: a share is by group, principal, source, repository, registry or \
         connection, and not by the limit's own key"
    )]
    ShareKey {
        /// Which limit.
        limit: Arc<str>,
    },
    /// A tenant's weight is zero or above 1,000,000.
    #[error("limit {limit:?}: the weight of tenant {tenant:?} is not between 1 and 1000000")]
    Weight {
        /// Which limit.
        limit: Arc<str>,
        /// Which tenant.
        tenant: Box<str>,
    },
    /// A tenant's floor is above its ceiling, or its ceiling zero or above [`MAX_RATE`].
    #[error(
        "limit {limit:?}: tenant {tenant:?} needs floor <= ceiling, and a ceiling of 1 to {MAX_RATE}"
    )]
    Ceiling {
        /// Which limit.
        limit: Arc<str>,
        /// Which tenant.
        tenant: Box<str>,
    },
    /// The floors of the named tenants add up to more than there is.
    #[error("limit {limit:?}: the tenants' floors add up to {floors}, above the rate {rate}")]
    Floors {
        /// Which limit.
        limit: Arc<str>,
        /// The sum of the floors, in bytes per second.
        floors: u64,
        /// The limit's rate, in bytes per second.
        rate: u64,
    },
    /// A prefix length that no address has.
    #[error("prefix lengths are at most /32 for IPv4 and /128 for IPv6, not /{ipv4} and /{ipv6}")]
    Prefix {
        /// The length for IPv4.
        ipv4: u8,
        /// The length for IPv6.
        ipv6: u8,
    },
    /// The minimum progress has no rate or no window.
    #[error("a minimum progress needs a rate above 0 and a window above 0")]
    MinProgress,
}
