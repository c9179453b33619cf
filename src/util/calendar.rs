//! The Gregorian calendar in UTC.

#[cfg(any(test, feature = "x509"))]
use std::time::Duration;
#[cfg(any(test, feature = "json-log", feature = "x509"))]
use std::time::SystemTime;

#[cfg(any(feature = "config", feature = "crl", feature = "rate"))]
use time::Date;
#[cfg(any(feature = "config", feature = "crl"))]
use time::Month;
#[cfg(any(feature = "json-log", feature = "rate", feature = "tls"))]
use time::OffsetDateTime;

#[cfg(any(feature = "config", feature = "crl", feature = "rate"))]
const DAY: i64 = 86_400;

/// The first and the last second that four digits of a year can name, counted from 1970.
#[cfg(any(test, feature = "json-log", feature = "tls"))]
const FIRST: i64 = -62_167_219_200;
#[cfg(any(test, feature = "json-log", feature = "tls"))]
const LAST: i64 = 253_402_300_799;

/// Returns seconds after 1970 as a system's time; 1970 itself where the system has no such time.
#[cfg(any(test, feature = "x509"))]
pub(crate) fn system_time(seconds: i64) -> SystemTime {
    let span = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(span)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(span)
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Returns a system's time as whole seconds after 1970.
#[cfg(any(feature = "json-log", feature = "tls"))]
pub(crate) fn unix_seconds(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |ago| -ago),
    }
}

/// Writes the date and time to the second in the form of RFC 3339: `2026-11-23T22:21:47Z`. Before the
/// year 0 and after the year 9999 it is the nearest time of these.
#[cfg(feature = "tls")]
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let text = date_and_time(unix_seconds(time));
    format!("{}Z", ascii(&text))
}

/// Writes the date and time as [`rfc3339`] with microseconds: `2026-11-23T22:21:47.000042Z`. Before 1970
/// it has none.
#[cfg(feature = "json-log")]
pub(crate) fn rfc3339_micros(time: SystemTime) -> MicrosText {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let micros = since.map_or(0, |since| since.subsec_micros());
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    text[..19].copy_from_slice(&date_and_time_of_line(unix_seconds(time)));
    put(&mut text, 20, micros / 10_000);
    put(&mut text, 22, micros / 100);
    put(&mut text, 24, micros);
    MicrosText(text)
}

/// Writes a second's date and time; the thread's last one is at hand, since many lines are of the same second.
#[cfg(feature = "json-log")]
fn date_and_time_of_line(seconds: i64) -> [u8; 19] {
    use std::cell::Cell;
    thread_local! {
        static LAST: Cell<(i64, [u8; 19])> = const { Cell::new((0, *b"1970-01-01T00:00:00")) };
    }
    // A line can be written while the thread ends and its locals are gone.
    if let Ok((second, text)) = LAST.try_with(Cell::get)
        && second == seconds
    {
        return text;
    }
    let text = date_and_time(seconds);
    let _ = LAST.try_with(|last| last.set((seconds, text)));
    text
}

/// Returns the seconds after 1970 of a date and an hour, minute and second in UTC; `None` for a date or
/// a time of day that does not exist.
#[cfg(any(feature = "config", feature = "crl"))]
#[inline]
pub(crate) fn seconds(
    [year, month, day]: [u32; 3],
    [hour, minute, second]: [u32; 3],
) -> Option<i64> {
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let year = i32::try_from(year).ok()?;
    let date = Date::from_calendar_date(year, month, u8::try_from(day).ok()?).ok()?;
    let exists = hour < 24 && minute < 60 && second < 60;
    exists.then(|| begin(date) + i64::from(hour * 3_600 + minute * 60 + second))
}

/// Returns the first second of the month that a time is in and that of the next month, each counted from
/// 1970. After the year 9999 a month has 30 days.
#[cfg(feature = "rate")]
pub(crate) fn month(seconds: u64) -> (u64, u64) {
    let of_calendar = || {
        let time = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
        let first = time.date().replace_day(1).ok()?;
        let length = u64::from(time.month().length(time.year())) * DAY.unsigned_abs();
        let begin = u64::try_from(begin(first)).ok()?;
        Some((begin, begin + length))
    };
    of_calendar().unwrap_or_else(|| {
        let length = 30 * DAY.unsigned_abs();
        let begin = seconds - seconds % length;
        (begin, begin.saturating_add(length))
    })
}

/// Returns the first second of a day, counted from 1970.
#[cfg(any(feature = "config", feature = "crl", feature = "rate"))]
#[inline]
fn begin(date: Date) -> i64 {
    const EPOCH: i32 = time::OffsetDateTime::UNIX_EPOCH.to_julian_day();
    i64::from(date.to_julian_day() - EPOCH) * DAY
}

#[cfg(any(feature = "json-log", feature = "tls"))]
fn date_time(seconds: i64) -> OffsetDateTime {
    let seconds = seconds.clamp(FIRST, LAST);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Writes the date and time to the second, without what follows: `2026-11-23T22:21:47`. Two digits at a time:
/// `format!` takes ten times as long, and each line of the access log has a time.
#[cfg(any(feature = "json-log", feature = "tls"))]
fn date_and_time(seconds: i64) -> [u8; 19] {
    let time = date_time(seconds);
    let (hour, minute, second) = time.to_hms();
    let year = time.year().unsigned_abs();
    let mut text = *b"0000-00-00T00:00:00";
    put(&mut text, 0, year / 100);
    put(&mut text, 2, year);
    put(&mut text, 5, u8::from(time.month()).into());
    put(&mut text, 8, time.day().into());
    put(&mut text, 11, hour.into());
    put(&mut text, 14, minute.into());
    put(&mut text, 17, second.into());
    text
}

/// Adds the last two digits of a number to the zeros at a place.
#[cfg(any(feature = "json-log", feature = "tls"))]
fn put(text: &mut [u8], at: usize, number: u32) {
    for (place, digit) in [(at, number / 10), (at + 1, number)] {
        text[place] += u8::try_from(digit % 10).unwrap_or_default();
    }
}

#[cfg(any(feature = "json-log", feature = "tls"))]
fn ascii(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

/// A time as RFC 3339 writes it, with microseconds.
#[cfg(feature = "json-log")]
pub(crate) struct MicrosText([u8; 27]);

#[cfg(feature = "json-log")]
impl MicrosText {
    pub(crate) fn as_str(&self) -> &str {
        ascii(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "tls")]
    #[test]
    fn a_time_is_written_as_rfc_3339_has_it() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (68_169_600, "1972-02-29T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_611_442_533, "2021-01-23T22:55:33Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (LAST, "9999-12-31T23:59:59Z"),
            (LAST + 1, "9999-12-31T23:59:59Z"),
            (-631_152_000, "1950-01-01T00:00:00Z"),
            (FIRST, "0000-01-01T00:00:00Z"),
            (FIRST - 1, "0000-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(system_time(seconds)), text);
            assert_eq!(unix_seconds(system_time(seconds)), seconds);
        }
    }

    #[cfg(feature = "json-log")]
    #[test]
    fn microseconds_are_six_digits() {
        let time = system_time(1_795_472_507);
        for (micros, text) in [
            (0, "2026-11-23T22:21:47.000000Z"),
            (42, "2026-11-23T22:21:47.000042Z"),
            (999_999, "2026-11-23T22:21:47.999999Z"),
        ] {
            let written = rfc3339_micros(time + Duration::from_micros(micros));
            assert_eq!(written.as_str(), text);
        }
        // What is at hand of the last second is not taken for another's.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.000000Z"),
            (1_795_472_508, "2026-11-23T22:21:48.000000Z"),
            (0, "1970-01-01T00:00:00.000000Z"),
        ] {
            assert_eq!(rfc3339_micros(system_time(seconds)).as_str(), text);
        }
    }

    #[cfg(any(feature = "config", feature = "crl"))]
    #[test]
    fn a_date_that_does_not_exist_is_none() {
        assert_eq!(seconds([1970, 1, 1], [0; 3]), Some(0));
        assert_eq!(seconds([2024, 2, 29], [23, 59, 59]), Some(1_709_251_199));
        assert_eq!(seconds([0, 1, 1], [0; 3]), Some(FIRST));
        assert_eq!(seconds([9999, 12, 31], [23, 59, 59]), Some(LAST));
        for (date, of_day) in [
            ([2023, 2, 29], [0; 3]),
            ([2100, 2, 29], [0; 3]),
            ([2024, 4, 31], [0; 3]),
            ([2024, 0, 1], [0; 3]),
            ([2024, 13, 1], [0; 3]),
            ([2024, 1, 0], [0; 3]),
            ([2024, 1, 256], [0; 3]),
            ([2024, 257, 1], [0; 3]),
            ([10_000, 1, 1], [0; 3]),
            ([2024, 1, 1], [24, 0, 0]),
            ([2024, 1, 1], [0, 60, 0]),
            ([2024, 1, 1], [0, 0, 60]),
        ] {
            assert_eq!(seconds(date, of_day), None, "{date:?} {of_day:?}");
        }
    }

    #[cfg(feature = "rate")]
    #[test]
    fn months_follow_each_other_without_a_gap_for_400_years_and_after_the_last_one() {
        let mut begins = 0;
        for _ in 0..400 * 12 {
            let (start, ends) = month(begins);
            assert_eq!(start, begins);
            assert_eq!(month(ends - 1), (start, ends));
            begins = ends;
        }
        let after = LAST.unsigned_abs() + 1;
        for now in [after, after + 100 * DAY.unsigned_abs(), u64::MAX] {
            let (begin, end) = month(now);
            assert!(begin <= now && now <= end, "{now}");
        }
    }
}
