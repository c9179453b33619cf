use std::time::Duration;

use ipnet::IpNet;

/// How connections are served: what `serve::Server` is set to, by a program or by the section `[serve]`.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(all(feature = "config", feature = "serve")),
    allow(dead_code, reason = "one writes them, the other reads them")
)]
pub(crate) struct ServeOptions {
    /// `None`: the acceptor's own.
    pub(crate) handshake_timeout: Option<Duration>,
    pub(crate) first_byte_timeout: Duration,
    pub(crate) head_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    /// `None`: the acceptor's own, else the default.
    pub(crate) stall_timeout: Option<Duration>,
    pub(crate) body_silence: Duration,
    /// So many bytes of a request's body must come in so much time of waiting for them.
    pub(crate) body_pace: (u64, Duration),
    pub(crate) max_head_size: usize,
    pub(crate) max_streams: u32,
    pub(crate) nodelay: bool,
    pub(crate) drain_deadline: Duration,
    pub(crate) max_connections: usize,
    /// Of those, how many may have shown nothing. `None`: the acceptor's own, and no more than half.
    pub(crate) max_strangers: Option<usize>,
    /// `None`: the acceptor's own, else the default.
    pub(crate) max_connections_per_source: Option<usize>,
    pub(crate) max_connections_per_network: usize,
    pub(crate) proxies: Vec<IpNet>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            handshake_timeout: None,
            first_byte_timeout: Duration::from_secs(30),
            head_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(120),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
            stall_timeout: None,
            body_silence: Duration::from_secs(60),
            body_pace: (32 * 1024, Duration::from_secs(120)),
            max_head_size: 64 * 1024,
            max_streams: 128,
            nodelay: true,
            drain_deadline: Duration::from_secs(30),
            max_connections: 4096,
            max_strangers: None,
            max_connections_per_source: None,
            max_connections_per_network: 2048,
            proxies: Vec::new(),
        }
    }
}
