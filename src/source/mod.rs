//! Where a request comes from: [`ClientAddr`](crate::ClientAddr), network lists, trusted proxies.
//!
//! [`SourceLayer`] refuses a request before any other check if its client's network is not allowed. Deny wins
//! over allow; a client without a known address is refused wherever a network is listed.
//!
//! [`ForwardedLayer`] takes the client's address from `X-Forwarded-For` or `Forwarded`, from listed proxies
//! only; without it the address is the socket's peer, whatever a request's headers name. The layer removes a
//! proxy's headers, `X-Forwarded-Host` and `-Proto` among them, from the requests of other peers.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use portcullis::source::{Networks, SourceLayer};
//! use portcullis::{ClientAddr, Preset, Responder};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let networks = Networks::allow(["10.0.0.0/8".parse()?]).and_deny(["10.9.0.0/16".parse()?]);
//! let service = ServiceBuilder::new()
//!     .layer(SourceLayer::new(networks).with_responder(Responder::new(Preset::Mirror)))
//!     .service_fn(|_: Request<Full<Bytes>>| async {
//!         Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("yes"))))
//!     });
//!
//! let mut request = Request::new(Full::default());
//! request.extensions_mut().insert(ClientAddr::new("10.9.1.1:4711".parse()?));
//! let response = service.oneshot(request).await?;
//! assert_eq!(response.status(), 403);
//! # Ok(()) }
//! ```

mod forwarded;
mod forwarded_layer;
mod layer;
mod network_policy;
mod networks;
mod proxy_headers;
mod service;

#[cfg(feature = "config")]
pub(crate) use forwarded::ForwardedHeader;
pub use forwarded_layer::{Forwarded, ForwardedLayer};
pub use layer::SourceLayer;
pub use network_policy::NetworkPolicyError;
pub use networks::Networks;
#[cfg(feature = "policy")]
pub(crate) use networks::canonical;
pub(crate) use networks::{NetworkSet, within};
pub use service::Source;
