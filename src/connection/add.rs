use std::task::{Context, Poll};

use http::Request;
use tower::Service;

use super::Connection;

/// Gives each request its [`Connection`], in a server loop of the user's own:
/// `AddConnection::new(service, Connection::builder(peer).build())` for a plain TCP connection, and
/// `AddConnection::new(service, accepted.connection)` for one that `tls::Acceptor` has accepted.
#[derive(Clone, Debug)]
pub struct AddConnection<S> {
    inner: S,
    connection: Connection,
}

impl<S> AddConnection<S> {
    /// Serves one connection by `inner`.
    pub fn new(inner: S, connection: Connection) -> Self {
        Self { inner, connection }
    }

    crate::util::inner_service::accessors!();
}

impl<S, B> Service<Request<B>> for AddConnection<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        request.extensions_mut().insert(self.connection.clone());
        self.inner.call(request)
    }
}
