use std::io;
use std::net::{IpAddr, SocketAddr};

use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{Method, Request};
use ipnet::IpNet;

use super::upstream::port_of;

/// Where an egress may go: nowhere else, so that it is no open proxy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Targets {
    /// The addresses, also those of a name.
    pub(crate) networks: Vec<IpNet>,
    pub(crate) ports: Vec<u16>,
    /// The names that are looked up; no other name is.
    pub(crate) hosts: Vec<Box<str>>,
}

/// Why a request goes nowhere.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    #[error("a request does not name one host: {0}")]
    Malformed(&'static str),
    #[error("CONNECT is refused: the egress carries requests and makes no tunnel")]
    Method,
    #[error("port {0} is not in program.egress.ports")]
    Port(u16),
    #[error("{0} is in no network of program.egress.networks")]
    Network(IpAddr),
    #[error("{0:?} is not in program.egress.hosts")]
    Host(Box<str>),
}

/// The port of a host that is written without one.
const USUAL_PORT: u16 = 443;

/// A name that no request can be for.
#[derive(Debug, thiserror::Error)]
#[error(
    "{host:?} is no name, so that no request is for it: write each name as it is asked for, without \
     patterns, ports and schemes; addresses are in `networks`"
)]
pub(crate) struct HostError {
    /// Its place in the list.
    pub(crate) index: usize,
    host: Box<str>,
}

impl Targets {
    /// # Errors
    /// A name is a pattern, an address, or no name.
    pub(crate) fn check_hosts(&self) -> Result<(), HostError> {
        let is_name = |host: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !host.is_empty() && host.bytes().all(plain) && host.parse::<IpAddr>().is_err()
        };
        match self.hosts.iter().position(|host| !is_name(host)) {
            Some(index) => Err(HostError {
                index,
                host: self.hosts[index].clone(),
            }),
            None => Ok(()),
        }
    }

    /// The one host that a request is for, which it may go to: that which the client dialled, where its connection
    /// was redirected here; else that of its absolute target, else of its `Host`. All that there are must agree
    /// (RFC 9112 §3.2.2 lets a proxy choose, and a choice would be a way around), except that the name of an address
    /// may be any.
    pub(super) fn of<B>(
        &self,
        request: &Request<B>,
        dialled: Option<SocketAddr>,
    ) -> Result<Authority, TargetError> {
        if request.method() == Method::CONNECT {
            return Err(TargetError::Method);
        }
        let mut named = request.headers().get_all(HOST).iter();
        let host = named.next();
        if named.next().is_some() {
            return Err(TargetError::Malformed("there are several Host headers"));
        }
        let host = host
            .map(|host| Authority::try_from(host.as_bytes()))
            .transpose()
            .map_err(|_| TargetError::Malformed("Host is no host"))?;
        let uri = request.uri();
        if uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP) {
            return Err(TargetError::Malformed("only http is spoken here"));
        }
        let target = match (uri.authority().cloned(), host) {
            (Some(target), Some(host)) if !host.as_str().eq_ignore_ascii_case(target.as_str()) => {
                return Err(TargetError::Malformed("the target and Host differ"));
            }
            (Some(host), _) | (None, Some(host)) => host,
            (None, None) => return Err(TargetError::Malformed("there is no Host")),
        };
        if target.as_str().contains('@') {
            return Err(TargetError::Malformed("there is a user in it"));
        }
        let target = match dialled {
            Some(dialled) => at(dialled, &target)?,
            None => target,
        };
        self.check(&target)?;
        Ok(target)
    }

    fn check(&self, target: &Authority) -> Result<(), TargetError> {
        let port = port(target)?;
        if !self.ports.contains(&port) {
            return Err(TargetError::Port(port));
        }
        match address(target) {
            Some(ip) if self.contains(ip) => Ok(()),
            Some(ip) => Err(TargetError::Network(ip)),
            None if self.lists(target.host()) => Ok(()),
            None => Err(TargetError::Host(target.host().into())),
        }
    }

    /// The addresses to connect to. A name's are looked up here and nowhere else, so that the address that is
    /// checked is the one that is used.
    pub(super) async fn addresses(&self, target: &Authority) -> io::Result<Vec<SocketAddr>> {
        let refused = |error: TargetError| io::Error::new(io::ErrorKind::PermissionDenied, error);
        self.check(target).map_err(refused)?;
        let port = port(target).map_err(refused)?;
        if let Some(ip) = address(target) {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let found = tokio::net::lookup_host((target.host(), port)).await?;
        let found: Vec<SocketAddr> = found.collect();
        let allowed = found.iter().filter(|found| self.contains(found.ip()));
        let allowed: Vec<SocketAddr> = allowed.copied().collect();
        match (allowed.is_empty(), found.first()) {
            (true, Some(found)) => Err(refused(TargetError::Network(found.ip()))),
            _ => Ok(allowed),
        }
    }

    fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.networks.iter().any(|network| network.contains(&ip))
    }

    fn lists(&self, host: &str) -> bool {
        let mut hosts = self.hosts.iter();
        hosts.any(|listed| listed.eq_ignore_ascii_case(host))
    }
}

/// The address that a client dialled, which asks there for this host.
fn at(dialled: SocketAddr, host: &Authority) -> Result<Authority, TargetError> {
    let differs = TargetError::Malformed("Host is not where the connection was going");
    let named = address(host).map(|ip| SocketAddr::new(ip, host.port_u16().unwrap_or(80)));
    if named.is_some_and(|named| named != dialled) {
        return Err(differs);
    }
    Authority::try_from(dialled.to_string()).map_err(|_| differs)
}

fn port(target: &Authority) -> Result<u16, TargetError> {
    let port = port_of(target).map_err(|_| TargetError::Malformed("its port is no port"))?;
    Ok(port.unwrap_or(USUAL_PORT))
}

fn address(target: &Authority) -> Option<IpAddr> {
    target.host().trim_matches(['[', ']']).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirected_connection_goes_where_it_was_going_and_nowhere_that_is_not_listed() {
        let targets = Targets {
            networks: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            ports: vec![80, 5000],
            hosts: Vec::new(),
        };
        for (dialled, host, expected) in [
            ("10.0.0.7:5000", "10.0.0.7:5000", Some("10.0.0.7:5000")),
            ("10.0.0.7:80", "10.0.0.7", Some("10.0.0.7:80")),
            ("10.0.0.7:5000", "registry.example", Some("10.0.0.7:5000")),
            ("[fd00::7]:5000", "[fd00::7]:5000", Some("[fd00::7]:5000")),
            ("10.0.0.7:5000", "10.0.0.8:5000", None),
            ("10.0.0.7:5000", "10.0.0.7", None),
            ("10.0.0.7:5000", "u@registry.example", None),
            ("10.0.0.7:22", "10.0.0.7:22", None),
            ("192.0.2.7:5000", "192.0.2.7:5000", None),
            ("192.0.2.7:5000", "registry.example", None),
            ("127.0.0.1:5000", "registry.example", None),
        ] {
            let request = Request::get("/v2/").header(HOST, host).body(()).unwrap();
            let found = targets.of(&request, Some(dialled.parse().unwrap())).ok();
            let found = found.as_ref().map(Authority::as_str);
            assert_eq!(found, expected, "{dialled} {host}");
        }
    }
}
