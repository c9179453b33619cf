use axum::http::HeaderMap;
use axum::http::header::LINK;

use super::UpstreamError;

/// The target of the link to the next page, if there is one (RFC 8288 §3): among others on one line or
/// on several, with its parameters in any order, and written as registries write it. What is not UTF-8
/// beside it does not matter.
///
/// # Errors
/// There are links, and one is not understood: it may be that to the next page.
pub(super) fn next(headers: &HeaderMap) -> Result<Option<String>, UpstreamError> {
    for value in headers.get_all(LINK) {
        let text = String::from_utf8_lossy(value.as_bytes());
        let mut rest = Text(&text);
        loop {
            rest.skip(|c| c == ',' || c.is_whitespace());
            if rest.0.is_empty() {
                break;
            }
            let link = rest.link().ok_or_else(unclear)?;
            // RFC 8288 §3.3: of several the first counts.
            let relations = link.relations.ok_or_else(unclear)?;
            let mut relations = relations.split_whitespace();
            if relations.any(|relation| relation.eq_ignore_ascii_case("next")) {
                let target = Some(link.target).filter(|target| target.is_ascii());
                return Ok(Some(target.ok_or_else(unclear)?.to_owned()));
            }
        }
    }
    Ok(None)
}

fn unclear() -> UpstreamError {
    UpstreamError::Invalid("a link that is not understood, perhaps to the next page")
}

struct Link<'a> {
    target: &'a str,
    relations: Option<&'a str>,
}

/// What is left to read.
struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// Some registries leave the brackets out, or the semicolon before a parameter.
    fn link(&mut self) -> Option<Link<'a>> {
        let target = match self.0.strip_prefix('<') {
            Some(rest) => {
                let (target, rest) = rest.split_once('>')?;
                self.0 = rest;
                target.trim()
            }
            None => self.until(|c| c == ';' || c == ',' || c.is_whitespace()),
        };
        let mut relations = None;
        loop {
            self.skip(|c| c == ';' || c.is_whitespace());
            if self.0.is_empty() || self.0.starts_with(',') {
                return Some(Link { target, relations });
            }
            let name = self.until(|c| "=;,".contains(c) || c.is_whitespace());
            if name.is_empty() {
                return None;
            }
            self.skip(char::is_whitespace);
            let Some(rest) = self.0.strip_prefix('=') else {
                continue;
            };
            self.0 = rest;
            self.skip(char::is_whitespace);
            let value = self.value()?;
            if name.eq_ignore_ascii_case("rel") {
                relations = relations.or(Some(value));
            }
        }
    }

    /// A token, or a text in quotes of either kind.
    fn value(&mut self) -> Option<&'a str> {
        let Some(quote) = self.0.chars().next().filter(|c| ['"', '\''].contains(c)) else {
            return Some(self.until(|c| c == ';' || c == ',' || c.is_whitespace()));
        };
        let text = &self.0[1..];
        let mut escaped = false;
        for (at, c) in text.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if c == quote => {
                    self.0 = &text[at + 1..];
                    return Some(&text[..at]);
                }
                _ => {}
            }
        }
        None
    }

    fn skip(&mut self, what: impl Fn(char) -> bool) {
        self.0 = self.0.trim_start_matches(what);
    }

    fn until(&mut self, end: impl Fn(char) -> bool) -> &'a str {
        let (found, rest) = self.0.split_at(self.0.find(end).unwrap_or(self.0.len()));
        self.0 = rest;
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[&str]) -> Result<Option<String>, UpstreamError> {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = axum::http::HeaderValue::from_bytes(value.as_bytes());
            headers.append(LINK, value.unwrap());
        }
        next(&headers)
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
            &["<?n=1>; rel='next'"],
            &["<?n=1>; rel='prefetch next'; title=x"],
            &["<?n=1> rel=\"next\""],
            &["<?n=1> ; rel = next"],
            &["< ?n=1 >; rel=next"],
            &["<?n=1>; title=\"nächste\"; rel=next"],
            &["</nächste>; rel=first, <?n=1>; rel=next"],
        ] {
            let found = of(values).unwrap();
            assert_eq!(found.as_deref(), Some("?n=1"), "{values:?}");
        }
        for values in [
            &[][..],
            &["</x>; rel=\"prev\""],
            &["</x>; rel=\"next-archive\""],
            &["</x>; rel=first; rel=next"],
            &[""],
        ] {
            assert_eq!(of(values).unwrap(), None, "{values:?}");
        }
        for values in [
            &["</x>; title=\"rel=next\""][..],
            &["</x>"],
            &["</x>; rel=\"next"],
            &["</x; rel=next"],
            &["</x>; =next"],
            &["</nächste>; rel=next"],
            &["</x>; rel=first, </y>"],
        ] {
            assert!(of(values).is_err(), "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_is_too_strange(text in "[ -~]{0,60}") {
            let _ = of(&[&text]);
        }
    }
}
