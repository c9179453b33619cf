use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Nothing that a server answers at all takes longer.
pub(super) const LONGEST: Duration = Duration::from_secs(30);

/// The server, and what a client of it needs.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: SocketAddr,
    /// For HTTP/1.1.
    pub http1: Arc<ClientConfig>,
    /// For HTTP/2.
    pub http2: Arc<ClientConfig>,
    /// The `Authorization` of those who may come in.
    pub authorization: Option<String>,
    /// What they pull.
    pub get: String,
    /// Where an upload goes.
    pub put: String,
}

impl Target {
    /// A server that is known as `localhost` by certificates that this client trusts.
    pub fn new(address: SocketAddr, client: &ClientConfig, get: &str, put: &str) -> Self {
        let speaking = |protocol: &[u8]| {
            let mut config = client.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            // Each handshake costs the server what a stranger's costs.
            config.resumption = rustls::client::Resumption::disabled();
            Arc::new(config)
        };
        Self {
            address,
            http1: speaking(b"http/1.1"),
            http2: speaking(b"h2"),
            authorization: None,
            get: get.to_owned(),
            put: put.to_owned(),
        }
    }

    pub fn with_authorization(mut self, authorization: impl Into<String>) -> Self {
        self.authorization = Some(authorization.into());
        self
    }

    /// A TCP connection from this address of the machine. One that is to stall takes little before it does.
    pub(super) async fn connect(&self, from: Ipv4Addr, stalls: bool) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if stalls {
            socket.set_recv_buffer_size(4 * 1024)?;
        }
        socket.bind((from, 0).into())?;
        let tcp = timeout(LONGEST, socket.connect(self.address)).await??;
        tcp.set_nodelay(true)?;
        Ok(tcp)
    }

    /// The same with a finished handshake.
    pub(super) async fn connect_tls(
        &self,
        from: Ipv4Addr,
        config: &Arc<ClientConfig>,
        stalls: bool,
    ) -> io::Result<TlsStream<TcpStream>> {
        let tcp = self.connect(from, stalls).await?;
        let name = "localhost".try_into().map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::clone(config));
        timeout(LONGEST, connector.connect(name, tcp)).await?
    }

    /// The first message of a handshake.
    pub(super) fn client_hello(&self) -> io::Result<Vec<u8>> {
        let name = "localhost".try_into().map_err(io::Error::other)?;
        let mut session = rustls::ClientConnection::new(Arc::clone(&self.http1), name)
            .map_err(io::Error::other)?;
        let mut hello = Vec::new();
        session.write_tls(&mut hello)?;
        Ok(hello)
    }

    /// The head of a request of HTTP/1.1.
    pub(super) fn head(&self, method: &str, path: &str, more: &str) -> Vec<u8> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{more}");
        if let Some(authorization) = &self.authorization {
            head.push_str(&format!("Authorization: {authorization}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}
