#[cfg(feature = "serve")]
use std::collections::HashMap;
use std::net::IpAddr;
#[cfg(feature = "serve")]
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(feature = "serve")]
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
#[cfg(feature = "serve")]
use tokio::time::timeout;

use super::bounds::{Bounds, Full};
#[cfg(feature = "serve")]
use super::share::Share;
use super::source::Source;
#[cfg(feature = "serve")]
use super::table::Members;
use super::table::{Idle, Seat, Standing, Table};

/// The connections of a server or of an acceptor. When a bound is reached, a connection that has shown nothing makes room: of
/// the network that has most of them the oldest, so that no source can take the places of the others.
#[derive(Debug)]
pub(crate) struct Places {
    bounds: Bounds,
    table: Mutex<Table>,
    freed: Notify,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    /// How its requests were answered so far.
    #[cfg(feature = "serve")]
    answered: AtomicU8,
}

/// No request was answered yet.
#[cfg(feature = "serve")]
const UNANSWERED: u8 = 0;
/// Each request that was answered was refused.
#[cfg(feature = "serve")]
const REFUSED: u8 = 1;
/// A request was let in.
#[cfg(feature = "serve")]
const LET_IN: u8 = 2;

impl Places {
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            table: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// Takes a place for a connection from `address`. The receiver gets a message when the connection has
    /// to make room for another.
    pub(crate) fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        exempt: bool,
        activity: Option<Arc<dyn Idle>>,
    ) -> Result<(Place, oneshot::Receiver<()>), Full> {
        let source = Source::of(address);
        let mut table = self.lock();
        if !exempt {
            table.make_room_of(source, &self.bounds)?;
        }
        table.make_room(source, &self.bounds)?;
        let (displace, displaced) = oneshot::channel();
        let number = table.next;
        table.next += 1;
        let seat = Seat {
            source,
            exempt,
            standing: Standing::Stranger,
            activity,
            displace,
        };
        table.enter(number, seat);
        let place = Place {
            places: Arc::clone(self),
            number,
            #[cfg(feature = "serve")]
            answered: AtomicU8::new(UNANSWERED),
        };
        Ok((place, displaced))
    }

    /// Waits until a connection could be admitted, as far as the number of all is concerned.
    #[cfg(feature = "serve")]
    pub(crate) async fn room(&self) {
        while !self.lock().has_room(&self.bounds) {
            // A connection also makes room by becoming idle, which nothing reports.
            let _ = timeout(Duration::from_millis(50), self.freed.notified()).await;
        }
    }

    /// Whether the number of all is reached and nothing could make room.
    #[cfg(feature = "serve")]
    pub(crate) fn is_full(&self) -> bool {
        !self.lock().has_room(&self.bounds)
    }

    /// Ends up to `count` connections that are not in use. Returns how many there were.
    #[cfg(feature = "serve")]
    pub(crate) fn displace(&self, count: usize) -> usize {
        let mut table = self.lock();
        (0..count).take_while(|_| table.displace_unused()).count()
    }

    /// How many connections have shown nothing, and how many there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let table = self.lock();
        (table.strangers.len(), table.seats.len())
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Moves the place to the client for which a proxy speaks.
    pub(crate) fn speaks_for(&self, address: IpAddr, exempt: bool) -> Result<(), Full> {
        let source = Source::of(address);
        let mut table = self.places.lock();
        let Some(mut seat) = table.leave(self.number) else {
            // It has to make room for another already.
            return Ok(());
        };
        if !exempt {
            table.make_room_of(source, &self.places.bounds)?;
        }
        seat.source = source;
        seat.exempt = exempt;
        table.enter(self.number, seat);
        Ok(())
    }

    /// Its source's share in the requests in flight; `None` where that has no bound.
    #[cfg(feature = "serve")]
    pub(crate) fn share(&self) -> Option<Share> {
        let table = self.places.lock();
        let seat = table.seats.get(&self.number)?;
        let requests =
            |of: &HashMap<IpAddr, Members>, key| of.get(&key).map(|of| Arc::clone(&of.requests));
        Some(Share {
            host: requests(&table.by_host, seat.source.host).filter(|_| !seat.exempt)?,
            network: requests(&table.by_network, seat.source.network)?,
            bounds: self.places.bounds,
        })
    }

    /// How many connections have shown nothing, and how many there are.
    #[cfg(feature = "serve")]
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.places.counts()
    }

    /// Notes that the handshake is finished.
    #[cfg(all(feature = "serve", feature = "tls"))]
    pub(crate) fn shaken(&self) {
        self.places.lock().rise(self.number, Standing::Quiet);
    }

    /// Notes that a request was answered: a connection on which none was let in makes room before others that are in use.
    #[cfg(feature = "serve")]
    pub(crate) fn answered(&self, refused: bool) {
        let next = if refused { REFUSED } else { LET_IN };
        // Most of the time nothing changes.
        let before = self.answered.fetch_max(next, Ordering::Relaxed);
        if before < next {
            let mut table = self.places.lock();
            // Another request of the connection may have been let in meanwhile.
            let refused = self.answered.load(Ordering::Relaxed) == REFUSED;
            table.answer(self.number, refused);
        }
    }

    /// Notes that a whole head has come.
    pub(crate) fn heard(&self) {
        self.places.lock().rise(self.number, Standing::Heard);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().leave(self.number);
        self.places.freed.notify_one();
    }
}

#[cfg(test)]
#[cfg(feature = "serve")]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// The requests of a connection.
    #[derive(Debug, Default)]
    struct Requests(Mutex<Option<(usize, Instant)>>);

    struct Request(Arc<Requests>);

    impl Idle for Requests {
        fn idle_for(&self, now: Instant) -> Option<Duration> {
            let (in_flight, rests) = (*self.0.lock().unwrap())?;
            (in_flight == 0).then(|| now.duration_since(rests))
        }
    }

    impl Drop for Request {
        fn drop(&mut self) {
            let mut requests = self.0.0.lock().unwrap();
            let in_flight = requests.unwrap().0 - 1;
            *requests = Some((in_flight, Instant::now()));
        }
    }

    const BOUNDS: Bounds = Bounds {
        all: 8,
        strangers: 4,
        source: 4,
        network: 6,
    };

    struct Client {
        place: Place,
        displaced: oneshot::Receiver<()>,
        activity: Arc<Requests>,
    }

    impl Client {
        fn is_displaced(&mut self) -> bool {
            self.displaced.try_recv().is_ok()
        }

        /// Sends a request, which is in flight until what this returns is dropped.
        fn asks(&self) -> Request {
            self.place.shaken();
            self.place.heard();
            let mut requests = self.activity.0.lock().unwrap();
            let in_flight = requests.map_or(0, |(in_flight, _)| in_flight);
            *requests = Some((in_flight + 1, Instant::now()));
            Request(Arc::clone(&self.activity))
        }
    }

    fn connect(places: &Arc<Places>, address: &str) -> Result<Client, Full> {
        let activity = Arc::<Requests>::default();
        let idle: Arc<dyn Idle> = activity.clone();
        let (place, displaced) = places.admit(address.parse().unwrap(), false, Some(idle))?;
        Ok(Client {
            place,
            displaced,
            activity,
        })
    }

    #[test]
    fn a_flood_of_strangers_makes_room_for_itself_and_takes_nothing_from_others() {
        let places = Places::new(BOUNDS);
        let mut good = connect(&places, "192.0.2.1").unwrap();
        let mut flood: Vec<_> = (0..100)
            .map(|_| connect(&places, "203.0.113.1").unwrap())
            .collect();
        assert!(!good.is_displaced());
        let displaced: Vec<_> = flood.iter_mut().map(Client::is_displaced).collect();
        assert!(displaced.iter().take(97).all(|displaced| *displaced));
        assert!(displaced.iter().skip(97).all(|displaced| !displaced));
        assert_eq!(places.counts(), (4, 4));
        drop((good, flood));
        assert_eq!(places.counts(), (0, 0));
        let table = places.lock();
        assert!(table.by_host.is_empty() && table.by_network.is_empty());
    }

    #[test]
    fn of_many_sources_the_oldest_stranger_goes_first() {
        let places = Places::new(BOUNDS);
        let addresses: Vec<_> = (1..=6).map(|last| format!("203.0.113.{last}")).collect();
        let mut clients: Vec<_> = { addresses.iter() }
            .map(|address| connect(&places, address).unwrap())
            .collect();
        let displaced: Vec<_> = clients.iter_mut().map(Client::is_displaced).collect();
        assert_eq!(displaced, [true, true, false, false, false, false]);
    }

    #[test]
    fn a_source_that_uses_all_that_it_may_have_gets_no_more_and_others_do() {
        let places = Places::new(BOUNDS);
        let clients: Vec<_> = (0..4)
            .map(|last| connect(&places, &format!("2001:db8:1:1::{last}")).unwrap())
            .collect();
        let _requests: Vec<_> = clients.iter().map(Client::asks).collect();
        let more = connect(&places, "2001:db8:1:1::9");
        assert_eq!(more.err(), Some(Full::Source));
        let others = ["2001:db8:1:2::1", "2001:db8:1:3::1"];
        let others = others.map(|address| connect(&places, address).unwrap());
        let _other_requests = others.each_ref().map(Client::asks);
        let more = connect(&places, "2001:db8:1:4::1");
        assert_eq!(more.err(), Some(Full::Network));
        assert!(connect(&places, "2001:db8:2::1").is_ok());
    }

    #[test]
    fn a_source_at_its_bound_ends_its_own_connections_and_none_of_its_neighbours() {
        let places = Places::new(Bounds {
            strangers: 8,
            ..BOUNDS
        });
        let mut neighbour = connect(&places, "2001:db8:1:2::1").unwrap();
        let own = |last| connect(&places, &format!("2001:db8:1:1::{last}")).unwrap();
        let mut clients: Vec<_> = (0..4).map(own).collect();
        let _request = clients[0].asks();
        clients.iter().skip(1).for_each(|one| one.place.shaken());
        // The oldest without a request goes, but before it one that has shown nothing.
        clients.push(own(4));
        clients.push(own(5));
        let displaced: Vec<_> = clients.iter_mut().map(Client::is_displaced).collect();
        assert_eq!(displaced, [false, true, false, false, true, false]);
        assert!(!neighbour.is_displaced());
    }

    #[test]
    fn one_that_has_shown_nothing_goes_before_an_older_one_that_has() {
        let places = Places::new(Bounds {
            all: 2,
            strangers: 8,
            ..BOUNDS
        });
        let mut shaken = connect(&places, "192.0.2.1").unwrap();
        shaken.place.shaken();
        let mut stranger = connect(&places, "192.0.2.1").unwrap();
        let _newest = connect(&places, "198.51.100.1").unwrap();
        assert!(stranger.is_displaced() && !shaken.is_displaced());
    }

    #[test]
    fn a_connection_that_ended_makes_room_once() {
        let places = Places::new(Bounds { all: 1, ..BOUNDS });
        drop(connect(&places, "192.0.2.1").unwrap());
        let client = connect(&places, "192.0.2.1").unwrap();
        let _request = client.asks();
        assert!(places.is_full());
        assert_eq!(connect(&places, "192.0.2.2").err(), Some(Full::All));
        assert_eq!(places.counts(), (0, 1));
    }

    #[test]
    fn when_all_places_are_taken_an_idle_connection_makes_room_and_none_that_is_in_use() {
        let places = Places::new(BOUNDS);
        let clients = |network: &str, count| -> Vec<Client> {
            let each = (0..count).map(|_| connect(&places, network).unwrap());
            each.inspect(|client| client.place.shaken()).collect()
        };
        let mut many = clients("203.0.113.1", 4);
        let mut few = clients("192.0.2.1", 2);
        let mut two = clients("198.51.100.1", 2);
        assert!(!places.is_full(), "none has shown a request");
        let requests: Vec<_> = { many.iter().chain(&few).chain(&two) }
            .map(Client::asks)
            .collect();
        assert!(places.is_full());
        assert_eq!(
            connect(&places, "192.0.2.9").err(),
            Some(Full::All),
            "all are in use"
        );
        drop(requests);
        assert!(!places.is_full());
        let newest = connect(&places, "192.0.2.9").unwrap();
        let _request = newest.asks();
        let ended = |clients: &mut Vec<Client>| {
            let displaced = clients.iter_mut().map(Client::is_displaced);
            displaced.filter(|displaced| *displaced).count()
        };
        assert_eq!(
            (ended(&mut many), ended(&mut few), ended(&mut two)),
            (1, 0, 0)
        );
        assert_eq!(places.displace(100), 7);
    }

    #[test]
    fn a_connection_on_which_no_request_was_let_in_makes_room_before_others_in_use() {
        let places = Places::new(BOUNDS);
        let addresses = (1..=8).map(|last| format!("203.0.113.{last}"));
        let mut clients: Vec<_> = { addresses }
            .map(|address| connect(&places, &address).unwrap())
            .inspect(|client| client.place.heard())
            .collect();
        let _requests: Vec<_> = clients.iter().map(Client::asks).collect();
        assert!(places.is_full());
        clients[3].place.answered(false);
        for refused in [2, 3, 5] {
            clients[refused].place.answered(true);
        }
        clients[5].place.answered(false);
        assert!(!places.is_full());
        let newcomer = connect(&places, "192.0.2.1").unwrap();
        let displaced: Vec<_> = clients.iter_mut().map(Client::is_displaced).collect();
        let expected: Vec<_> = (0..8).map(|at| at == 2).collect();
        assert_eq!(displaced, expected);
        let _request = newcomer.asks();
        assert_eq!(connect(&places, "192.0.2.2").err(), Some(Full::All));
    }

    #[test]
    fn many_that_were_refused_make_room_before_those_that_are_idle_and_were_let_in() {
        let bounds = Bounds {
            all: 64,
            strangers: 64,
            source: 64,
            network: 64,
        };
        for (refused, refused_goes) in [(4, false), (5, true)] {
            let places = Places::new(bounds);
            let heard = |address: &str| {
                let client = connect(&places, address).unwrap();
                client.place.heard();
                client
            };
            let mut idle = heard("192.0.2.1");
            drop(idle.asks());
            idle.place.answered(false);
            let mut sending: Vec<_> = (0..refused).map(|_| heard("203.0.113.1")).collect();
            let in_use: Vec<_> = (0..64 - refused - 1)
                .map(|_| heard("198.51.100.1"))
                .collect();
            let requests: Vec<_> = { sending.iter().chain(&in_use) }
                .map(Client::asks)
                .collect();
            for client in &sending {
                client.place.answered(true);
            }
            let _newcomer = connect(&places, "192.0.2.9").unwrap();
            assert_eq!(idle.is_displaced(), !refused_goes);
            assert_eq!(sending[0].is_displaced(), refused_goes);
            drop(requests);
        }
    }

    #[test]
    fn a_network_with_far_more_than_its_part_makes_room_for_others_though_all_are_in_use() {
        let places = Places::new(Bounds {
            all: 2048,
            strangers: 4096,
            source: 512,
            network: 1024,
        });
        let mut crowds: Vec<Vec<Client>> = Vec::new();
        for last in 1..=4 {
            let address = format!("203.0.113.{last}");
            let each = (0..512).map(|_| connect(&places, &address).unwrap());
            crowds.push(each.collect());
        }
        let crowding: Vec<_> = crowds.iter().flatten().map(Client::asks).collect();
        assert!(!places.is_full());
        let few = (0..200).map(|_| {
            let client = connect(&places, "192.0.2.1").unwrap();
            let request = client.asks();
            (client, request)
        });
        let few: Vec<_> = few.collect();
        let displaced = crowds.iter_mut().map(|crowd| {
            let displaced = crowd.iter_mut().map(Client::is_displaced);
            displaced.filter(|displaced| *displaced).count()
        });
        let displaced: Vec<_> = displaced.collect();
        assert_eq!(displaced.iter().sum::<usize>(), 200);
        assert!(
            displaced.iter().all(|count| (49..=52).contains(count)),
            "{displaced:?}"
        );
        drop((crowding, few));

        // Many networks with their part each keep it.
        let places = Places::new(Bounds {
            all: 1024,
            strangers: 4096,
            source: 512,
            network: 1024,
        });
        let clients: Vec<_> = (1..=8)
            .flat_map(|last| (0..128).map(move |_| format!("203.0.113.{last}")))
            .map(|address| connect(&places, &address).unwrap())
            .collect();
        let _requests: Vec<_> = clients.iter().map(Client::asks).collect();
        assert!(places.is_full());
        assert_eq!(connect(&places, "192.0.2.1").err(), Some(Full::All));
    }

    #[test]
    fn a_place_moves_to_the_client_that_a_proxy_speaks_for() {
        let places = Places::new(BOUNDS);
        let proxied: Vec<_> = (0..4)
            .map(|_| {
                let activity = Arc::<Requests>::default();
                let proxy = "10.0.0.1".parse().unwrap();
                let (place, displaced) = places.admit(proxy, true, None).unwrap();
                place
                    .speaks_for("203.0.113.1".parse().unwrap(), false)
                    .unwrap();
                Client {
                    place,
                    displaced,
                    activity,
                }
            })
            .collect();
        let _requests: Vec<_> = proxied.iter().map(Client::asks).collect();
        assert_eq!(connect(&places, "203.0.113.1").err(), Some(Full::Source));
        assert!(connect(&places, "10.0.0.1").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_room_goes_on_when_a_connection_becomes_idle_or_ends() {
        let places = Places::new(Bounds { all: 1, ..BOUNDS });
        let client = connect(&places, "192.0.2.1").unwrap();
        let request = client.asks();
        let waits = timeout(Duration::from_secs(1), places.room()).await;
        assert!(waits.is_err());
        drop(request);
        places.room().await;
        let _request = client.asks();
        drop(client);
        places.room().await;
    }
}
