//! Who asks: Basic and Bearer credentials, client certificates, or both.
//!
//! [`TokenAuthLayer`] reads the head of a request, before its body is polled, and puts a
//! [`Principal`](crate::Principal) into its extensions or refuses it. Tokens come from files,
//! environment variables or digests ([`TokenSpec`]); only their SHA-256 digests are kept. A token is
//! digested once, looked up by that digest and compared in constant time, so that one token or
//! 100,000 cost the same, and an unknown user, a wrong password and an expired token look alike.
//!
//! With Basic (RFC 7617) the user is the token's id and the password the token; with Bearer (RFC 6750)
//! the token comes alone. `Authorization` is marked sensitive and taken off before the inner service
//! sees the request, so that it goes nowhere else.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bytes::Bytes;
//! use http::{Request, Response, header::AUTHORIZATION};
//! use http_body_util::Full;
//! use portcullis::Principal;
//! use portcullis::auth::{Authentication, TokenAuthLayer, TokenSpec, Tokens};
//! use portcullis::reload::WatchOptions;
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let token = TokenSpec::sha256("ci", ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]);
//! let tokens = Tokens::watch([token], WatchOptions::default())?;
//! let service = ServiceBuilder::new()
//!     .layer(TokenAuthLayer::new(Authentication::token(tokens)))
//!     .service_fn(|request: Request<()>| async move {
//!         let name = Principal::of(request.extensions()).map(ToString::to_string);
//!         Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(name.unwrap_or_default()))))
//!     });
//!
//! let request = Request::builder().header(AUTHORIZATION, "Bearer test").body(())?;
//! assert_eq!(service.clone().oneshot(request).await?.status(), 200);
//! assert_eq!(service.oneshot(Request::new(())).await?.status(), 401);
//! # Ok(()) }
//! ```

mod authentication;
mod authorization;
mod error;
mod layer;
mod service;
mod tokens;

pub use authentication::Authentication;
pub use error::TokenError;
pub use layer::TokenAuthLayer;
pub use service::TokenAuth;
pub use tokens::{TokenSpec, Tokens};
