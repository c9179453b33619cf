//! Byte-rate limits on both bodies: exact, fair, nested, and able to refuse.
//!
//! One node holds an image and twenty want it; without a limit they take the whole link. A [`ByteRateLayer`]
//! holds the bodies of requests and responses to the rates of its [`Limits`]. All limits that apply hold at
//! once, and what is sent is what was counted, to the byte.
//!
//! ```
//! use std::convert::Infallible;
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Empty, Full};
//! use portcullis::rate::{ByteRateLayer, Key, Limit, Limits, Share, Tenant};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limits = Limits::new([
//!     // 500 MB/s in all: the nodes get twice what others get, and no caller starves.
//!     Limit::rate("total", Key::Total, 500_000_000)
//!         .with_share(Share::by(Key::Group).with_tenant("nodes", Tenant::weight(2)))
//!         .with_max_wait(Duration::from_secs(2)),
//!     // 50 MB/s for each caller, after a first 8 MB.
//!     Limit::rate("caller", Key::Principal, 50_000_000).with_burst(8_000_000),
//!     Limit::streams("streams", Key::Source, 64),
//! ])?;
//! let service = ServiceBuilder::new()
//!     .layer(ByteRateLayer::new(limits))
//!     .service_fn(|_: Request<_>| async {
//!         Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("a layer"))))
//!     });
//!
//! let response = service.oneshot(Request::new(Empty::<Bytes>::new())).await?;
//! assert_eq!(response.into_body().collect().await?.to_bytes(), "a layer");
//! # Ok(()) }
//! ```
//!
//! # How
//!
//! A schedule says how many bytes a rate has let pass since it began, a cell how far along that schedule a key
//! has come (the generic cell rate algorithm of ITU-T I.371): one atomic word, moved on by each reservation, behind by at most the burst. There
//! is no refill and no drift. A body takes its bytes in quanta, small enough to be smooth and large enough to
//! be cheap, from the narrowest limit to the widest; a body that must wait queues, and the limit's one timer
//! wakes the next one. Under a [`Share`], tenants are served by weight and a tenant's streams equally, however
//! many a tenant opens.
//!
//! A tenant with a hundred streams against nine with one each, at 100 MB/s in all, with a share and with one
//! bucket for all tenants (drawn by `cargo bench --bench shaping -- --full`):
//!
#![doc = include_str!("../../docs/greedy-tenant.svg")]
//!
//! # A fleet
//!
//! With the feature `redis`, the replicas of a service share total rates and quotas through a server
//! of Redis or Valkey, by leases, so that no body waits for it:
//!
#![cfg_attr(feature = "redis", doc = "```")]
#![cfg_attr(not(feature = "redis"), doc = "```ignore")]
//! use portcullis::rate::{Fleet, Key, Limit, Limits, Window};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let fleet = Fleet::new("redis://redis.example.org/0")?.refusing_when_unreachable();
//! let limits = Limits::new([
//!     Limit::rate("total", Key::Total, 500_000_000).with_fleet(&fleet),
//!     Limit::quota("daily", Key::Principal, 1 << 40, Window::Day).with_fleet(&fleet),
//! ])?;
//! # Ok(()) }
//! ```
//!
//! # What is never held back
//!
//! Response headers are never held back, but for the first answer in half a minute to a key whose quota
//! only the fleet's server knows. HEAD, 204 and 304 cost nothing, and a request with a body is slowed but never
//! refused, because clients cannot send it twice.

mod abort;
mod admission;
mod alarm;
mod bounds;
mod engine;
mod error;
#[cfg(feature = "redis")]
mod fleet;
mod gcra_cell;
mod handle;
mod headers;
mod key_limiter;
mod key_limiters;
mod keyed;
mod layer;
mod lease;
mod limit;
mod limits;
mod meter;
mod options;
mod pace;
mod pacer;
mod parameters;
mod permits;
mod plan;
mod progress;
mod quota;
mod quota_status;
mod rule;
mod schedule;
mod scheduler;
mod scope;
mod service;
mod stall;
mod starter;
mod subject;
mod tenants;
mod wait_slot;
mod watcher;

pub use abort::AbortSlow;
pub use bounds::{MAX_BURST, MAX_RATE};
pub use error::LimitsError;
#[cfg(feature = "redis")]
pub use fleet::Fleet;
#[cfg(feature = "redis")]
pub(crate) use fleet::Unreachable;
#[doc(hidden)]
pub use keyed::Keyed;
pub use layer::ByteRateLayer;
pub use limit::Limit;
pub use limits::Limits;
pub(crate) use options::Exhausted;
pub use options::{Share, Tenant, Window};
pub use scope::Key;
pub(crate) use scope::{Callers, Direction};
pub use service::ByteRate;
pub use stall::StallTimeout;
