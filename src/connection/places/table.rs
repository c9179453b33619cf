use std::collections::HashMap;
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
#[cfg(feature = "serve")]
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::bounds::{Bounds, Full};
use super::crowd::Crowd;
use super::source::Source;

/// Reports for how long a connection has had nothing in flight, `None` while it has.
pub(crate) trait Idle: Debug + Send + Sync {
    fn idle_for(&self, now: Instant) -> Option<Duration>;
}

/// A client's first request is refused, which shows no credential yet: up to this part of all connections may be such.
const REFUSED_WITHOUT_A_CROWD: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) next: u64,
    pub(super) seats: HashMap<u64, Seat>,
    pub(super) by_host: HashMap<IpAddr, Members>,
    pub(super) by_network: HashMap<IpAddr, Members>,
    /// Those that have shown nothing.
    pub(super) strangers: Crowd,
    /// Those on which there was no request, strangers included.
    pub(super) quiet: Crowd,
    /// Those on which each request was refused.
    pub(super) refused: Crowd,
}

/// What the connections of a source, or of a network, have in common.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) connections: usize,
    /// Those in flight.
    #[cfg(feature = "serve")]
    pub(super) requests: Arc<AtomicUsize>,
}

#[derive(Debug)]
pub(super) struct Seat {
    pub(super) source: Source,
    /// Whether its source is a trusted proxy, which is bounded by nothing but the number of all.
    pub(super) exempt: bool,
    pub(super) standing: Standing,
    /// `None` where it never makes room once it has shown something.
    pub(super) activity: Option<Arc<dyn Idle>>,
    pub(super) displace: oneshot::Sender<()>,
}

/// What a connection has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(all(feature = "serve", feature = "tls")),
    allow(dead_code, reason = "only a server of TLS tells all of them apart")
)]
pub(super) enum Standing {
    /// Nothing.
    Stranger,
    /// That there is a client of the protocol behind it, by a finished handshake.
    Quiet,
    /// The head of a request.
    Heard,
}

impl Table {
    #[cfg(feature = "serve")]
    pub(super) fn has_room(&self, bounds: &Bounds) -> bool {
        self.seats.len() < bounds.all
            || self.gives_way(bounds).is_some()
            || self.crowding(bounds).is_some()
    }

    /// The connection that makes room whoever comes: one that is not in use, else, of the network that has most on
    /// which each request was refused, the oldest: answers that a client does not take cost it nothing. Where those
    /// are many, they make room before one that is idle and was let in.
    fn gives_way(&self, bounds: &Bounds) -> Option<u64> {
        let refused = || self.refused.oldest_of_most().map(|(_, oldest)| oldest);
        let crowd =
            || refused().filter(|_| self.refused.len() > bounds.all / REFUSED_WITHOUT_A_CROWD);
        let quiet = self.oldest_quiet().or_else(crowd);
        quiet.or_else(|| self.longest_idle()).or_else(refused)
    }

    /// The network with most connections, and how many it has, if those are far more than its part.
    fn crowding(&self, bounds: &Bounds) -> Option<(IpAddr, usize)> {
        let counts = self.by_network.iter();
        let counts = counts.map(|(network, of)| (of.connections, *network));
        let (count, network) = counts.max()?;
        let others = self.by_network.len() > 1;
        (others && count > bounds.crowd()).then_some((network, count))
    }

    /// The oldest connection of the network that has far more than its part, though it is in use: all places could be held
    /// by requests that never end, of a few sources. A network that has as many gets none for it.
    fn crowding_out(&self, newcomer: Source, bounds: &Bounds) -> Option<u64> {
        let own = self.by_network.get(&newcomer.network);
        let own = own.map_or(0, |of| of.connections);
        let (network, _) = self
            .crowding(bounds)
            .filter(|(_, count)| own + 1 < *count)?;
        let seats = { self.seats.iter() }
            .filter(|(_, seat)| !seat.exempt && seat.source.network == network);
        seats.map(|(number, _)| *number).min()
    }

    /// Makes room for one more of all, and of those that have shown nothing.
    pub(super) fn make_room(&mut self, newcomer: Source, bounds: &Bounds) -> Result<(), Full> {
        if self.strangers.len() >= bounds.strangers
            && let Some((_, oldest)) = self.strangers.oldest_of_most()
        {
            self.end(oldest);
        }
        if self.seats.len() >= bounds.all {
            let number = self.gives_way(bounds);
            let number = number.or_else(|| self.crowding_out(newcomer, bounds));
            self.end(number.ok_or(Full::All)?);
        }
        Ok(())
    }

    /// Makes room for one more of a source, at the cost of that source.
    pub(super) fn make_room_of(&mut self, source: Source, bounds: &Bounds) -> Result<(), Full> {
        let count =
            |of: &HashMap<IpAddr, Members>, key| of.get(&key).map_or(0, |of| of.connections);
        if count(&self.by_host, source.host) >= bounds.source {
            let own = |number: &u64| {
                let seat = self.seats.get(number);
                seat.is_some_and(|seat| seat.source.host == source.host)
            };
            let oldest = self.strangers.members_of(source.network).find(own);
            let oldest = oldest.or_else(|| self.quiet.members_of(source.network).find(own));
            self.end(oldest.ok_or(Full::Source)?);
        }
        if count(&self.by_network, source.network) >= bounds.network {
            let oldest = self.oldest_of(source.network);
            self.end(oldest.ok_or(Full::Network)?);
        }
        Ok(())
    }

    /// Of a network, the oldest that has shown nothing, else the oldest without a request.
    fn oldest_of(&self, network: IpAddr) -> Option<u64> {
        let stranger = self.strangers.oldest_of(network);
        stranger.or_else(|| self.quiet.oldest_of(network))
    }

    /// Ends a connection that is not in use.
    #[cfg(feature = "serve")]
    pub(super) fn displace_unused(&mut self) -> bool {
        let unused = self.unused();
        unused.inspect(|number| self.end(*number)).is_some()
    }

    /// A connection that is not in use, one without a request before one that is idle.
    #[cfg(feature = "serve")]
    fn unused(&self) -> Option<u64> {
        self.oldest_quiet().or_else(|| self.longest_idle())
    }

    /// Of the network that has most without a request, the oldest of those.
    fn oldest_quiet(&self) -> Option<u64> {
        let (network, _) = self.quiet.oldest_of_most()?;
        self.oldest_of(network)
    }

    /// Of the connections that are idle, the one whose network has most connections; of several, the one
    /// that has been idle for longest. A walk through the table: it is taken only when every place is taken
    /// and a request was on each connection.
    fn longest_idle(&self) -> Option<u64> {
        let now = Instant::now();
        let idle = self.seats.iter().filter_map(|(number, seat)| {
            let time = seat.activity.as_ref()?.idle_for(now)?;
            let network = self.by_network.get(&seat.source.network);
            Some((network.map_or(0, |of| of.connections), time, *number))
        });
        idle.max().map(|(_, _, number)| number)
    }

    fn end(&mut self, number: u64) {
        if let Some(seat) = self.leave(number) {
            // It may have ended meanwhile.
            let _ = seat.displace.send(());
        }
    }

    pub(super) fn enter(&mut self, number: u64, seat: Seat) {
        if !seat.exempt {
            let source = seat.source;
            self.by_host.entry(source.host).or_default().connections += 1;
            self.by_network
                .entry(source.network)
                .or_default()
                .connections += 1;
            if seat.standing == Standing::Stranger {
                self.strangers.insert(source.network, number);
            }
            if seat.standing != Standing::Heard {
                self.quiet.insert(source.network, number);
            }
        }
        self.seats.insert(number, seat);
    }

    pub(super) fn leave(&mut self, number: u64) -> Option<Seat> {
        let seat = self.seats.remove(&number)?;
        if !seat.exempt {
            let source = seat.source;
            decrease(&mut self.by_host, source.host);
            decrease(&mut self.by_network, source.network);
            self.strangers.remove(source.network, number);
            self.quiet.remove(source.network, number);
            self.refused.remove(source.network, number);
        }
        Some(seat)
    }

    #[cfg(feature = "serve")]
    pub(super) fn answer(&mut self, number: u64, refused: bool) {
        if let Some(seat) = self.seats.get(&number).filter(|seat| !seat.exempt) {
            if refused {
                self.refused.insert(seat.source.network, number);
            } else {
                self.refused.remove(seat.source.network, number);
            }
        }
    }

    pub(super) fn rise(&mut self, number: u64, standing: Standing) {
        if let Some(seat) = self.seats.get_mut(&number) {
            seat.standing = standing;
            let network = seat.source.network;
            self.strangers.remove(network, number);
            if standing == Standing::Heard {
                self.quiet.remove(network, number);
            }
        }
    }
}

fn decrease(members: &mut HashMap<IpAddr, Members>, key: IpAddr) {
    if let Some(of) = members.get_mut(&key) {
        of.connections -= 1;
        if of.connections == 0 {
            members.remove(&key);
        }
    }
}
