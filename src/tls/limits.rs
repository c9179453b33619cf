use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// How many connections each source has. Nothing is kept of a source without one.
#[derive(Debug, Default)]
pub(super) struct Sources(Mutex<HashMap<IpAddr, usize>>);

/// One connection of a source, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    sources: Arc<Sources>,
    source: IpAddr,
}

impl Sources {
    /// A slot for one more connection, unless the source has `limit` already.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr, limit: usize) -> Option<Slot> {
        let source = source(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(source).or_default();
        if *count >= limit {
            // A limit of zero must leave no entry behind.
            if *count == 0 {
                counts.remove(&source);
            }
            return None;
        }
        *count += 1;
        Some(Slot {
            sources: Arc::clone(self),
            source,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let counts = &self.sources.0;
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}

/// An IPv6 customer has a /64 (RFC 6177), so that is one source.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(network.into())
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_limit_and_a_slot_comes_back_when_dropped() {
        let sources = Arc::new(Sources::default());
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let same: IpAddr = "2001:db8::ffff".parse().unwrap();
        let other: IpAddr = "2001:db8:0:1::1".parse().unwrap();
        let first = sources.admit(one, 1).unwrap();
        assert!(sources.admit(same, 1).is_none());
        assert!(sources.admit(other, 1).is_some());
        drop(first);
        assert!(sources.admit(same, 1).is_some());
        assert!(sources.admit(one, 0).is_none());
        assert!(sources.0.lock().unwrap().is_empty());
    }
}
