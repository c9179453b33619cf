use http::header::WARNING;
use http::{HeaderMap, HeaderValue};

/// How many bytes of warnings an answer may have (distribution-spec, "Warnings").
const MOST: usize = 4_096;

/// The longest text, in bytes, before it is escaped.
const LONGEST: usize = 1_024;

/// `299 - "text"`, as the distribution-spec wants it of RFC 7234 §5.5: the text as a quoted-string (RFC 9110 §5.6.4).
pub(super) fn value(text: &str) -> Option<HeaderValue> {
    let mut value = String::from("299 - \"");
    let begin = value.len();
    for char in text.chars() {
        if value.len() - begin + char.len_utf8() > LONGEST {
            value.push('…');
            break;
        }
        match char {
            '"' | '\\' => value.extend(['\\', char]),
            // No line ends in it, and no terminal obeys it.
            char if char.is_control() => value.push(' '),
            char => value.push(char),
        }
    }
    value.push('"');
    HeaderValue::from_bytes(value.as_bytes()).ok()
}

/// Whether an answer with these headers may have this warning too.
pub(super) fn has_room(headers: &HeaderMap, value: &HeaderValue) -> bool {
    let there = headers.get_all(WARNING).iter().map(HeaderValue::len);
    there.sum::<usize>() + value.len() <= MOST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_escaped_and_cut() {
        for (text, expected) in [
            ("plain", "299 - \"plain\""),
            ("a \"b\" \\ c", "299 - \"a \\\"b\\\" \\\\ c\""),
            (
                "a\r\nSet-Cookie: b\u{1b}[2J\u{85}",
                "299 - \"a  Set-Cookie: b [2J \"",
            ),
            ("für Ä", "299 - \"für Ä\""),
            ("", "299 - \"\""),
        ] {
            assert_eq!(value(text).unwrap().as_bytes(), expected.as_bytes());
        }
        for text in ["x".repeat(5_000), "\"".repeat(5_000), "ü".repeat(5_000)] {
            let value = value(&text).unwrap();
            assert!(
                value.len() > 1_000 && value.len() < 1_100,
                "{}",
                value.len()
            );
            assert!(str::from_utf8(value.as_bytes()).unwrap().ends_with("…\""));
        }
    }

    #[test]
    fn an_answer_has_4096_bytes_of_warnings_at_the_most() {
        let mut headers = HeaderMap::new();
        headers.insert(WARNING, value(&"u".repeat(1_000)).unwrap());
        let long = value(&"x".repeat(1_000)).unwrap();
        while has_room(&headers, &long) {
            headers.append(WARNING, long.clone());
        }
        assert_eq!(headers.get_all(WARNING).iter().count(), 4);
        let total: usize = headers.get_all(WARNING).iter().map(HeaderValue::len).sum();
        for (left, fits) in [(4_096 - total, true), (4_097 - total, false)] {
            let filling = "x".repeat(left - "299 - \"\"".len());
            assert_eq!(has_room(&headers, &value(&filling).unwrap()), fits);
        }
    }
}
