use std::net::Ipv6Addr;

use http::header::HOST;
use http::{Request, Version};

use super::RouteError;

/// Refuses a request of HTTP/1.1 without a `Host`, and any with several or with one that names no host
/// (RFC 9112 §3.2). HTTP/2 has `:authority` in its place, one of which must be there (RFC 9113 §8.3.1).
///
/// # Errors
/// [`RouteError::Host`].
pub(crate) fn check_host<B>(request: &Request<B>) -> Result<(), RouteError> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let authority = request.uri().authority();
    let holds = match (hosts.next(), hosts.next()) {
        (None, _) => match request.version() {
            Version::HTTP_11 => false,
            Version::HTTP_09 | Version::HTTP_10 => true,
            _ => authority.is_some(),
        },
        (Some(host), None) => is_host(host.as_bytes()),
        (Some(_), Some(_)) => false,
    };
    // RFC 9110 §4.2.4: a user in the target is an error, and there to mislead.
    let is_one = authority.is_none_or(|authority| is_host(authority.as_str().as_bytes()));
    (holds && is_one).then_some(()).ok_or(RouteError::Host)
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2, RFC 3986 §3.2.2).
fn is_host(host: &[u8]) -> bool {
    let (name_is_one, port) = if let Some(rest) = host.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|byte| *byte == b']') else {
            return false;
        };
        (is_ip_literal(&rest[..end]), &rest[end + 1..])
    } else {
        let end = host.iter().position(|byte| *byte == b':');
        let (name, port) = host.split_at(end.unwrap_or(host.len()));
        (is_name(name), port)
    };
    let is_port = match port {
        [] | [b':'] => true,
        // A sign would be read as a part of the number.
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            let mut digits = digits.iter().map(|digit| u16::from(digit - b'0'));
            let number = digits.try_fold(0_u16, |number, digit| {
                number.checked_mul(10)?.checked_add(digit)
            });
            number.is_some()
        }
        _ => false,
    };
    name_is_one && is_port
}

fn is_ip_literal(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    match text.strip_prefix(['v', 'V']) {
        None => text.parse::<Ipv6Addr>().is_ok(),
        Some(future) => future.split_once('.').is_some_and(|(version, address)| {
            let hex = |byte: u8| byte.is_ascii_hexdigit();
            let plain = |byte: u8| byte == b':' || is_unreserved(byte) || is_sub_delimiter(byte);
            !version.is_empty()
                && version.bytes().all(hex)
                && !address.is_empty()
                && address.bytes().all(plain)
        }),
    }
}

/// `reg-name`, which may be empty, and of which an IPv4 address is one.
fn is_name(name: &[u8]) -> bool {
    let is_plain = |part: &[u8]| {
        let mut bytes = part.iter();
        bytes.all(|byte| is_unreserved(*byte) || is_sub_delimiter(*byte))
    };
    let mut parts = name.split(|byte| *byte == b'%');
    let is_escaped = |part: &[u8]| match part {
        [high, low, rest @ ..] => {
            high.is_ascii_hexdigit() && low.is_ascii_hexdigit() && is_plain(rest)
        }
        _ => false,
    };
    parts.next().is_none_or(is_plain) && parts.all(is_escaped)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn is_sub_delimiter(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(version: Version, hosts: &[&str]) -> bool {
        checked_at("/v2/", version, hosts)
    }

    fn checked_at(target: &str, version: Version, hosts: &[&str]) -> bool {
        let mut request = Request::get(target).version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        check_host(&request.body(()).unwrap()).is_ok()
    }

    #[test]
    fn one_host_is_needed_by_http_1_1_and_never_more() {
        for (version, none) in [
            (Version::HTTP_10, true),
            (Version::HTTP_11, false),
            (Version::HTTP_2, false),
        ] {
            assert_eq!(checked(version, &[]), none, "{version:?}");
            assert!(checked(version, &["registry.example:5000"]), "{version:?}");
            assert!(
                !checked(version, &["a.example", "b.example"]),
                "{version:?}"
            );
            assert!(
                !checked(version, &["a.example", "a.example"]),
                "{version:?}"
            );
            assert!(!checked(version, &["a b"]), "{version:?}");
        }
    }

    /// RFC 9112 §3.2: an absolute target does not stand in for `Host`.
    #[test]
    fn an_absolute_target_of_http_1_1_needs_a_host_beside_it() {
        let target = "http://a.example/v2/";
        assert!(!checked_at(target, Version::HTTP_11, &[]));
        assert!(checked_at(target, Version::HTTP_11, &["a.example"]));
        assert!(checked_at(target, Version::HTTP_10, &[]));
    }

    #[test]
    fn the_authority_of_http_2_is_a_host_without_a_user() {
        for (authority, good) in [
            ("a.example", true),
            ("u:p@a.example", false),
            ("u@a", false),
            ("a.example:443", true),
            ("[::1]:443", true),
            ("a.example:99999", false),
            ("a.example:+443", false),
        ] {
            let target = format!("https://{authority}/v2/");
            assert_eq!(
                checked_at(&target, Version::HTTP_2, &[]),
                good,
                "{authority}"
            );
        }
    }

    #[test]
    fn a_host_is_by_its_grammar() {
        for host in [
            "",
            "a",
            "a.example",
            "a.example:",
            "A-1.example:5000",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:5000",
            "[2001:db8::1]:",
            "[v1.a:b]",
            "caf%C3%A9.example",
            "a_b",
            "a!$&'()*+,;=b",
            "[v1F.a+b]",
            "a:0080",
            "a:65535",
        ] {
            assert!(checked(Version::HTTP_11, &[host]), "{host:?}");
        }
        for host in [
            "a b",
            "a/b",
            "user@a",
            "http://a",
            "a:b",
            "a:80:80",
            "::1",
            "[::1",
            "[::g]",
            "[]",
            "[::1]a",
            "a%2",
            "a%zz",
            "a%2z",
            "a%z2",
            "a\"b",
            "a\\b",
            "a?b",
            "a#b",
            "<a>",
            "[v1]",
            "[v.a]",
            "a:65536",
            "a:99999",
            "a:+80",
            "a:-1",
            "[::1]:65536",
        ] {
            assert!(!checked(Version::HTTP_11, &[host]), "{host:?}");
        }
    }
}
