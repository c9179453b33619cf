use std::fmt;
use std::io::{self, ErrorKind};

use tokio::net::{TcpListener, ToSocketAddrs};

/// Binds a TCP port, for [`Server::serve`](super::Server::serve). Its error names the address, which that of
/// [`TcpListener::bind`] does not.
///
/// # Errors
/// Returns an error of the same kind as [`TcpListener::bind`] for an address that is taken, none of this
/// machine's, or not permitted.
pub async fn bind(address: impl ToSocketAddrs + fmt::Display) -> io::Result<TcpListener> {
    let name = address.to_string();
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| {
        let text = format!("{name}: {error}{}", advice(&error));
        io::Error::new(error.kind(), text)
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
