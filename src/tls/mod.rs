//! The TLS server: certificates that come and go, client certificates, and an acceptor that gives each request
//! its connection.
//!
//! Without it a mirror's port is open to every client that reaches it, its certificate needs a restart when it
//! is renewed, and a client that is turned away at the handshake leaves no trace of the cause.
//!
//! A [`Builder`] names the files; [`Builder::watch`] returns a [`Watched`](crate::Watched) [`Material`],
//! replaced as a whole when they change. An [`Acceptor`] makes TLS connections under it, each with a
//! [`Connection`](crate::Connection): the client's address, the TLS parameters, and the
//! [`PeerIdentity`](crate::PeerIdentity) of a client certificate whose path webpki verified and whose
//! revocation was looked up (feature `crl`): in CRLs that take effect with the client CAs or not at all
//! (`Builder::with_crls`), or in CRLs and a deny list that change on their own (`Builder::with_revocation`). An acceptor
//! serves
//!
//! - `serve::Server` (feature `serve`), the accept loop of this crate,
//! - `axum::serve`, through `Listener` (feature `axum`),
//! - axum-server, as its `Accept` (feature `axum-server`),
//! - a loop of one's own, by [`Acceptor::accept`] and [`AddConnection`](crate::connection::AddConnection).
//!
//! A tonic server is served as the axum router that its `Routes::into_axum_router` makes of it; tonic's own
//! transport wants a trait of its own on its streams, for which this crate would have to depend on it.
//!
//! Handshakes are bounded in time and number, and a client's chain in length and size
//! ([`Builder::with_max_intermediates`], [`Builder::with_max_chain_size`]). A handshake that fails gives one
//! `warn!` event with the client's address, the name it asked for, what it sent and why that was refused; under
//! a flood only some are logged, and `portcullis_handshakes_total{outcome}` counts all.
//!
//! Behind a proxy that ends TLS itself, [`ForwardedLayer`] takes the certificate from its header. A program that
//! makes connections itself shows a certificate that follows its files by [`OwnCertificate`].
//!
//! Sessions are resumed (RFC 8446 §2.2) only under the material that they began under, and the
//! certificate kept with the session is verified again. A connection whose certificate is revoked or
//! has ended, or whose CA has ended or is removed, is closed when it is idle; until then
//! [`ForwardedLayer`] refuses its requests.
//!
//! ```no_run
//! use portcullis::reload::WatchOptions;
//! use portcullis::tls::{Acceptor, Builder, CertificateFiles, ClientCas};
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let material = Builder::with_certificate(CertificateFiles::secret("/etc/registry/tls"))
//!     .require_client_certificates(ClientCas::new(["/etc/registry/clients/ca.crt"]))
//!     .watch(WatchOptions::default())?;
//! let acceptor = Acceptor::new(material);
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:5000").await?;
//! loop {
//!     let (tcp, _) = listener.accept().await?;
//!     let acceptor = acceptor.clone();
//!     tokio::spawn(async move {
//!         let accepted = acceptor.accept(tcp).await?;
//!         // Serve `accepted.stream`, with `accepted.connection` in each request.
//! #       Ok::<_, portcullis::tls::HandshakeError>(())
//!     });
//! }
//! # }
//! ```

mod acceptor;
mod anchors;
#[cfg(feature = "axum-server")]
mod axum_server;
mod builder;
mod bundle;
mod certified_key;
mod chain;
#[cfg(feature = "crl")]
mod client_chain;
#[cfg(feature = "crl")]
mod client_check;
mod client_verifier;
mod constraints;
#[cfg(feature = "crl")]
mod crls;
mod error;
mod events;
mod expiry;
mod explain;
mod files;
mod fitness;
mod form;
mod forwarded;
mod handshake;
mod handshake_error;
mod key_kind;
mod keys;
#[cfg(feature = "axum")]
mod listener;
mod liveness;
mod loader;
mod material;
mod own_certificate;
mod own_certificates;
mod progress;
mod provider;
mod quoted;
mod reason;
mod rejection;
mod removed_ca;
mod requirements;
mod resolver;
mod search;
mod settings;
mod stream;
mod termination;
mod tickets;
mod time;
mod trusted;
mod verified;
mod verifier;

pub use acceptor::{Accepted, Acceptor};
pub use builder::{Builder, WantsClientAuth};
#[cfg(feature = "crl")]
pub use client_check::{ClientAnswer, ClientCheck};
pub use error::TlsError;
pub use expiry::Expiry;
pub use files::{CertificateFiles, ClientCas, certificates_in};
pub use forwarded::{Forwarded, ForwardedForm, ForwardedLayer};
pub use handshake_error::HandshakeError;
#[cfg(feature = "axum")]
pub use listener::Listener;
pub use material::Material;
pub use own_certificate::OwnCertificate;
pub use reason::Reason;
pub use stream::Stream;
