use std::task::{Context, Poll};

use http::{Method, Request, Response};
use http_body::Body;
use tower::Service;

use super::future::Watched;
use super::no_referrers::no_referrers;
use super::{BindingBody, BindingFuture, BindingLayer, DigestBinding};
use crate::Refusal;
use crate::audit::Record;
use crate::oci::{Action, Endpoint, Route};
use crate::refusal::{Declined, ResponseFuture, decline_mount};

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
    fn admit<B>(&self, request: &mut Request<B>) -> Result<Option<Watched>, Turned> {
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

fn bound<B>(binding: &DigestBinding, request: &mut Request<B>) -> Result<Route, Turned> {
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
        return Err(match route.endpoint() {
            Endpoint::Referrers => Turned::NoReferrers,
            _ => Turned::Refused(Refusal::PolicyDenied),
        });
    }
    if let Some(digest) = route.mount() {
        let from = route.mount_from().unwrap_or(repository);
        if !binding.leads_to(route.registry(), from, digest) {
            // So that the client has to have it.
            let why = format!("no manifest was seen by which {from} leads to {digest}");
            decline_mount(request, Declined::Digest, why)?;
            return Ok(Route::of(request).map_err(Refusal::RouteInvalid)?);
        }
    }
    Ok(route)
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
            Err(turned) => {
                let answered = match turned {
                    Turned::Refused(refusal) => {
                        self.layer.responder.refuse_future(refusal, &request)
                    }
                    Turned::NoReferrers => ResponseFuture::refused(no_referrers(&request)),
                };
                BindingFuture::new(answered, None)
            }
        }
    }
}
