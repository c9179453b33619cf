use std::net::{IpAddr, Ipv6Addr};

/// What the connections of one client are counted by. An IPv6 site has a /48 and each of its hosts may take
/// any address of a /64 (RFC 6177), so an address alone says nothing there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// An IPv4 address, or an IPv6 /64.
    pub(super) host: IpAddr,
    /// An IPv4 address, or an IPv6 /48.
    pub(super) network: IpAddr,
}

impl Source {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => Self {
                host: prefix(address, 64),
                network: prefix(address, 48),
            },
            address @ IpAddr::V4(_) => Self {
                host: address,
                network: address,
            },
        }
    }
}

fn prefix(address: Ipv6Addr, bits: u32) -> IpAddr {
    let mask = u128::MAX << (128 - bits);
    IpAddr::V6((u128::from(address) & mask).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_one_64_are_one_and_sites_of_one_48_are_one_network() {
        let of = |ip: &str| Source::of(ip.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:2:ffff::"));
        let (one, two) = (of("2001:db8:1:2::"), of("2001:db8:1:3::"));
        assert!(one.host != two.host && one.network == two.network);
        assert_ne!(one.network, of("2001:db8:2::").network);
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1").network, of("192.0.2.2").network);
    }
}
