use std::borrow::Cow;
use std::fmt::Write;

/// `text` fit for a log line: nothing in it can end the line, move a terminal's cursor or turn the
/// reading direction, and it takes at most `limit` bytes and the sign that some were left out.
pub(crate) fn printable(text: &str, limit: usize) -> Cow<'_, str> {
    // A loop without an early end is compiled to vector instructions.
    let plain = |clean, byte| clean & matches!(byte, b' '..=b'~');
    if text.len() <= limit && text.bytes().fold(true, plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(limit.min(text.len()) + 16);
    for char in text.chars() {
        let before = out.len();
        if is_hidden(char) {
            // Writing to a `String` cannot fail.
            let _ = write!(out, "{}", char.escape_unicode());
        } else {
            out.push(char);
        }
        if out.len() > limit {
            out.truncate(before);
            out.push('…');
            break;
        }
    }
    Cow::Owned(out)
}

/// [`printable`] of bytes that are UTF-8 in good requests only.
pub(crate) fn printable_bytes(bytes: &[u8], limit: usize) -> Cow<'_, str> {
    // Longer input is cut anyway, so its tail need not be looked at.
    let bytes = &bytes[..bytes.len().min(limit + 4)];
    match str::from_utf8(bytes) {
        Ok(text) => printable(text, limit),
        Err(_) => Cow::Owned(printable(&String::from_utf8_lossy(bytes), limit).into_owned()),
    }
}

fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{ad}'
                | '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// The parts of a query that say what is asked for, as they were sent. Anything else could be a
/// secret (an upload's `_state`, a `token`), so it is left out, name and value.
pub(crate) fn known_query(query: &str) -> Option<Cow<'_, str>> {
    const KNOWN: [&str; 9] = [
        "ns",
        "n",
        "last",
        "mount",
        "from",
        "digest",
        "tag",
        "artifactType",
        "filter",
    ];
    let is_known = |pair: &str| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        KNOWN.contains(&name)
    };
    if query.split('&').all(is_known) {
        return Some(Cow::Borrowed(query));
    }
    let known: Vec<_> = query.split('&').filter(|pair| is_known(pair)).collect();
    (!known.is_empty()).then(|| known.join("&").into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn clean_text_is_borrowed() {
        assert!(matches!(printable("/v2/a/b", 16), Cow::Borrowed("/v2/a/b")));
    }

    #[test]
    fn what_could_forge_or_hide_a_line_is_escaped() {
        for (text, clean) in [
            ("a\nb", "a\\u{a}b"),
            ("a\r\nlevel=INFO", "a\\u{d}\\u{a}level=INFO"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{85}", "\\u{85}"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
            ("\u{2028}", "\\u{2028}"),
            ("Grüße", "Grüße"),
        ] {
            assert_eq!(printable(text, 64), clean);
        }
    }

    #[test]
    fn only_what_is_known_of_a_query_is_told() {
        assert_eq!(
            known_query("ns=docker.io&_state=S3CRET&token=S3CRET&n=5").as_deref(),
            Some("ns=docker.io&n=5")
        );
        assert_eq!(known_query("S3CRET"), None);
        assert_eq!(known_query(""), None);
    }

    proptest! {
        #[test]
        fn no_text_is_ever_longer_than_its_bound_or_has_a_control_character(
            text in any::<String>(), limit in 0usize..64,
        ) {
            let clean = printable(&text, limit);
            prop_assert!(clean.len() <= limit + '…'.len_utf8());
            prop_assert!(!clean.chars().any(char::is_control));
        }

        #[test]
        fn no_bytes_break_a_line(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let clean = printable_bytes(&bytes, 32);
            prop_assert!(!clean.chars().any(char::is_control));
            prop_assert!(clean.len() <= 32 + '…'.len_utf8());
        }
    }
}
