//! Bounds of what the sections do not check themselves.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Key;
#[cfg(any(feature = "crl-fetch", feature = "jwt"))]
use super::bounds::HOUR;
use super::bounds::{Bounds, DAY, LONG, MILLISECOND, MINUTE, NOTHING, SECOND};
use super::tls::{ApplicationProtocol, ClientAuthMode};
use super::{AuthSection, ConfigError, CrlSection, TlsSection, crl_authority};

/// As many as memory has room for in what is kept of each.
const MANY: u64 = 1 << 24;

/// The smallest CRL is some hundred bytes, and none is read that is larger than 4 GiB.
const CRL_SIZES: RangeInclusive<u64> = 1024..=1 << 32;

/// The keys of texts and lists of texts of which an empty one names nothing: no caller, group, host or server.
pub(super) const NAMES: [&str; 15] = [
    "allowed_hosts",
    "audiences",
    "ca",
    "class",
    "env",
    "exempt_groups",
    "group",
    "groups",
    "health_checks",
    "id",
    "issuer",
    "path",
    "principal",
    "rate_class",
    "urls",
];

pub(super) fn tls(tls: &TlsSection, check: &Bounds<'_>) -> Result<(), ConfigError> {
    for own in tls.own_certificates() {
        own.check(check.0)?;
    }
    if tls.client_ca.is_empty() && tls.mode() != ClientAuthMode::None {
        let message = "without a CA no client certificate could be good: name the CAs in `client_ca`, or take this out";
        return Err(check.0.invalid("tls.client_auth", message));
    }
    let alpn = tls.alpn.as_deref();
    let is_spoken = |one: &ApplicationProtocol| *one != ApplicationProtocol::Http10;
    if alpn.is_some_and(|alpn| !alpn.iter().any(is_spoken)) {
        let message = "no client speaks these alone: name \"h2\", \"http/1.1\" or both";
        return Err(check.0.invalid("tls.alpn", message));
    }
    for (domain, cas) in &tls.trust_domains {
        let key = || Key::from("tls.trust_domains").key(domain);
        let is_one =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        if domain.is_empty() || !domain.bytes().all(is_one) {
            let message = "no trust domain: it is written like \"example.org\", in lower case and without \
                           spiffe://";
            return Err(check.0.invalid(key(), message));
        }
        if cas.is_empty() {
            return Err(check.0.invalid(key(), "no CA may vouch for it: name one"));
        }
    }
    let handshakes = tls.max_handshakes.map(std::num::NonZeroUsize::get);
    let connections = tls.max_connections_per_source;
    let connections = connections.map(std::num::NonZeroUsize::get);
    let times = Duration::from_millis(100)..=10 * MINUTE;
    check.span("tls.handshake_timeout", tls.handshake_timeout, times)?;
    check.count("tls.max_handshakes", handshakes, 1..=MANY)?;
    check.count("tls.max_connections_per_source", connections, 1..=MANY)?;
    check.count("tls.max_intermediates", tls.max_intermediates, 0..=16)?;
    check.bytes("tls.max_chain_size", tls.max_chain_size, 1024..=1 << 16)?;
    check.span(
        "tls.stall_timeout",
        tls.stall_timeout,
        Duration::from_millis(100)..=DAY,
    )?;
    check.span("tls.ending.idle", tls.ending.idle, NOTHING..=DAY)?;
    check.span("tls.ending.drain", tls.ending.drain, NOTHING..=DAY)?;
    check.spans(
        "tls.warn_before",
        tls.warn_before.as_deref(),
        &(SECOND..=LONG),
    )
}

pub(super) fn crl(crl: &CrlSection, check: &Bounds<'_>) -> Result<(), ConfigError> {
    check.span("crl.grace", crl.grace, NOTHING..=LONG)?;
    crl_authority::short_lived("crl.short_lived", crl.short_lived, check)?;
    crl_authority::check(&crl.authority, check)?;
    check.spans(
        "crl.warn_before",
        crl.warn_before.as_deref(),
        &(SECOND..=LONG),
    )?;
    check.bytes("crl.max_size", crl.max_size, CRL_SIZES)?;
    #[cfg(feature = "crl-fetch")]
    if let Some(fetch) = &crl.fetch {
        check.span("crl.fetch.interval", fetch.interval, SECOND..=30 * DAY)?;
        check.span(
            "crl.fetch.timeout",
            fetch.timeout,
            Duration::from_millis(100)..=HOUR,
        )?;
        check.span(
            "crl.fetch.start_timeout",
            fetch.start_timeout,
            NOTHING..=HOUR,
        )?;
    }
    Ok(())
}

pub(super) fn auth(auth: &AuthSection, check: &Bounds<'_>) -> Result<(), ConfigError> {
    let (passwords, throttle) = (&auth.passwords, &auth.throttle);
    let concurrent = passwords.concurrent.map(std::num::NonZeroUsize::get);
    check.span("auth.warn_before", auth.warn_before, NOTHING..=LONG)?;
    check.count("auth.passwords.concurrent", concurrent, 1..=1024)?;
    check.count("auth.passwords.waiting", passwords.waiting, 0..=1 << 20)?;
    check.count("auth.passwords.remembered", passwords.remembered, 0..=MANY)?;
    check.span(
        "auth.passwords.remember_for",
        passwords.remember_for,
        NOTHING..=30 * DAY,
    )?;
    check.span("auth.throttle.every", throttle.every, MILLISECOND..=DAY)?;
    check.count("auth.throttle.capacity", throttle.capacity, 1..=1 << 20)?;
    let burst = throttle.burst.map(std::num::NonZeroU32::get);
    check.count("auth.throttle.burst", burst, 1..=1 << 20)?;
    #[cfg(feature = "jwt")]
    for (index, jwt) in auth.jwt.iter().enumerate() {
        let key = |name| Key::from("auth.jwt").at(index).key(name);
        check.span(key("interval"), jwt.interval, SECOND..=30 * DAY)?;
        check.span(
            key("timeout"),
            jwt.timeout,
            Duration::from_millis(100)..=HOUR,
        )?;
        check.span(key("leeway"), jwt.leeway, NOTHING..=HOUR)?;
    }
    Ok(())
}
