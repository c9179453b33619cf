//! Between what each number and each time of a configuration must be: none of them may keep the server busy,
//! shut everybody out or panic.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Bytes, Config, ConfigError, Document, Key, Span};

pub(super) const NOTHING: Duration = Duration::ZERO;
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
#[cfg(any(feature = "crl-fetch", feature = "jwt"))]
const HOUR: Duration = Duration::from_secs(60 * 60);
/// Ten years.
const LONG: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// As many as memory has room for in what is kept of each.
const MANY: u64 = 1 << 24;

/// The smallest CRL is some hundred bytes, and none is read that is larger than 4 GiB.
const CRL_SIZES: RangeInclusive<u64> = 1024..=1 << 32;

/// Checks values of a document against their bounds.
pub(super) struct Bounds<'a>(pub(super) &'a Document);

impl Bounds<'_> {
    pub(super) fn span(
        &self,
        key: impl Into<Key>,
        span: Option<Span>,
        bounds: RangeInclusive<Duration>,
    ) -> Result<(), ConfigError> {
        let (least, most) = bounds.into_inner();
        match span {
            Some(Span(span)) if !(least..=most).contains(&span) => {
                let written = |span| format!("{:?}", humantime::format_duration(span).to_string());
                let (least, most) = (written(least), written(most));
                Err(self.out_of_bounds(key.into(), written(span), least, most))
            }
            _ => Ok(()),
        }
    }

    /// The same for each of several.
    fn spans(
        &self,
        key: &str,
        spans: Option<&[Span]>,
        bounds: &RangeInclusive<Duration>,
    ) -> Result<(), ConfigError> {
        for (index, span) in spans.into_iter().flatten().enumerate() {
            self.span(Key::from(key).at(index), Some(*span), bounds.clone())?;
        }
        Ok(())
    }

    pub(super) fn count<N: Copy + Display + TryInto<u64>>(
        &self,
        key: impl Into<Key>,
        count: Option<N>,
        bounds: RangeInclusive<u64>,
    ) -> Result<(), ConfigError> {
        let (least, most) = bounds.into_inner();
        let within = |count: N| {
            let count = count.try_into();
            count.is_ok_and(|count| (least..=most).contains(&count))
        };
        match count {
            Some(count) if !within(count) => {
                let (least, most) = (least.to_string(), most.to_string());
                Err(self.out_of_bounds(key.into(), count.to_string(), least, most))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn bytes(
        &self,
        key: impl Into<Key>,
        bytes: Option<Bytes>,
        bounds: RangeInclusive<u64>,
    ) -> Result<(), ConfigError> {
        self.count(key, bytes.map(|Bytes(bytes)| bytes), bounds)
    }

    fn out_of_bounds(&self, key: Key, value: String, least: String, most: String) -> ConfigError {
        ConfigError::OutOfBounds {
            place: self.0.place(&key),
            value,
            least,
            most,
        }
    }
}

/// Checks what the sections do not check themselves.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let check = Bounds(&config.document);
    let reload = &config.reload;
    let polls = Duration::from_millis(10)..=DAY;
    check.span("reload.poll_interval", reload.poll_interval, polls)?;
    check.span("reload.settle", reload.settle, NOTHING..=MINUTE)?;
    let reads = Duration::from_millis(100)..=10 * MINUTE;
    check.span("reload.read_timeout", reload.read_timeout, reads)?;
    check.span("reload.stale_after", reload.stale_after, SECOND..=LONG)?;
    tls(config, &check)?;
    crl(config, &check)?;
    auth(config, &check)?;
    #[cfg(feature = "digest-binding")]
    let binding = config.policy.as_ref();
    #[cfg(feature = "digest-binding")]
    if let Some(binding) = binding.and_then(|policy| policy.digest_binding.as_ref()) {
        let key = "policy.digest_binding.save_every";
        check.span(key, binding.save_every, SECOND..=DAY)?;
    }
    Ok(())
}

fn tls(config: &Config, check: &Bounds<'_>) -> Result<(), ConfigError> {
    let Some(tls) = &config.tls else {
        return Ok(());
    };
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

fn crl(config: &Config, check: &Bounds<'_>) -> Result<(), ConfigError> {
    let Some(crl) = &config.crl else {
        return Ok(());
    };
    check.span("crl.grace", crl.grace, NOTHING..=LONG)?;
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

fn auth(config: &Config, check: &Bounds<'_>) -> Result<(), ConfigError> {
    let Some(auth) = &config.auth else {
        return Ok(());
    };
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
