use std::collections::HashSet;
use std::time::Duration;

use super::options::Exempt;
use super::{Limit, LimitsError};
use crate::oci::Endpoint;
#[cfg(feature = "policy")]
use crate::record::RateClass;

/// A checked set of limits, which a [`ByteRateLayer`](super::ByteRateLayer) enforces.
#[derive(Clone, Debug)]
pub struct Limits {
    pub(super) all: Vec<Limit>,
    pub(super) exempt: Vec<Exempt>,
    pub(super) ipv4_prefix: u8,
    pub(super) ipv6_prefix: u8,
    pub(super) max_keys: usize,
    pub(super) min_progress: Option<MinProgress>,
    pub(super) headers: bool,
}

/// The progress that a reader must make for its stream to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MinProgress {
    /// The lowest rate, in bytes per second over `window`, while no limit holds the stream back.
    pub(super) rate: u64,
    /// How long a stream may be slower.
    pub(super) window: Duration,
}

impl Limits {
    /// Makes a set without any limit.
    pub fn none() -> Self {
        Self {
            all: Vec::new(),
            exempt: Vec::new(),
            ipv4_prefix: 32,
            ipv6_prefix: 64,
            max_keys: 1 << 20,
            min_progress: None,
            headers: false,
        }
    }

    /// Whether it limits nothing and adds nothing to an answer.
    pub(super) fn are_none(&self) -> bool {
        self.all.is_empty() && self.min_progress.is_none() && !self.headers
    }

    /// Checks these limits.
    ///
    /// # Errors
    /// Returns which limit is wrong, and why.
    pub fn new(limits: impl IntoIterator<Item = Limit>) -> Result<Self, LimitsError> {
        let limits: Vec<Limit> = limits.into_iter().collect();
        let mut names = HashSet::new();
        for limit in &limits {
            limit.check()?;
            if !names.insert(&*limit.name) {
                return Err(LimitsError::NameRepeated {
                    limit: limit.name.clone(),
                });
            }
        }
        Ok(Self {
            all: limits,
            ..Self::none()
        })
    }

    /// Lets requests for this path, compared as a whole (`/healthz`), pass without any limit. Default: none.
    pub fn with_exempt_path(self, path: impl Into<Box<str>>) -> Self {
        self.exempting(Exempt::Path(path.into()))
    }

    /// Lets requests of callers in this group pass without any limit. Default: none.
    pub fn with_exempt_group(self, group: impl Into<Box<str>>) -> Self {
        self.exempting(Exempt::Group(group.into()))
    }

    /// Lets requests of this caller, in a principal's text form (`token:ci`), pass without any limit. Default: none.
    pub fn with_exempt_principal(self, principal: impl Into<Box<str>>) -> Self {
        self.exempting(Exempt::Principal(principal.into()))
    }

    /// Lets bodies of this endpoint whose exact length is at most so many bytes pass without any limit. Default:
    /// none.
    ///
    /// No quota, cap or shedding refuses a pull that is answered with such a body. The length is known from the
    /// response only, so limits refuse other pulls from this endpoint once the service has answered, and not
    /// before.
    pub fn with_exempt_small(self, endpoint: Endpoint, bytes: u64) -> Self {
        self.exempting(Exempt::Small { endpoint, bytes })
    }

    fn exempting(mut self, rule: Exempt) -> Self {
        self.exempt.push(rule);
        self
    }

    /// Cuts source addresses to prefixes of these lengths, in bits. Default: 32 and 64.
    ///
    /// # Errors
    /// Returns an error for a length that no address has.
    pub fn with_source_prefixes(mut self, ipv4: u8, ipv6: u8) -> Result<Self, LimitsError> {
        if ipv4 > 32 || ipv6 > 128 {
            return Err(LimitsError::Prefix { ipv4, ipv6 });
        }
        (self.ipv4_prefix, self.ipv6_prefix) = (ipv4, ipv6);
        Ok(self)
    }

    /// Remembers at most this many keys for each limit. Beyond it, new keys share one budget until another
    /// key's debt is paid. A reload changes the number without forgetting a debt. Default: 1,048,576.
    pub fn with_max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys.max(1);
        self
    }

    /// Ends streams whose reader takes fewer than `rate` bytes per second over `window`. Default: off.
    ///
    /// A reader that takes nothing at all is found too: what its stream keeps others from, such as a place in a
    /// cap on streams, is free after the window, and its record says why. The stream itself is closed then if
    /// the server's tasks are [`AbortSlow`](super::AbortSlow), else with its connection, whose end
    /// [`StallTimeout`](super::StallTimeout) can set.
    ///
    /// # Errors
    /// Returns an error for a rate or a window of zero.
    pub fn with_min_progress(mut self, rate: u64, window: Duration) -> Result<Self, LimitsError> {
        if rate == 0 || window.is_zero() {
            return Err(LimitsError::MinProgress);
        }
        self.min_progress = Some(MinProgress { rate, window });
        Ok(self)
    }

    /// Reports to clients what is left, in `RateLimit` and `RateLimit-Policy` header fields
    /// (draft-ietf-httpapi-ratelimit-headers-10). Default: off.
    pub fn with_headers(mut self, on: bool) -> Self {
        self.headers = on;
        self
    }

    /// Returns the limits in the order in which they were given.
    pub fn limits(&self) -> &[Limit] {
        &self.all
    }

    /// What is wrong with sharing the limits of these names.
    #[cfg(all(feature = "redis", feature = "config"))]
    pub(crate) fn check_shared(&self, names: &HashSet<Box<str>>) -> Result<(), LimitsError> {
        let mut shared = self.all.iter().filter(|limit| names.contains(&*limit.name));
        shared.try_for_each(Limit::check_fleet)
    }

    /// Shares the limits of these names, which have been checked, with a fleet.
    #[cfg(all(feature = "redis", feature = "config"))]
    pub(crate) fn with_fleet(mut self, fleet: &super::Fleet, names: &HashSet<Box<str>>) -> Self {
        for limit in &mut self.all {
            if names.contains(&*limit.name) {
                limit.fleet = Some(fleet.clone());
            }
        }
        self
    }

    /// Returns the classes that a rule of the policy may name: those that a limit counts.
    #[cfg(feature = "policy")]
    pub fn classes(&self) -> impl Iterator<Item = &RateClass> {
        self.all.iter().filter_map(|limit| limit.class.as_ref())
    }
}
