use std::net::IpAddr;

use ipnet::IpNet;

/// Which networks may ask: denied ones never, others only if allowed.
#[derive(Clone, Debug)]
pub struct Networks {
    allow: Option<Vec<IpNet>>,
    deny: Vec<IpNet>,
}

impl Networks {
    /// Allows these networks and no others.
    pub fn allow(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self {
            allow: Some(networks.into_iter().collect()),
            deny: Vec::new(),
        }
    }

    /// Allows every network that is not denied.
    pub fn allow_all() -> Self {
        Self {
            allow: None,
            deny: Vec::new(),
        }
    }

    /// Denies these networks, whatever is allowed.
    pub fn and_deny(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.deny.extend(networks);
        self
    }

    /// Whether every client may ask, even one of which no address is known.
    pub fn is_open(&self) -> bool {
        self.allow.is_none() && self.deny.is_empty()
    }

    /// Whether a client at this address may ask.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let within = |networks: &[IpNet]| networks.iter().any(|net| net.contains(&address));
        let allowed = self.allow.as_deref().is_none_or(within);
        allowed && !within(&self.deny)
    }
}

#[cfg(test)]
mod tests {
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
    fn an_empty_allow_list_allows_nobody() {
        assert!(!Networks::allow([]).permits("127.0.0.1".parse().unwrap()));
        assert!(Networks::allow_all().permits("127.0.0.1".parse().unwrap()));
    }
}
