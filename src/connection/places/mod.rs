//! The places of connections, shared out by source: of an acceptor's handshakes and of a server's connections.

mod bounds;
mod crowd;
mod place;
#[cfg(feature = "serve")]
mod share;
mod source;
mod table;

pub(crate) use bounds::Bounds;
#[cfg(feature = "serve")]
pub(crate) use bounds::Full;
pub(crate) use place::{Place, Places};
#[cfg(feature = "serve")]
pub(crate) use share::{Request, Share};
#[cfg(feature = "serve")]
pub(crate) use table::Idle;
