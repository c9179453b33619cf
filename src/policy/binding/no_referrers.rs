use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::Full;

const NONE: &str = "{\"schemaVersion\":2,\
    \"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}";

/// The answer to a request for the referrers of what has none, or is not there: of either, a registry
/// that knows of referrers has an empty index (distribution-spec, "Listing Referrers"). A 404 would say
/// that it does not, and clients would look for a tag.
pub(super) fn no_referrers<B>(request: &Request<B>) -> Response<Full<Bytes>> {
    let head = request.method() == Method::HEAD;
    let body = if head { "" } else { NONE };
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    let headers = response.headers_mut();
    let media_type = HeaderValue::from_static("application/vnd.oci.image.index.v1+json");
    headers.insert(CONTENT_TYPE, media_type);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(NONE.len()));
    headers.insert(
        HeaderName::from_static("docker-distribution-api-version"),
        HeaderValue::from_static("registry/2.0"),
    );
    let mut pairs = request.uri().query().unwrap_or_default().split('&');
    if pairs.any(|pair| pair.split('=').next() == Some("artifactType")) {
        // Of nothing, all that does not fit is left out.
        let filters = HeaderName::from_static("oci-filters-applied");
        headers.insert(filters, HeaderValue::from_static("artifactType"));
    }
    response
}
