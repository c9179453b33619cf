//! The OCI distribution-spec as a gate reads it: routes, names, digests and the error body.
//!
//! [`Route::parse`] is a pure function of a request's method and target. What it accepts under
//! `/v2/` has one reading only; anything else is a [`RouteError`], because the service behind might
//! read it another way.

mod error;
mod route;

pub use error::{ErrorCode, error_body};
pub use route::{Action, Endpoint, Route, RouteError};
