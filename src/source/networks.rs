use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixSet;

/// The networks that may send requests: denied networks never, others only if allowed. A look-up in a set of a
/// hundred thousand networks costs as little as in a small one.
///
/// An IPv4-mapped IPv6 network or address is the IPv4 one. `::/0` and other IPv6 networks wider than
/// `::ffff:0:0/96` hold IPv6 addresses only.
///
/// ```
/// use portcullis::source::Networks;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let networks = Networks::allow(["10.0.0.0/8".parse()?, "2001:db8::/32".parse()?])
///     .and_deny(["10.9.0.0/16".parse()?]);
/// assert!(networks.permits("10.1.2.3".parse()?));
/// assert!(networks.permits("::ffff:10.1.2.3".parse()?));
/// assert!(!networks.permits("10.9.2.3".parse()?));
/// assert!(!networks.permits("192.0.2.1".parse()?));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Networks {
    allow: Option<NetworkSet>,
    deny: NetworkSet,
}

/// A set of networks of both families.
#[derive(Clone, Debug, Default)]
pub(crate) struct NetworkSet {
    v4: PrefixSet<Ipv4Net>,
    v6: PrefixSet<Ipv6Net>,
}

impl Networks {
    /// Allows these networks and no others.
    pub fn allow(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self {
            allow: Some(networks.into_iter().collect()),
            deny: NetworkSet::default(),
        }
    }

    /// Allows every network that is not denied.
    pub fn allow_all() -> Self {
        Self {
            allow: None,
            deny: NetworkSet::default(),
        }
    }

    /// Allows these networks too, where not every network is allowed.
    pub fn and_allow(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        if let Some(allow) = &mut self.allow {
            allow.extend(networks);
        }
        self
    }

    /// Denies these networks, whatever is allowed.
    pub fn and_deny(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.deny.extend(networks);
        self
    }

    /// Returns whether every client may send requests, even one without a known address.
    pub fn is_open(&self) -> bool {
        self.allow.is_none() && self.deny.is_empty()
    }

    /// Returns whether a client at this address may send requests.
    pub fn permits(&self, address: IpAddr) -> bool {
        let allowed = self.allow.as_ref().is_none_or(|set| set.contains(address));
        allowed && !self.deny.contains(address)
    }

    /// Returns the allowed networks, IPv4 first, without those that are within others; `None` where every network is allowed that is not denied.
    pub fn allowed(&self) -> Option<impl Iterator<Item = IpNet>> {
        self.allow.as_ref().map(NetworkSet::iter)
    }

    /// Returns the denied networks in the same order.
    pub fn denied(&self) -> impl Iterator<Item = IpNet> {
        self.deny.iter()
    }
}

impl NetworkSet {
    /// Returns whether the address is in one of the networks.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.is_covered(&Ipv4Net::from(address)),
            IpAddr::V6(address) => self.v6.is_covered(&Ipv6Net::from(address)),
        }
    }

    /// Returns whether the whole network is in the set.
    pub(crate) fn covers(&self, network: IpNet) -> bool {
        match canonical(network) {
            IpNet::V4(network) => self.v4.is_covered(&network),
            IpNet::V6(network) => self.v6.is_covered(&network),
        }
    }

    /// Returns whether there is no network.
    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Returns the networks in order, IPv4 first, without those that are within others.
    pub(crate) fn iter(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.v4.iter().map(IpNet::V4);
        v4.chain(self.v6.iter().map(IpNet::V6))
    }

    fn insert(&mut self, network: IpNet) {
        match canonical(network) {
            IpNet::V4(network) => self.v4.insert(network.trunc()),
            IpNet::V6(network) => self.v6.insert(network.trunc()),
        };
    }
}

impl Extend<IpNet> for NetworkSet {
    fn extend<I: IntoIterator<Item = IpNet>>(&mut self, networks: I) {
        networks
            .into_iter()
            .for_each(|network| self.insert(network));
        // A network within another changes no answer and costs steps.
        self.v4.aggregate_consistent();
        self.v6.aggregate_consistent();
    }
}

impl FromIterator<IpNet> for NetworkSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let mut set = Self::default();
        set.extend(networks);
        set
    }
}

/// Whether the address is in one of a few networks, however both are written.
pub(crate) fn within(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    let mut networks = networks.iter();
    networks.any(|network| canonical(*network).contains(&address))
}

/// The network that canonical addresses are in: an IPv4-mapped one is the IPv4 one.
pub(crate) fn canonical(network: IpNet) -> IpNet {
    match network {
        IpNet::V4(_) => network,
        IpNet::V6(six) => mapped(six).map_or(network, IpNet::V4),
    }
}

/// The IPv4 network that `::ffff:a.b.c.d/n` is.
fn mapped(network: Ipv6Net) -> Option<Ipv4Net> {
    let length = network.prefix_len().checked_sub(96)?;
    let address: Ipv6Addr = network.network();
    Ipv4Net::new(address.to_ipv4_mapped()?, length).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn deny_wins_and_a_mapped_address_is_the_ipv4_address() {
        let networks = Networks::allow(nets(&["10.0.0.0/8", "2001:db8::/32"]))
            .and_deny(nets(&["10.9.0.0/16"]));
        for (address, permitted) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.9.2.3", false),
            ("::ffff:10.9.2.3", false),
            ("192.0.2.1", false),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(
                networks.permits(address.parse().unwrap()),
                permitted,
                "{address}"
            );
        }
    }

    #[test]
    fn a_mapped_network_is_the_ipv4_network() {
        let networks = Networks::allow_all().and_deny(nets(&["::ffff:10.0.0.0/104"]));
        for (address, permitted) in [
            ("10.1.2.3", false),
            ("::ffff:10.1.2.3", false),
            ("11.1.2.3", true),
            ("::a01:203", true),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(networks.permits(address), permitted, "{address}");
        }
        let six = Networks::allow(nets(&["::/0"]));
        assert!(six.permits("2001:db8::1".parse().unwrap()));
        assert!(!six.permits("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn an_empty_allow_list_allows_nobody() {
        assert!(!Networks::allow([]).permits("127.0.0.1".parse().unwrap()));
        assert!(Networks::allow_all().permits("127.0.0.1".parse().unwrap()));
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        // Few bits, so that networks and addresses meet.
        prop_oneof![
            (0u8..4, 0u8..4, 0u8..4).prop_map(|(a, b, c)| IpAddr::from([a, b, 0, c])),
            (0u16..4, 0u16..4).prop_map(|(a, b)| IpAddr::from([0x2001, a, 0, 0, 0, 0, 0, b])),
            (0u8..4, 0u8..4).prop_map(|(a, b)| {
                let [a, b] = [u16::from(a) << 8, u16::from(b)];
                IpAddr::from([0, 0, 0, 0, 0, 0xffff, a, b])
            }),
        ]
    }

    fn network() -> impl Strategy<Value = IpNet> {
        (address(), 0u8..=128).prop_map(|(address, length)| {
            let length = if address.is_ipv4() {
                length % 33
            } else {
                length
            };
            IpNet::new(address, length).unwrap()
        })
    }

    proptest! {
        #[test]
        fn a_set_answers_as_a_look_at_every_network_does(
            networks in prop::collection::vec(network(), 0..20), address in address(),
        ) {
            let set: NetworkSet = networks.iter().copied().collect();
            let plain = address.to_canonical();
            let among = networks.iter().any(|network| canonical(*network).contains(&plain));
            prop_assert_eq!(set.contains(address), among);
            let again: NetworkSet = set.iter().collect();
            prop_assert_eq!(again.contains(address), among);
        }
    }
}
