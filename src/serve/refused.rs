use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use crate::Connection;
use crate::connection::places::Full;
use crate::telemetry::metrics;
use crate::util::seldom::Seldom;

/// Each kind of trouble is logged this often at most: a flood must not fill a disk.
const EVERY: Duration = Duration::from_secs(10);

/// Logs that a connection was refused.
pub(super) fn connection(peer: SocketAddr, full: Full) {
    static SOURCE: Seldom = Seldom::every(EVERY);
    static ALL: Seldom = Seldom::every(EVERY);
    let seldom = match full {
        Full::Source | Full::Network => &SOURCE,
        Full::All => &ALL,
    };
    if let Some(more) = seldom.allow() {
        tracing::warn!(
            %peer, bound = bound(full), more,
            "a connection is refused: its source has as many in use as it may have. If many clients come \
             from this address, list it as a proxy or raise the bound"
        );
    }
}

/// Logs that a request was refused.
pub(super) fn request(connection: &Connection, full: Full) {
    static SELDOM: Seldom = Seldom::every(EVERY);
    metrics::request_crowded();
    if let Some(more) = SELDOM.allow() {
        let client = connection.client_addr();
        tracing::warn!(
            %client, bound = bound(full), more,
            "a request is refused: its source has as many in flight as it may have connections. If many clients \
             come from this address, list it as a proxy or raise the bound"
        );
    }
}

fn bound(full: Full) -> &'static str {
    match full {
        Full::Source => "max_connections_per_source",
        Full::Network => "max_connections_per_network",
        Full::All => "max_connections",
    }
}

/// Logs that a proxy sent no readable PROXY protocol header.
pub(super) fn proxy_header(peer: SocketAddr, error: &dyn Display) {
    static SELDOM: Seldom = Seldom::every(EVERY);
    if let Some(more) = SELDOM.allow() {
        tracing::warn!(%peer, %error, more, "a connection of a listed proxy is refused");
    }
}

/// Logs that connections cannot be accepted.
pub(super) fn accept(error: &std::io::Error) {
    static SELDOM: Seldom = Seldom::every(EVERY);
    if let Some(more) = SELDOM.allow() {
        tracing::error!(
            %error, more,
            "accepting connections fails: it is tried again. If files or memory of the whole system have \
             run out, something else on it must end"
        );
    }
}

/// Logs that every connection is in use.
pub(super) fn all_in_use(connections: usize) {
    static SELDOM: Seldom = Seldom::every(EVERY);
    if let Some(more) = SELDOM.allow() {
        tracing::warn!(
            connections,
            more,
            "all connections are in use: further ones wait. Raise max_connections, if memory allows"
        );
    }
}
