//! The OCI distribution-spec as a gate reads it: routes, names, digests and the error body.
//!
//! [`Route::parse`] is a pure function of a request's method and target. A target that it accepts has one
//! reading only; any other is a [`RouteError`], because the service behind might read it another way.
//!
//! ```
//! use http::{Method, Uri};
//! use portcullis::oci::{Action, Endpoint, Route, RouteError};
//!
//! let uri = Uri::from_static("/v2/library/busybox/manifests/latest?ns=docker.io");
//! let route = Route::parse(&Method::GET, &uri)?;
//! assert_eq!((route.endpoint(), route.action()), (Endpoint::Manifest, Action::Pull));
//! assert_eq!(route.repository(), Some("library/busybox"));
//! assert_eq!((route.tag(), route.registry()), (Some("latest"), Some("docker.io")));
//! assert_eq!(route.to_string(), uri.to_string());
//!
//! // To a server that decodes first, this is the repository `library/busybox`.
//! let twofold = Uri::from_static("/v2/library%2Fbusybox/manifests/latest");
//! assert_eq!(Route::parse(&Method::GET, &twofold), Err(RouteError::NotCanonical));
//! # Ok::<(), RouteError>(())
//! ```

mod base_path;
mod endpoint;
mod error;
pub(crate) mod grammar;
mod host;
#[cfg(any(feature = "policy", feature = "jwt"))]
mod mount;
mod query;
mod route;
mod route_error;
mod scope;
mod target;

pub(crate) use base_path::{BasePath, asked};
pub use endpoint::{Action, Endpoint};
pub use error::{ErrorCode, error_body};
pub use grammar::{is_digest, is_name, is_tag};
pub(crate) use host::check_host;
pub use route::Route;
pub use route_error::RouteError;
#[cfg(feature = "jwt")]
pub(crate) use scope::Scope;
