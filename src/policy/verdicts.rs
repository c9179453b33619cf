use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Caller, Verdict};
use crate::Principal;
use crate::oci::{Action, Endpoint, Route};

/// The last verdicts on a connection's requests, kept with the [`Connection`](crate::Connection) by
/// [`Builder::state`](crate::connection::Builder::state). A verdict holds for the policy and its
/// generation that it was made in, and for exactly the caller, action and repository.
#[derive(Clone, Debug, Default)]
pub struct Verdicts(Arc<Mutex<Vec<Entry>>>);

/// How many are kept: a pull asks for the parts of few repositories at once.
const KEPT: usize = 8;

/// What a verdict is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    layer: u64,
    generation: u64,
    caller: Caller<'a>,
    action: Action,
    registry: Option<&'a str>,
    repository: &'a str,
}

#[derive(Debug)]
struct Entry {
    layer: u64,
    generation: u64,
    principal: Option<Principal>,
    address: Option<IpAddr>,
    action: Action,
    registry: Option<Box<str>>,
    repository: Box<str>,
    verdict: Verdict,
}

impl<'a> Question<'a> {
    /// `None` where the answer depends on more than is compared: on tags, on a second repository, or
    /// on the whole path.
    pub(super) fn new(
        layer: u64,
        generation: u64,
        caller: Caller<'a>,
        route: &'a Route,
    ) -> Option<Self> {
        let plain = match route.endpoint() {
            Endpoint::Blob | Endpoint::Manifest | Endpoint::Referrers => {
                matches!(route.action(), Action::Pull)
            }
            Endpoint::Upload => true,
            _ => false,
        };
        let alone = route.tags().next().is_none()
            && route.mount().is_none()
            && route.mount_from().is_none();
        (plain && alone).then_some(Self {
            layer,
            generation,
            caller,
            action: route.action(),
            registry: route.registry(),
            repository: route.repository()?,
        })
    }
}

impl Verdicts {
    pub(super) fn get(&self, question: &Question<'_>) -> Option<Verdict> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.iter().find(|entry| entry.answers(question))?;
        Some(entry.verdict)
    }

    pub(super) fn put(&self, question: &Question<'_>, verdict: Verdict) {
        let entry = Entry {
            layer: question.layer,
            generation: question.generation,
            principal: question.caller.principal.cloned(),
            address: question.caller.address,
            action: question.action,
            registry: question.registry.map(Box::from),
            repository: question.repository.into(),
            verdict,
        };
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.truncate(KEPT - 1);
        entries.insert(0, entry);
    }
}

impl Entry {
    fn answers(&self, question: &Question<'_>) -> bool {
        self.layer == question.layer
            && self.generation == question.generation
            && self.action == question.action
            && *self.repository == *question.repository
            && self.registry.as_deref() == question.registry
            && self.address == question.caller.address
            && same(self.principal.as_ref(), question.caller.principal)
    }
}

/// Whether all that rules look at is the same; equal principals may be in different groups.
fn same(one: Option<&Principal>, other: Option<&Principal>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            one == other && one.groups() == other.groups() && one.peer() == other.peer()
        }
        (None, None) => true,
        _ => false,
    }
}
