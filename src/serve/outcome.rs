/// What ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The client, or the end of a request that was to be the last.
    Closed,
    /// An error of the connection or of its protocol.
    Failed,
    /// The handshake did not succeed.
    Handshake,
    /// A proxy sent no header of the PROXY protocol.
    ProxyHeader,
    /// The client sent nothing.
    FirstByte,
    /// The client did not send a whole head.
    Head,
    /// The client did not send another request.
    Idle,
    /// The client took nothing of what was written.
    Stalled,
    /// It made room for another.
    Displaced,
    /// Its source had all the connections that it may have.
    SourceFull,
    /// Its IPv6 /48 had.
    NetworkFull,
    /// Every place was taken.
    Full,
    /// The server stopped, and all its requests were answered.
    Drained,
    /// The server stopped, and the time for that was over.
    Cut,
    /// Its task panicked.
    Panicked,
}

impl Outcome {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Failed => "failed",
            Self::Handshake => "handshake",
            Self::ProxyHeader => "proxy_header",
            Self::FirstByte => "first_byte",
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Displaced => "displaced",
            Self::SourceFull => "source_full",
            Self::NetworkFull => "network_full",
            Self::Full => "full",
            Self::Drained => "drained",
            Self::Cut => "cut",
            Self::Panicked => "panicked",
        }
    }
}
