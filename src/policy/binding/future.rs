use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;

use super::DigestBinding;
use super::body::{BindingBody, Lesson};
use crate::oci::{Action, Endpoint, Route, is_digest};
use crate::refusal::ResponseFuture;

pin_project! {
    /// The future of [`Bound`](super::Bound): the inner service's, whose answer may be learnt from.
    #[derive(Debug)]
    pub struct BindingFuture<F> {
        #[pin]
        inner: ResponseFuture<F>,
        // On the heap: without a binding it is never there, and the future is moved by each layer.
        lesson: Option<Box<(DigestBinding, Route)>>,
    }
}

impl<F> BindingFuture<F> {
    pub(super) fn new(inner: ResponseFuture<F>, lesson: Option<(DigestBinding, Route)>) -> Self {
        let lesson = lesson.map(Box::new);
        Self { inner, lesson }
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
        let lesson = this
            .lesson
            .take()
            .and_then(|lesson| learn(lesson.0, lesson.1, &response));
        Poll::Ready(Ok(response.map(|body| BindingBody::new(body, lesson))))
    }
}

/// Learns what the head of the answer tells, and gives what its body is to be read for.
fn learn<B>(binding: DigestBinding, route: Route, response: &Response<B>) -> Option<Box<Lesson>> {
    let repository = route.repository()?;
    let registry = route.registry();
    let told = response
        .headers()
        .get("docker-content-digest")
        .and_then(|digest| digest.to_str().ok())
        .filter(|digest| is_digest(digest));
    match (route.endpoint(), route.action(), response.status()) {
        (Endpoint::Manifest, Action::Pull, StatusCode::OK) if binding.learns_from_pulls() => {
            // By its tag a manifest is found by name, so its digest belongs to that name.
            if let (Some(_), Some(digest)) = (route.tag(), told) {
                binding.bind(registry, repository, digest);
            }
            let digest = route.digest().or(told).map(Box::from);
            Some(Box::new(Lesson::new(binding, route, digest)))
        }
        (Endpoint::Referrers, Action::Pull, StatusCode::OK) if binding.learns_from_pulls() => {
            Some(Box::new(Lesson::new(binding, route, None)))
        }
        (endpoint, Action::Push, StatusCode::CREATED) if binding.learns_from_pushes() => {
            let pushed = match endpoint {
                Endpoint::Manifest => route.digest().or(told),
                _ => route.upload_digest().or(route.mount()),
            };
            binding.bind(registry, repository, pushed?);
            None
        }
        // distribution CVE-2026-35172: what was deleted stayed readable by what remembered it.
        (_, Action::Delete, status) if status.is_success() => {
            binding.unbind(registry, repository, route.digest()?);
            None
        }
        _ => None,
    }
}
