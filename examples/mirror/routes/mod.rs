//! The distribution-spec over the store, as an ordinary axum router that knows nothing of a gate.
//!
//! The path is read by [`portcullis::oci::Route`], the very type by which the gate in front of it
//! decides, so that the two cannot disagree about what a request asks for.

mod blobs;
mod listing;
mod manifests;
mod problem;
mod query;
mod range;
mod receive;
mod registry;
mod uploads;

pub(crate) use registry::{Registry, router};
