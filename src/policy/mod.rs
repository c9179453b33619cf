//! Who may do what on which repositories.
//!
//! [`PolicyLayer`] reads each request as a [`Route`](crate::oci::Route) and asks a [`Policy`]
//! whether its [`Principal`](crate::Principal) may do that. What no rule allows is denied, and a
//! rule that denies wins over all that allow. A request under `/v2/` that has not exactly one reading
//! is refused before any rule is looked at; everything outside `/v2/` needs a rule that names its
//! path.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use portcullis::policy::{Actions, Pattern, Policy, PolicyLayer, Rule, Who};
//! use portcullis::{Principal, identity::Method};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let policy = Policy::new([
//!     Rule::allow("home", Who::Authenticated, Actions::PULL | Actions::PUSH)
//!         .on_repositories([Pattern::repository("home/{principal.id}/**")?]),
//! ])?;
//! let service = ServiceBuilder::new()
//!     .layer(PolicyLayer::new(policy))
//!     .service_fn(|_: Request<Full<Bytes>>| async {
//!         Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("yes"))))
//!     });
//!
//! let ask = |path: &str| {
//!     let mut request = Request::get(path).header("host", "registry.example").body(Full::<Bytes>::default()).unwrap();
//!     request.extensions_mut().insert(Principal::new(Method::Token, "alice"));
//!     service.clone().oneshot(request)
//! };
//! assert_eq!(ask("/v2/home/alice/app/manifests/latest").await?.status(), 200);
//! assert_eq!(ask("/v2/home/bob/app/manifests/latest").await?.status(), 403);
//! assert_eq!(ask("/metrics").await?.status(), 403);
//! # Ok(()) }
//! ```
//!
//! A mount from a repository that the caller may not pull from is none: the request goes on as an ordinary
//! upload, if the caller may push.
//!
//! # The file
//!
//! With the feature `config`, a policy is a TOML file ([`Policy::from_toml`], [`Policy::watch`]):
//!
//! ```toml
//! [[rules]]
//! name = "public images"          # what the log calls it
//! who = ["anyone"]
//! actions = ["pull", "list"]
//! repositories = ["library/**"]
//! registries = ["docker.io"]      # containerd's `?ns=`; without the key any, or none; in a deny
//!                                 # also requests that name none
//!
//! [[rules]]
//! name = "release"
//! who = ["token:ci", "spiffe://example.org/ns/*/sa/release"]
//! networks = ["10.0.0.0/8"]
//! actions = ["pull", "create"]    # may make tags and not change them
//! repositories = ["team/*"]
//! tags = ["v*"]
//! rate_class = "bulk"
//!
//! [[rules]]
//! name = "never latest"
//! effect = "deny"                 # wins over every allow
//! who = ["anyone"]
//! actions = ["push"]
//! repositories = ["**"]
//! tags = ["latest"]
//!
//! [[rules]]
//! name = "probes"
//! who = ["anyone"]
//! actions = ["other"]             # outside /v2/, path by path
//! paths = ["/healthz"]
//! ```
//!
//! `/v2/` itself may be requested by every caller that may do anything, except that anonymous callers are asked
//! for credentials there as soon as one rule needs them, or denies only callers without any, since Docker sends
//! none after a 200; a rule with the action `probe` settles it otherwise.
//!
//! # Many rules
//!
//! Rules are found by the segments with which their repositories begin, up to the first wildcard, and then by
//! the callers that they name: an id, a group, a SPIFFE ID or a certificate's name. So ten thousand of them
//! cost no more than a few. Rules that share both, as when `anyone` or `authenticated` may have `*/app-1`,
//! `*/app-2` and so on, or that only their tags or networks distinguish, are each evaluated, which takes some
//! 25 ns a rule; a connection that asks the same again is spared that: its last verdicts are kept with the
//! [`Connection`](crate::Connection).

mod access;
mod actions;
#[cfg(feature = "digest-binding")]
pub mod binding;
mod check;
mod error;
mod explain;
#[cfg(feature = "config")]
mod file;
mod hash;
mod index;
mod keyed;
mod layer;
mod mount;
mod pattern;
mod rule;
mod rules;
mod service;
mod verdict;
mod verdicts;
mod who;

pub use crate::record::RateClass;
pub use access::{Caller, TagOracle};
pub use actions::Actions;
#[cfg(feature = "digest-binding")]
pub use binding::{BindingLayer, DigestBinding, DigestOracle};
pub use check::Warning;
pub use error::PolicyError;
pub use explain::Explanation;
#[cfg(feature = "config")]
pub(crate) use file::PolicyFile;
pub use layer::PolicyLayer;
pub use pattern::Pattern;
pub(crate) use rule::Effect;
pub use rule::Rule;
pub use rules::Policy;
pub use service::Enforce;
pub use verdict::Verdict;
pub use who::Who;
