//! Between what each number and each time of a configuration must be: none of them may keep the server busy,
//! shut everybody out or panic.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::ConfigError;
use crate::document::{Bytes, Document, Key, Span};

pub(super) const NOTHING: Duration = Duration::ZERO;
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
#[cfg(any(feature = "crl-fetch", feature = "jwt"))]
pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);
/// Ten years.
pub(super) const LONG: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

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
                Err(self.out_of_bounds(&key.into(), written(span), least, most))
            }
            _ => Ok(()),
        }
    }

    /// The same for each of several.
    pub(super) fn spans(
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
                Err(self.out_of_bounds(&key.into(), count.to_string(), least, most))
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

    fn out_of_bounds(&self, key: &Key, value: String, least: String, most: String) -> ConfigError {
        ConfigError::OutOfBounds {
            place: self.0.place(key),
            value: value.into(),
            least: least.into(),
            most: most.into(),
        }
    }
}
