use std::task::{Context, Poll};

use http::{Method, Request, Response, Uri};
use http_body::Body;
use tower::Service;

use super::future::Watched;
use super::{BindingBody, BindingFuture, BindingLayer, DigestBinding};
use crate::Refusal;
use crate::audit::Record;
use crate::oci::{Action, Endpoint, Route};
use crate::refusal::ResponseFuture;

/// The service of [`BindingLayer`].
#[derive(Clone, Debug)]
pub struct Bound<S> {
    inner: S,
    layer: BindingLayer,
}

impl<S> Bound<S> {
    pub(super) fn new(inner: S, layer: BindingLayer) -> Self {
        Self { inner, layer }
    }

    /// Whether the request may go on, and what its answer may be learnt from.
    fn admit<B>(&self, request: &mut Request<B>) -> Result<Option<Watched>, Refusal> {
        let Some(binding) = &self.layer.binding else {
            return Ok(None);
        };
        let route = bound(binding, request)?;
        let watched = matches!(
            (route.endpoint(), route.action()),
            (Endpoint::Manifest | Endpoint::Referrers, Action::Pull)
                | (_, Action::Push | Action::Delete)
        );
        Ok(watched.then(|| Watched {
            binding: binding.clone(),
            since: binding.now(),
            sends: [Method::POST, Method::PUT].contains(request.method()),
            route,
        }))
    }
}

fn bound<B>(binding: &DigestBinding, request: &mut Request<B>) -> Result<Route, Refusal> {
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
fn unmounted<B>(request: &mut Request<B>, route: &Route) -> Result<Route, Refusal> {
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

impl<S, B, R> Service<Request<B>> for Bound<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body<Data = bytes::Bytes>,
{
    type Response = Response<BindingBody<R>>;
    type Error = S::Error;
    type Future = BindingFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.admit(&mut request) {
            Ok(lesson) => {
                BindingFuture::new(ResponseFuture::called(self.inner.call(request)), lesson)
            }
            Err(refusal) => {
                let refused = self.layer.responder.refuse_future(refusal, &request);
                BindingFuture::new(refused, None)
            }
        }
    }
}
