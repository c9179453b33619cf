use std::net::IpAddr;

use super::{Actions, Effect, Rule};
use crate::oci::{Action, Endpoint, Route};
use crate::{ClientAddr, Principal};

/// Who asks, from where.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller<'a> {
    pub(super) principal: Option<&'a Principal>,
    pub(super) address: Option<IpAddr>,
}

/// Knows which tags there are, so that making a tag and changing one can be distinguished.
pub trait TagOracle: Send + Sync {
    /// Whether the tag is there; `None` if that is not known now, and the caller must then be
    /// allowed both. Asked on the thread that serves the request: answer from memory, or nearly.
    fn exists(&self, registry: Option<&str>, repository: &str, tag: &str) -> Option<bool>;
}

impl<F> TagOracle for F
where
    F: Fn(Option<&str>, &str, &str) -> Option<bool> + Send + Sync,
{
    fn exists(&self, registry: Option<&str>, repository: &str, tag: &str) -> Option<bool> {
        self(registry, repository, tag)
    }
}

/// One thing that must be allowed for a request to be. A request can be several.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access<'a> {
    /// Exactly one action.
    pub(super) action: Actions,
    pub(super) target: Target<'a>,
    pub(super) registry: Option<&'a str>,
    pub(super) tag: Option<&'a str>,
    /// Whether it takes from tags that the request does not name: the manifest, or a layer of theirs.
    pub(super) takes_tags: bool,
    pub(super) path: &'a str,
}

/// What an access is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// The registry as a whole, or a path.
    Registry,
    /// One repository.
    Repository(&'a str),
    /// Whichever repository holds a blob: a mount that does not say from where.
    AnyRepository,
}

/// Why a rule is not about an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mismatch {
    /// It is about other actions.
    Action,
    /// It is about other repositories.
    Repository,
    /// It is about other paths.
    Path,
    /// It is about other upstream registries.
    Registry,
    /// It is about other tags.
    Tag,
    /// It is about other callers.
    Who,
    /// It is about other networks.
    Network,
}

impl<'a> Caller<'a> {
    /// Makes the caller `principal`, or, with `None`, an anonymous one; at an address, if known.
    pub fn new(principal: Option<&'a Principal>, address: Option<IpAddr>) -> Self {
        Self { principal, address }
    }

    /// Returns the caller of the request with these extensions.
    pub fn of(extensions: &'a http::Extensions) -> Self {
        let address = ClientAddr::of(extensions).map(|client| client.ip());
        Self::new(Principal::of(extensions), address)
    }

    pub(super) fn is_anonymous(&self) -> bool {
        self.principal
            .is_none_or(|principal| principal.method() == crate::identity::Method::Anonymous)
    }
}

/// All that `route` needs, if it is one thing and no tag's existence matters: most requests are pulls.
pub(super) fn only_access(route: &Route) -> Option<Access<'_>> {
    let plain = route.action() == Action::Pull
        && route.query_tags().next().is_none()
        && route.mount().is_none()
        && route.mount_from().is_none();
    let target = Target::Repository(route.repository()?);
    plain.then(|| access(route, Actions::PULL, target, route.tag()))
}

fn access<'a>(
    route: &'a Route,
    action: Actions,
    target: Target<'a>,
    tag: Option<&'a str>,
) -> Access<'a> {
    Access {
        action,
        target,
        registry: route.registry(),
        tag,
        takes_tags: action == Actions::ERASE,
        path: route.path(),
    }
}

/// Everything that `route` needs.
pub(super) fn accesses<'a>(
    route: &'a Route,
    oracle: Option<&'a dyn TagOracle>,
) -> impl Iterator<Item = Access<'a>> {
    let repository = route.repository();
    let target = repository.map_or(Target::Registry, Target::Repository);
    let access = move |action, target, tag| access(route, action, target, tag);
    let in_path = route.tag();
    // What a delete takes away is what its path names, whatever else is in the request.
    let by_digest = route.action() == Action::Delete && in_path.is_none();
    let untagged = by_digest || route.tags().next().is_none();
    let plain = untagged.then(|| access(untagged_action(route), target, None));
    let tagged = route.tags().enumerate().flat_map(move |(at, tag)| {
        let moved = in_path.is_none() || at > 0;
        let exists = || oracle?.exists(route.registry(), repository?, tag);
        tagged_actions(route, moved, exists)
            .into_iter()
            .flatten()
            .map(move |action| access(action, target, Some(tag)))
    });
    let mount = match (route.mount(), route.mount_from()) {
        (_, Some(from)) => Some(access(Actions::PULL, Target::Repository(from), None)),
        (Some(_), None) => Some(access(Actions::PULL, Target::AnyRepository, None)),
        (None, None) => None,
    };
    plain.into_iter().chain(tagged).chain(mount)
}

fn untagged_action(route: &Route) -> Actions {
    match route.action() {
        Action::Probe => Actions::PROBE,
        Action::Pull => Actions::PULL,
        Action::Push => Actions::UPLOAD,
        Action::Delete => Actions::ERASE,
        Action::List => Actions::LIST,
        Action::Catalog => Actions::CATALOG,
        Action::Extension => Actions::EXTENSION,
        Action::Other => Actions::OTHER,
    }
}

/// zot CVE-2026-31801: a push is more than the making of a tag if the tag is there already,
/// whatever its name is.
fn tagged_actions(
    route: &Route,
    moved: bool,
    exists: impl FnOnce() -> Option<bool>,
) -> [Option<Actions>; 2] {
    match route.action() {
        // Of all that is pushed, manifests alone have tags.
        Action::Push => {
            let change = if moved {
                Actions::MOVE
            } else {
                Actions::REPLACE
            };
            match exists() {
                Some(true) => [Some(change), None],
                Some(false) => [Some(Actions::CREATE), None],
                None => [Some(Actions::CREATE), Some(change)],
            }
        }
        Action::Delete => [Some(Actions::UNTAG), None],
        _ => [Some(untagged_action(route)), None],
    }
}

impl Rule {
    /// Why the rule is not about `access` by `caller`; `None` if it is. The one place where that is
    /// decided.
    pub(super) fn mismatch(&self, access: &Access<'_>, caller: &Caller<'_>) -> Option<Mismatch> {
        if !self.actions.intersects(access.action) {
            return Some(Mismatch::Action);
        }
        if !access.action.on_paths().is_empty()
            && !self
                .paths
                .iter()
                .any(|path| path.matches(access.path, None))
        {
            return Some(Mismatch::Path);
        }
        if !self.is_about(access, caller) {
            return Some(Mismatch::Repository);
        }
        if !self.registries.is_empty() {
            let named = |name| {
                self.registries
                    .iter()
                    .any(|pattern| pattern.matches(name, None))
            };
            // What names none may go to any, by what the service takes for its own.
            let unnamed = self.effect == Effect::Deny;
            if !access.registry.map_or(unnamed, named) {
                return Some(Mismatch::Registry);
            }
        }
        if !self.is_about_tag(access) {
            return Some(Mismatch::Tag);
        }
        if !self.who.iter().any(|who| who.includes(caller.principal)) {
            return Some(Mismatch::Who);
        }
        if !self.is_about_network(caller) {
            return Some(Mismatch::Network);
        }
        None
    }

    fn is_about(&self, access: &Access<'_>, caller: &Caller<'_>) -> bool {
        let mut patterns = self.repositories.iter();
        match access.target {
            Target::Repository(name) => {
                let of_extension = access.action == Actions::EXTENSION && patterns.len() == 0;
                of_extension || patterns.any(|pattern| pattern.matches(name, caller.principal))
            }
            // zot CVE-2024-39897: the blob may be of any repository. So a caller that may pull everything may
            // have it, and no rule may keep anything from that caller.
            Target::AnyRepository => match self.effect {
                Effect::Allow => patterns.any(super::Pattern::is_universal),
                Effect::Deny => true,
            },
            Target::Registry => true,
        }
    }

    fn is_about_tag(&self, access: &Access<'_>) -> bool {
        if self.tags.is_empty() {
            return true;
        }
        match access.tag {
            Some(tag) => self.tags.iter().any(|pattern| pattern.matches(tag, None)),
            None => match self.effect {
                Effect::Allow => !access.takes_tags,
                Effect::Deny => access.takes_tags,
            },
        }
    }

    pub(super) fn is_about_network(&self, caller: &Caller<'_>) -> bool {
        if self.networks.is_empty() {
            return true;
        }
        match caller.address {
            Some(address) => {
                let address = address.to_canonical();
                self.networks
                    .iter()
                    .any(|network| network.contains(&address))
            }
            // A caller of no known address could be anywhere.
            None => self.effect == Effect::Deny,
        }
    }
}

impl Mismatch {
    /// Returns what the rule is about instead, in an operator's words.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Action => "other actions",
            Self::Repository => "other repositories",
            Self::Path => "other paths",
            Self::Registry => "other upstream registries",
            Self::Tag => "other tags",
            Self::Who => "other callers",
            Self::Network => "other networks",
        }
    }
}

/// Whether a request can do without this part of what it needs: all that an upload pulls is the blob that
/// it would mount.
pub(super) fn is_spare(route: &Route, access: &Access<'_>) -> bool {
    route.endpoint() == Endpoint::UploadStart && access.action == Actions::PULL
}
