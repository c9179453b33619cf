use http::Method;
use tower::Layer;

use super::lesson::Watched;
use super::no_referrers::no_referrers;
use super::{BindingLayer, DigestBinding};
use crate::middleware::{Check, Checked, Head, Kept, Outcome, Parts, Wraps};
use crate::oci::{Action, BasePath, Endpoint, Route};
use crate::record::Record;
use crate::responder::{Declined, decline_mount};
use crate::{Principal, Refusal};

/// The service of [`BindingLayer`].
pub type Bound<S> = Checked<S, BindingLayer>;

impl<S> Bound<S> {
    /// Puts `inner` behind [`BindingLayer::new`].
    pub fn new(inner: S, binding: DigestBinding) -> Self {
        Self::with(inner, BindingLayer::new(binding))
    }
}

impl<S> Layer<S> for BindingLayer {
    type Service = Bound<S>;

    fn layer(&self, inner: S) -> Bound<S> {
        Bound::with(inner, self.clone())
    }
}

impl BindingLayer {
    /// Whether the request may go on; its answer may be learnt from then.
    fn decide(&self, head: &mut Head, kept: &mut Kept) -> Result<(), Turned> {
        let Some(binding) = &self.binding else {
            return Ok(());
        };
        let route = if self.exempts(head) {
            Route::of(head).map_err(Refusal::from)?
        } else {
            bound(binding, head)?
        };
        let watched = matches!(
            (route.endpoint(), route.action()),
            (Endpoint::Manifest | Endpoint::Referrers, Action::Pull)
                | (_, Action::Push | Action::Delete)
        );
        if watched {
            kept.answering.learn = Some(Box::new(Watched {
                binding: binding.clone(),
                since: binding.now(),
                sends: [Method::POST, Method::PUT].contains(head.method()),
                route,
            }));
        }
        Ok(())
    }
}

impl BindingLayer {
    /// Whether the caller is in a group that is not bound.
    fn exempts(&self, head: &Head) -> bool {
        let groups = Principal::of(head.extensions()).map_or(&[][..], Principal::groups);
        groups.iter().any(|group| self.exempt.contains(group))
    }
}

impl<B> Wraps<B> for BindingLayer {
    type Body = B;
}

impl<B> Check<B> for BindingLayer {
    fn check(&self, head: &mut Head, _: &B, kept: &mut Kept) -> Outcome {
        BasePath::apply(self.base_path.as_ref(), head);
        match self.decide(head, kept) {
            Ok(()) => Outcome::Pass,
            Err(Turned::Refused(refusal)) => Outcome::refuse(self.responder.refuse(refusal, head)),
            Err(Turned::NoReferrers) => Outcome::refuse(no_referrers(head)),
        }
    }

    fn wrap(body: B, _: Parts) -> B {
        body
    }
}

/// Why a request does not go on.
enum Turned {
    Refused(Refusal),
    /// It is answered as if there were no referrers of what it names.
    NoReferrers,
}

impl From<Refusal> for Turned {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn bound(binding: &DigestBinding, request: &mut Head) -> Result<Route, Turned> {
    let route = Route::of(request).map_err(Refusal::from)?;
    let Some(repository) = route.repository() else {
        return Ok(route);
    };
    if route.action() == Action::Pull
        && let Some(digest) = route.digest()
        // A client takes "not there" for an answer, and what cannot be found out is none.
        && !binding
            .find_out(route.registry(), repository, digest)
            .ok_or(Refusal::Unavailable)?
    {
        if let Some(record) = Record::of(request.extensions()) {
            record.explained(format!(
                "no manifest was seen by which {repository} leads to {digest}"
            ));
        }
        return Err(match route.endpoint() {
            Endpoint::Referrers => Turned::NoReferrers,
            _ => Turned::Refused(Refusal::PolicyDenied),
        });
    }
    if let Some(digest) = route.mount() {
        let from = route.mount_from().unwrap_or(repository);
        if !binding.leads_to(route.registry(), from, digest) {
            // So that the client has to have it, also where that cannot be found out.
            let why = format!("no manifest was seen by which {from} leads to {digest}");
            decline_mount(request, Declined::Digest, why)?;
            return Ok(Route::of(request).map_err(Refusal::from)?);
        }
    }
    Ok(route)
}
