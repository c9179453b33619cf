use std::future::Future;
use std::io;
use std::pin::Pin;

use axum_server::accept::Accept;
use tokio::net::TcpStream;

use super::{Accepted, Acceptor, Stream};
use crate::connection::AddConnection;

impl<S: Send + 'static> Accept<TcpStream, S> for Acceptor {
    type Stream = Stream<TcpStream>;
    type Service = AddConnection<S>;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, tcp: TcpStream, service: S) -> Self::Future {
        let acceptor = self.clone();
        Box::pin(async move {
            tcp.set_nodelay(true)?;
            let Accepted {
                stream, connection, ..
            } = Acceptor::accept(&acceptor, tcp).await?;
            Ok((stream, AddConnection::new(service, connection)))
        })
    }
}
