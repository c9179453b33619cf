use super::Pattern;
use super::segment::{Piece, Segment};
use crate::Principal;
use crate::oci;

/// What stands for the placeholders in one match.
#[derive(Clone, Copy, Debug, Default)]
struct Bindings<'a> {
    id: Option<&'a str>,
    group: Option<&'a str>,
}

impl Pattern {
    /// Returns whether all of `text` matches, for a caller who is `principal`.
    pub fn matches(&self, text: &str, principal: Option<&Principal>) -> bool {
        if self.is_universal() {
            return true;
        }
        if !self.placeholders {
            return self.matches_with(text, Bindings::default());
        }
        let id = principal.map(Principal::id).filter(|id| is_component(id));
        if !self.groups {
            return self.matches_with(text, Bindings { id, group: None });
        }
        let groups = principal.map_or(&[][..], Principal::groups);
        groups
            .iter()
            .filter(|group| is_component(group))
            .any(|group| {
                let group = Some(&**group);
                self.matches_with(text, Bindings { id, group })
            })
    }

    fn matches_with(&self, text: &str, bindings: Bindings<'_>) -> bool {
        let next = |rest: &'_ str| -> (usize, Option<usize>) {
            // Names are short: this is done before a search for one byte has begun.
            let found = rest.bytes().position(|byte| byte == self.separator);
            found.map_or((rest.len(), None), |at| (at, Some(at + 1)))
        };
        let mut at = 0;
        let mut rest = Some(text);
        let mut retry = None;
        loop {
            let segment = self.segments.get(at);
            match (segment, rest) {
                (Some(Segment::Many), _) if at + 1 == self.segments.len() => return rest.is_some(),
                (Some(Segment::Many), _) => {
                    at += 1;
                    retry = Some((at, rest));
                    continue;
                }
                (Some(segment), Some(text)) => {
                    let (end, after) = next(text);
                    if segment.matches(&text[..end], bindings) {
                        at += 1;
                        rest = after.map(|after| &text[after..]);
                        continue;
                    }
                }
                (None, None) => return true,
                _ => {}
            }
            // The last `**` takes one segment more; an earlier one need never be asked again.
            match retry {
                Some((after, Some(text))) => {
                    rest = next(text).1.map(|next| &text[next..]);
                    at = after;
                    retry = Some((after, rest));
                }
                _ => return false,
            }
        }
    }
}

impl Segment {
    fn matches(&self, text: &str, bindings: Bindings<'_>) -> bool {
        match self {
            Self::Literal(literal) => **literal == *text,
            Self::One => !text.is_empty(),
            Self::Many => true,
            Self::Mixed(pieces) => matches_pieces(pieces, text, bindings),
        }
    }
}

fn matches_pieces(pieces: &[Piece], text: &str, bindings: Bindings<'_>) -> bool {
    let mut at = 0;
    let mut rest = text;
    let mut retry: Option<(usize, &str)> = None;
    loop {
        let value = match pieces.get(at) {
            Some(Piece::Star) => {
                at += 1;
                retry = Some((at, rest));
                continue;
            }
            Some(Piece::Text(text)) => Some(&**text),
            Some(Piece::PrincipalId) => bindings.id,
            Some(Piece::PrincipalGroup) => bindings.group,
            None if rest.is_empty() => return true,
            None => None,
        };
        if let Some(after) = value.and_then(|value| rest.strip_prefix(value)) {
            at += 1;
            rest = after;
            continue;
        }
        match retry {
            Some((after, text)) if !text.is_empty() => {
                let mut chars = text.chars();
                chars.next();
                rest = chars.as_str();
                at = after;
                retry = Some((after, rest));
            }
            _ => return false,
        }
    }
}

fn is_component(text: &str) -> bool {
    !text.contains('/') && oci::is_name(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::Method;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::repository(pattern).unwrap().matches(text, None)
    }

    #[test]
    fn a_pattern_matches_the_whole_text_or_nothing() {
        for (pattern, yes, no) in [
            ("a/b", &["a/b"][..], &["a", "a/b/c", "xa/b", "a/bc"][..]),
            ("a/*", &["a/b", "a/bc"], &["a", "a/b/c", "b/a"]),
            ("a/**", &["a/b", "a/b/c"], &["a", "ab/c", "b/a/c"]),
            ("**", &["a", "a/b"], &[]),
            ("**/x", &["x", "a/x", "a/b/x"], &["xx", "a/x/b", "ax"]),
            (
                "a/**/x",
                &["a/x", "a/b/x", "a/b/c/x", "a/x/x"],
                &["a", "b/a/x", "a/x/b"],
            ),
            (
                "**/a/**/b",
                &["a/b", "x/a/y/b", "a/b/a/b"],
                &["a", "b/a", "a/b/c"],
            ),
            ("a/b-*", &["a/b-c", "a/b-c-d"], &["a/b", "a/bc", "a/b-c/d"]),
            ("*-x-*", &["a-x-b", "a-x-x-b"], &["a-x", "x-b", "a-y-b"]),
            ("*", &["a"], &["a/b"]),
        ] {
            for text in yes {
                assert!(matches(pattern, text), "{pattern} {text}");
            }
            for text in no {
                assert!(!matches(pattern, text), "{pattern} {text}");
            }
        }
    }

    #[test]
    fn a_placeholder_is_the_callers_and_never_a_pattern_or_a_path() {
        let pattern = Pattern::repository("home/{principal.id}/**").unwrap();
        let caller = |id: &str| Principal::new(Method::Token, id);
        assert!(pattern.matches("home/alice/x", Some(&caller("alice"))));
        assert!(!pattern.matches("home/alice/x", Some(&caller("bob"))));
        assert!(!pattern.matches("home/alice/x", None));
        for id in ["*", "**", "alice/x", "..", "", "Alice", "spiffe://a/b"] {
            assert!(
                !pattern.matches("home/alice/x/y", Some(&caller(id))),
                "{id}"
            );
        }
        let groups = Pattern::repository("team-{principal.group}/*").unwrap();
        let member = caller("alice").in_groups(["a/b", "red", "blue"]);
        assert!(groups.matches("team-blue/x", Some(&member)));
        assert!(!groups.matches("team-green/x", Some(&member)));
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_an_error() {
        for text in [
            "", "/a", "a/", "a//b", "Team/*", "a b", ".x*", "-*", "a/*_", "a/.", "../*", "a:b", "é",
        ] {
            let error = Pattern::repository(text).unwrap_err().to_string();
            assert!(error.contains("matches no repository name"), "{error}");
        }
        let error = Pattern::repository("a**").unwrap_err().to_string();
        assert!(error.contains("no whole segment"), "{error}");
        for text in ["{a,b}", "{principal.name}", "a}", "{", "{principal.id"] {
            let error = Pattern::repository(text).unwrap_err().to_string();
            assert!(
                error.contains("has braces around something else"),
                "{error}"
            );
        }
        let error = Pattern::tag("{principal.id}").unwrap_err().to_string();
        assert!(error.contains("only repositories can have"), "{error}");
        assert!(Pattern::registry("Docker.io").is_err());
        assert!(Pattern::path("healthz").is_err());
    }

    #[test]
    fn a_star_in_a_dns_name_is_within_one_label() {
        let pattern = Pattern::dns("*.example.org").unwrap();
        assert!(pattern.matches("a.example.org", None));
        assert!(!pattern.matches("a.b.example.org", None));
        assert!(!pattern.matches("example.org", None));
    }

    proptest! {
        #[test]
        fn what_a_pattern_covers_it_matches(
            ours in "(a|b|\\*|\\*\\*)(/(a|b|\\*|\\*\\*)){0,3}",
            theirs in "(a|b|\\*|\\*\\*)(/(a|b|\\*|\\*\\*)){0,3}",
            text in "[ab](/[ab]){0,4}",
        ) {
            let ours = Pattern::repository(&ours).unwrap();
            let theirs = Pattern::repository(&theirs).unwrap();
            if ours.covers(&theirs) && theirs.matches(&text, None) {
                prop_assert!(ours.matches(&text, None));
            }
            if ours.matches(&text, None) {
                let prefix = ours.prefix();
                let rest = text.strip_prefix(prefix).unwrap_or("?");
                prop_assert!(prefix.is_empty() || rest.is_empty() || rest.starts_with('/'));
            }
        }
    }
}
