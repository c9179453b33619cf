use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// A value that is read from its text, so that an error has the place of that text.
#[derive(Clone, Debug)]
pub(crate) struct Text<T>(pub(crate) T);

/// A time span as an operator writes it: `"10s"`, `"1h 30m"`, `"7days"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HumanDuration(pub(crate) Duration);

/// A number of bytes as an operator writes it: `"64KiB"`, `"10MB"`, `4096`. KB, MB and GB are powers
/// of 1000; KiB, MiB and GiB are powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ByteCount(pub(crate) u64);

/// Paths, of which none is empty: an empty one would be the configuration's own folder.
pub(crate) fn paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    let paths = Vec::<NonEmptyPath>::deserialize(deserializer)?;
    Ok(paths.into_iter().map(|NonEmptyPath(path)| path).collect())
}

/// As [`paths`], and at least one: a list of nothing that is trusted must not pass for no list.
pub(crate) fn some_paths<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<PathBuf>, D::Error> {
    let paths = paths(deserializer)?;
    if paths.is_empty() {
        return Err(D::Error::custom(
            "it names no file: leave the key out if none is meant",
        ));
    }
    Ok(paths)
}

struct NonEmptyPath(PathBuf);

impl<'de> Deserialize<'de> for NonEmptyPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = PathBuf::deserialize(deserializer)?;
        if path.as_os_str().is_empty() {
            return Err(D::Error::custom("the path is empty"));
        }
        Ok(Self(path))
    }
}

impl<'de, T> Deserialize<'de> for Text<T>
where
    T: FromStr<Err: fmt::Display>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(|error| {
            D::Error::custom(format!(
                "{error} in {text:?}: a time is written like \"10s\", \"1h 30m\" or \"7days\""
            ))
        })
    }
}

impl<'de> Deserialize<'de> for ByteCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Size;

        impl Visitor<'_> for Size {
            type Value = ByteCount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes like \"64KiB\", \"10MB\" or 4096")
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<ByteCount, E> {
                u64::try_from(bytes)
                    .map(ByteCount)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(bytes), &self))
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<ByteCount, E> {
                Ok(ByteCount(bytes))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ByteCount, E> {
                // "10MB/s" is how people write a rate; the key already says that it is one.
                let size = text.strip_suffix("/s").unwrap_or(text);
                size.parse()
                    .map(|size: ByteSize| ByteCount(size.as_u64()))
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Values {
        span: Option<HumanDuration>,
        bytes: Option<ByteCount>,
    }

    fn read(text: &str) -> Result<Values, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn times_and_sizes_are_read_as_operators_write_them() {
        for (text, seconds) in [("10s", 10), ("1h 30m", 5400), ("7days", 604_800)] {
            let span = read(&format!("span = {text:?}")).unwrap().span;
            assert_eq!(
                span,
                Some(HumanDuration(Duration::from_secs(seconds))),
                "{text}"
            );
        }
        for (text, bytes) in [
            ("4096", 4096),
            ("\"64KiB\"", 65_536),
            ("\"10MB\"", 10_000_000),
            ("\"1.5 GB/s\"", 1_500_000_000),
        ] {
            let read = read(&format!("bytes = {text}")).unwrap().bytes;
            assert_eq!(read, Some(ByteCount(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_or_size_is_told_how_one_is_written() {
        for text in [
            "span = 10",
            "span = \"ten\"",
            "bytes = -1",
            "bytes = \"many\"",
        ] {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains("10"), "{text}: {message}");
        }
    }
}
