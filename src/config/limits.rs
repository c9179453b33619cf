use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use super::fleet::FleetSection;
use super::{Bytes, Span};
use crate::oci::Endpoint;
use crate::policy::RateClass;
use crate::rate::{
    Callers, Direction, Exempt, Exhausted, Key, Limit, Limits, LimitsError, Quota, Share, Shed,
    Tenant, Window,
};

/// `[limits]`: byte-rate limits, checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Section")]
pub struct LimitsSection {
    limits: Limits,
    fleet: Option<FleetSection>,
    #[cfg(feature = "redis")]
    shared: HashSet<Box<str>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Section {
    /// The limits; each bounds every transfer that it is about.
    #[serde(default, rename = "limit")]
    limits: Vec<LimitEntry>,
    /// Of these nothing is held back.
    #[serde(default)]
    exempt: Vec<ExemptEntry>,
    /// Two clients in one network of these sizes are one source.
    source_prefix: Option<SourcePrefix>,
    /// How many callers, sources and so on are kept in mind.
    max_keys: Option<usize>,
    /// Whoever reads more slowly than this for so long is cut.
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
    key: Key,
    /// Bytes a second.
    rate: Option<Bytes>,
    /// Bytes that may go at once after a pause.
    burst: Option<Bytes>,
    /// Which bodies it is about. Default `"both"`.
    #[serde(default)]
    direction: Direction,
    /// Whom it is about. Default `"all"`.
    #[serde(default)]
    callers: Callers,
    /// The `rate_class` of the policy's rules that it is about. Default: every request.
    class: Option<String>,
    /// How those who share it do.
    share: Option<ShareEntry>,
    /// Who would wait longer is refused at once.
    shed: Option<ShedEntry>,
    /// How many transfers may be under way.
    max_streams: Option<u32>,
    /// Bytes in a long time.
    quota: Option<QuotaEntry>,
    /// Whether all replicas share it, by the server of `[limits.fleet]`: the rate of a total, and
    /// quotas. Default false.
    #[serde(default)]
    fleet: bool,
}

/// What is wrong with the limits as the file has them.
#[derive(Debug, thiserror::Error)]
enum SectionError {
    #[error(transparent)]
    Limits(#[from] LimitsError),
    #[error("limit {limit:?}: `fleet = true` needs a section [limits.fleet]")]
    NoFleet { limit: Box<str> },
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct ShareEntry {
    by: Key,
    default: Option<TenantEntry>,
    #[serde(default)]
    tenants: BTreeMap<Box<str>, TenantEntry>,
}

#[derive(Clone, Copy, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct TenantEntry {
    weight: Option<u32>,
    floor: Option<Bytes>,
    ceiling: Option<Bytes>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct ShedEntry {
    max_wait: Option<Span>,
    max_transfer: Option<Span>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct QuotaEntry {
    bytes: Bytes,
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
    Manifests { below: Bytes },
    Blobs { below: Bytes },
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
    rate: Bytes,
    window: Span,
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

#[cfg(feature = "schema")]
super::schema::is_read_as!(LimitsSection, Section);

impl TryFrom<Section> for LimitsSection {
    type Error = SectionError;

    fn try_from(section: Section) -> Result<Self, SectionError> {
        let shared = section.limits.iter().filter(|limit| limit.fleet);
        let shared: HashSet<Box<str>> = shared.map(|limit| limit.name.as_str().into()).collect();
        if section.fleet.is_none()
            && let Some(limit) = shared.iter().next()
        {
            let limit = limit.clone();
            return Err(SectionError::NoFleet { limit });
        }
        let mut limits = Limits::new(section.limits.into_iter().map(LimitEntry::limit))?
            .with_exempt(section.exempt.into_iter().map(ExemptEntry::exempt))
            .with_headers(section.headers);
        if let Some(SourcePrefix { ipv4, ipv6 }) = section.source_prefix {
            limits = limits.with_source_prefixes(ipv4, ipv6)?;
        }
        if let Some(keys) = section.max_keys {
            limits = limits.with_max_keys(keys);
        }
        if let Some(Progress { rate, window }) = section.min_progress {
            limits = limits.with_min_progress(rate.0, window.0)?;
        }
        #[cfg(feature = "redis")]
        limits.check_shared(&shared)?;
        Ok(Self {
            limits,
            fleet: section.fleet,
            #[cfg(feature = "redis")]
            shared,
        })
    }
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
            limit = limit.with_shed(shed.shed());
        }
        if let Some(streams) = self.max_streams {
            limit = limit.with_max_streams(streams);
        }
        if let Some(quota) = self.quota {
            limit = limit.with_quota(quota.quota());
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
    fn shed(&self) -> Shed {
        Shed {
            max_wait: self.max_wait.map(|span| span.0),
            max_transfer: self.max_transfer.map(|span| span.0),
        }
    }
}

impl QuotaEntry {
    fn quota(&self) -> Quota {
        Quota::new(self.bytes.0, self.window).with_exhausted(self.exhausted)
    }
}

impl ExemptEntry {
    fn exempt(self) -> Exempt {
        let small = |endpoint, below: Bytes| Exempt::Small {
            endpoint,
            bytes: below.0,
        };
        match self {
            Self::Path(path) => Exempt::Path(path),
            Self::Group(group) => Exempt::Group(group),
            Self::Principal(principal) => Exempt::Principal(principal),
            Self::Manifests { below } => small(Endpoint::Manifest, below),
            Self::Blobs { below } => small(Endpoint::Blob, below),
        }
    }
}
