use std::collections::HashMap;
use std::sync::Arc;

use crate::oci::Endpoint;

use super::bounds::MAX_RATE;
use super::{Key, LimitsError};

/// How a limit's rate is divided: among tenants by weight, and among a tenant's streams equally. What one
/// tenant does not use, the others get.
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
    /// The tenant's part of the rate in proportion to the others' weights. Default: 1.
    pub weight: u32,
    /// What the tenant gets before another tenant gets more, in bytes per second. Default: 0.
    ///
    /// Floors of named tenants come first: where more tenants have the default floor than the rate has room
    /// for, those divide equally what the named tenants' floors leave.
    pub floor: u64,
    /// What the tenant never exceeds, in bytes per second. Default: the limit's rate.
    pub ceiling: Option<u64>,
}

/// A number of bytes for each calendar window, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    pub(super) bytes: u64,
    pub(super) window: Window,
    /// What happens to a transfer in flight when the quota is used up.
    pub(super) exhausted: Exhausted,
}

/// A calendar window, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "config", derive(serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "config", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Window {
    /// An hour, from minute 0 to minute 59.
    Hour,
    /// A day, from midnight to midnight.
    Day,
    /// A month, from the first to the last day.
    Month,
}

/// What happens to a transfer in flight when its quota is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "config", derive(serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "config", serde(rename_all = "lowercase"))]
pub(crate) enum Exhausted {
    /// The transfer finishes, and what it takes beyond the quota is counted.
    #[default]
    Finish,
    /// The transfer is cut off.
    Cut,
}

/// A rule for traffic that passes without any limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Exempt {
    /// Requests for this path, compared as a whole: `/healthz`.
    Path(Box<str>),
    /// Requests of callers in this group.
    Group(Box<str>),
    /// Requests of this caller, in a principal's text form: `token:ci`.
    Principal(Box<str>),
    /// Bodies of this endpoint whose exact length is at most so many bytes.
    Small { endpoint: Endpoint, bytes: u64 },
}

impl Share {
    /// Divides the rate among the values of `key`, each with weight 1.
    pub fn by(key: Key) -> Self {
        Self {
            by: key,
            default: Tenant::default(),
            tenants: HashMap::new(),
        }
    }

    /// Sets the part of every tenant without an entry of its own. Default: weight 1.
    pub fn with_default(mut self, tenant: Tenant) -> Self {
        self.default = tenant;
        self
    }

    /// Sets the part of the tenant of this name: a group, a principal's text form (`cert:node-1`), a source
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
    /// Makes a tenant of this weight, without floor and ceiling.
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
