//! Who asks: Basic and Bearer credentials, client certificates, or both.
//!
//! [`TokenAuthLayer`] reads the head of a request, before its body is polled, and puts a
//! [`Principal`](crate::Principal) into its extensions or refuses it; [`Authentication::identify`] tells
//! servers that are no tower services who asks. [`CredentialSource`]s are environment variables, token
//! files, Kubernetes Secret directories, htpasswd files, credentials files and digests, combined freely;
//! only digests are kept. A token is looked up by its SHA-256 digest, so that 100,000 cost about as much as
//! one. An unknown user, a wrong password, a token that has expired and one of another network get answers
//! with the same bytes, and time does not tell a wrong password from an unknown user. Which random token
//! was unknown may show in nanoseconds: 128 random bits cannot be guessed at any speed.
//!
//! Passwords, kept as bcrypt or Argon2id hashes, are verified off the async workers, so many at a time and
//! no more ([`PasswordOptions`]), and a right one is remembered for a while. For each name, known or not,
//! as many hashes of each cost are verified as anybody has: while passwords are moved from one cost to
//! another, a verification takes as long as both. Failures are throttled per source and, of passwords, per
//! claimed id ([`ThrottleOptions`]); to hang up before the answer is to fail. A right credential that
//! cannot be guessed (a generated or strong token, a signed token, a certificate) passes the throttle
//! whatever others behind its address did; passwords and tokens marked as weak stay behind it.
//!
//! Where a token and a certificate are needed, the certificate comes first: without one no token is
//! looked at.
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
//! use http_body_util::{Empty, Full};
//! use portcullis::connection::{AddConnection, Connection};
//! use portcullis::Principal;
//! use portcullis::reload::WatchOptions;
//! use portcullis::auth::{
//!     Authentication, CredentialSource, Credentials, TokenAuthLayer,
//! };
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
//! let ci = CredentialSource::sha256("ci", [digest])?.in_groups(["pushers"]);
//! let credentials = Credentials::watch([ci], WatchOptions::default())?;
//! let service = ServiceBuilder::new()
//!     .layer(TokenAuthLayer::new(Authentication::token(credentials)))
//!     .service_fn(|request: Request<Empty<Bytes>>| async move {
//!         let name = Principal::of(request.extensions()).map(ToString::to_string);
//!         Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(name.unwrap_or_default()))))
//!     });
//!
//! // A server does this for each connection: failures are throttled by the client's address.
//! let client = Connection::builder("192.0.2.1:4711".parse()?).build();
//! let service = AddConnection::new(service, client);
//! let request = Request::builder().header(AUTHORIZATION, "Bearer test").body(Empty::new())?;
//! assert_eq!(service.clone().oneshot(request).await?.status(), 200);
//! assert_eq!(service.oneshot(Request::new(Empty::new())).await?.status(), 401);
//! # Ok(()) }
//! ```
//!
//! # A credentials file
//!
//! ```toml
//! [[credential]]
//! id = "ci"
//! groups = ["pushers"]
//! networks = ["10.0.0.0/8"]                         # good from these only
//! identity = "spiffe://example.org/ns/build/sa/ci"  # good with this certificate only
//! comment = "the build farm"
//!
//! [[credential.secret]]                             # any one is enough: rotate with an overlap
//! digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
//! expires = 2027-01-01T00:00:00Z
//!
//! [[credential.secret]]
//! digest = "$argon2id$v=19$m=19456,t=2,p=1$…"
//! not_before = 2026-12-01T00:00:00Z
//!
//! [[credential.secret]]
//! digest = "sha256:…"
//! weak = true                                       # it can be guessed: throttled as passwords are
//! ```

mod asking;
mod authenticate;
mod authentication;
mod authorization;
mod binding;
mod certificate_owner;
#[cfg(feature = "jwt")]
mod coverage;
mod credential;
mod credentials;
mod debts;
mod decision;
mod digest;
mod error;
#[cfg(feature = "config")]
pub(crate) mod file;
mod generated;
#[cfg(feature = "passwords")]
mod htpasswd;
mod identify;
#[cfg(feature = "jwt")]
pub mod jwt;
mod layer;
mod password_check;
#[cfg_attr(
    not(feature = "passwords"),
    allow(dead_code, unreachable_pub, reason = "there are no passwords then")
)]
mod passwords;
mod service;
mod situation;
mod source;
mod sources;
mod strength;
mod throttle;
mod turns;
mod validity;
mod verified_cache;

pub use authenticate::{Authenticate, Authenticating};
pub use authentication::Authentication;
#[cfg(feature = "config")]
pub(crate) use authentication::Certificate;
pub(crate) use binding::Binding;
pub use credential::{Credential, Secret};
pub use credentials::Credentials;
pub use error::CredentialError;
pub use generated::GeneratedToken;
pub use layer::TokenAuthLayer;
#[cfg(feature = "passwords")]
pub use passwords::PasswordOptions;
pub use service::TokenAuth;
pub use source::CredentialSource;
#[cfg(feature = "config")]
pub(crate) use sources::Sources;
pub use throttle::ThrottleOptions;
