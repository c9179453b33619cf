use http::Extensions;
use tower::Layer;

use super::explain::Reason;
use super::verdicts::{Question, Verdicts};
use super::{Caller, Policy, PolicyLayer, Verdict};
use crate::middleware::{Check, Checked, Head, Kept, Outcome, Parts, Wraps};
use crate::oci::{BasePath, Route};
use crate::record::{Notices, Record};
use crate::reload::Current;
use crate::responder::{Declined, decline_mount};
use crate::telemetry::metrics;
use crate::{Connection, Refusal, Watched};

/// The service of [`PolicyLayer`].
pub type Enforce<S> = Checked<S, PolicyLayer>;

impl<S> Enforce<S> {
    /// Puts `inner` behind [`PolicyLayer::watching`].
    pub fn new(inner: S, policy: impl Into<Watched<Policy>>) -> Self {
        Self::with(inner, PolicyLayer::watching(policy.into()))
    }
}

impl<S> Layer<S> for PolicyLayer {
    type Service = Enforce<S>;

    fn layer(&self, inner: S) -> Enforce<S> {
        Enforce::with(inner, self.clone())
    }
}

impl PolicyLayer {
    /// Whether the request may go on. What was found out is put into its extensions.
    fn decide(&self, head: &mut Head) -> Result<(), Refusal> {
        Route::found(head).map_err(Refusal::from)?;
        let extensions = head.extensions();
        let route = extensions.get::<Route>().ok_or(Refusal::Unavailable)?;
        if let Some(record) = Record::of(extensions) {
            record.routed(route);
        }
        let policy = self.policy.load();
        // A guard without a policy has this one: that the request is a route is all that it asks for.
        if policy.is_open() && self.shadow.is_none() {
            return Ok(());
        }
        let caller = Caller::of(extensions);
        let verdict = self.verdict(&policy, caller, route, extensions);
        let mut shadow_refuses = false;
        if let Some(shadow) = &self.shadow {
            let shadow = shadow.load();
            // One that has ended says nothing that an operator would want to compare.
            if !shadow.has_lapsed() && !policy.has_lapsed() {
                let shadow = (&*shadow, Record::of(extensions));
                shadow_refuses = self.compare(&policy, shadow, verdict, caller, route);
            }
        }
        if let Some(refusal) = verdict.refusal() {
            if policy.has_lapsed() {
                return Err(Refusal::Unavailable);
            }
            if let Some(record) = Record::of(extensions) {
                let reason = Reason {
                    policy: &policy,
                    verdict,
                    caller,
                    route,
                };
                record.explained(reason.to_string());
            }
            return Err(refusal);
        }
        let declined = verdict.declines_mount().then(|| {
            let reason = Reason {
                policy: &policy,
                verdict: policy.deciding(verdict, &caller, route),
                caller,
                route,
            };
            reason.to_string()
        });
        let rule = policy.rule_of(&verdict);
        let class = rule.and_then(|rule| rule.rate_class.clone());
        let deprecated = rule.and_then(|rule| rule.deprecated.clone());
        if let Some(why) = declined {
            decline_mount(head, Declined::Policy, why)?;
        }
        if let Some(class) = class {
            head.extensions_mut().insert(class);
        }
        if shadow_refuses || deprecated.is_some() {
            Notices::note(head.extensions_mut(), |notices| {
                notices.shadow_refuses |= shadow_refuses;
                // A policy outside this one may have noted its own.
                if deprecated.is_some() {
                    notices.deprecated = deprecated;
                }
            });
        }
        Ok(())
    }

    /// What was said on this connection to the same question, else what the policy says now.
    fn verdict(
        &self,
        policy: &Current<Policy>,
        caller: Caller<'_>,
        route: &Route,
        extensions: &Extensions,
    ) -> Verdict {
        let decide = || policy.decide(&caller, route, self.tags.as_deref());
        let Some(known) = Connection::of(extensions).and_then(Connection::kept::<Verdicts>) else {
            return decide();
        };
        let Some(question) = Question::new(self.id, policy.generation(), caller, route) else {
            return decide();
        };
        if let Some(verdict) = known.get(&question) {
            return verdict;
        }
        let verdict = decide();
        known.put(&question, verdict);
        verdict
    }

    /// Notes in the record what the shadow policy says, if it says otherwise; returns whether it refuses what is
    /// allowed.
    fn compare(
        &self,
        policy: &Policy,
        (shadow, record): (&Policy, Option<&Record>),
        enforced: Verdict,
        caller: Caller<'_>,
        route: &Route,
    ) -> bool {
        let verdict = shadow.decide(&caller, route, self.tags.as_deref());
        let allows = |verdict: Verdict| verdict.is_allowed() && !verdict.declines_mount();
        if verdict.is_allowed() == enforced.is_allowed() && allows(verdict) == allows(enforced) {
            return false;
        }
        metrics::shadow_differed(allows(verdict));
        let enforced_allows = enforced.is_allowed();
        if let Some(record) = record {
            let reason = |policy: &Policy, verdict| {
                let verdict = policy.deciding(verdict, &caller, route);
                let reason = Reason {
                    policy,
                    verdict,
                    caller,
                    route,
                };
                reason.to_string()
            };
            let enforced = reason(policy, enforced);
            let shadow = reason(shadow, verdict);
            let detail = format!("in force: {enforced}; shadow: {shadow}");
            record.shadowed(allows(verdict), detail);
        }
        enforced_allows && !verdict.is_allowed()
    }
}

impl<B> Wraps<B> for PolicyLayer {
    type Body = B;
}

impl<B> Check<B> for PolicyLayer {
    fn check(&self, head: &mut Head, _: &B, _: &mut Kept) -> Outcome {
        BasePath::apply(self.base_path.as_ref(), head);
        Outcome::of(self.decide(head), &self.responder, head)
    }

    fn wrap(body: B, _: Parts) -> B {
        body
    }
}
