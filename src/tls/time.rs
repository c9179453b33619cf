use std::time::{Duration, SystemTime};

use rustls::pki_types::UnixTime;

pub(super) fn system(time: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs())
}

#[cfg(feature = "crl")]
pub(super) fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds(time)))
}

/// Seconds after 1970; what lies before is 0, which is no less over.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A span in the unit that an operator would use: `3 h`, `12 d`.
pub(super) fn words(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// The date and time in UTC, as RFC 3339 has it, of any year that a certificate can name.
pub(crate) fn date(time: SystemTime) -> String {
    let seconds = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |ago| -ago),
    };
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day counted from 1970, by eras of 400 years that begin in March.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days.saturating_add(719_468);
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_before_1970_and_at_the_ends_of_leap_years_are_right() {
        for (seconds, text) in [
            (0_i64, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_611_442_533, "2021-01-23T22:55:33Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (-631_152_000, "1950-01-01T00:00:00Z"),
        ] {
            let span = Duration::from_secs(seconds.unsigned_abs());
            let time = if seconds < 0 {
                SystemTime::UNIX_EPOCH - span
            } else {
                SystemTime::UNIX_EPOCH + span
            };
            assert_eq!(date(time), text);
        }
    }
}
