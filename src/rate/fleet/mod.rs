//! Limits that all replicas of a service share, through Redis or Valkey: total rates and quotas.

mod account;
mod accounts;
mod bookkeeper;
mod connection;
mod health;
mod keeper;
mod options;
mod report;
mod rounds;
mod state;

pub(super) use account::Account;
pub(super) use accounts::Accounts;
pub(super) use bookkeeper::keep as keep_accounts;
pub(super) use keeper::keep;
pub use options::{Fleet, FleetError, Unreachable};
pub(super) use rounds::Rounds;
