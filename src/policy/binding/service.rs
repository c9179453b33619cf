use http::{Method, Uri};

use super::lesson::Watched;
use super::{BindingLayer, DigestBinding};
use crate::Refusal;
use crate::audit::Record;
use crate::middleware::{Check, Checked, Head, Kept, Outcome, Parts, Wraps};
use crate::oci::{Action, Endpoint, Route};

/// The service of [`BindingLayer`].
pub type Bound<S> = Checked<S, BindingLayer>;

impl<S> Bound<S> {
    /// Puts `inner` behind [`BindingLayer::new`].
    pub fn new(inner: S, binding: DigestBinding) -> Self {
        Self::with(inner, BindingLayer::new(binding))
    }
}

impl BindingLayer {
    /// Whether the request may go on; its answer may be learnt from then.
    fn decide(&self, head: &mut Head, kept: &mut Kept) -> Result<(), Refusal> {
        let Some(binding) = &self.binding else {
            return Ok(());
        };
        let route = bound(binding, head)?;
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

impl<B> Wraps<B> for BindingLayer {
    type Body = B;
}

impl<B> Check<B> for BindingLayer {
    fn check(&self, head: &mut Head, _: &B, kept: &mut Kept) -> Outcome {
        Outcome::of(self.decide(head, kept), &self.responder, head)
    }

    fn wrap(body: B, _: Parts) -> B {
        body
    }
}

fn bound(binding: &DigestBinding, request: &mut Head) -> Result<Route, Refusal> {
    let route = Route::of(request).map_err(Refusal::RouteInvalid)?;
    let Some(repository) = route.repository() else {
        return Ok(route);
    };
    if route.action() == Action::Pull
        && let Some(digest) = route.digest()
        && !binding.leads_to(route.registry(), repository, digest)
    {
        if let Some(record) = Record::of(request.extensions()) {
            record.explained(format!(
                "no manifest was seen by which {repository} leads to {digest}"
            ));
        }
        return Err(Refusal::PolicyDenied);
    }
    if let Some(digest) = route.mount() {
        let from = route.mount_from().unwrap_or(repository);
        if !binding.leads_to(route.registry(), from, digest) {
            return unmounted(request, &route);
        }
    }
    Ok(route)
}

/// A mount of what is not known to be there becomes an upload (distribution-spec, "Mounting a blob
/// from another repository": the registry may always do that), so that the client has to have it.
fn unmounted(request: &mut Head, route: &Route) -> Result<Route, Refusal> {
    let query = request.uri().query().unwrap_or_default();
    let rest: Vec<&str> = query
        .split('&')
        .filter(|pair| {
            let name = pair.split('=').next();
            !matches!(name, None | Some("" | "mount" | "from"))
        })
        .collect();
    let target = if rest.is_empty() {
        route.path().to_owned()
    } else {
        format!("{}?{}", route.path(), rest.join("&"))
    };
    let mut parts = request.uri().clone().into_parts();
    // Part of what was one already, so it is one.
    parts.path_and_query = Some(target.parse().map_err(|_| Refusal::Unavailable)?);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Refusal::Unavailable)?;
    request.extensions_mut().remove::<Route>();
    Route::of(request).map_err(Refusal::RouteInvalid)
}
