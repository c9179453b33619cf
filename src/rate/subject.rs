use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use http::{Extensions, Request};
use ipnet::IpNet;
#[cfg(feature = "redis")]
use sha2::{Digest, Sha256};

use crate::identity::Method;
use crate::oci::{Endpoint, Route, RouteError};
#[cfg(feature = "redis")]
use crate::util::hex;
use crate::{ClientAddr, Connection, Principal};

use super::options::Exempt;
use super::{Callers, Key, Limit, Limits};
#[cfg(feature = "policy")]
use crate::record::RateClass;

/// What a request can be charged to.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    principal: Option<Principal>,
    client: Option<ClientAddr>,
    connection: Option<u64>,
    repository: Option<Box<str>>,
    registry: Option<Box<str>>,
    endpoint: Option<Endpoint>,
    #[cfg(feature = "policy")]
    class: Option<RateClass>,
}

/// One value of a [`Key`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Charged<'a> {
    Total,
    Group(&'a str),
    Principal(&'a Principal),
    /// Where an unauthenticated caller comes from: a budget apart from that of the address itself.
    Unauthenticated(Option<IpNet>),
    Source(Option<IpNet>),
    Repository(&'a str),
    Registry(&'a str),
    Connection(u64),
    /// A client of which there is no connection to be seen, by its port.
    Peer(ClientAddr),
    Unknown,
}

impl Subject {
    /// Reads what is known of `request`; the route only if `routed`, since that parses it.
    ///
    /// # Errors
    /// What is asked for cannot be known, so that the limits by it would not hold.
    pub(super) fn of<B>(request: &mut Request<B>, routed: bool) -> Result<Self, RouteError> {
        let route = match routed.then(|| Route::of(request)) {
            Some(Err(error @ (RouteError::Host | RouteError::Stripped))) => return Err(error),
            // Another error is for the policy, or for the service.
            found => found.and_then(Result::ok),
        };
        Ok(Self::from_parts(request.extensions(), route.as_ref()))
    }

    fn from_parts(extensions: &Extensions, route: Option<&Route>) -> Self {
        let principal = Principal::of(extensions).cloned();
        Self {
            principal: principal.filter(|principal| principal.method() != Method::Anonymous),
            client: ClientAddr::of(extensions),
            connection: Connection::of(extensions).map(Connection::id),
            repository: route.and_then(|route| route.repository().map(Into::into)),
            registry: route.and_then(|route| route.registry().map(Into::into)),
            endpoint: route.map(Route::endpoint),
            #[cfg(feature = "policy")]
            class: RateClass::of(extensions).cloned(),
        }
    }

    /// Whether a limit counts what this subject sends and receives.
    pub(super) fn is_counted_by(&self, limit: &Limit) -> bool {
        #[cfg(feature = "policy")]
        if limit.class.is_some() && limit.class != self.class {
            return false;
        }
        match &limit.callers {
            Callers::Principals(names) => self.name().is_some_and(|name| names.contains(name)),
            callers => callers.include(self.principal.as_ref()),
        }
    }

    /// The principal's text form.
    fn name(&self) -> Option<&str> {
        self.principal.as_ref().map(Principal::as_str)
    }

    /// The class that the policy put the request into, if no limit is for it.
    pub(super) fn unlimited_class(&self, limits: &Limits) -> Option<&str> {
        #[cfg(feature = "policy")]
        if let Some(class) = &self.class
            && !limits.classes().any(|limited| limited == class)
        {
            return Some(class.name());
        }
        let _ = limits;
        None
    }

    /// What a limit by `key` charges: nothing, one budget, or one for each group.
    pub(super) fn charged(&self, key: Key, limits: &Limits) -> impl Iterator<Item = Charged<'_>> {
        let one = match key {
            Key::Total => Some(Charged::Total),
            Key::Principal => Some(match &self.principal {
                Some(principal) => Charged::Principal(principal),
                None => Charged::Unauthenticated(self.source(limits)),
            }),
            Key::Source => Some(Charged::Source(self.source(limits))),
            Key::Repository => self.repository.as_deref().map(Charged::Repository),
            Key::Registry => self.registry.as_deref().map(Charged::Registry),
            Key::Connection => Some(match (self.connection, self.client) {
                (Some(id), _) => Charged::Connection(id),
                (None, Some(client)) => Charged::Peer(client),
                (None, None) => Charged::Unknown,
            }),
            Key::Group | Key::Stream => None,
        };
        let principal = self.principal.iter().filter(move |_| key == Key::Group);
        let groups = principal.flat_map(Principal::groups);
        one.into_iter()
            .chain(groups.map(|group| Charged::Group(group)))
    }

    /// The tenant of a share by `key`. Everybody is of one: who has no group, say, is of the tenant
    /// without a name.
    pub(super) fn tenant(
        &self,
        key: Key,
        limits: &Limits,
        named: impl Fn(&str) -> bool,
    ) -> Charged<'_> {
        let own = self
            .charged(key, limits)
            .find(|charged| named(&charged.name()));
        own.or_else(|| self.charged(key, limits).next())
            .unwrap_or(Charged::Unknown)
    }

    fn source(&self, limits: &Limits) -> Option<IpNet> {
        let ip = self.client?.ip();
        let length = match ip {
            IpAddr::V4(_) => limits.ipv4_prefix,
            IpAddr::V6(_) => limits.ipv6_prefix,
        };
        IpNet::new(ip, length).ok().map(|net| net.trunc())
    }

    /// Whether a rule lets this caller and path pass without any limit.
    pub(super) fn is_exempt(&self, path: &str, rules: &[Exempt]) -> bool {
        rules.iter().any(|rule| match rule {
            Exempt::Path(exempt) => **exempt == *path,
            Exempt::Group(exempt) => {
                let mut groups = self.principal.iter().flat_map(Principal::groups);
                groups.any(|group| group == exempt)
            }
            Exempt::Principal(exempt) => self.name() == Some(&**exempt),
            Exempt::Small { .. } => false,
        })
    }

    /// Whether a rule lets some bodies of this endpoint pass without any limit, by their length.
    pub(super) fn may_be_small(&self, rules: &[Exempt]) -> bool {
        self.is_small(Some(0), rules)
    }

    /// Whether a rule lets a body of this exact length pass without any limit.
    pub(super) fn is_small(&self, length: Option<u64>, rules: &[Exempt]) -> bool {
        rules.iter().any(|rule| match rule {
            Exempt::Small { endpoint, bytes } => {
                self.endpoint == Some(*endpoint) && length.is_some_and(|length| length <= *bytes)
            }
            _ => false,
        })
    }
}

impl<'a> Charged<'a> {
    /// The name by which a configuration calls this as a tenant.
    pub(super) fn name(&self) -> Cow<'a, str> {
        match self {
            Self::Group(name) | Self::Repository(name) | Self::Registry(name) => {
                Cow::Borrowed(name)
            }
            Self::Principal(principal) => Cow::Borrowed(principal.as_str()),
            Self::Unauthenticated(_) => Cow::Borrowed("anonymous"),
            Self::Source(Some(net)) => Cow::Owned(net.to_string()),
            _ => Cow::Borrowed(""),
        }
    }
}

#[cfg(feature = "redis")]
impl Charged<'_> {
    /// The name by which every replica of a fleet calls this subject: a digest, so that the server learns no
    /// caller's name, and no name can break its keys.
    pub(super) fn shared_name(&self) -> Box<str> {
        let kind = match self {
            Self::Total => "total",
            Self::Group(_) => "group",
            Self::Principal(_) => "principal",
            Self::Unauthenticated(_) => "unauthenticated",
            Self::Source(_) => "source",
            Self::Repository(_) => "repository",
            Self::Registry(_) => "registry",
            Self::Connection(_) | Self::Peer(_) | Self::Unknown => "unknown",
        };
        let name = match self {
            Self::Unauthenticated(Some(net)) => Cow::Owned(net.to_string()),
            _ => self.name(),
        };
        let digest = Sha256::digest(format!("{kind}:{name}"));
        hex::encode(&digest[..16]).into()
    }
}

impl Hash for Charged<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Self::Total | Self::Unknown => {}
            Self::Group(text) | Self::Repository(text) | Self::Registry(text) => text.hash(state),
            Self::Principal(principal) => principal.as_str().hash(state),
            Self::Unauthenticated(net) | Self::Source(net) => net.hash(state),
            Self::Connection(id) => id.hash(state),
            Self::Peer(client) => client.hash(state),
        }
    }
}
