use axum::http::HeaderMap;
use axum::http::header::LINK;

/// The target of the link to the next page, if there is one (RFC 8288 §3): among others on one line or
/// on several, with its parameters in any order.
pub(super) fn next(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(LINK).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let mut links = texts.flat_map(|text| split(text, ','));
    links.find_map(target_of_next)
}

fn target_of_next(link: &str) -> Option<&str> {
    let mut parts = split(link, ';').into_iter();
    // Some registries leave the brackets out.
    let target = parts.next()?.trim().trim_matches(['<', '>']);
    // RFC 8288 §3.3: of several the first counts.
    let mut parameters = parts.filter_map(|part| part.split_once('='));
    let (_, relations) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("rel"))?;
    let mut relations = relations.trim().trim_matches('"').split_ascii_whitespace();
    let is_next = relations.any(|relation| relation.eq_ignore_ascii_case("next"));
    is_next.then_some(target)
}

/// Splits at a separator that is neither in a quoted string nor in a target.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut until = None;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match (until, character) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(end), _) => until = until.filter(|_| character != end),
            (None, '"') => until = Some('"'),
            (None, '<') => until = Some('>'),
            (None, _) if character == separator => {
                parts.push(&text[start..at]);
                start = at + separator.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(LINK, value.parse().unwrap());
        }
        next(&headers).map(str::to_owned)
    }

    #[test]
    fn the_link_to_the_next_page_is_found_however_it_is_written() {
        for values in [
            &["<?n=1>; rel=\"next\""][..],
            &["<?n=1>;rel=next"],
            &["< ?n=1 >; rel=next".replace(' ', "").as_str()],
            &["<?n=1>; title=\"a, <b>; rel=prev\"; REL=\"Next\""],
            &["</first>; rel=\"first\", <?n=1>; rel=\"next\""],
            &["<?n=1>; rel=\"prefetch next\", </last>; rel=last"],
            &["</a,b>; rel=first", "<?n=1>; rel=next"],
            &["</x>; title=\"\\\", <?n=2>; rel=next\"; rel=first, <?n=1>; rel=next"],
            &["?n=1; rel=\"next\""],
        ] {
            assert_eq!(of(values).as_deref(), Some("?n=1"), "{values:?}");
        }
        for values in [
            &[][..],
            &["</x>; rel=\"prev\""],
            &["</x>; rel=\"next-archive\""],
            &["</x>; rel=first; rel=next"],
            &["</x>; title=\"rel=next\""],
            &["</x>"],
        ] {
            assert_eq!(of(values), None, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_is_too_strange(text in "[ -~]{0,60}") {
            of(&[&text]);
        }
    }
}
