use std::task::{Context, Poll};

use http::{Request, Response};
use tower::Service;

use super::explain::Reason;
use super::{Caller, Policy, PolicyLayer, Verdict};
use crate::Refusal;
use crate::audit::{Record, metrics};
use crate::oci::Route;
use crate::refusal::{ResponseBody, ResponseFuture};

/// The service of [`PolicyLayer`].
#[derive(Clone, Debug)]
pub struct Enforce<S> {
    inner: S,
    layer: PolicyLayer,
}

impl<S> Enforce<S> {
    pub(super) fn new(inner: S, layer: PolicyLayer) -> Self {
        Self { inner, layer }
    }

    /// Whether the request may go on. What was found out is put into its extensions.
    fn admit<B>(&self, request: &mut Request<B>) -> Result<(), Refusal> {
        let route = Route::of(request).map_err(Refusal::RouteInvalid)?;
        if let Some(record) = Record::of(request.extensions()) {
            record.routed(&route);
        }
        let policy = self.layer.policy.load();
        let caller = Caller::of(request.extensions());
        let verdict = policy.decide(&caller, &route, self.layer.tags.as_deref());
        if let Some(shadow) = &self.layer.shadow {
            self.compare(&policy, &shadow.load(), verdict, caller, &route);
        }
        if let Some(refusal) = verdict.refusal() {
            if let Some(record) = Record::of(request.extensions()) {
                let reason = Reason {
                    policy: &policy,
                    verdict,
                    caller,
                    route: &route,
                };
                record.explained(reason.to_string());
            }
            return Err(refusal);
        }
        let class = policy
            .rule_of(&verdict)
            .and_then(|rule| rule.rate_class.clone());
        if let Some(class) = class {
            request.extensions_mut().insert(class);
        }
        Ok(())
    }

    fn compare(
        &self,
        policy: &Policy,
        shadow: &Policy,
        enforced: Verdict,
        caller: Caller<'_>,
        route: &Route,
    ) {
        let verdict = shadow.decide(&caller, route, self.layer.tags.as_deref());
        if verdict.is_allowed() == enforced.is_allowed() {
            return;
        }
        metrics::shadow_differed(verdict.is_allowed());
        let reason = |policy, verdict| Reason {
            policy,
            verdict,
            caller,
            route,
        };
        tracing::warn!(
            enforced = %reason(policy, enforced),
            shadow = %reason(shadow, verdict),
            "the shadow policy would {} this",
            if verdict.is_allowed() { "allow" } else { "refuse" },
        );
    }
}

impl<S, B, R> Service<Request<B>> for Enforce<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.admit(&mut request) {
            Ok(()) => ResponseFuture::called(self.inner.call(request)),
            Err(refusal) => self.layer.responder.refuse_future(refusal, &request),
        }
    }
}
