use std::collections::HashSet;

use crate::Principal;
use crate::identity::Method;

/// The property of a request that a limit, or a share, has one budget for each value of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "config", derive(serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "config", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Key {
    /// All traffic together.
    Total,
    /// Each group of the caller. A caller in several groups is charged in each.
    Group,
    /// The caller. A caller who is not authenticated is charged by source address.
    Principal,
    /// The client's address, cut to a prefix (IPv4 /32 and IPv6 /64 by default).
    Source,
    /// The repository. Requests that name none are not charged.
    Repository,
    /// The upstream registry that `?ns=` names. Requests that name none are not charged.
    Registry,
    /// The client's connection.
    Connection,
    /// One body.
    Stream,
}

/// Which bodies a limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "config", derive(serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "config", serde(rename_all = "lowercase"))]
pub(crate) enum Direction {
    /// Response bodies: what clients pull.
    Response,
    /// Request bodies: what clients push.
    Request,
    /// Both, added up.
    #[default]
    Both,
}

impl Direction {
    /// Which body a request with this method is for. An upload begins with a request that has no body yet.
    pub(super) fn of(method: &http::Method) -> Self {
        match *method {
            http::Method::GET | http::Method::HEAD => Self::Response,
            _ => Self::Request,
        }
    }
}

/// Whose traffic a limit counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "config", derive(serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "config", serde(rename_all = "lowercase"))]
pub(crate) enum Callers {
    /// Every caller's.
    #[default]
    All,
    /// That of authenticated callers.
    Authenticated,
    /// That of callers who are not authenticated.
    Anonymous,
    /// That of callers in one of these groups.
    Groups(HashSet<Box<str>>),
    /// That of these callers, in a principal's text form: `token:ci`, `cert:node-1`.
    Principals(HashSet<Box<str>>),
}

impl Callers {
    /// Returns whether this caller's traffic counts.
    #[inline]
    pub(super) fn include(&self, principal: Option<&Principal>) -> bool {
        let known = || principal.filter(|principal| principal.method() != Method::Anonymous);
        match self {
            Self::All => true,
            Self::Authenticated => known().is_some(),
            Self::Anonymous => known().is_none(),
            Self::Groups(groups) => known()
                .is_some_and(|caller| caller.groups().iter().any(|group| groups.contains(group))),
            Self::Principals(names) => {
                known().is_some_and(|caller| names.contains(caller.as_str()))
            }
        }
    }
}

impl Direction {
    pub(super) fn counts(self, direction: Self) -> bool {
        self == Self::Both || self == direction
    }
}
