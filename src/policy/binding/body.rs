use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderValue;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::future::Watched;
use crate::oci::Endpoint;
use crate::refusal::ResponseBody;

pin_project! {
    /// The body of [`Bound`](super::Bound): passed on as it comes, and, if it is a manifest, kept
    /// beside until it can be learnt from.
    #[derive(Debug)]
    pub struct BindingBody<B> {
        #[pin]
        inner: ResponseBody<B>,
        lesson: Option<Box<Lesson>>,
    }
}

/// A manifest, or a list of referrers, that passes.
#[derive(Debug)]
pub(super) struct Lesson {
    pub(super) request: Watched,
    pub(super) digest: Option<Box<str>>,
    pub(super) media_type: Option<HeaderValue>,
    pub(super) content: Vec<u8>,
}

/// The longest manifest that registries take and clients accept (distribution-spec, "Pushing
/// manifests").
const MANIFEST_MAX: usize = 4 * 1024 * 1024;

impl<B> BindingBody<B> {
    pub(super) fn new(inner: ResponseBody<B>, lesson: Option<Box<Lesson>>) -> Self {
        Self { inner, lesson }
    }
}

impl Lesson {
    fn learn(self) {
        let Some(place) = self.request.place() else {
            return;
        };
        let binding = &self.request.binding;
        // One that is no text is none of a manifest's.
        let media_type = self.media_type.as_ref();
        let media_type = media_type.map(|value| value.to_str().unwrap_or_default());
        if self.request.route.endpoint() == Endpoint::Referrers {
            binding.learn_referrers(place, media_type, &self.content);
            return;
        }
        let digest = self.digest.as_deref();
        let learnt = binding.learn_manifest(place, digest, media_type, &self.content);
        // A HEAD, or an answer that something compressed, has nothing to learn from.
        if !learnt && !self.content.is_empty() {
            tracing::warn!(
                repository = place.repository,
                digest,
                "a manifest is not what its digest or its media type says, or can be read in two \
                 ways: nothing is learnt from it"
            );
        }
    }
}

impl<B> Body for BindingBody<B>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        if let Some(lesson) = this.lesson {
            match &frame {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        lesson.content.extend_from_slice(data);
                    }
                }
                Some(Err(_)) => *this.lesson = None,
                None => {}
            }
        }
        let too_long = |lesson: &Lesson| lesson.content.len() > MANIFEST_MAX;
        if this.lesson.as_deref().is_some_and(too_long) {
            *this.lesson = None;
        }
        // Before the last byte is handed over: with it the client knows what to ask for next.
        let ended = frame.is_none()
            || this.inner.is_end_stream()
            || this.inner.size_hint().exact() == Some(0);
        if ended && let Some(lesson) = this.lesson.take() {
            lesson.learn();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Default> Default for BindingBody<B> {
    fn default() -> Self {
        Self::new(ResponseBody::default(), None)
    }
}
