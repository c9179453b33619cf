use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use super::{Caller, Verdict};
use crate::Principal;
use crate::oci::{Action, Endpoint, Route};

/// The last verdicts on a connection's requests, kept with the [`Connection`](crate::Connection). A verdict holds
/// for the policy and its generation that it was made in, and for exactly the caller, action and repository.
#[derive(Debug, Default)]
pub(super) struct Verdicts(Mutex<Vec<CachedVerdict>>);

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
struct CachedVerdict {
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
        let entry = CachedVerdict {
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

impl CachedVerdict {
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

#[cfg(test)]
mod tests {
    use http::{Method, Uri};

    use super::*;
    use crate::identity;
    use crate::policy::Actions;

    fn route(target: &'static str) -> Route {
        Route::parse(&Method::GET, &Uri::from_static(target)).unwrap()
    }

    #[test]
    fn a_verdict_is_remembered_for_the_same_question_and_for_no_other() {
        let token = |id: &str| Principal::new(identity::Method::Token, id);
        let (ci, other, member) = (token("ci"), token("other"), token("ci").in_groups(["g"]));
        let address = |last| Some(IpAddr::from([192, 0, 2, last]));
        let here = Caller::new(Some(&ci), address(1));
        let plain = route("/v2/a/blobs/x:y");
        let elsewhere = route("/v2/b/blobs/x:y");
        let of_registry = route("/v2/a/blobs/x:y?ns=docker.io");
        let session = Uri::from_static("/v2/a/blobs/uploads/1");
        let upload = Route::parse(&Method::GET, &session).unwrap();
        let ask = |layer, generation, caller, route| {
            Question::new(layer, generation, caller, route).unwrap()
        };
        let verdicts = Verdicts::default();
        let verdict = Verdict::allowed(3, Actions::PULL);
        verdicts.put(&ask(1, 2, here, &plain), verdict);
        assert_eq!(verdicts.get(&ask(1, 2, here, &plain)), Some(verdict));
        for question in [
            ask(9, 2, here, &plain),
            ask(1, 9, here, &plain),
            ask(1, 2, here, &upload),
            ask(1, 2, here, &elsewhere),
            ask(1, 2, here, &of_registry),
            ask(1, 2, Caller::new(Some(&ci), address(2)), &plain),
            ask(1, 2, Caller::new(Some(&ci), None), &plain),
            ask(1, 2, Caller::new(Some(&other), address(1)), &plain),
            ask(1, 2, Caller::new(Some(&member), address(1)), &plain),
            ask(1, 2, Caller::new(None, address(1)), &plain),
        ] {
            assert_eq!(verdicts.get(&question), None, "{question:?}");
        }
        // The anonymous have verdicts of their own.
        let anonymous = Caller::new(None, address(1));
        verdicts.put(&ask(1, 2, anonymous, &plain), verdict);
        assert_eq!(verdicts.get(&ask(1, 2, anonymous, &plain)), Some(verdict));
    }

    #[test]
    fn what_depends_on_tags_or_on_another_repository_is_not_remembered() {
        let put = |target| {
            let uri = Uri::from_static(target);
            Route::parse(&Method::PUT, &uri).unwrap()
        };
        let caller = Caller::new(None, None);
        for (route, remembered) in [
            (route("/v2/a/blobs/x:y"), true),
            (route("/v2/a/manifests/x:y"), true),
            (put("/v2/a/blobs/uploads/1"), true),
            (route("/v2/a/manifests/v1"), false),
            (put("/v2/a/manifests/v1"), false),
            (route("/v2/a/tags/list"), false),
            (route("/v2/"), false),
            (route("/healthz"), false),
        ] {
            let question = Question::new(1, 1, caller, &route);
            assert_eq!(question.is_some(), remembered, "{route}");
        }
    }

    #[test]
    fn the_last_eight_verdicts_are_kept() {
        let verdicts = Verdicts::default();
        let verdict = Verdict::allowed(3, Actions::PULL);
        let route = route("/v2/a/blobs/uploads/1");
        let ask = |generation| Question::new(1, generation, Caller::new(None, None), &route);
        for generation in 1..=20 {
            verdicts.put(&ask(generation).unwrap(), verdict);
        }
        let kept = (1..=20).filter(|generation| verdicts.get(&ask(*generation).unwrap()).is_some());
        assert_eq!(kept.collect::<Vec<_>>(), (13..=20).collect::<Vec<_>>());
    }
}
