use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::Service;

use super::entry::Entry;
use super::meters::Meters;
use super::output::Output;
use super::{RequestBody, ResponseBody, ResponseFuture};

/// The service of [`AccessLogLayer`](super::AccessLogLayer).
#[derive(Clone, Debug)]
pub struct AccessLog<S> {
    inner: S,
    output: Output,
    meters: Arc<Meters>,
}

impl<S> AccessLog<S> {
    pub(super) fn new(inner: S, output: Output, meters: Arc<Meters>) -> Self {
        Self {
            inner,
            output,
            meters,
        }
    }
}

impl<S, B, R> Service<Request<B>> for AccessLog<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
    R: http_body::Body,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let mut kept = Entry::begin(&mut request, &self.output, &self.meters);
        let record = kept.entry().map(|entry| entry.count_received());
        let request = request.map(|body| RequestBody::new(body, record));
        ResponseFuture::new(self.inner.call(request), kept)
    }
}
