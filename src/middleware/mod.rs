//! The parts of which the layers of this crate are made: one service, one response future, one body.
//!
//! A layer decides by the head of a request, before its body is polled and before the inner service is called:
//! the request passes, is refused, or has to wait for an answer (the verification of a password, a fleet's
//! quota). [`Checked`] carries such a decision out, with [`ResponseFuture`] as its future; the services of the
//! layers are aliases of it. The service that was polled ready is the one that is called, after a wait too.
//!
//! One [`Body`] does what is left to be done with the bodies, whichever layers there are: it counts, paces,
//! observes and cuts. Behind a [`Guard`](crate::Guard) a request's body is wrapped in it once, and the body of
//! the response is wrapped in it once:
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use portcullis::{Body, BodyError, Guard};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! async fn echo(
//!     request: Request<Body<Full<Bytes>>>,
//! ) -> Result<Response<Full<Bytes>>, BodyError> {
//!     let body = request.into_body().collect().await?;
//!     Ok(Response::new(Full::new(body.to_bytes())))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let service = Guard::builder().build().layer(service_fn(echo));
//! let request = Request::put("/hello").header("host", "registry.example").body(Full::new(Bytes::from("hello")))?;
//! let response = service.oneshot(request).await?;
//! assert_eq!(response.into_body().collect().await?.to_bytes(), "hello");
//! # Ok(()) }
//! ```

mod answering;
mod body;
mod check;
pub(crate) mod drain;
mod early;
mod error;
mod future;
mod parts;
mod sensitive;
mod service;
pub(crate) mod wiring;

pub(crate) use answering::{Advise, Answering, Learn, Log, Plan, RefusalResponse};
pub use body::Body;
pub use check::Wraps;
pub(crate) use check::{Check, Head, Kept, Outcome, Wait};
pub use early::{AnsweredEarly, DrainLayer, EarlyBody, EarlyFuture};
pub use error::BodyError;
pub use future::ResponseFuture;
pub(crate) use parts::{End, Observe, Pace, Parts, Watch};
pub(crate) use sensitive::mark_sensitive;
pub use service::Checked;
