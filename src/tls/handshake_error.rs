use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::AlertDescription;

use super::rejection::Rejection;
use super::verified::Verified;
use super::{Reason, explain, keys, reason};

/// A handshake that failed. `Display` is the operator's wording.
#[derive(Debug)]
pub struct HandshakeError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    peer: SocketAddr,
    server_name: Option<Box<str>>,
    reason: Reason,
    alert: Option<AlertDescription>,
    cause: Cause,
    /// A good certificate of the client's, of a handshake that failed after it was verified.
    shown: Option<Arc<Verified>>,
}

#[derive(Debug)]
enum Cause {
    Rejected(Rejection),
    Tls(rustls::Error),
    Io(io::Error),
    Said(Box<str>),
}

impl HandshakeError {
    pub(super) fn said(peer: SocketAddr, reason: Reason, words: impl Into<Box<str>>) -> Self {
        Self::with(peer, reason, None, Cause::Said(words.into()))
    }

    /// For a client that may have no more connections.
    pub(super) fn full(peer: SocketAddr) -> Self {
        let words = "the source has all the connections that it may have";
        Self::said(peer, Reason::TooManyConnections, words)
    }

    pub(super) fn rejected(peer: SocketAddr, rejection: Rejection, alerted: bool) -> Self {
        let alert = alerted.then(|| reason::alert(&rejection.error())).flatten();
        Self::with(peer, rejection.reason(), alert, Cause::Rejected(rejection))
    }

    /// From what tokio-rustls gives, which wraps rustls's own errors.
    pub(super) fn io(peer: SocketAddr, error: io::Error) -> Self {
        let kind = error.kind();
        match error.downcast::<rustls::Error>() {
            Ok(error) => Self::with(
                peer,
                Reason::of(&error),
                reason::alert(&error),
                Cause::Tls(error),
            ),
            Err(error) => {
                let reason = match kind {
                    io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::NotConnected => Reason::Closed,
                    _ => Reason::Internal,
                };
                Self::with(peer, reason, None, Cause::Io(error))
            }
        }
    }

    fn with(
        peer: SocketAddr,
        reason: Reason,
        alert: Option<AlertDescription>,
        cause: Cause,
    ) -> Self {
        Self(Box::new(Inner {
            peer,
            server_name: None,
            reason,
            alert,
            cause,
            shown: None,
        }))
    }

    pub(super) fn asked_for(mut self, server_name: Option<Box<str>>) -> Self {
        self.0.server_name = server_name;
        self
    }

    /// After this certificate had been found good.
    pub(super) fn after(mut self, shown: Option<Arc<Verified>>) -> Self {
        if self.0.reason == Reason::NoProofOfKey
            && let Some(words) = shown.as_deref().and_then(keys::no_proof)
        {
            self.0.reason = Reason::UnsupportedAlgorithm;
            self.0.cause = Cause::Said(words.into());
        }
        self.0.shown = shown;
        self
    }

    /// Returns the client's address.
    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// Returns the server name that the client asked for; `None` where the handshake failed before.
    pub fn server_name(&self) -> Option<&str> {
        self.0.server_name.as_deref()
    }

    /// Returns the reason, as one of a closed set.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// Returns the alert that the client was sent, by its name in RFC 8446 §6.
    pub fn alert(&self) -> Option<String> {
        Some(spelled(&self.0.alert?, '_'))
    }

    /// Returns a description of each certificate that the client sent, as far as one was read.
    pub fn presented(&self) -> Option<String> {
        match (&self.0.cause, &self.0.shown) {
            (Cause::Rejected(rejection), _) => {
                Some(explain::presented(&rejection.chain, rejection.sent))
            }
            (_, Some(shown)) => Some(explain::presented(&shown.chain, shown.chain.len())),
            _ => None,
        }
    }

    /// Returns the names from the client's certificate upwards as far as they could be followed.
    pub fn path(&self) -> Option<String> {
        match (&self.0.cause, &self.0.shown) {
            (Cause::Rejected(rejection), _) => Some(explain::attempted(rejection)),
            (_, Some(shown)) => Some(explain::verified(shown)),
            _ => None,
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.cause {
            Cause::Rejected(rejection) => f.write_str(&explain::words(rejection)),
            Cause::Said(words) => f.write_str(words),
            Cause::Io(_) if self.0.reason == Reason::Closed => {
                f.write_str("the client closed the connection during the handshake")
            }
            Cause::Io(error) => write!(f, "the connection failed: {error}"),
            Cause::Tls(error) => match self.0.reason {
                Reason::CertificateMissing => {
                    f.write_str("the client sent no certificate and one is required")
                }
                Reason::NoProofOfKey => f.write_str(
                    "the client does not hold the private key of the certificate that it sent",
                ),
                Reason::NotTls => f.write_str("what came is not TLS: plain HTTP, perhaps"),
                Reason::Version => {
                    let why = words(error);
                    write!(
                        f,
                        "the client offers no TLS version that is allowed here: {why}"
                    )
                }
                Reason::NoCommonCipher => {
                    let why = words(error);
                    write!(
                        f,
                        "the client and this server have no cryptography in common: {why}"
                    )
                }
                Reason::NoCommonProtocol => {
                    f.write_str("the client offers (ALPN) no application protocol that is served")
                }
                Reason::AlertReceived => {
                    write!(
                        f,
                        "the client ended the handshake with {}; if that is `unknown_ca`, it does not trust \
                         this server's certificate",
                        words(error)
                    )
                }
                _ => write!(f, "the handshake failed: {}", words(error)),
            },
        }
    }
}

/// What rustls says of the protocol, in words.
fn words(error: &rustls::Error) -> String {
    use rustls::Error as E;
    match error {
        E::PeerIncompatible(why) => spelled(why, ' '),
        E::PeerMisbehaved(why) => {
            format!("the client broke the rules of TLS ({})", spelled(why, ' '))
        }
        E::InvalidMessage(why) => {
            format!("what came is no message of TLS ({})", spelled(why, ' '))
        }
        E::InappropriateMessage { got_type, .. } => {
            format!("a message came out of turn ({})", spelled(got_type, ' '))
        }
        E::InappropriateHandshakeMessage { got_type, .. } => {
            format!("a message came out of turn ({})", spelled(got_type, ' '))
        }
        E::AlertReceived(alert) => format!("the alert `{}`", spelled(alert, '_')),
        other => other.to_string(),
    }
}

/// The words of a name in camel case, as which rustls spells what it has no text for.
fn spelled(name: &impl fmt::Debug, between: char) -> String {
    let mut text = String::new();
    let mut after_small = false;
    for character in format!("{name:?}").chars() {
        if character.is_ascii_uppercase() && after_small {
            text.push(between);
        }
        after_small = character.is_ascii_lowercase() || character.is_ascii_digit();
        text.push(character.to_ascii_lowercase());
    }
    text
}

impl std::error::Error for HandshakeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.cause {
            Cause::Tls(error) => Some(error),
            Cause::Io(error) => Some(error),
            Cause::Rejected(_) | Cause::Said(_) => None,
        }
    }
}

impl From<HandshakeError> for io::Error {
    fn from(error: HandshakeError) -> Self {
        Self::new(io::ErrorKind::ConnectionAborted, error)
    }
}
