//! A total rate that all replicas of a service share, through Redis or Valkey.

mod keeper;
mod options;

pub(super) use keeper::keep;
pub use options::{Fleet, FleetError, Unreachable};
