use axum::http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use axum::http::{HeaderMap, HeaderName};

/// Which bytes of a representation are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// All of them.
    Whole,
    /// From the first up to, not with, the second.
    Part(u64, u64),
    /// None: the client has the representation.
    Unchanged,
    /// The range lies outside.
    Unsatisfiable,
    /// The client wants another representation than there is, by `If-Match`.
    Failed,
}

impl Selection {
    /// Reads the conditions of a GET or HEAD, and the range of a GET (RFC 9110 §13.2.2). No range selects
    /// from what has no known `length`, nor for a HEAD (RFC 9110 §14.2).
    ///
    /// What is no single range of bytes is ignored, as RFC 9110 §14.2 lets a server do.
    pub(super) fn of(headers: &HeaderMap, etag: &str, length: Option<u64>, head: bool) -> Self {
        if headers.contains_key(IF_MATCH) && !lists(headers, &IF_MATCH, |tag| tag == etag) {
            return Self::Failed;
        }
        let weakly = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag) == etag;
        if lists(headers, &IF_NONE_MATCH, weakly) {
            return Self::Unchanged;
        }
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let (Some(range), Some(length), false) = (text(RANGE), length, head) else {
            return Self::Whole;
        };
        // RFC 9110 §13.1.5: a date never matches, for there is no Last-Modified here.
        if headers.contains_key(IF_RANGE) && text(IF_RANGE) != Some(etag) {
            return Self::Whole;
        }
        Self::parse(range, length)
    }

    fn parse(range: &str, length: u64) -> Self {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            // More than 64 bits is beyond every end.
            digits.then(|| text.parse().unwrap_or(u64::MAX))
        };
        let Some((unit, set)) = range.split_once('=') else {
            return Self::Whole;
        };
        let Some((first, last)) = set.trim().split_once('-') else {
            return Self::Whole;
        };
        if !unit.eq_ignore_ascii_case("bytes") {
            return Self::Whole;
        }
        let (start, end) = match (first, last) {
            ("", suffix) => match number(suffix) {
                None => return Self::Whole,
                Some(suffix) => (length.saturating_sub(suffix), length),
            },
            (first, "") => match number(first) {
                None => return Self::Whole,
                Some(first) => (first, length),
            },
            (first, last) => match number(first).zip(number(last)) {
                Some((first, last)) if first <= last => (first, last.saturating_add(1).min(length)),
                // RFC 9110 §14.2 leaves it open; the distribution-spec's suite wants it refused.
                Some(_) => return Self::Unsatisfiable,
                None => return Self::Whole,
            },
        };
        if start < end {
            Self::Part(start, end)
        } else {
            Self::Unsatisfiable
        }
    }
}

/// Whether what has this entity tag now, if there is anything, may be changed (RFC 9110 §13.1.1, §13.1.2).
pub(super) fn may_change(headers: &HeaderMap, etag: Option<&str>) -> bool {
    let is_current = |name| etag.is_some_and(|etag| lists(headers, name, |tag| tag == etag));
    (!headers.contains_key(IF_MATCH) || is_current(&IF_MATCH)) && !is_current(&IF_NONE_MATCH)
}

/// Whether the header lists every entity tag, or one that `is_meant`.
fn lists(headers: &HeaderMap, name: &HeaderName, is_meant: impl Fn(&str) -> bool) -> bool {
    let values = headers.get_all(name).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let mut tags = texts.flat_map(|text| text.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || is_meant(tag))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_part_lies_within_and_is_what_was_asked_for(
            first in proptest::option::of(0_u64..40),
            last in proptest::option::of(0_u64..40),
            length in 0_u64..30,
        ) {
            let text = |number: Option<u64>| number.map_or(String::new(), |n| n.to_string());
            let range = format!("bytes={}-{}", text(first), text(last));
            let asked = |at: u64| match (first, last) {
                (Some(first), Some(last)) => (first..=last).contains(&at),
                (Some(first), None) => at >= first,
                (None, Some(last)) => at + last >= length,
                (None, None) => true,
            };
            let selected: Vec<u64> = match Selection::parse(&range, length) {
                Selection::Part(start, end) => {
                    prop_assert!(start < end && end <= length);
                    (start..end).collect()
                }
                Selection::Whole => {
                    prop_assert!(first.or(last).is_none());
                    return Ok(());
                }
                _ => Vec::new(),
            };
            let expected: Vec<u64> = (0..length).filter(|at| asked(*at)).collect();
            prop_assert_eq!(selected, expected);
        }

        #[test]
        fn no_text_is_too_strange_for_a_range(text in "[ -~]{0,40}", length in any::<u64>()) {
            if let Selection::Part(start, end) = Selection::parse(&text, length) {
                prop_assert!(start < end && end <= length);
            }
        }
    }

    #[test]
    fn a_range_selects_what_rfc_9110_says() {
        for (range, expected) in [
            ("bytes=0-0", Selection::Part(0, 1)),
            ("bytes=2-", Selection::Part(2, 10)),
            ("bytes=-3", Selection::Part(7, 10)),
            ("bytes=-30", Selection::Part(0, 10)),
            ("bytes=3-99", Selection::Part(3, 10)),
            ("Bytes=9-9", Selection::Part(9, 10)),
            ("bytes=10-", Selection::Unsatisfiable),
            ("bytes=10-20", Selection::Unsatisfiable),
            ("bytes=-0", Selection::Unsatisfiable),
            ("bytes=99999999999999999999999-", Selection::Unsatisfiable),
            ("bytes=5-4", Selection::Unsatisfiable),
            ("bytes=0-1,3-4", Selection::Whole),
            ("bytes=+1-2", Selection::Whole),
            ("bytes=a-b", Selection::Whole),
            ("bytes=-", Selection::Whole),
            ("bytes 0-1", Selection::Whole),
            ("items=0-1", Selection::Whole),
        ] {
            assert_eq!(Selection::parse(range, 10), expected, "{range}");
        }
        assert_eq!(Selection::parse("bytes=0-", 0), Selection::Unsatisfiable);
    }
}
