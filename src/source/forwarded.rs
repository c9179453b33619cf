use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header::FORWARDED};
use ipnet::IpNet;

use super::within;
use crate::ClientAddr;

/// The header in which proxies forward their clients' addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ForwardedHeader {
    /// `X-Forwarded-For`: addresses, each proxy's client after those before.
    XForwardedFor,
    /// `Forwarded` (RFC 7239): its `for` parameters.
    Forwarded,
}

/// No honest chain of proxies is longer.
const LONGEST: usize = 32;

impl ForwardedHeader {
    pub(super) const ALL: [Self; 2] = [Self::XForwardedFor, Self::Forwarded];

    pub(crate) fn name(self) -> &'static HeaderName {
        static NAMES: [HeaderName; 2] = [HeaderName::from_static("x-forwarded-for"), FORWARDED];
        match self {
            Self::XForwardedFor => &NAMES[0],
            Self::Forwarded => &NAMES[1],
        }
    }
}

/// The first address from the right that is none of the proxies' own. What stands left of it, the
/// client may have written itself. Where an element cannot be read, no proxy vouches for what is left
/// of it, so the client is the proxy that wrote it.
pub(super) fn client(
    peer: ClientAddr,
    proxies: &[IpNet],
    header: ForwardedHeader,
    headers: &HeaderMap,
) -> ClientAddr {
    let mut client = peer;
    for element in elements(header, headers).into_iter().rev().take(LONGEST) {
        let Some(address) = element else {
            break;
        };
        client = ClientAddr::new(address);
        if !is_proxy(proxies, client.ip()) {
            break;
        }
    }
    client
}

pub(super) fn is_proxy(proxies: &[IpNet], address: IpAddr) -> bool {
    within(proxies, address)
}

/// Each element's address, `None` where it has none that can be read.
fn elements(header: ForwardedHeader, headers: &HeaderMap) -> Vec<Option<SocketAddr>> {
    let mut found = Vec::new();
    for line in headers.get_all(header.name()) {
        match line.to_str() {
            Err(_) => found.push(None),
            Ok(line) => match header {
                ForwardedHeader::XForwardedFor => {
                    found.extend(line.split(',').map(|one| address(one.trim())));
                }
                ForwardedHeader::Forwarded => {
                    // A broken line vouches for nothing in it.
                    let read = forwarded_line(line);
                    found.extend(read.unwrap_or_else(|| vec![None]));
                }
            },
        }
    }
    found
}

/// An address, with or without a port, an IPv6 one with or without brackets.
fn address(text: &str) -> Option<SocketAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let ip = bare.unwrap_or(text).parse::<IpAddr>().ok();
    ip.map(|ip| SocketAddr::new(ip, 0)).or_else(|| {
        let (host, port) = text.rsplit_once(':')?;
        // RFC 7239 §6.3: the port may be hidden; the address holds all the same.
        let port = port.parse().unwrap_or(0);
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let ip = match bare {
            Some(host) => IpAddr::V6(host.parse().ok()?),
            None => IpAddr::V4(host.parse().ok()?),
        };
        Some(SocketAddr::new(ip, port))
    })
}

/// The `for` of each element of one line (RFC 7239 §4); `None` if the line is malformed.
fn forwarded_line(line: &str) -> Option<Vec<Option<SocketAddr>>> {
    let mut found = Vec::new();
    let mut current = None;
    let mut rest = line.trim();
    loop {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = parameter_value(after)?;
        if name.trim().eq_ignore_ascii_case("for") {
            // §4: a parameter occurs once in an element.
            if current.replace(address(&value)).is_some() {
                return None;
            }
        }
        let after = after.trim_start();
        let next = after.get(1..).unwrap_or_default();
        match after.as_bytes().first() {
            None | Some(b',') => found.push(current.take().flatten()),
            Some(b';') => {}
            Some(_) => return None,
        }
        if after.is_empty() {
            return Some(found);
        }
        rest = next.trim_start();
    }
}

fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';', '"', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (!value.is_empty()).then(|| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            '"' => return Some((value, &quoted[at + 1..])),
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: ForwardedHeader, lines: &[&str]) -> String {
        let proxies = [
            "10.0.0.0/8".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        ];
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header.name(), line.parse().unwrap());
        }
        let peer = ClientAddr::new("10.0.0.1:4711".parse().unwrap());
        client(peer, &proxies, header, &headers).ip().to_string()
    }

    #[test]
    fn a_proxy_in_a_mapped_network_is_a_proxy() {
        let mapped = ["::ffff:10.0.0.0/104".parse().unwrap()];
        for (address, proxy) in [
            ("10.0.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("11.0.0.1", false),
        ] {
            assert_eq!(
                is_proxy(&mapped, address.parse().unwrap()),
                proxy,
                "{address}"
            );
        }
    }

    #[test]
    fn the_client_is_the_first_from_the_right_that_is_no_proxy() {
        for (lines, expected) in [
            (&[][..], "10.0.0.1"),
            (&["192.0.2.1"], "192.0.2.1"),
            (&["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
            (&["6.6.6.6, 192.0.2.1, 10.0.0.9"], "192.0.2.1"),
            (&["6.6.6.6", "192.0.2.1:99, 10.0.0.9"], "192.0.2.1"),
            (&["10.0.0.7, 10.0.0.8"], "10.0.0.7"),
            (&["6.6.6.6, unknown"], "10.0.0.1"),
            (&["6.6.6.6, , 10.0.0.9"], "10.0.0.9"),
            (&["6.6.6.6, 192.0.2.1 x, 10.0.0.9"], "10.0.0.9"),
            (&["[2001:db9::1]:99, 2001:db8::5"], "2001:db9::1"),
            (&["::ffff:192.0.2.1"], "192.0.2.1"),
        ] {
            assert_eq!(
                of(ForwardedHeader::XForwardedFor, lines),
                expected,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn forwarded_is_read_by_rfc_7239_and_a_broken_line_vouches_for_nothing() {
        for (lines, expected) in [
            (
                &["for=192.0.2.43, for=198.51.100.17;by=10.0.0.9;proto=http"][..],
                "198.51.100.17",
            ),
            (&["For=\"[2001:db9:cafe::17]:4711\""], "2001:db9:cafe::17"),
            (&["for=192.0.2.60;proto=http;by=203.0.113.43"], "192.0.2.60"),
            (&["for=\"192.0.2.60:_port\""], "192.0.2.60"),
            (&["for=\"192.0.2\\.60\""], "192.0.2.60"),
            (&["for=6.6.6.6, for=_hidden"], "10.0.0.1"),
            (&["for=6.6.6.6, for=unknown, for=10.0.0.9"], "10.0.0.9"),
            (&["for=6.6.6.6;for=10.0.0.9"], "10.0.0.1"),
            (&["for=\"6.6.6.6"], "10.0.0.1"),
            (&["for=6.6.6.6 x=y"], "10.0.0.1"),
            (&["by=10.0.0.9"], "10.0.0.1"),
            (&["for=6.6.6.6", "for=\"6.6.6.6\\"], "10.0.0.1"),
        ] {
            assert_eq!(of(ForwardedHeader::Forwarded, lines), expected, "{lines:?}");
        }
    }
}
