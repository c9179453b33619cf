use crate::{Preset, Responder};

/// Refuses requests on connections whose client certificate is no longer good, and ends their
/// transfers. See the [module](super).
///
/// ```
/// use std::convert::Infallible;
///
/// use http::{Request, Response};
/// use portcullis::crl::RevocationLayer;
/// use portcullis::{Body, Connection};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = RevocationLayer::new().with_certificate_required();
/// let service = layer.layer(service_fn(async |_: Request<Body<String>>| {
///     Ok::<_, Infallible>(Response::new("a manifest".to_owned()))
/// }));
/// let mut request = Request::new(String::new());
/// // An acceptor does this. The client of this connection showed no certificate.
/// let connection = Connection::builder("192.0.2.1:4711".parse()?).build();
/// request.extensions_mut().insert(connection);
/// assert_eq!(service.oneshot(request).await?.status(), 401);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct RevocationLayer {
    pub(super) responder: Responder,
    pub(super) certificate_required: bool,
    pub(super) connection_required: bool,
}

impl RevocationLayer {
    /// Checks what the acceptor [tracks](super::Tracked) for a connection. Connections of which it
    /// tracks nothing have no client certificate to be revoked; they pass, unless
    /// [a certificate is required](Self::with_certificate_required). A request of which no
    /// [`Connection`](crate::Connection) is known is refused: nothing could be checked.
    pub fn new() -> Self {
        Self {
            responder: Responder::new(Preset::default()),
            certificate_required: false,
            connection_required: true,
        }
    }

    /// Refuses requests on connections of which nothing is tracked too, as without a certificate:
    /// then what comes by another way than an acceptor with CRLs, a proxy among them, gets nothing.
    pub fn with_certificate_required(mut self) -> Self {
        self.certificate_required = true;
        self
    }

    /// Answers refused requests in this way. Default: [`Preset::Mirror`].
    pub fn with_responder(mut self, responder: Responder) -> Self {
        self.responder = responder;
        self
    }

    /// Lets requests pass of which no connection is known, where there is nothing to be revoked.
    pub(crate) fn without_connections() -> Self {
        Self {
            connection_required: false,
            ..Self::new()
        }
    }

    pub(crate) fn requires_connection(&self) -> bool {
        self.connection_required
    }

    pub(crate) fn requires_certificate(&self) -> bool {
        self.certificate_required
    }
}

impl Default for RevocationLayer {
    fn default() -> Self {
        Self::new()
    }
}
