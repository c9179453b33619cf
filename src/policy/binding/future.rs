use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;

use super::DigestBinding;
use super::body::{BindingBody, Lesson};
use super::deletions::Moment;
use super::store::Place;
use crate::oci::{Action, Endpoint, Route, is_digest};
use crate::refusal::ResponseFuture;

pin_project! {
    /// The future of [`Bound`](super::Bound): the inner service's, whose answer may be learnt from.
    #[derive(Debug)]
    pub struct BindingFuture<F> {
        #[pin]
        inner: ResponseFuture<F>,
        // On the heap: without a binding it is never there, and the future is moved by each layer.
        request: Option<Box<Watched>>,
    }
}

/// A request whose answer may be learnt from.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) binding: DigestBinding,
    pub(super) route: Route,
    /// When it came.
    pub(super) since: Moment,
    /// Whether it may end a push: of uploads, the spec has it so for POST and PUT.
    pub(super) sends: bool,
}

impl Watched {
    pub(super) fn place(&self) -> Option<Place<'_>> {
        Some(Place {
            registry: self.route.registry(),
            repository: self.route.repository()?,
            since: self.since,
        })
    }
}

impl<F> BindingFuture<F> {
    pub(super) fn new(inner: ResponseFuture<F>, request: Option<Watched>) -> Self {
        let request = request.map(Box::new);
        Self { inner, request }
    }
}

impl<F, B, E> Future for BindingFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<BindingBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        let request = this.request.take();
        let lesson = request.and_then(|request| learn(*request, &response));
        Poll::Ready(Ok(response.map(|body| BindingBody::new(body, lesson))))
    }
}

/// Learns what the head of the answer tells, and gives what its body is to be read for.
fn learn<B>(request: Watched, response: &Response<B>) -> Option<Box<Lesson>> {
    let (binding, route) = (&request.binding, &request.route);
    let place = request.place()?;
    let told = response
        .headers()
        .get("docker-content-digest")
        .and_then(|digest| digest.to_str().ok())
        .filter(|digest| is_digest(digest));
    let digest = match (route.endpoint(), route.action(), response.status()) {
        (Endpoint::Manifest, Action::Pull, StatusCode::OK) if binding.learns_from_pulls() => {
            // By its tag a manifest is found by name, so its digest belongs to that name.
            if let (Some(_), Some(digest)) = (route.tag(), told) {
                binding.learn_digest(place, digest);
            }
            route.digest().or(told).map(Box::from)
        }
        (Endpoint::Referrers, Action::Pull, StatusCode::OK)
            if binding.learns_from_pulls() && binding.learns_from_referrers() =>
        {
            None
        }
        (endpoint, Action::Push, StatusCode::CREATED)
            if request.sends && binding.learns_from_pushes() =>
        {
            let asked = match endpoint {
                Endpoint::Manifest => route.digest(),
                Endpoint::UploadStart => route.mount().or(route.upload_digest()),
                _ => route.upload_digest(),
            };
            // What the service says that it took counts only if it is what was asked for.
            let pushed = match (asked, told) {
                (Some(asked), Some(told)) if asked != told => None,
                (None, told) if endpoint == Endpoint::Manifest => told,
                (asked, _) => asked,
            };
            binding.learn_digest(place, pushed?);
            return None;
        }
        // distribution CVE-2026-35172: what was deleted stayed readable by what remembered it.
        (_, Action::Delete, status) if status.is_success() => {
            binding.unbind(place.repository, route.digest()?);
            return None;
        }
        _ => return None,
    };
    let media_type = media_type(response.headers());
    Some(Box::new(Lesson {
        request,
        digest,
        media_type,
        content: Vec::new(),
    }))
}

/// The one `Content-Type`; of several, none that is known.
fn media_type(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut told = headers.get_all(CONTENT_TYPE).iter();
    match (told.next(), told.next()) {
        (Some(_), Some(_)) => Some(HeaderValue::from_static("")),
        (told, _) => told.cloned(),
    }
}
