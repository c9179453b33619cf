use std::fmt::Debug;

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body_util::Full;

use super::{Body, Observe, Pace, Watch};
use crate::record::REQUEST_ID;

/// What is to be done with the answer to a request. Dropped before there is one, the client, or a layer
/// outside, has let go of the request.
#[derive(Debug, Default)]
pub(crate) struct Answering {
    pub(crate) plan: Option<Box<dyn Plan>>,
    pub(crate) learn: Option<Box<dyn Learn>>,
    pub(crate) advise: Option<Box<dyn Advise>>,
    pub(crate) watch: Option<Box<dyn Watch>>,
    /// By which the log names the request, for the client.
    pub(crate) request_id: Option<HeaderValue>,
    // The last to be dropped: it writes the log.
    pub(crate) log: Option<Box<dyn Log>>,
}

/// How an answer of the inner service is limited.
pub(crate) trait Plan: Debug + Send {
    /// Decides on an answer by its head and the exact length of its body, if that is known. `ended`: it
    /// has no body.
    ///
    /// # Errors
    /// The answer to be given in its place.
    fn answered(
        self: Box<Self>,
        head: &mut Response<()>,
        length: Option<u64>,
        ended: bool,
    ) -> Result<Option<Box<dyn Pace>>, RefusalResponse>;
}

/// The answer to be given in place of the inner service's.
pub(crate) type RefusalResponse = Box<Response<Full<Bytes>>>;

/// What is learnt from an answer of the inner service.
pub(crate) trait Learn: Debug + Send {
    /// Learns from the head, and returns what reads the body.
    fn answered(self: Box<Self>, head: &Response<()>) -> Option<Box<dyn Observe>>;
}

/// Adds to the head of an answer of the inner service what its caller is to know besides.
pub(crate) trait Advise: Debug + Send {
    /// Adds it.
    fn answered(self: Box<Self>, head: &mut Response<()>);
}

/// Logs a request. Dropped early, it logs that too.
pub(crate) trait Log: Debug + Send {
    /// Says that the service is being polled, or no more. A panic leaves it said.
    fn polling(&mut self, polled: bool);

    /// Notes the head of the answer and the exact length of its body, if that is known, and returns what
    /// counts the body.
    fn answered(self: Box<Self>, head: &Response<()>, length: Option<u64>) -> Box<dyn Observe>;

    /// Notes that the service failed instead of answering.
    fn failed(self: Box<Self>);
}

impl Answering {
    #[inline]
    pub(super) fn polling(&mut self, polled: bool) {
        if let Some(log) = &mut self.log {
            log.polling(polled);
        }
    }

    /// Notes that the inner service failed.
    pub(super) fn failed(self) {
        if let Some(log) = self.log {
            log.failed();
        }
    }

    /// The inner service's answer, or a refusal in its place.
    pub(super) fn answer<R>(mut self, response: Response<R>) -> Response<Body<R>>
    where
        R: http_body::Body<Data = Bytes>,
    {
        let (parts, body) = response.into_parts();
        let mut head = Response::from_parts(parts, ());
        let mut body = Body::new(body);
        if let Some(plan) = self.plan.take() {
            let (length, ended) = (body.length(), body.ended());
            match plan.answered(&mut head, length, ended) {
                Ok(pace) => body.parts_mut().pace = pace,
                Err(refusal) => return self.refuse(*refusal),
            }
        }
        if let Some(learn) = self.learn.take() {
            body.parts_mut().copy = learn.answered(&head);
        }
        if let Some(advise) = self.advise.take() {
            advise.answered(&mut head);
        }
        self.finish(head, body)
    }

    /// The answer to a request that is refused.
    pub(super) fn refuse<R>(self, refusal: Response<Full<Bytes>>) -> Response<Body<R>>
    where
        R: http_body::Body<Data = Bytes>,
    {
        let (parts, body) = refusal.into_parts();
        self.finish(Response::from_parts(parts, ()), Body::refusal(body))
    }

    fn finish<R>(self, mut head: Response<()>, mut body: Body<R>) -> Response<Body<R>>
    where
        R: http_body::Body<Data = Bytes>,
    {
        if let Some(id) = self.request_id {
            head.headers_mut().insert(REQUEST_ID, id);
        }
        body.parts_mut().watch = self.watch;
        if let Some(log) = self.log {
            let count = log.answered(&head, body.length());
            body.parts_mut().count = Some(count);
        }
        head.map(|()| body)
    }
}
