use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::bounds::{Bounds, Full};

/// What a source and its network may have in flight: as many requests as connections, however many streams each
/// connection has.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(super) host: Arc<AtomicUsize>,
    pub(super) network: Arc<AtomicUsize>,
    pub(super) bounds: Bounds,
}

/// One request in flight, until it is dropped.
#[derive(Debug)]
pub(crate) struct Request {
    host: Counted,
    network: Counted,
}

#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Share {
    /// Counts one more request, if there may be one.
    pub(crate) fn begin(&self) -> Result<Request, Full> {
        let request = Request {
            host: Counted::one_of(&self.host),
            network: Counted::one_of(&self.network),
        };
        if request.host.all() > self.bounds.source {
            return Err(Full::Source);
        }
        if request.network.all() > self.bounds.network {
            return Err(Full::Network);
        }
        Ok(request)
    }
}

impl Counted {
    fn one_of(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }

    fn all(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Place, Places};
    use super::*;

    fn places() -> Arc<Places> {
        Places::new(Bounds {
            all: 100,
            strangers: 100,
            source: 3,
            network: 4,
        })
    }

    fn connect(places: &Arc<Places>, address: &str, exempt: bool) -> Place {
        let admitted = places.admit(address.parse().unwrap(), exempt, None);
        admitted.unwrap().0
    }

    fn begin(place: &Place) -> Result<Request, Full> {
        place.share().unwrap().begin()
    }

    #[test]
    fn a_source_and_its_network_have_as_many_requests_as_connections_and_none_more() {
        let places = places();
        let [one, same, other] = ["2001:db8:1:1::1", "2001:db8:1:1::2", "2001:db8:1:2::1"]
            .map(|address| connect(&places, address, false));
        let mut held = vec![begin(&one).unwrap(), begin(&one).unwrap()];
        held.push(begin(&same).unwrap());
        // What is refused is not counted, however often it is tried.
        for _ in 0..3 {
            assert_eq!(begin(&one).err(), Some(Full::Source));
            assert_eq!(begin(&same).err(), Some(Full::Source));
        }
        held.push(begin(&other).unwrap());
        for _ in 0..3 {
            assert_eq!(begin(&other).err(), Some(Full::Network));
        }
        // Another site has its own.
        let far = connect(&places, "2001:db8:2:1::1", false);
        let far = [(); 3].map(|()| begin(&far).unwrap());
        held.remove(0);
        held.push(begin(&other).unwrap());
        assert_eq!(begin(&one).err(), Some(Full::Network));
        drop((held, far));
        let _again = [&one, &same, &other].map(|place| begin(place).unwrap());
    }

    #[test]
    fn the_requests_of_a_trusted_proxy_have_no_bound() {
        let places = places();
        let address = "192.0.2.1";
        let before = connect(&places, address, false);
        // It is listed from now on.
        let proxy = connect(&places, address, true);
        assert!(before.share().is_some() && proxy.share().is_none());
        // Of a client for which it speaks they have that client's.
        let client = "198.51.100.1".parse().unwrap();
        proxy.speaks_for(client, false).unwrap();
        let _held = [(); 3].map(|()| begin(&proxy).unwrap());
        assert_eq!(begin(&proxy).err(), Some(Full::Source));
        assert!(begin(&before).is_ok());
    }
}
