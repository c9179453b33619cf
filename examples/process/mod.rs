//! What the programs `mirror`, `gate` and `node` share: the log, the runtime, signals, the operator's port, and the end.

pub(crate) mod error_chain;
mod flags;
mod log;
pub(crate) mod operator;
mod run;
mod signals;

pub(crate) use self::flags::Flags;
pub(crate) use self::operator::Operator;
pub(crate) use self::run::{Ended, announce, finish, main};
pub(crate) use self::signals::stop_on_signals;
