//! Between what each number and each time of a configuration must be: none of them may keep the server busy,
//! shut everybody out or panic.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{ByteCount, ConfigError, Document, HumanDuration, Key};

pub(super) const NOTHING: Duration = Duration::ZERO;
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
#[cfg(any(feature = "crl-fetch", feature = "jwt"))]
pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);
/// Ten years.
pub(super) const LONG: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// A time as an operator writes it: in one unit where that is exact, and in none of changing length.
fn written(span: Duration) -> String {
    let seconds = span.as_secs();
    if span.subsec_nanos() > 0 || seconds == 0 {
        return humantime::format_duration(span).to_string();
    }
    let units = [(24 * 60 * 60, "days"), (60 * 60, "h"), (60, "min")];
    let exact = units
        .into_iter()
        .find(|(unit, _)| seconds.is_multiple_of(*unit));
    let (unit, name) = exact.unwrap_or((1, "s"));
    format!("{}{name}", seconds / unit)
}

/// Checks values of a document against their bounds.
pub(super) struct Bounds<'a>(pub(super) &'a Document);

impl Bounds<'_> {
    pub(super) fn span(
        &self,
        key: impl Into<Key>,
        span: Option<HumanDuration>,
        bounds: RangeInclusive<Duration>,
    ) -> Result<(), ConfigError> {
        let (least, most) = bounds.into_inner();
        match span {
            Some(HumanDuration(span)) if !(least..=most).contains(&span) => {
                let written = |span| format!("{:?}", written(span));
                let (least, most) = (written(least), written(most));
                Err(self.out_of_bounds(&key.into(), written(span), least, most))
            }
            _ => Ok(()),
        }
    }

    /// The same for each of several.
    pub(super) fn spans(
        &self,
        key: &str,
        spans: Option<&[HumanDuration]>,
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
                Err(self.out_of_bounds(&key.into(), count.to_string(), least, most))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn bytes(
        &self,
        key: impl Into<Key>,
        bytes: Option<ByteCount>,
        bounds: RangeInclusive<u64>,
    ) -> Result<(), ConfigError> {
        self.count(key, bytes.map(|ByteCount(bytes)| bytes), bounds)
    }

    fn out_of_bounds(&self, key: &Key, value: String, least: String, most: String) -> ConfigError {
        ConfigError::OutOfBounds {
            place: self.0.place(key),
            value: value.into(),
            least: least.into(),
            most: most.into(),
        }
    }
}
