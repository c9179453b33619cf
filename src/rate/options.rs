use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::oci::Endpoint;

use super::bounds::MAX_RATE;
use super::{Key, LimitsError};

/// How a limit's rate is divided: tenants by weight, the streams of a tenant equally. What one does
/// not use, the others get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub(super) by: Key,
    pub(super) default: Tenant,
    pub(super) tenants: HashMap<Box<str>, Tenant>,
}

/// A tenant's part of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tenant {
    /// How much of the rate, beside the others' weights. Default 1.
    pub weight: u32,
    /// What it gets before anybody gets more, in bytes per second. Default 0.
    ///
    /// Named tenants come first: where more tenants have the default floor than the rate has room
    /// for, they share alike what the named ones' floors leave.
    pub floor: u64,
    /// What it never passes, in bytes per second. Default: nothing but the limit's rate.
    pub ceiling: Option<u64>,
}

/// When a pull is refused rather than slowed. A push never is: clients cannot send a body twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shed {
    /// The longest wait for the first byte.
    pub max_wait: Option<Duration>,
    /// The longest time that the transfer may take, by its `Content-Length`.
    pub max_transfer: Option<Duration>,
}

/// Bytes in a calendar window, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quota {
    /// How many bytes.
    pub bytes: u64,
    /// In what time.
    pub window: Window,
    /// What becomes of a transfer that is under way when they are used up.
    pub exhausted: Exhausted,
}

/// A calendar window, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "config", derive(serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "config", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Window {
    /// From minute 0 to minute 59.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From the first to the last day.
    Month,
}

/// What becomes of a transfer that is under way when a quota is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "config", derive(serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "config", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Exhausted {
    /// It is finished, and what it takes beyond the quota is counted.
    #[default]
    Finish,
    /// It is cut off.
    Cut,
}

/// What passes without any limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exempt {
    /// A path, as a whole: `/healthz`.
    Path(Box<str>),
    /// Callers in this group.
    Group(Box<str>),
    /// This caller, in a principal's text form: `token:ci`.
    Principal(Box<str>),
    /// Bodies of this endpoint of at most so many bytes by their exact length.
    ///
    /// No quota, cap or shedding refuses a pull that is answered so. The length is known from the
    /// response only, so whatever else is pulled from this endpoint is refused by its limits once
    /// the service has answered, and not before.
    Small {
        /// The endpoint.
        endpoint: Endpoint,
        /// The largest body that passes.
        bytes: u64,
    },
}

impl Share {
    /// Divides among the values of `key`, each with weight 1.
    pub fn by(key: Key) -> Self {
        Self {
            by: key,
            default: Tenant::default(),
            tenants: HashMap::new(),
        }
    }

    /// What a tenant gets that has no entry of its own.
    pub fn with_default(mut self, tenant: Tenant) -> Self {
        self.default = tenant;
        self
    }

    /// What the tenant of this name gets: a group, a principal's text form (`cert:node-1`), a source
    /// prefix (`10.0.0.7/32`), a repository or a registry.
    pub fn with_tenant(mut self, name: impl Into<Box<str>>, tenant: Tenant) -> Self {
        self.tenants.insert(name.into(), tenant);
        self
    }

    /// What the floors of the named tenants leave of a rate.
    pub(super) fn left_by_named(&self, rate: u64) -> u64 {
        let floors = self.tenants.values().map(|tenant| tenant.floor);
        floors.fold(rate, u64::saturating_sub)
    }

    pub(super) fn check(&self, limit: &Arc<str>, key: Key, rate: u64) -> Result<(), LimitsError> {
        let limit = || limit.clone();
        if matches!(self.by, Key::Total | Key::Stream) || self.by == key {
            return Err(LimitsError::ShareKey { limit: limit() });
        }
        let mut floors = 0_u64;
        let named = self.tenants.iter().map(|(name, tenant)| (&**name, tenant));
        for (name, tenant) in named.chain([("*", &self.default)]) {
            if tenant.weight == 0 || tenant.weight > 1_000_000 {
                return Err(LimitsError::Weight {
                    limit: limit(),
                    tenant: name.into(),
                });
            }
            let ceiling = tenant.ceiling.unwrap_or(MAX_RATE);
            if ceiling == 0 || ceiling > MAX_RATE || tenant.floor > ceiling {
                return Err(LimitsError::Ceiling {
                    limit: limit(),
                    tenant: name.into(),
                });
            }
            floors = floors.saturating_add(tenant.floor);
        }
        if floors > rate {
            return Err(LimitsError::Floors {
                limit: limit(),
                floors,
                rate,
            });
        }
        Ok(())
    }
}

impl Tenant {
    /// A tenant of this weight.
    pub fn weight(weight: u32) -> Self {
        Self {
            weight,
            ..Self::default()
        }
    }

    /// Sets [`Tenant::floor`].
    pub fn with_floor(mut self, bytes_per_second: u64) -> Self {
        self.floor = bytes_per_second;
        self
    }

    /// Sets [`Tenant::ceiling`].
    pub fn with_ceiling(mut self, bytes_per_second: u64) -> Self {
        self.ceiling = Some(bytes_per_second);
        self
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self {
            weight: 1,
            floor: 0,
            ceiling: None,
        }
    }
}

impl Shed {
    /// Refuses when the first byte would have to wait longer than this.
    pub fn after(max_wait: Duration) -> Self {
        Self {
            max_wait: Some(max_wait),
            max_transfer: None,
        }
    }

    /// Sets [`Shed::max_transfer`].
    pub fn with_max_transfer(mut self, time: Duration) -> Self {
        self.max_transfer = Some(time);
        self
    }
}

impl Quota {
    /// So many bytes a window; transfers under way are finished.
    pub fn new(bytes: u64, window: Window) -> Self {
        Self {
            bytes,
            window,
            exhausted: Exhausted::default(),
        }
    }

    /// Sets [`Quota::exhausted`].
    pub fn with_exhausted(mut self, exhausted: Exhausted) -> Self {
        self.exhausted = exhausted;
        self
    }
}
