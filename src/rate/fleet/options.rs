use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::rate::LimitsError;

/// A Redis or Valkey server through which replicas share limits. `Clone` costs an `Arc`.
///
/// Each replica reports a few times a second what it sent, and gets its part of a rate by what it and
/// the others ask for: a lease. No body ever waits for the network.
///
/// Of a quota a replica gets a lease of bytes for each key, by what the key used lately: a second's worth at
/// the default period, at most half of an equal share of the rest. Only the first request of a key waits for
/// the server, or one after half a minute without any, and the end of the quota: while the server answers, all
/// replicas together send no byte more than a quota that cuts. A lease that is not used goes back within a few
/// seconds, but for a thousandth of the quota (64 KiB at most) that is kept for half a minute while there is
/// more; that of a replica that died goes back after two seconds, and what the replica sent in its last period
/// is lost. A key without a lease is kept in 24 bytes, one that has sent nothing in the window not at all, and
/// one in use in some 300.
///
/// # Without the server
///
/// Each replica goes on with its last part; before it had one, with an eighth of the rate. Of a quota it goes on
/// with its lease and an equal part of what was left when it last heard of the key; of a key that it has not heard
/// of in this window, with an equal part of the quota, for as many replicas as it saw last or else eight. So all
/// together may pass a quota by what was leased in the last period before the loss, and by those equal parts where a
/// key is new to a replica. Whatever was sent is on the books, and counts, a second after the server is back.
/// [`open_when_unreachable`](Self::open_when_unreachable) and
/// [`refusing_when_unreachable`](Self::refusing_when_unreachable) choose otherwise.
///
/// # Server and client
///
/// Any server that speaks Redis's protocol (RESP) and runs its scripts in Lua will do, of version 5 or later:
/// Redis, or Valkey, which was made from it. It is tried with Debian's `redis-server`; Debian 12 has no Valkey
/// to try. The server needs to keep nothing on a disk: replicas report their sums again when it has lost them.
/// A replica that is silent for a minute is added to one entry for all such, so that the server keeps no more
/// than those that live.
///
/// The client is the crate `redis` and not `fred`: what is wanted of it is one connection that fails at
/// once, so that the operator's choice takes hold, whereas `fred` is built around keeping commands until
/// its own policy has connected again.
#[derive(Clone)]
pub struct Fleet {
    pub(super) client: redis::Client,
    url: Arc<SecretString>,
    pub(super) prefix: Arc<str>,
    pub(super) replica: Arc<str>,
    pub(super) unreachable: Unreachable,
    pub(super) period: Duration,
}

/// What happens to a limit while its server does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Unreachable {
    /// Each replica goes on with its last part.
    #[default]
    Local,
    /// There is no limit.
    Open,
    /// Requests are refused.
    Refuse,
}

impl Fleet {
    /// Makes a fleet around the server at this URL (`redis://[user:password@]host[:port][/database]`). Connects when the
    /// first body passes, and again whenever the connection is lost.
    ///
    /// # Errors
    /// Returns an error if the URL is malformed or wants TLS.
    pub fn new(url: &str) -> Result<Self, LimitsError> {
        if url.starts_with("rediss:") || url.starts_with("valkeys:") {
            return Err(LimitsError::FleetTls);
        }
        let state = RandomState::new();
        let replica = format!("{:016x}{:016x}", state.hash_one(1), state.hash_one(2));
        Ok(Self {
            client: redis::Client::open(url).map_err(|_| LimitsError::FleetUrl)?,
            url: Arc::new(url.into()),
            prefix: "portcullis".into(),
            replica: replica.into(),
            unreachable: Unreachable::default(),
            period: Duration::from_millis(100),
        })
    }

    /// Goes on in the place of `old`, where the books are the same: a process is one replica, however
    /// often its limits are read again.
    pub(in crate::rate) fn in_place_of(mut self, old: &Self) -> Self {
        if self.has_books_of(old) {
            self.replica = Arc::clone(&old.replica);
        }
        self
    }

    /// Whether both are the same in everything.
    pub(in crate::rate) fn is(&self, other: &Self) -> bool {
        let terms = |fleet: &Self| (fleet.unreachable, fleet.period, Arc::clone(&fleet.replica));
        self.has_books_of(other) && terms(self) == terms(other)
    }

    /// Whether both share the same limits through the same server.
    pub(in crate::rate) fn has_books_of(&self, other: &Self) -> bool {
        self.prefix == other.prefix && self.url.expose_secret() == other.url.expose_secret()
    }

    /// Puts `prefix` before the names of keys. Replicas share limits with the same prefix. Default:
    /// `portcullis`.
    pub fn with_prefix(mut self, prefix: impl Into<Arc<str>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Returns the prefix of the names of keys.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Limits nothing while the server does not answer. Default: each replica goes on with its last part.
    pub fn open_when_unreachable(self) -> Self {
        self.with_unreachable(Unreachable::Open)
    }

    /// Refuses requests while the server does not answer; transfers in flight stand until the server is back, and
    /// those of a quota use up their lease before. Default: each replica goes on with its last part.
    pub fn refusing_when_unreachable(self) -> Self {
        self.with_unreachable(Unreachable::Refuse)
    }

    pub(crate) fn with_unreachable(mut self, unreachable: Unreachable) -> Self {
        self.unreachable = unreachable;
        self
    }

    pub(crate) fn unreachable(&self) -> Unreachable {
        self.unreachable
    }

    /// Sets how often leases are renewed. Default: 100 ms.
    ///
    /// # Errors
    /// Returns an error for less than 10 ms or more than 10 s.
    pub fn with_period(mut self, period: Duration) -> Result<Self, LimitsError> {
        if period < Duration::from_millis(10) || period > Duration::from_secs(10) {
            return Err(LimitsError::FleetPeriod(period));
        }
        self.period = period;
        Ok(self)
    }
}

impl fmt::Debug for Fleet {
    // Without the client, whose URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("prefix", &self.prefix)
            .field("replica", &self.replica)
            .field("unreachable", &self.unreachable)
            .field("period", &self.period)
            .finish_non_exhaustive()
    }
}
