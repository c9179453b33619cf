//! Why a request was turned away, and how that is told.
//!
//! Every layer that can refuse ends in one [`Refusal`]. From that one value come the status and the
//! OCI error body (by a [`Responder`]), the access log's `refusal` field, and the metric's label.
//! What the client is told is less than what the log is told: unknown user, wrong password and
//! expired token answer alike.

#[cfg(any(feature = "policy", feature = "jwt"))]
mod declined;
mod error_body;
mod grpc;
mod kind;
mod miswiring;
mod responder;

#[cfg(any(feature = "policy", feature = "jwt"))]
pub(crate) use declined::{Declined, decline_mount};
pub use error_body::{ErrorAnswer, ErrorBody};
pub(crate) use grpc::is_grpc;
pub use kind::Refusal;
pub use miswiring::Miswiring;
pub use responder::{Challenge, ChallengeError, Preset, Responder};
