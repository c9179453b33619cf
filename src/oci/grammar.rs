//! Names, tags and digests by the grammars of the OCI distribution-spec ("Pulling manifests") and
//! image-spec (`descriptor.md`, "Digests").

use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest name that clients accept: `distribution/reference` has 255 with the host.
pub(super) const NAME_MAX: usize = 255;

/// Returns whether `text` is a repository's name:
/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`, at most 255 bytes.
///
/// ```
/// assert!(portcullis::oci::is_name("library/foo__bar------baz"));
/// assert!(!portcullis::oci::is_name("library/foo___bar"));
/// ```
pub fn is_name(text: &str) -> bool {
    // What came before: nothing of the component, an alphanumeric, or that many of one separator.
    #[derive(Clone, Copy, PartialEq)]
    enum Before {
        Nothing,
        Alphanumeric,
        Dot,
        Underscore,
        TwoUnderscores,
        Dashes,
    }
    let mut before = Before::Nothing;
    for byte in text.bytes() {
        before = match (byte, before) {
            (b'a'..=b'z' | b'0'..=b'9', _) => Before::Alphanumeric,
            (b'.', Before::Alphanumeric) => Before::Dot,
            (b'_', Before::Alphanumeric) => Before::Underscore,
            (b'_', Before::Underscore) => Before::TwoUnderscores,
            (b'-', Before::Alphanumeric | Before::Dashes) => Before::Dashes,
            (b'/', Before::Alphanumeric) => Before::Nothing,
            _ => return false,
        };
    }
    before == Before::Alphanumeric && text.len() <= NAME_MAX
}

/// Returns whether `text` is a tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub fn is_tag(text: &str) -> bool {
    let bytes = text.as_bytes();
    let head = bytes
        .first()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let tail = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    head && bytes.len() <= 128 && bytes.iter().all(tail)
}

/// Returns whether `text` is a digest, `algorithm:encoded`. Digests of the registered algorithms have their one
/// length, in lower-case hexadecimal; others follow the general grammar,
/// `[a-z0-9]+([+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+`.
pub fn is_digest(text: &str) -> bool {
    let Some((algorithm, encoded)) = text.split_once(':') else {
        return false;
    };
    match algorithm {
        "sha256" | "blake3" => is_lower_hex(encoded, 64),
        "sha512" => is_lower_hex(encoded, 128),
        _ => is_algorithm(algorithm) && is_encoded(encoded),
    }
}

fn is_lower_hex(text: &str, length: usize) -> bool {
    // A loop without an early end is compiled to vector instructions.
    let other = |byte: &u8| (byte.wrapping_sub(b'0') >= 10) & (byte.wrapping_sub(b'a') >= 6);
    text.len() == length
        && !text
            .as_bytes()
            .iter()
            .fold(false, |found, byte| found | other(byte))
}

fn is_algorithm(text: &str) -> bool {
    text.split(['+', '.', '_', '-']).all(|component| {
        let known = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
        !component.is_empty() && component.bytes().all(known)
    })
}

fn is_encoded(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b'_' | b'-');
    (1..=256).contains(&text.len()) && text.bytes().all(known)
}

/// An upload's session as the registries in use make it: `[a-zA-Z0-9-_.=]+`, no dot segment.
pub(super) fn is_session(text: &str) -> bool {
    let known =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'=');
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(known)
}

/// An upstream registry as `?ns=` has it: a lower-case host, maybe with a port. Upper case, a final dot,
/// zeros before a port or in an address are other spellings of the same host, which a rule might not have
/// been written for.
pub(crate) fn is_registry(text: &str) -> bool {
    text.len() <= NAME_MAX
        && if let Some(rest) = text.strip_prefix('[') {
            is_address_in_brackets(rest)
        } else {
            is_host_and_port(text.as_bytes())
        }
}

/// What follows the first bracket.
fn is_address_in_brackets(text: &str) -> bool {
    let Some((host, after)) = text.split_once(']') else {
        return false;
    };
    let port_ok = match after.strip_prefix(':') {
        Some(port) => is_port(port.as_bytes()),
        None => after.is_empty(),
    };
    // RFC 5952: the one form that it is written in.
    let address = host.parse::<Ipv6Addr>();
    port_ok && address.is_ok_and(|address| address.to_string() == host)
}

/// Labels that neither begin nor end with a dash, parted by dots, and maybe a port, in one pass.
fn is_host_and_port(text: &[u8]) -> bool {
    // What came before: nothing of the label, a dash, or anything else.
    let mut before = b'.';
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' => {}
            b'-' if before != b'.' => {}
            b'.' if before != b'.' && before != b'-' => {}
            b':' if before != b'.' && before != b'-' => {
                return is_port(&text[at + 1..]) && is_one_host(&text[..at]);
            }
            _ => return false,
        }
        before = *byte;
    }
    before != b'.' && before != b'-' && is_one_host(text)
}

/// Whether no resolver takes it for an IPv4 address that is written otherwise: `010.0.0.1`, `10.1`,
/// `0x7f000001`. As browsers decide (WHATWG URL, "ends in a number"), by its last label.
fn is_one_host(host: &[u8]) -> bool {
    if !host.last().is_some_and(u8::is_ascii_hexdigit) {
        return true;
    }
    let last = host.rsplit(|byte| *byte == b'.').next().unwrap_or(host);
    let is_number = last.iter().all(u8::is_ascii_digit) || last.starts_with(b"0x");
    !is_number || str::from_utf8(host).is_ok_and(|host| host.parse::<Ipv4Addr>().is_ok())
}

fn is_port(text: &[u8]) -> bool {
    let digits = text.iter().all(u8::is_ascii_digit) && text.first() != Some(&b'0');
    digits && str::from_utf8(text).is_ok_and(|text| text.parse::<u16>().is_ok())
}

/// `_<extension>` as it begins an extension's path.
pub(super) fn is_extension(text: &str) -> bool {
    text.strip_prefix('_').is_some_and(is_extension_part)
}

/// A component or module of an extension's path.
pub(super) fn is_extension_part(text: &str) -> bool {
    is_name(text) && !text.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_by_the_grammar() {
        for name in [
            "a",
            "a/b",
            "a0.b",
            "a_b",
            "a__b",
            "foo__bar------baz",
            "manifests/tags/list/blobs",
        ] {
            assert!(is_name(name), "{name}");
        }
        let long = "a".repeat(256);
        for text in [
            "", "/", "a/", "/a", "a//b", "A", "a.", ".a", "a..b", "a._b", "a___b", "_a", "-a",
            "a-", "a-_b", "a/-b", "é", "a b", "a%2fb", &long,
        ] {
            assert!(!is_name(text), "{text}");
        }
    }

    #[test]
    fn tags_are_by_the_grammar() {
        let long = "t".repeat(128);
        for tag in ["latest", "_x", "V1.0-rc_1", &long] {
            assert!(is_tag(tag), "{tag}");
        }
        let longer = "t".repeat(129);
        for text in ["", ".x", "-x", "a:b", "a/b", "é", &longer] {
            assert!(!is_tag(text), "{text}");
        }
    }

    #[test]
    fn a_session_is_plain_and_no_dot_segment() {
        for session in ["a", "7", "Zz-1_b.c=", "...", ".a", "="] {
            assert!(is_session(session), "{session}");
        }
        for text in [
            "", ".", "..", "a/b", "a%20b", "a~b", "a:b", "a b", "a+b", "é",
        ] {
            assert!(!is_session(text), "{text}");
        }
    }

    #[test]
    fn digests_are_by_the_grammar() {
        let sha256 = format!("sha256:{}", "0f".repeat(32));
        let sha512 = format!("sha512:{}", "0f".repeat(64));
        for digest in [&*sha256, &sha512, "multihash+base58:QmRZ_x=-", "a.b-c:1"] {
            assert!(is_digest(digest), "{digest}");
        }
        for text in [
            "sha256:",
            "sha256:0f",
            &sha256.to_uppercase(),
            &sha256.replace('f', "F"),
            "latest",
            ":x",
            "a+:x",
            "a:x:y",
            "a:",
            "a:x/y",
            &format!("{sha256}0"),
        ] {
            assert!(!is_digest(text), "{text}");
        }
    }

    #[test]
    fn a_registry_has_one_spelling() {
        for host in [
            "docker.io",
            "localhost:5000",
            "10.0.0.1:80",
            "[::1]:5000",
            "[::1]",
            "a_b.c",
            "registry-1",
            "10.0.0.1",
            "cafe",
            "0xcafe.example",
            "[2001:db8::1]:443",
        ] {
            assert!(is_registry(host), "{host}");
        }
        for text in [
            "",
            "Docker.io",
            "docker.io.",
            ".io",
            "a..b",
            "a:",
            "a:x",
            "a:123456",
            "a:65536",
            "a:0443",
            "a:0",
            "a:+80",
            "010.0.0.1",
            "10.1",
            "2130706433",
            "0x7f000001",
            "10.0.0.1.5",
            "[0:0:0:0:0:0:0:1]",
            "[::0001]",
            "[::1]:080",
            "a/b",
            "[::1",
            "[]",
            "[::1]x",
            "a b",
            "-a",
        ] {
            assert!(!is_registry(text), "{text}");
        }
    }
}
