use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "redis")]
use super::Fleet;
use super::bounds::{MAX_BURST, MAX_RATE};
use super::options::Quota;
use super::{Callers, Direction, Exhausted, Key, LimitsError, Share, Window};
#[cfg(feature = "policy")]
use crate::record::RateClass;

/// The bytes that a second is thought of in slices of, for the default burst.
const BURST_FRACTION: u64 = 20;

/// The smallest default burst, in bytes.
const LEAST_DEFAULT_BURST: u64 = 16 * 1024;

/// Timers come a few milliseconds late; a burst below this part of a second loses what the rate
/// gives in between.
const LEAST_BURST_FRACTION: u64 = 250;

/// The largest quota of a fleet, in bytes: the scripts of Redis count in floating point.
#[cfg(feature = "redis")]
const MAX_FLEET_QUOTA: u64 = 1 << 53;

/// A limit: the key that bytes are charged to, and at least one of a rate, a cap on streams and a quota.
#[derive(Clone, Debug)]
pub struct Limit {
    pub(super) name: Arc<str>,
    pub(super) key: Key,
    pub(super) direction: Direction,
    pub(super) callers: Callers,
    pub(super) rate: Option<u64>,
    pub(super) burst: Option<u64>,
    pub(super) share: Option<Share>,
    pub(super) max_wait: Option<Duration>,
    pub(super) max_transfer: Option<Duration>,
    pub(super) max_streams: Option<u32>,
    pub(super) quota: Option<Quota>,
    exhausted: Exhausted,
    #[cfg(feature = "policy")]
    pub(super) class: Option<RateClass>,
    #[cfg(feature = "redis")]
    pub(super) fleet: Option<Fleet>,
}

impl Limit {
    /// Makes a limit of `bytes_per_second` for each value of `key`. The name stands in logs, metrics and
    /// headers, and a reload keeps the state of a limit whose name and key stay.
    pub fn rate(name: impl Into<Arc<str>>, key: Key, bytes_per_second: u64) -> Self {
        Self {
            rate: Some(bytes_per_second),
            ..Self::nothing(name, key)
        }
    }

    /// Makes a limit of at most `streams` transfers in flight for each value of `key`.
    pub fn streams(name: impl Into<Arc<str>>, key: Key, streams: u32) -> Self {
        Self::nothing(name, key).with_max_streams(streams)
    }

    /// Makes a limit of at most `bytes` in each calendar `window` for each value of `key`.
    pub fn quota(name: impl Into<Arc<str>>, key: Key, bytes: u64, window: Window) -> Self {
        Self::nothing(name, key).with_quota(bytes, window)
    }

    /// Makes a limit by `key` that limits nothing yet: [`Limits::new`](super::Limits::new) takes it once it has
    /// a rate, a cap or a quota.
    pub fn nothing(name: impl Into<Arc<str>>, key: Key) -> Self {
        Self {
            name: name.into(),
            key,
            direction: Direction::default(),
            callers: Callers::default(),
            rate: None,
            burst: None,
            share: None,
            max_wait: None,
            max_transfer: None,
            max_streams: None,
            quota: None,
            exhausted: Exhausted::default(),
            #[cfg(feature = "policy")]
            class: None,
            #[cfg(feature = "redis")]
            fleet: None,
        }
    }

    /// Sets the rate, in bytes per second.
    pub fn with_rate(mut self, bytes_per_second: u64) -> Self {
        self.rate = Some(bytes_per_second);
        self
    }

    /// Sets how many bytes may pass at once after a pause. Default: a twentieth of a second at the rate, at
    /// least 16 KiB.
    pub fn with_burst(mut self, bytes: u64) -> Self {
        self.burst = Some(bytes);
        self
    }

    /// Counts response bodies only: what clients pull. Caps and quotas then refuse GET and HEAD. Default: the limit
    /// counts both bodies, added up, and may refuse any method.
    pub fn of_responses(self) -> Self {
        self.with_direction(Direction::Response)
    }

    /// Counts request bodies only: what clients push. Caps and quotas then refuse methods other than GET and HEAD.
    /// Default: the limit counts both bodies, added up, and may refuse any method.
    pub fn of_requests(self) -> Self {
        self.with_direction(Direction::Request)
    }

    pub(crate) fn with_direction(mut self, direction: Direction) -> Self {
        self.direction = direction;
        self
    }

    /// Counts the traffic of authenticated callers only. Default: every caller's.
    pub fn of_authenticated(self) -> Self {
        self.with_callers(Callers::Authenticated)
    }

    /// Counts the traffic of callers who are not authenticated only. Default: every caller's.
    pub fn of_anonymous(self) -> Self {
        self.with_callers(Callers::Anonymous)
    }

    /// Counts the traffic of callers in one of these groups only. Default: every caller's.
    pub fn of_groups<G: Into<Box<str>>>(self, groups: impl IntoIterator<Item = G>) -> Self {
        self.with_callers(Callers::Groups(
            groups.into_iter().map(Into::into).collect(),
        ))
    }

    /// Counts the traffic of these callers only, in a principal's text form: `token:ci`, `cert:node-1`. Default: every
    /// caller's.
    pub fn of_principals<P: Into<Box<str>>>(self, names: impl IntoIterator<Item = P>) -> Self {
        self.with_callers(Callers::Principals(
            names.into_iter().map(Into::into).collect(),
        ))
    }

    pub(crate) fn with_callers(mut self, callers: Callers) -> Self {
        self.callers = callers;
        self
    }

    /// Counts only requests that a rule of the policy put into this class. Default: requests of every class and
    /// of none.
    #[cfg(feature = "policy")]
    pub fn with_class(mut self, class: RateClass) -> Self {
        self.class = Some(class);
        self
    }

    /// Divides the rate among tenants, and each tenant's part equally among its streams. Default: all streams
    /// get equal parts.
    pub fn with_share(mut self, share: Share) -> Self {
        self.share = Some(share);
        self
    }

    /// Refuses pulls (GET and HEAD) whose first byte would wait longer than `time`, as predicted. A push is
    /// never refused, because clients cannot send a body twice. Default: every pull is slowed, none refused.
    pub fn with_max_wait(mut self, time: Duration) -> Self {
        self.max_wait = Some(time);
        self
    }

    /// Refuses pulls whose transfer would take longer than `time`, as predicted from its `Content-Length`.
    /// Default: every pull is slowed, none refused.
    pub fn with_max_transfer(mut self, time: Duration) -> Self {
        self.max_transfer = Some(time);
        self
    }

    /// Allows at most this many transfers in flight for each key. Default: any number.
    pub fn with_max_streams(mut self, streams: u32) -> Self {
        self.max_streams = Some(streams);
        self
    }

    /// Allows at most `bytes` in each calendar `window` for each key. Default: any number.
    pub fn with_quota(mut self, bytes: u64, window: Window) -> Self {
        self.quota = Some(Quota {
            bytes,
            window,
            exhausted: self.exhausted,
        });
        self
    }

    /// Sets whether a transfer in flight is cut off once the quota is used up. Default: no, it finishes, and what it
    /// takes beyond the quota is counted.
    pub fn with_cut(self, cut: bool) -> Self {
        self.with_exhausted(if cut {
            Exhausted::Cut
        } else {
            Exhausted::Finish
        })
    }

    pub(crate) fn with_exhausted(mut self, exhausted: Exhausted) -> Self {
        self.exhausted = exhausted;
        if let Some(quota) = &mut self.quota {
            quota.exhausted = exhausted;
        }
        self
    }

    /// Shares the rate and the quota with all replicas that have a limit of this name at the same server. A
    /// rate can be shared with [`Key::Total`] only; a quota with every key but [`Key::Connection`] and
    /// [`Key::Stream`], up to 2^53 bytes. Default: each process has the limit to itself.
    #[cfg(feature = "redis")]
    pub fn with_fleet(mut self, fleet: &Fleet) -> Self {
        self.fleet = Some(fleet.clone());
        self
    }

    /// Returns the limit's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the key that bytes are charged to.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Returns the fleet that shares the limit.
    #[cfg(feature = "redis")]
    pub fn fleet(&self) -> Option<&Fleet> {
        self.fleet.as_ref()
    }

    /// Whether the limit refuses pulls that would wait or take too long.
    pub(super) fn sheds(&self) -> bool {
        self.max_wait.is_some() || self.max_transfer.is_some()
    }

    /// Returns the active burst, in bytes.
    pub(super) fn burst(&self) -> u64 {
        let rate = self.rate.unwrap_or(0);
        self.burst
            .unwrap_or_else(|| LEAST_DEFAULT_BURST.max(rate / BURST_FRACTION))
    }

    pub(super) fn check(&self) -> Result<(), LimitsError> {
        let limit = || self.name.clone();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(plain) {
            return Err(LimitsError::Name { limit: limit() });
        }
        if self.rate.is_none() && self.max_streams.is_none() && self.quota.is_none() {
            return Err(LimitsError::Nothing { limit: limit() });
        }
        match self.rate {
            Some(rate) => self.check_rate(rate)?,
            None if self.burst.is_some() || self.share.is_some() || self.sheds() => {
                return Err(LimitsError::NeedsRate { limit: limit() });
            }
            None => {}
        }
        if self.max_streams == Some(0) || self.quota.is_some_and(|quota| quota.bytes == 0) {
            return Err(LimitsError::Zero { limit: limit() });
        }
        #[cfg(feature = "redis")]
        if self.fleet.is_some() {
            self.check_fleet()?;
        }
        if self.sheds() && self.direction == Direction::Request {
            return Err(LimitsError::ShedsPushes { limit: limit() });
        }
        let counts = self.quota.is_some() || self.max_streams.is_some();
        if self.key == Key::Stream && (counts || self.max_wait.is_some() || self.share.is_some()) {
            return Err(LimitsError::StreamOnlyRate { limit: limit() });
        }
        Ok(())
    }

    #[cfg(feature = "redis")]
    pub(super) fn check_fleet(&self) -> Result<(), LimitsError> {
        let limit = || self.name.clone();
        let rate_by_key = self.rate.is_some() && self.key != Key::Total;
        let nothing = self.rate.is_none() && self.quota.is_none();
        // What has a number of its own in each process is not the same in two.
        if rate_by_key || nothing || matches!(self.key, Key::Connection | Key::Stream) {
            return Err(LimitsError::FleetKey { limit: limit() });
        }
        let most = MAX_FLEET_QUOTA;
        if self.quota.is_some_and(|quota| quota.bytes > most) {
            return Err(LimitsError::FleetQuota {
                limit: limit(),
                most,
            });
        }
        Ok(())
    }

    fn check_rate(&self, rate: u64) -> Result<(), LimitsError> {
        let limit = || self.name.clone();
        if rate == 0 {
            return Err(LimitsError::Zero { limit: limit() });
        }
        if rate > MAX_RATE {
            return Err(LimitsError::RateTooHigh {
                limit: limit(),
                rate,
            });
        }
        let least = (rate / LEAST_BURST_FRACTION).max(1);
        let burst = self.burst();
        if burst < least || burst > MAX_BURST {
            return Err(LimitsError::Burst {
                limit: limit(),
                burst,
                least,
            });
        }
        if let Some(share) = &self.share {
            share.check(&self.name, self.key, rate)?;
        }
        Ok(())
    }
}
