use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use super::bounds::{Bounds, DAY, MILLISECOND, NOTHING};
use super::fleet::FleetSection;
use super::{ByteCount, ConfigError, Document, HumanDuration, Key};
use crate::oci::Endpoint;
use crate::policy::RateClass;
use crate::rate::{
    Callers, Direction, Exhausted, Key as By, Limit, Limits, LimitsError, MAX_BURST, MAX_RATE,
    Share, Tenant, Window,
};

/// `[limits]`: byte-rate limits, checked.
#[derive(Clone, Debug)]
pub(crate) struct LimitsSection {
    limits: Limits,
    fleet: Option<FleetSection>,
    #[cfg(feature = "redis")]
    shared: HashSet<Box<str>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename = "LimitsSection", deny_unknown_fields)]
pub(super) struct Section {
    /// The limits; each bounds every transfer that it is about.
    #[serde(default, rename = "limit")]
    limits: Vec<LimitEntry>,
    /// Of these nothing is held back.
    #[serde(default)]
    exempt: Vec<ExemptEntry>,
    /// Two clients in one network of these sizes are one source.
    source_prefix: Option<SourcePrefix>,
    /// How many callers, sources and so on are kept in mind, from 1 to 268,435,456.
    max_keys: Option<usize>,
    /// Cuts clients that read more slowly than this for so long.
    min_progress: Option<Progress>,
    /// The server through which replicas share limits (feature `redis`).
    fleet: Option<FleetSection>,
    /// Tells clients of their limits in the response's headers.
    #[serde(default)]
    headers: bool,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct LimitEntry {
    /// What the log and the metrics call it.
    name: String,
    /// What has one such limit each.
    key: By,
    /// Bytes a second.
    rate: Option<ByteCount>,
    /// Bytes that may go at once after a pause.
    burst: Option<ByteCount>,
    /// Which bodies it is about. Default `"both"`.
    #[serde(default)]
    direction: Direction,
    /// The callers whose traffic counts. Default `"all"`.
    #[serde(default)]
    callers: Callers,
    /// The `rate_class` of the policy's rules that it is about. Default: every request.
    class: Option<String>,
    /// How those who share it do.
    share: Option<ShareEntry>,
    /// Who would wait longer is refused at once.
    shed: Option<ShedEntry>,
    /// How many transfers may be in flight.
    max_streams: Option<u32>,
    /// Bytes in a long time.
    quota: Option<QuotaEntry>,
    /// Whether all replicas share it, by the server of `[limits.fleet]`: the rate of a total, and
    /// quotas. Default false.
    #[serde(default)]
    fleet: bool,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct ShareEntry {
    by: By,
    default: Option<TenantEntry>,
    #[serde(default)]
    tenants: BTreeMap<Box<str>, TenantEntry>,
}

#[derive(Clone, Copy, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct TenantEntry {
    weight: Option<u32>,
    floor: Option<ByteCount>,
    ceiling: Option<ByteCount>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct ShedEntry {
    max_wait: Option<HumanDuration>,
    max_transfer: Option<HumanDuration>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct QuotaEntry {
    bytes: ByteCount,
    window: Window,
    #[serde(default)]
    exhausted: Exhausted,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum ExemptEntry {
    Path(Box<str>),
    Group(Box<str>),
    Principal(Box<str>),
    Manifests { below: ByteCount },
    Blobs { below: ByteCount },
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct SourcePrefix {
    ipv4: u8,
    ipv6: u8,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Progress {
    rate: ByteCount,
    window: HumanDuration,
}

impl LimitsSection {
    pub(crate) fn limits(&self) -> Limits {
        self.limits.clone()
    }

    pub(crate) fn fleet(&self) -> Option<&FleetSection> {
        self.fleet.as_ref()
    }

    /// The names of the limits that all replicas share.
    #[cfg(feature = "redis")]
    pub(crate) fn shared(&self) -> &HashSet<Box<str>> {
        &self.shared
    }
}

impl Section {
    /// Checks the limits each for itself and all together.
    pub(super) fn checked(self, document: &Document) -> Result<LimitsSection, ConfigError> {
        self.bounds(&Bounds(document))?;
        let names: Vec<Box<str>> = self
            .limits
            .iter()
            .map(|one| one.name.as_str().into())
            .collect();
        let wrong = |error: LimitsError| document.invalid(culprit(&names, &error), error);
        let shared = self.limits.iter().filter(|limit| limit.fleet);
        let shared: HashSet<Box<str>> = shared.map(|limit| limit.name.as_str().into()).collect();
        if self.fleet.is_none()
            && let Some(limit) = names.iter().find(|name| shared.contains(&**name))
        {
            let key = limit_key(&names, limit).key("fleet");
            let says = format!("limit {limit:?}: `fleet = true` needs a section [limits.fleet]");
            return Err(document.invalid(key, says));
        }
        let limits = Limits::new(self.limits.into_iter().map(LimitEntry::limit))
            .map_err(wrong)?
            .with_headers(self.headers);
        let exempt = self.exempt.into_iter();
        let mut limits = exempt.fold(limits, |limits, entry| entry.exempt(limits));
        if let Some(SourcePrefix { ipv4, ipv6 }) = self.source_prefix {
            limits = limits.with_source_prefixes(ipv4, ipv6).map_err(wrong)?;
        }
        if let Some(keys) = self.max_keys {
            limits = limits.with_max_keys(keys);
        }
        if let Some(Progress { rate, window }) = self.min_progress {
            limits = limits.with_min_progress(rate.0, window.0).map_err(wrong)?;
        }
        #[cfg(feature = "redis")]
        limits.check_shared(&shared).map_err(wrong)?;
        Ok(LimitsSection {
            limits,
            fleet: self.fleet,
            #[cfg(feature = "redis")]
            shared,
        })
    }

    fn bounds(&self, check: &Bounds<'_>) -> Result<(), ConfigError> {
        let limits = || Key::from("limits");
        check.count(limits().key("max_keys"), self.max_keys, 1..=MAX_KEYS)?;
        if let Some(progress) = &self.min_progress {
            let key = limits().key("min_progress").key("window");
            check.span(key, Some(progress.window), MILLISECOND..=DAY)?;
        }
        for (index, limit) in self.limits.iter().enumerate() {
            let key = limits().key("limit").at(index);
            check.bytes(key.clone().key("rate"), limit.rate, 1..=MAX_RATE)?;
            check.bytes(key.clone().key("burst"), limit.burst, 1..=MAX_BURST)?;
            check.count(
                key.clone().key("max_streams"),
                limit.max_streams,
                1..=MAX_STREAMS,
            )?;
            let quota = limit.quota.as_ref().map(|quota| quota.bytes);
            check.bytes(key.clone().key("quota").key("bytes"), quota, 1..=u64::MAX)?;
            let shed = key.key("shed");
            if let Some(ShedEntry {
                max_wait,
                max_transfer,
            }) = &limit.shed
            {
                if max_wait.is_none() && max_transfer.is_none() {
                    let message = format!(
                        "limit {:?}: shedding needs a longest wait or a longest transfer",
                        limit.name
                    );
                    return Err(check.0.invalid(shed, message));
                }
                check.span(shed.clone().key("max_wait"), *max_wait, NOTHING..=DAY)?;
                check.span(shed.key("max_transfer"), *max_transfer, MILLISECOND..=DAY)?;
            }
        }
        Ok(())
    }
}

/// How many keys of a limit are kept in mind at most.
const MAX_KEYS: u64 = 1 << 28;

const MAX_STREAMS: u64 = u32::MAX as u64;

fn limit_key(names: &[Box<str>], name: &str) -> Key {
    let all = Key::from("limits.limit");
    // Of two with one name it is the second that is one too many.
    match names.iter().rposition(|known| **known == *name) {
        Some(index) => all.at(index),
        None => all,
    }
}

/// Which key an error is about.
fn culprit(names: &[Box<str>], error: &LimitsError) -> Key {
    let (limit, keys): (_, &[&str]) = match error {
        LimitsError::Name { limit } | LimitsError::NameRepeated { limit } => (limit, &["name"]),
        LimitsError::Nothing { limit }
        | LimitsError::StreamOnlyRate { limit }
        | LimitsError::NeedsRate { limit } => (limit, &[]),
        LimitsError::Zero { limit } | LimitsError::RateTooHigh { limit, .. } => (limit, &["rate"]),
        LimitsError::Burst { limit, .. } => (limit, &["burst"]),
        LimitsError::ShedsPushes { limit } => (limit, &["shed"]),
        #[cfg(feature = "redis")]
        LimitsError::FleetKey { limit } => (limit, &["key"]),
        #[cfg(feature = "redis")]
        LimitsError::FleetQuota { limit, .. } => (limit, &["quota", "bytes"]),
        #[cfg(feature = "redis")]
        LimitsError::FleetUrl | LimitsError::FleetTls | LimitsError::FleetPeriod(_) => {
            return "limits.fleet".into();
        }
        LimitsError::ShareKey { limit } => (limit, &["share", "by"]),
        LimitsError::Weight { limit, tenant } => {
            return of_tenant(limit_key(names, limit), tenant).key("weight");
        }
        LimitsError::Ceiling { limit, tenant } => {
            return of_tenant(limit_key(names, limit), tenant);
        }
        LimitsError::Floors { limit, .. } => (limit, &["share"]),
        LimitsError::Prefix { .. } => return "limits.source_prefix".into(),
        LimitsError::MinProgress => return "limits.min_progress".into(),
    };
    let limit = limit_key(names, limit);
    keys.iter().fold(limit, |key, name| key.key(name))
}

fn of_tenant(limit: Key, tenant: &str) -> Key {
    limit.key("share").key("tenants").key(tenant)
}

impl LimitEntry {
    fn limit(self) -> Limit {
        let mut limit = Limit::nothing(self.name, self.key)
            .with_direction(self.direction)
            .with_callers(self.callers);
        if let Some(rate) = self.rate {
            limit = limit.with_rate(rate.0);
        }
        if let Some(burst) = self.burst {
            limit = limit.with_burst(burst.0);
        }
        if let Some(class) = self.class {
            limit = limit.with_class(RateClass::new(class));
        }
        if let Some(share) = self.share {
            limit = limit.with_share(share.share());
        }
        if let Some(shed) = self.shed {
            limit = shed.shed(limit);
        }
        if let Some(streams) = self.max_streams {
            limit = limit.with_max_streams(streams);
        }
        if let Some(quota) = self.quota {
            limit = limit
                .with_quota(quota.bytes.0, quota.window)
                .with_exhausted(quota.exhausted);
        }
        limit
    }
}

impl ShareEntry {
    fn share(self) -> Share {
        let share = Share::by(self.by);
        let share = match self.default {
            Some(tenant) => share.with_default(tenant.tenant()),
            None => share,
        };
        self.tenants
            .into_iter()
            .fold(share, |share, (name, tenant)| {
                share.with_tenant(name, tenant.tenant())
            })
    }
}

impl TenantEntry {
    fn tenant(self) -> Tenant {
        let tenant = Tenant::weight(self.weight.unwrap_or(1))
            .with_floor(self.floor.map_or(0, |floor| floor.0));
        match self.ceiling {
            Some(ceiling) => tenant.with_ceiling(ceiling.0),
            None => tenant,
        }
    }
}

impl ShedEntry {
    fn shed(&self, mut limit: Limit) -> Limit {
        if let Some(span) = self.max_wait {
            limit = limit.with_max_wait(span.0);
        }
        if let Some(span) = self.max_transfer {
            limit = limit.with_max_transfer(span.0);
        }
        limit
    }
}

impl ExemptEntry {
    fn exempt(self, limits: Limits) -> Limits {
        match self {
            Self::Path(path) => limits.with_exempt_path(path),
            Self::Group(group) => limits.with_exempt_group(group),
            Self::Principal(principal) => limits.with_exempt_principal(principal),
            Self::Manifests { below } => limits.with_exempt_small(Endpoint::Manifest, below.0),
            Self::Blobs { below } => limits.with_exempt_small(Endpoint::Blob, below.0),
        }
    }
}
