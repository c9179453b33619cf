//! The places of connections, shared out by source: of an acceptor's handshakes and of a server's connections.

mod crowd;
mod source;
mod table;

pub(crate) use table::{Bounds, Place, Places};
#[cfg(feature = "serve")]
pub(crate) use table::{Full, Idle};
