//! Why a request was turned away.
//!
//! Every layer that refuses returns one [`Refusal`]. The status and the OCI error body (through a
//! [`Responder`](crate::Responder)), the access log's `refusal` field and the metric's label come from that value.
//! The client gets less than the log: unknown user, wrong password and expired token get the same answer.

mod kind;
mod preset;

pub use kind::Refusal;
pub use preset::Preset;
