//! Limits that all replicas of a service share, through Redis or Valkey: total rates and quotas.

mod account;
mod accounts;
mod connection;
mod health;
mod options;
mod quota_sync;
mod rate_sync;
mod report;
mod rounds;
mod state;

pub(super) use account::Account;
pub(super) use accounts::Accounts;
pub use options::Fleet;
pub(crate) use options::Unreachable;
pub(super) use quota_sync::keep as keep_accounts;
pub(super) use rate_sync::keep;
pub(super) use rounds::Rounds;
