use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

/// Connections of one standing, by network, ranked by how many a network has.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    members: HashMap<IpAddr, BTreeSet<u64>>,
    /// Number of connections, the oldest of them, the network.
    ranking: BTreeSet<(usize, Reverse<u64>, IpAddr)>,
    len: usize,
}

impl Crowd {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, network: IpAddr, number: u64) {
        self.change(network, |members| members.insert(number));
    }

    pub(super) fn remove(&mut self, network: IpAddr, number: u64) {
        self.change(network, |members| members.remove(&number));
    }

    /// The oldest connection of a network.
    pub(super) fn oldest_of(&self, network: IpAddr) -> Option<u64> {
        self.members_of(network).next()
    }

    /// The connections of a network, the oldest first.
    pub(super) fn members_of(&self, network: IpAddr) -> impl Iterator<Item = u64> {
        self.members.get(&network).into_iter().flatten().copied()
    }

    /// The oldest connection of the network that has most; of several such networks, of the one with the
    /// oldest.
    pub(super) fn oldest_of_most(&self) -> Option<(IpAddr, u64)> {
        let (_, Reverse(oldest), network) = self.ranking.last()?;
        Some((*network, *oldest))
    }

    fn change(&mut self, network: IpAddr, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let members = self.members.entry(network).or_default();
        let rank = |members: &BTreeSet<u64>| {
            let oldest = members.first()?;
            Some((members.len(), Reverse(*oldest), network))
        };
        let (before, length) = (rank(members), members.len());
        if change(members) {
            let (after, changed) = (rank(members), members.len());
            self.len = self.len - length + changed;
            if let Some(before) = before {
                self.ranking.remove(&before);
            }
            self.ranking.extend(after);
        }
        if self.members.get(&network).is_some_and(BTreeSet::is_empty) {
            self.members.remove(&network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_with_most_is_first_and_of_equals_the_one_with_the_oldest() {
        let [one, two]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
        let mut crowd = Crowd::default();
        assert_eq!(crowd.oldest_of_most(), None);
        crowd.insert(two, 1);
        crowd.insert(one, 2);
        assert_eq!(crowd.oldest_of_most(), Some((two, 1)));
        crowd.insert(one, 3);
        assert_eq!(crowd.oldest_of_most(), Some((one, 2)));
        crowd.remove(one, 2);
        // What is not there changes nothing.
        crowd.remove(one, 2);
        assert_eq!(crowd.oldest_of(one), Some(3));
        assert_eq!((crowd.len(), crowd.oldest_of_most()), (2, Some((two, 1))));
        crowd.remove(two, 1);
        crowd.remove(one, 3);
        assert!(crowd.members.is_empty() && crowd.ranking.is_empty() && crowd.len() == 0);
    }
}
