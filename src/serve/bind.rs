use std::fmt;
use std::io::{self, ErrorKind};

use tokio::net::{TcpListener, ToSocketAddrs};

/// An address on which no server can listen. A `main` that returns it prints its text, where an [`io::Error`] would
/// be printed as it is for developers.
#[derive(thiserror::Error)]
#[error("{address}: {error}{}", advice(error))]
#[non_exhaustive]
pub struct BindError {
    /// The address.
    pub address: Box<str>,
    /// Why not.
    pub error: io::Error,
}

/// Binds a TCP port, for [`Server::serve`](super::Server::serve). Its error names the address, which that of
/// [`TcpListener::bind`] does not.
///
/// # Errors
/// The address is taken, none of this machine's, or not permitted.
pub async fn bind(address: impl ToSocketAddrs + fmt::Display) -> Result<TcpListener, BindError> {
    let name = address.to_string().into_boxed_str();
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| BindError {
        address: name,
        error,
    })
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => ": end what listens there, or choose another port",
        ErrorKind::AddrNotAvailable => ": choose an address that this machine has",
        ErrorKind::PermissionDenied => {
            ": choose a port from 1024 up, or permit this one (CAP_NET_BIND_SERVICE)"
        }
        _ => "",
    }
}
