use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use super::bounds::{Bounds, DAY, NOTHING, SECOND};
use super::{ByteCount, ConfigError, HumanDuration};
#[cfg(feature = "schema")]
use crate::document::schema::Network;

/// `[serve]`: how `serve::Server` (feature `serve`) serves connections.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[cfg_attr(
    not(feature = "serve"),
    allow(dead_code, reason = "read, so that it is checked, and served by none")
)]
pub(crate) struct ServeSection {
    /// Ends handshakes, and waits for a header of the PROXY protocol, that take longer. Default:
    /// `tls.handshake_timeout`, else `"10s"`.
    handshake_timeout: Option<HumanDuration>,
    /// Ends connections whose client sends nothing for this long after the handshake, from `"100ms"` to a
    /// day, as all times here. Default `"30s"`.
    first_byte_timeout: Option<HumanDuration>,
    /// Ends connections on which the head of a request takes longer, from its first byte to its last. Default
    /// `"30s"`.
    head_timeout: Option<HumanDuration>,
    /// Ends connections that have no request in flight for this long. Default `"2min"`.
    idle_timeout: Option<HumanDuration>,
    /// HTTP/2 pings by which dead connections are found.
    #[serde(default)]
    pings: PingSection,
    /// Ends connections, and resets streams of HTTP/2, whose client takes nothing of an answer for this
    /// long. Default: `tls.stall_timeout`, else `"60s"`.
    stall_timeout: Option<HumanDuration>,
    /// Ends a request's body of which nothing comes for this long while it is waited for. Default `"60s"`.
    body_silence: Option<HumanDuration>,
    /// Ends a request's body of which less comes in a time of waiting for it. The time in which a limit
    /// holds it back does not count. Default `{ bytes = "32KiB", window = "2min" }`.
    body_pace: Option<PaceSection>,
    /// Refuses requests whose head has more bytes, with status 431, from `"8KiB"` to `"16MiB"`. Default
    /// `"64KiB"`.
    max_head_size: Option<ByteCount>,
    /// How many requests an HTTP/2 connection may have in flight, at most 65,536. Default 128.
    max_streams: Option<NonZeroU32>,
    /// Whether `TCP_NODELAY` is set. Default true.
    nodelay: Option<bool>,
    /// How long requests in flight may take to finish when the server is stopped. Default `"30s"`.
    drain_deadline: Option<HumanDuration>,
    /// How many connections there may be, at most 16,777,216, and as many as leave some file descriptors.
    /// Default 4,096.
    max_connections: Option<NonZeroUsize>,
    /// How many of them may have shown nothing: neither a finished handshake nor, without TLS, a whole head.
    /// Default: `tls.max_handshakes`, and no more than half of all.
    max_new_connections: Option<NonZeroUsize>,
    /// How many connections an IPv4 address or an IPv6 /64 may have, and how many requests in flight, however many
    /// streams its connections have: a further request is answered with 503. The proxies of `forwarded.proxies` have no
    /// such bound. Default: `tls.max_connections_per_source`, else 1,024, and at most half of all where the limit of
    /// open files allows fewer than `max_connections`.
    max_connections_per_source: Option<NonZeroUsize>,
    /// How many connections an IPv6 /48 may have, and how many requests in flight: a further one is answered with 503.
    /// Default 2,048.
    max_connections_per_network: Option<NonZeroUsize>,
    /// Networks from which every connection begins with a PROXY protocol header, besides those of
    /// `tls.proxy_protocol`. Default: none.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<Network>"))]
    pub(super) proxy_protocol: Vec<IpNet>,
}

/// `serve.pings`: HTTP/2 pings.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct PingSection {
    /// How often one is sent. Default `"30s"`.
    interval: Option<HumanDuration>,
    /// Ends connections whose client does not answer one in this time. Default `"20s"`.
    timeout: Option<HumanDuration>,
}

/// `serve.body_pace`: the slowest body of a request.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct PaceSection {
    /// So many bytes must come, at most 1 GiB.
    bytes: ByteCount,
    /// In so much time of waiting for them.
    window: HumanDuration,
}

/// As many as memory has room for in what is kept of each.
const MANY: u64 = 1 << 24;

const SHORTEST: Duration = Duration::from_millis(100);

/// More bytes a second than many lines have.
const STEEP: u64 = 1 << 20;

impl ServeSection {
    fn times(&self) -> [(&'static str, Option<HumanDuration>); 9] {
        [
            ("serve.handshake_timeout", self.handshake_timeout),
            ("serve.first_byte_timeout", self.first_byte_timeout),
            ("serve.head_timeout", self.head_timeout),
            ("serve.idle_timeout", self.idle_timeout),
            ("serve.pings.interval", self.pings.interval),
            ("serve.pings.timeout", self.pings.timeout),
            ("serve.stall_timeout", self.stall_timeout),
            ("serve.body_silence", self.body_silence),
            (
                "serve.body_pace.window",
                self.body_pace.map(|pace| pace.window),
            ),
        ]
    }

    /// The times in which a slow client cannot do what is asked of it.
    pub(crate) fn hasty(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let times = self.times().into_iter();
        let times = times.filter(|(key, _)| *key != "serve.body_pace.window");
        let spans = times.filter_map(|(key, span)| Some((key, span?.0)));
        spans.filter(|(_, span)| *span < SECOND)
    }

    /// The bytes a second that a body must have, where many lines have fewer.
    pub(crate) fn steep_pace(&self) -> Option<u64> {
        let PaceSection { bytes, window } = self.body_pace?;
        let millis = window.0.as_millis().max(1);
        let rate = u128::from(bytes.0) * 1000 / millis;
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        (rate > STEEP).then_some(rate)
    }

    pub(super) fn check(&self, check: &Bounds<'_>) -> Result<(), ConfigError> {
        for (key, time) in self.times() {
            check.span(key, time, SHORTEST..=DAY)?;
        }
        check.span("serve.drain_deadline", self.drain_deadline, NOTHING..=DAY)?;
        let bytes = self.body_pace.map(|pace| pace.bytes);
        check.bytes("serve.body_pace.bytes", bytes, 0..=1 << 30)?;
        check.bytes(
            "serve.max_head_size",
            self.max_head_size,
            8 << 10..=16 << 20,
        )?;
        let streams = self.max_streams.map(NonZeroU32::get);
        check.count("serve.max_streams", streams, 1..=1 << 16)?;
        for (key, count) in [
            ("serve.max_connections", self.max_connections),
            ("serve.max_new_connections", self.max_new_connections),
            (
                "serve.max_connections_per_source",
                self.max_connections_per_source,
            ),
            (
                "serve.max_connections_per_network",
                self.max_connections_per_network,
            ),
        ] {
            check.count(key, count.map(NonZeroUsize::get), 1..=MANY)?;
        }
        Ok(())
    }

    /// What a server is set to.
    #[cfg(feature = "serve")]
    pub(crate) fn options(&self) -> crate::connection::ServeOptions {
        let mut options = crate::connection::ServeOptions::default();
        let set = |time: &mut Duration, span: Option<HumanDuration>| {
            if let Some(HumanDuration(span)) = span {
                *time = span;
            }
        };
        set(&mut options.first_byte_timeout, self.first_byte_timeout);
        set(&mut options.head_timeout, self.head_timeout);
        set(&mut options.idle_timeout, self.idle_timeout);
        set(&mut options.ping_interval, self.pings.interval);
        set(&mut options.ping_timeout, self.pings.timeout);
        set(&mut options.body_silence, self.body_silence);
        set(&mut options.drain_deadline, self.drain_deadline);
        options.handshake_timeout = self.handshake_timeout.map(|span| span.0);
        options.stall_timeout = self.stall_timeout.map(|span| span.0);
        if let Some(PaceSection { bytes, window }) = self.body_pace {
            options.body_pace = (bytes.0, window.0);
        }
        if let Some(ByteCount(size)) = self.max_head_size {
            options.max_head_size = usize::try_from(size).unwrap_or(usize::MAX);
        }
        if let Some(streams) = self.max_streams {
            options.max_streams = streams.get();
        }
        options.nodelay = self.nodelay.unwrap_or(options.nodelay);
        let count = |count: Option<NonZeroUsize>| count.map(NonZeroUsize::get);
        if let Some(connections) = count(self.max_connections) {
            options.max_connections = connections;
        }
        if let Some(connections) = count(self.max_connections_per_network) {
            options.max_connections_per_network = connections;
        }
        options.max_strangers = count(self.max_new_connections);
        options.max_connections_per_source = count(self.max_connections_per_source);
        options.proxies.clone_from(&self.proxy_protocol);
        options
    }
}
