//! One handshake, from its start to the connection.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::client_verifier::OUTCOME;
use super::liveness::Liveness;
use super::progress::Progress;
use super::stream::Stream;
use super::termination::TerminationWatch;
use super::verified::Passed;
use super::{Accepted, Acceptor, HandshakeError, Material, Reason};
use crate::Connection;
use crate::connection::{Stall, TlsParameters, proxy_protocol};
use crate::source::within;

impl Acceptor {
    /// The handshake on a connection that has a place. `admit` moves the place to the client that a proxy's header
    /// names.
    pub(super) async fn in_place<IO>(
        &self,
        mut io: IO,
        admit: impl Fn(SocketAddr) -> bool,
        progress: &mut Progress,
    ) -> Result<Accepted<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let peer = progress.client;
        if self.is_proxy(peer) {
            let client = client_behind(&mut io, peer).await?;
            progress.client = client;
            if !admit(client) {
                return Err(HandshakeError::full(client));
            }
        }
        self.handshake(io, progress).await
    }

    pub(super) fn is_proxy(&self, peer: SocketAddr) -> bool {
        within(&self.options.proxies, peer.ip())
    }

    async fn handshake<IO>(
        &self,
        io: IO,
        progress: &mut Progress,
    ) -> Result<Accepted<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), io);
        let hello = hello
            .await
            .map_err(|error| HandshakeError::io(progress.client, error))?;
        progress.server_name = hello.client_hello().server_name().map(Into::into);
        // Taken after the client's hello, so that a connection that waited sees a reload.
        let material = self.material.load().clone();
        let stream = hello.into_stream(Arc::clone(&material.config));
        let (stream, outcome) = OUTCOME
            .scope(RefCell::new(None), async {
                let stream = stream.await;
                (stream, OUTCOME.with(RefCell::take))
            })
            .await;
        let stream = match (stream, outcome) {
            (_, Some(Err(rejection))) => {
                return Err(HandshakeError::rejected(progress.client, rejection, true));
            }
            (Err(error), outcome) => {
                let shown = outcome.and_then(Result::ok).map(|passed| passed.verified);
                return Err(HandshakeError::io(progress.client, error).after(shown));
            }
            (Ok(stream), Some(Ok(passed))) => {
                return Ok(self.accepted(stream, progress.client, Some(passed)));
            }
            (Ok(stream), None) => stream,
        };
        let passed = resumed(&material, stream.get_ref().1, progress.client)?;
        Ok(self.accepted(stream, progress.client, passed))
    }

    fn accepted<IO>(
        &self,
        stream: TlsStream<IO>,
        client: SocketAddr,
        passed: Option<Passed>,
    ) -> Accepted<IO> {
        let mut builder = Connection::builder(client).tls(parameters(stream.get_ref().1));
        let mut termination = None;
        if let Some(passed) = passed {
            let verified = passed.verified;
            builder = builder.identity(verified.identity.clone());
            let liveness = Liveness::new(verified, &self.material, self.options.removed_ca);
            builder = builder.state(liveness.clone());
            #[cfg_attr(not(feature = "crl"), allow(unused_mut, reason = "CRLs are added"))]
            let mut watch = TerminationWatch::new(liveness);
            #[cfg(feature = "crl")]
            if let Some(tracked) = passed.tracked {
                builder = builder.state(tracked.clone());
                watch = watch.revocation(tracked);
            }
            termination = Some(watch.until_terminated());
        }
        let connection = builder.build();
        let stall = self.options.stall_timeout.map(Stall::new);
        let ending = self.options.ending;
        let stream = Stream::new(stream, connection.clone(), termination, ending, stall);
        Accepted { stream, connection }
    }
}

/// The client that the header of a proxy names: the proxy itself where it names none.
async fn client_behind<IO>(io: &mut IO, proxy: SocketAddr) -> Result<SocketAddr, HandshakeError>
where
    IO: AsyncRead + Unpin,
{
    let client = proxy_protocol::read(io)
        .await
        .map_err(|error| HandshakeError::said(proxy, Reason::ProxyHeader, error.to_string()))?;
    Ok(client.unwrap_or(proxy))
}

/// The client's chain of a handshake in which no verifier ran: kept with the session if it was
/// resumed, none otherwise. Verified as if it had been sent now.
fn resumed(
    material: &Material,
    session: &ServerConnection,
    client: SocketAddr,
) -> Result<Option<Passed>, HandshakeError> {
    let Some(verifier) = &material.verifier else {
        return Ok(None);
    };
    match session.peer_certificates() {
        Some([end_entity, intermediates @ ..]) => {
            let now = material.now().ok_or_else(|| {
                HandshakeError::said(client, Reason::Internal, "the clock cannot be read")
            })?;
            verifier
                .verify(end_entity, intermediates, now)
                .map(Some)
                .map_err(|rejection| HandshakeError::rejected(client, rejection, false))
        }
        _ if verifier.is_mandatory() => Err(HandshakeError::said(
            client,
            Reason::CertificateMissing,
            "the resumed session has no client certificate and one is required",
        )),
        _ => Ok(None),
    }
}

fn parameters(session: &ServerConnection) -> TlsParameters {
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "1.3",
        Some(ProtocolVersion::TLSv1_2) => "1.2",
        _ => "unknown",
    };
    let suite = session.negotiated_cipher_suite();
    // rustls spells the names of version 1.3 in its own way.
    let cipher = match suite.and_then(|suite| suite.suite().as_str()) {
        Some("TLS13_AES_128_GCM_SHA256") => "TLS_AES_128_GCM_SHA256",
        Some("TLS13_AES_256_GCM_SHA384") => "TLS_AES_256_GCM_SHA384",
        Some("TLS13_CHACHA20_POLY1305_SHA256") => "TLS_CHACHA20_POLY1305_SHA256",
        Some(name) => name,
        None => "unknown",
    };
    let mut parameters = TlsParameters::new(version, cipher);
    parameters.server_name = session.server_name().map(Into::into);
    parameters.resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    parameters
}
