use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{Extensions, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::stream;
use http_body::Body as _;
use portcullis::oci::{Endpoint, Route, RouteError};
use portcullis::{ClientAddr, Principal};

use super::problem::Problem;
use super::query::Query;
use super::{blobs, listing, manifests, uploads};
use crate::store::{Caller, Callers, Reference, Store, Uploads, network, site};
use crate::upstream::PullThrough;

/// What the handlers share. `Clone` costs a few `Arc`s.
#[derive(Clone)]
pub(crate) struct Registry {
    pub(crate) store: Store,
    pub(crate) uploads: Uploads,
    pub(crate) pull: Option<PullThrough>,
    /// The registry that this one stands for: what clients ask of another (`?ns=`) is not here.
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) callers: Callers,
}

/// A request under `/v2/`, read.
pub(super) struct Call {
    pub(super) route: Route,
    pub(super) query: Query,
    /// Who causes the work.
    pub(super) caller: Caller,
    pub(super) request: Request,
}

/// On each answer. A browser neither guesses at a type nor runs anything: content is what callers push.
const HEADERS: [(&str, &str); 3] = [
    ("docker-distribution-api-version", "registry/2.0"),
    ("x-content-type-options", "nosniff"),
    (
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'; sandbox",
    ),
];

/// The registry as a service for any server.
pub(crate) fn router(registry: Registry) -> Router {
    Router::new()
        .route("/v2", any(answer))
        .route("/v2/", any(answer))
        .route("/v2/{*path}", any(answer))
        .fallback(|| async { Problem::NotFound })
        .with_state(registry)
}

async fn answer(State(registry): State<Registry>, request: Request) -> Response {
    let head = request.method() == Method::HEAD;
    let (name, group) = caller(request.extensions());
    let caller = registry.callers.caller(&name, &group);
    let work = dispatch(&registry, caller.clone(), request);
    let answered = caller.scope(work).await;
    let mut response = answered.unwrap_or_else(IntoResponse::into_response);
    for (name, value) in HEADERS {
        let (name, value) = (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
        response.headers_mut().insert(name, value);
    }
    if head {
        response = without_body(response);
    }
    response
}

async fn dispatch(
    registry: &Registry,
    caller: Caller,
    mut request: Request,
) -> Result<Response, Problem> {
    let call = Call {
        route: Route::of(&mut request)?,
        query: Query::parse(request.uri())?,
        caller,
        request,
    };
    // The port that a reference without one has.
    let without_port = |asked| str::strip_suffix(asked, ":443").unwrap_or(asked);
    let asked = call.route.registry().map(without_port);
    let namespace = registry.namespace.as_deref();
    if asked.is_some() && namespace.is_some() && asked != namespace {
        return Err(Problem::Namespace {
            unknown: call.route.unknown_code().as_str(),
        });
    }
    let reads = [Method::GET, Method::HEAD].contains(call.request.method());
    match (call.route.endpoint(), call.request.method().as_str()) {
        (Endpoint::Base, _) if reads => Ok(axum::Json(serde_json::json!({})).into_response()),
        (Endpoint::Blob, _) if reads => blobs::get(registry, call).await,
        (Endpoint::Blob, "DELETE") => blobs::delete(registry, call).await,
        (Endpoint::Manifest, _) if reads => manifests::get(registry, call).await,
        (Endpoint::Manifest, "PUT") => manifests::put(registry, call).await,
        (Endpoint::Manifest, "DELETE") => manifests::delete(registry, call).await,
        (Endpoint::UploadStart, "POST") => uploads::start(registry, call).await,
        (Endpoint::Upload, _) if reads => uploads::status(registry, &call),
        (Endpoint::Upload, "PATCH") => uploads::append(registry, call).await,
        (Endpoint::Upload, "PUT") => uploads::finish(registry, call).await,
        (Endpoint::Upload, "DELETE") => uploads::cancel(registry, call).await,
        (Endpoint::Tags, _) if reads => listing::tags(registry, call).await,
        (Endpoint::Referrers, _) if reads => listing::referrers(registry, call).await,
        (Endpoint::Catalog, _) if reads => listing::catalog(registry, call).await,
        (Endpoint::Extension | Endpoint::Outside, _) => Err(Problem::NotFound),
        (endpoint, _) => Err(RouteError::Method(endpoint).into()),
    }
}

/// By what the bounds go: a principal at an address. By the principal alone, all nodes of a cluster that have
/// one token would be one caller; by the address alone, all clients behind one proxy. All callers of a principal
/// are a group, and leave something for others; so are, without one, those of a site.
fn caller(extensions: &Extensions) -> (String, String) {
    let principal = Principal::of(extensions)
        .filter(|one| one.method() != portcullis::identity::Method::Anonymous);
    let address = ClientAddr::of(extensions).map(|found| found.ip());
    let address = address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let group = match principal {
        Some(principal) => format!("principal {principal}"),
        None => site(address).to_string(),
    };
    let principal = principal.map(ToString::to_string).unwrap_or_default();
    (format!("{principal} {}", network(address)), group)
}

impl Call {
    /// The owner of what the request begins: the principal, by how it showed itself.
    pub(super) fn owner(&self) -> String {
        let principal = Principal::of(self.request.extensions());
        principal.map(ToString::to_string).unwrap_or_default()
    }

    /// The repository, which every route with a handler that asks for it has.
    pub(super) fn repository(&self) -> Result<String, Problem> {
        let name = self.route.repository().ok_or(Problem::NotFound)?;
        Ok(name.to_owned())
    }

    /// The tag, digest or session at the end of the path.
    pub(super) fn reference(&self) -> Result<&str, Problem> {
        self.route.reference().ok_or(Problem::NotFound)
    }

    /// The reference of a manifest. A digest that this store cannot verify is no tag.
    pub(super) fn manifest(&self) -> Result<Reference, Problem> {
        match self.route.tag() {
            Some(tag) => Ok(Reference::Tag(tag.to_owned())),
            None => Ok(Reference::Digest(self.reference()?.parse()?)),
        }
    }

    pub(super) fn is_head(&self) -> bool {
        self.request.method() == Method::HEAD
    }
}

/// An answer without a body.
pub(super) fn empty<const N: usize>(
    status: StatusCode,
    headers: [(HeaderName, String); N],
) -> Response {
    (status, headers, Body::empty()).into_response()
}

/// The answer to a HEAD: the headers of a GET. HTTP/2 would otherwise send the body.
fn without_body(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let Some(length) = body.size_hint().exact() else {
        // It ends at once and says no length, where an empty one would say 0 (RFC 9110 §8.6).
        return Response::from_parts(parts, Body::from_stream(stream::empty::<Nothing>()));
    };
    let headers = &mut parts.headers;
    headers.entry(CONTENT_LENGTH).or_insert(length.into());
    Response::from_parts(parts, Body::empty())
}

type Nothing = Result<Bytes, Infallible>;

#[cfg(test)]
mod tests {
    use portcullis::identity::Method as Shown;

    use super::*;

    #[test]
    fn a_caller_is_a_principal_at_an_address() {
        let of = |id: &str, address: &str| {
            let mut extensions = Extensions::new();
            if !id.is_empty() {
                extensions.insert(Principal::new(Shown::Token, id));
            }
            extensions.insert(ClientAddr::new(address.parse().unwrap()));
            caller(&extensions).0
        };
        let one = of("node", "10.0.0.1:1");
        assert_eq!(one, of("node", "10.0.0.1:2"));
        for other in [
            of("node", "10.0.0.2:1"),
            of("other", "10.0.0.1:1"),
            of("", "10.0.0.1:1"),
        ] {
            assert_ne!(one, other);
        }
        let network = of("", "[2001:db8::1]:1");
        assert_eq!(network, of("", "[2001:db8::2:3]:1"));
        assert_ne!(network, of("", "[2001:db8:0:1::1]:1"));
    }
}
