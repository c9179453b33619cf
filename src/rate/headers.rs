use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::engine::{Compiled, Engine};
use super::subject::Subject;
use super::{Direction, Key};

/// Reports to the client its limits and what is left of them, by
/// draft-ietf-httpapi-ratelimit-headers-10 with the quota unit `content-bytes`: a rate is a quota of
/// one second.
pub(super) fn insert(
    headers: &mut HeaderMap,
    engine: &Engine,
    compiled: &Compiled,
    subject: &Subject,
) {
    let (mut policy, mut left) = (String::new(), String::new());
    let now = Instant::now();
    for rule in compiled.counting(subject, Direction::Response) {
        // What belongs to all is not one client's to know.
        if matches!(rule.limit.key, Key::Total | Key::Stream) {
            continue;
        }
        let name = &rule.limit.name;
        // One group's figures are enough.
        let charged = subject.charged(rule.limit.key, &compiled.limits).next();
        if let Some(charged) = charged {
            let key = rule.key(&charged);
            if let Some(parameters) = rule.parameters {
                let rate = parameters.schedule.rate();
                let credit = rule.credit(key, &parameters, now);
                item(
                    &mut policy,
                    name,
                    format_args!("q={rate};w=1;qu=\"content-bytes\""),
                );
                item(&mut left, name, format_args!("r={credit};t=1"));
            }
            if let Some(meter) = rule.meters(subject, &compiled.limits).first() {
                let quota = meter.quota();
                let span = engine.calendar.span(quota.window);
                let (bytes, window) = (quota.bytes, quota.window.seconds());
                let rest = meter.left(&engine.calendar);
                let name = format!("{name}.quota");
                item(
                    &mut policy,
                    &name,
                    format_args!("q={bytes};w={window};qu=\"content-bytes\""),
                );
                let remaining = span.remaining();
                item(&mut left, &name, format_args!("r={rest};t={remaining}"));
            }
        }
    }
    for (header, value) in [("ratelimit-policy", policy), ("ratelimit", left)] {
        if !value.is_empty()
            && let Ok(mut value) = HeaderValue::try_from(value)
        {
            // So that HPACK does not keep what is different each time.
            value.set_sensitive(header == "ratelimit");
            headers.insert(HeaderName::from_static(header), value);
        }
    }
}

fn item(list: &mut String, name: &str, parameters: std::fmt::Arguments<'_>) {
    let comma = if list.is_empty() { "" } else { ", " };
    // To a `String`, which takes everything.
    let _ = write!(list, "{comma}\"{name}\";{parameters}");
}
