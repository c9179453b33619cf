//! How many requests are in flight to registries and to other gates at once: each takes a descriptor and a port, of
//! which a caller with many streams could otherwise take all.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

#[path = "../../process/fair.rs"]
mod fair;
#[path = "../../process/shares.rs"]
mod shares;

use self::fair::{Part, Pool};

/// No more connections to one host are kept idle.
const MOST_IDLE: usize = 256;

/// Probes that are asked of one registry at once, which have no part in the places of callers.
const PROBES: usize = 32;

/// The places of requests, shared by source. `Clone` costs an `Arc`.
#[derive(Clone, Debug)]
pub(crate) struct InFlight(Pool);

/// The place of one request, free again when this is dropped.
#[derive(Debug)]
pub(super) enum Place {
    OfSource(Part),
    OfProbe { _permit: OwnedSemaphorePermit },
}

impl Place {
    /// Who has it.
    pub(super) fn source(&self) -> &str {
        match self {
            Self::OfSource(part) => part.source(),
            Self::OfProbe { .. } => "probes",
        }
    }
}

/// What a request has until both its bodies have ended.
#[derive(Debug)]
pub(super) struct Held {
    /// The gate's own question has none.
    pub(super) _place: Option<Place>,
    /// Its stream of a connection that others have streams of too.
    pub(super) _stream: Option<OwnedSemaphorePermit>,
}

/// No place was free in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Crowded {
    #[error(
        "{source_network} has {places} requests in flight, all that one source may have, and none ended within {waited:?}; \
         --max-in-flight is four times as many"
    )]
    Source {
        source_network: IpAddr,
        places: usize,
        waited: Duration,
    },
    #[error(
        "of {places} requests that may be in flight the other sources have so many that {source_network} may have no more, \
         and too few ended within {waited:?}; raise --max-in-flight, and the limit of open files (ulimit -n, \
         LimitNOFILE=), of which it is a quarter at most"
    )]
    All {
        source_network: IpAddr,
        places: usize,
        waited: Duration,
    },
    #[error("{PROBES} probes of the registry are in flight, and none ended within {0:?}")]
    Probes(Duration),
}

impl InFlight {
    /// This many requests at once, of which a source has a quarter, and the less the more others have.
    pub(crate) fn new(count: usize) -> Self {
        Self(Pool::new(count.clamp(1, Semaphore::MAX_PERMITS)))
    }

    /// How many there may be at once, of all sources and of one.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.0.count(), self.0.part())
    }

    /// How many connections to one host stay open without a request in flight.
    pub(super) fn idle(&self) -> usize {
        let (_, part) = self.counts();
        part.min(MOST_IDLE)
    }

    /// How many connections to one registry, or to all other gates, there may be besides those of places: idle ones,
    /// those of probes and that of the gate's own question.
    fn besides(&self) -> usize {
        self.idle() + PROBES + 1
    }

    /// How many connections to one registry, or to all other gates, may be open or begun.
    pub(super) fn connections(&self) -> usize {
        self.0.count().saturating_add(self.besides())
    }

    /// How many connections there may be to so many registries and, if there is an egress, to other gates.
    pub(crate) fn descriptors(&self, registries: usize, egress: bool) -> usize {
        let besides = self.besides().saturating_mul(registries);
        let to_gates = if egress { self.connections() } else { 0 };
        self.0
            .count()
            .saturating_add(besides)
            .saturating_add(to_gates)
    }

    /// Waits for a place of this source for as long as `patience`.
    ///
    /// # Errors
    /// None was free in that time.
    pub(super) async fn take(&self, address: IpAddr, patience: Duration) -> Result<Place, Crowded> {
        let until = Instant::now() + patience;
        let source_network = shares::network(address);
        let source = source_network.to_string();
        let site = shares::site(address).to_string();
        if let Some(part) = self.0.take(&source, &site, 1, until).await {
            return Ok(Place::OfSource(part));
        }
        let (places, own_places) = self.counts();
        Err(if self.0.used_by(&source) >= own_places {
            Crowded::Source {
                source_network,
                places: own_places,
                waited: patience,
            }
        } else {
            Crowded::All {
                source_network,
                places,
                waited: patience,
            }
        })
    }
}

/// The places of probes. `Clone` costs an `Arc`.
#[derive(Clone, Debug)]
pub(super) struct Probes(Arc<Semaphore>);

impl Default for Probes {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PROBES)))
    }
}

impl Probes {
    /// As [`InFlight::take`], for callers that are not told apart.
    pub(super) async fn take(&self, patience: Duration) -> Result<Place, Crowded> {
        let permit = Arc::clone(&self.0).acquire_owned();
        let permit = timeout_at(Instant::now() + patience, permit).await;
        // The semaphore is never closed.
        let permit = permit.ok().and_then(Result::ok);
        Ok(Place::OfProbe {
            _permit: permit.ok_or(Crowded::Probes(patience))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn ip(text: &str) -> IpAddr {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_has_a_quarter_of_the_places_and_the_others_have_the_rest() {
        let places = InFlight::new(8);
        let mut held = Vec::new();
        for address in ["192.0.2.1", "::ffff:192.0.2.1"] {
            held.push(places.take(ip(address), PATIENCE).await.unwrap());
        }
        let began = Instant::now();
        let refused = places.take(ip("192.0.2.1"), PATIENCE).await.unwrap_err();
        assert!(
            matches!(refused, Crowded::Source { places: 2, .. }),
            "{refused:?}"
        );
        assert_eq!(began.elapsed(), PATIENCE);
        // A /64 is one source, another /64 is another, and each has its part of what is left over.
        for address in ["2001:db8::1", "2001:db8:0:1::1", "192.0.2.2", "192.0.2.3"] {
            held.push(places.take(ip(address), PATIENCE).await.unwrap());
        }
        let refused = places.take(ip("2001:db8::2"), PATIENCE).await.unwrap_err();
        assert!(
            matches!(refused, Crowded::All { places: 8, .. }),
            "{refused:?}"
        );
        held.remove(0);
        places.take(ip("192.0.2.1"), PATIENCE).await.unwrap_err();
        held.clear();
        places.take(ip("192.0.2.1"), PATIENCE).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_left_while_it_waited_takes_no_place() {
        let places = InFlight::new(4);
        let held = places.take(ip("192.0.2.1"), PATIENCE).await.unwrap();
        let waits = places.take(ip("192.0.2.1"), PATIENCE);
        let left = tokio::time::timeout(PATIENCE / 2, waits).await;
        assert!(left.is_err());
        drop(held);
        places.take(ip("192.0.2.1"), PATIENCE).await.unwrap();
    }
}
