//! An attack of many kinds at once, and a client that pulls meanwhile. The bench `attack` and a test share it.

mod attack;
mod client;
mod frames;
mod pull;

pub use attack::{Attack, Plan};
pub use client::Target;
pub use pull::{Pulled, pull};
