//! The answer to a request that is refused.
//!
//! A [`Responder`] turns a [`Refusal`](crate::Refusal) into the status, the headers and the OCI error body that
//! clients understand, records the refusal in the request's [`Record`](crate::record::Record) and counts it.

mod challenge;
#[cfg(any(feature = "policy", feature = "jwt"))]
mod declined;
mod error_body;
mod grpc;
#[allow(clippy::module_inception, reason = "the one noun of this folder")]
mod responder;

pub use challenge::ChallengeError;
#[cfg(any(feature = "policy", feature = "jwt"))]
pub(crate) use declined::{Declined, decline_mount};
pub use error_body::ErrorAnswer;
pub(crate) use grpc::is_grpc;
pub use responder::Responder;
