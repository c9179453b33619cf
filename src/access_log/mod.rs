//! The access log: one event a request, however it ends.
//!
//! Without it a refusal, a pull that was cut half-way and a stolen token's first use look the same from
//! outside: like nothing. [`AccessLogLayer`], outermost, makes a [`Record`](crate::record::Record) for each
//! request and puts it in the extensions; the layers inside note in it what they found (principal, route,
//! refusal, time spent throttled). When the answer's body ends or is dropped, the layer makes exactly one
//! [`AccessEvent`], which a [`Sink`] writes: [`TracingSink`], the default, as a [`tracing`] event, target
//! `portcullis::access`, level `INFO`; `JsonLines` (feature `json-log`) as lines of JSON into a file of its
//! own. The request is counted through the [`metrics`](https://docs.rs/metrics) facade (feature `metrics`).
//! There is one event however the request ends: the client goes away, the service fails or panics, a transfer
//! is cut.
//!
//! | field | what it is |
//! | --- | --- |
//! | `client.address`, `client.port` | [`ClientAddr`](crate::ClientAddr) |
//! | `network.peer.address` | the proxy that reported the client's address |
//! | `principal` | [`Principal`](crate::Principal): `anonymous`, `token:ci`, `cert:spiffe://…` |
//! | `http.request.method`, `url.scheme`, `url.path`, `url.query` | the request line; of the query only what the distribution-spec names |
//! | `http.request.method_original` | a method that OpenTelemetry does not list, whose `http.request.method` is `_OTHER` |
//! | `server.address`, `server.port` | the host that the client asked, and the port if it named one |
//! | `network.protocol.version`, `user_agent.original` | `1.1` or `2`; the client's name for itself |
//! | `oci.endpoint`, `oci.action` | [`Endpoint`](crate::oci::Endpoint) and [`Action`](crate::oci::Action) |
//! | `oci.registry`, `oci.repository`, `oci.reference`, `oci.digest` | what was asked for (`?ns=`, name, tag or digest; of an upload a hash of its session, as in `url.path`) and the digest that was answered |
//! | `http.response.status_code` | absent if there was no answer |
//! | `refusal.reason`, `refusal.detail` | [`Refusal::label`](crate::Refusal::label) and what decided |
//! | `error.type` | how it ended, if not well, or the status of a server's error |
//! | `shadow.verdict`, `shadow.detail` | the shadow policy's verdict, `allow` or `refuse`, where the active policy's differs, and why each decided so |
//! | `mount.declined` | why a mount was taken off the request, which went on as an ordinary upload |
//! | `revocation` | what the revocation check said: `good`, `denied`, `revoked`, `unknown`, `unknown_allowed`, `exempt` or `expired` |
//! | `http.request.body.size`, `http.response.body.size` | bytes of the bodies that went through, without framing |
//! | `http.server.request.duration`, `time_to_first_byte`, `throttled` | seconds: in all, until the answer's head was there, and held back by limits |
//! | `tls.protocol.version`, `tls.cipher`, `tls.resumed`, `tls.client.subject`, `tls.client.hash.sha256` | the connection and its verified certificate |
//! | `connection.id`, `request.id` | the request's id is the client's `X-Request-Id` if well formed, made otherwise; the answer has it too |
//! | `outcome` | `finished`, `client_gone`, `cut_revoked`, `cut_too_slow`, `cut_quota_exceeded`, `timed_out`, `service_error`, `body_error`, `panicked` |
//!
//! A field that does not apply is absent. Control characters are escaped and every text has a bound, so that no
//! client can forge a line or fill the disk with one. Header values other than `Host`, `User-Agent` and
//! `X-Request-Id` are never read. Where the sink does not want the event and no recorder is installed, no
//! record is made, and the answer has the request's id all the same.
//!
//! `timed_out` is a connection whose peer took nothing for too long
//! ([`Acceptor::with_stall_timeout`](crate::tls::Acceptor::with_stall_timeout)), or what a timeout of the
//! program's own noted as [`Cut::TimedOut`](crate::record::Cut::TimedOut).
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use portcullis::Body;
//! use portcullis::access_log::AccessLogLayer;
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! tracing_subscriber::fmt().json().init();
//! let service = ServiceBuilder::new()
//!     .layer(AccessLogLayer::new())
//!     .service_fn(|_: Request<Body<Full<Bytes>>>| async {
//!         Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("a blob"))))
//!     });
//!
//! let request = Request::get("/v2/library/alpine/manifests/3.22").header("host", "registry.example").body(Full::default())?;
//! let response = service.oneshot(request).await?;
//! assert!(response.headers().contains_key("x-request-id"));
//! let body = response.into_body().collect().await?; // The event is written here.
//! assert_eq!(body.to_bytes(), "a blob");
//! # Ok(()) }
//! ```

mod access_event;
mod entry;
mod event;
#[cfg(feature = "json-log")]
mod event_json;
mod health;
#[cfg(feature = "json-log")]
mod json_lines;
mod layer;
#[cfg(feature = "json-log")]
mod line_writer;
#[cfg(feature = "json-log")]
mod log_file;
mod meters;
mod outcome;
mod output;
mod service;
mod sink;

pub use access_event::AccessEvent;
#[cfg(feature = "json-log")]
pub use json_lines::JsonLines;
pub use layer::AccessLogLayer;
pub use service::AccessLog;
pub use sink::{Sink, TracingSink};
