//! A gate for container-image registries and mirrors, as [`tower`] layers.
//!
//! ```toml
//! # gate.toml
//! [tls]
//! certificate = "server.crt"
//! key = "server.key"
//! client_ca = ["ca.crt"]
//! ```
//!
#![cfg_attr(all(feature = "serve", feature = "config"), doc = "```no_run")]
#![cfg_attr(not(all(feature = "serve", feature = "config")), doc = "```ignore")]
//! use axum::{Router, routing::get};
//! use portcullis::{Guard, config::Config, serve};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let guard = Guard::from_config(&Config::load("gate.toml")?)?;
//!     let app = Router::new().route("/v2/", get(|| async { "{}" }));
//!     let tcp = serve::bind("127.0.0.1:5000").await?;
//!     Ok(serve::Server::new(guard).serve(tcp, app).await?)
//! }
//! ```
//!
//! A mirror serves every image that it holds to every client that reaches its port. Behind these layers it
//! answers the clients that the operator named: by network, by token, by a client certificate that is not
//! revoked, under a policy over the routes of the OCI distribution-spec, at a byte rate that leaves the node
//! usable, and with one line in the access log for each request. Everything that decides is kept fresh from
//! files; what cannot be decided is refused.
//!
//! - [`Guard`] is all of it as one layer, from a configuration file (`config::Config`) or a
//!   [builder](Guard::builder).
//! - Each part is a layer of its own too: [`access_log`], [`source`], `auth`, `crl`, `policy`, `rate`.
//! - `tls` is the server's side of TLS: certificates and client CAs that are reloaded, an acceptor, and
//!   integrations for axum and axum-server.
//!
//! # The way of a request
//!
//! ```text
//! TCP accept
//!   └─ TLS handshake ........ tls        chain to a client CA + revocation of that path (crl)
//!        └─ connection ...... connection PeerIdentity, parsed once, shared by every request on it
//!             └─ request
//!                  1 access log    access_log outermost: sees refusals and aborted transfers too
//!                  2 source        source    is this network allowed here at all?
//!                  3 authenticate  auth      token or peer certificate -> Principal
//!                  4 revocation    crl       revoked since the handshake?
//!                  5 policy        policy    may this Principal do this Action on this Repository?
//!                  6 byte rate     rate      shape, share or shed both bodies
//!                  └─ the user's service
//! ```
//!
//! Each numbered step is one [`tower::Layer`] that works alone.
//!
//! # Features
//!
//! | feature | gives | with it come |
//! | --- | --- | --- |
//! | `config` (default) | the configuration file | `crl`, `passwords`, `policy`, `rate` |
//! | `metrics` (default) | counters and gauges through the `metrics` facade | |
//! | `aws-lc-rs` (default), `ring` | the cryptography behind `tls`, `crl` and `jwt`: one of them is needed for these | |
//! | `auth` | Basic and Bearer tokens | `reload` |
//! | `passwords` | bcrypt and Argon2id hashes of passwords, htpasswd files | `auth` |
//! | `jwt` | signed tokens of registries' token servers and of Kubernetes | `auth` |
//! | `jwt-fetch` | their keys fetched from a URL | `jwt` |
//! | `tls` | rustls server set-up, acceptor, peer identity | `reload`, `x509` |
//! | `x509` | [`PeerIdentity`] from a certificate, for servers whose TLS is another's | |
//! | `crl` | certificate revocation lists | `tls` |
//! | `crl-fetch` | CRLs fetched from HTTP distribution points | `crl` |
//! | `policy` | an access policy over OCI routes | |
//! | `digest-binding` | content only by repositories that lead to it | `policy`, `reload` |
//! | `rate` | byte-rate limits | |
//! | `redis` | total rates and quotas that replicas share through Redis or Valkey | `rate` |
//! | `reload` | values read from files, and again when these change: [`Watched`]`::watch` | |
//! | `schema` | the JSON Schema of the configuration file | `config` |
//! | `json-log` | the access log as lines of JSON in a file of its own | |
//! | `serve` (default) | [`serve`]: the server | |
//! | `axum` | `axum::serve` integration, with or without TLS; paths inside of `nest` | |
//! | `axum-server` | axum-server integration | `tls` |
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

#[cfg(all(
    any(feature = "tls", feature = "jwt"),
    not(any(feature = "aws-lc-rs", feature = "ring"))
))]
compile_error!(
    "the features `tls` and `jwt`, and those that include them (`crl`, `config`, `axum-server`, …), need the \
     cryptography of one of the features `aws-lc-rs` and `ring`: add `aws-lc-rs`, or `ring` where there is \
     no C compiler for aws-lc-rs"
);

pub mod access_log;
pub mod admin;
#[cfg(feature = "auth")]
pub mod auth;
#[cfg(feature = "auth")]
pub mod client_warning;
#[cfg(feature = "config")]
pub mod config;
pub mod connection;
#[cfg(feature = "crl")]
pub mod crl;
#[cfg(any(feature = "tls", feature = "jwt-fetch"))]
mod crypto;
#[cfg(feature = "config")]
mod document;
mod error_text;
#[cfg(any(feature = "crl-fetch", feature = "jwt-fetch"))]
mod fetch;
pub mod guard;
pub mod identity;
#[cfg_attr(
    not(all(
        feature = "auth",
        feature = "crl",
        feature = "digest-binding",
        feature = "rate"
    )),
    allow(
        dead_code,
        unused_imports,
        reason = "what no layer that is there asks for"
    )
)]
pub mod middleware;
pub mod oci;
#[cfg(feature = "policy")]
pub mod policy;
#[cfg(feature = "rate")]
pub mod rate;
pub mod record;
pub mod refusal;
pub mod reload;
pub mod responder;
#[cfg(feature = "serve")]
#[cfg_attr(
    not(feature = "tls"),
    allow(dead_code, unused_mut, reason = "what only handshakes need")
)]
pub mod serve;
pub mod source;
pub mod telemetry;
#[cfg(feature = "tls")]
pub mod tls;
mod util;

pub use connection::{ClientAddr, Connection};
pub use guard::Guard;
pub use identity::{PeerIdentity, Principal};
pub use middleware::{Body, BodyError};
pub use refusal::{Preset, Refusal};
pub use reload::Watched;
pub use responder::Responder;

#[cfg(all(doctest, feature = "serve", feature = "config"))]
#[doc = include_str!("../README.md")]
struct Readme;
