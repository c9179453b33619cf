use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use axum::http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use futures_util::future::Either;
use tower::{Layer, Service};
use tower_http::cors::{AllowHeaders, Cors, CorsLayer};

/// Lets pages of the origins that an operator names read the registry from a browser (CORS).
///
/// A browser shows no credentials with its preflight, so the preflights of those origins are answered before
/// the guard. Any other request, an `OPTIONS` that is no preflight too, meets the guard.
#[derive(Clone)]
pub(crate) struct BrowsersLayer {
    cors: CorsLayer,
    origins: Arc<[HeaderValue]>,
}

/// The service of [`BrowsersLayer`].
#[derive(Clone)]
pub(crate) struct Browsers<S> {
    cors: Cors<S>,
    origins: Arc<[HeaderValue]>,
}

impl BrowsersLayer {
    pub(crate) fn new(origins: &[HeaderValue]) -> Self {
        let exposed = [
            "docker-content-digest",
            "docker-upload-uuid",
            "etag",
            "link",
            "location",
            "oci-filters-applied",
            "oci-subject",
            "oci-tag",
            "range",
            "retry-after",
            "www-authenticate",
        ];
        let methods = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ];
        let cors = CorsLayer::new()
            .allow_origin(origins.to_vec())
            .allow_methods(methods)
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(exposed.map(HeaderName::from_static))
            .max_age(Duration::from_secs(60 * 60));
        Self {
            cors,
            origins: origins.into(),
        }
    }
}

impl<S> Layer<S> for BrowsersLayer {
    type Service = Browsers<S>;

    fn layer(&self, inner: S) -> Browsers<S> {
        Browsers {
            cors: self.cors.layer(inner),
            origins: Arc::clone(&self.origins),
        }
    }
}

impl<S> Browsers<S> {
    /// Whether it is a preflight (the Fetch standard, "CORS-preflight fetch") of a listed origin.
    fn answers<B>(&self, request: &Request<B>) -> bool {
        let headers = request.headers();
        headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
            && headers
                .get(ORIGIN)
                .is_some_and(|origin| self.origins.contains(origin))
    }
}

impl<S, B, R> Service<Request<B>> for Browsers<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Either<<Cors<S> as Service<Request<B>>>::Future, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.cors.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if request.method() == Method::OPTIONS && !self.answers(&request) {
            return Either::Right(self.cors.get_mut().call(request));
        }
        Either::Left(self.cors.call(request))
    }
}

/// `scheme://host[:port]`, as a browser writes it (RFC 6454 §6.2).
///
/// # Errors
/// The text is something else.
pub(crate) fn origin(text: &str) -> Result<HeaderValue, String> {
    let wrong = || format!("{text:?} is no origin like https://ui.example");
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let is_origin = uri.scheme().is_some() && uri.authority().is_some() && uri.path() == "/";
    if !is_origin || text.ends_with('/') || uri.query().is_some() {
        return Err(wrong());
    }
    HeaderValue::from_str(text).map_err(|_| wrong())
}
