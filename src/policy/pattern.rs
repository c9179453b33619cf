use std::fmt;

use crate::Principal;
use crate::oci;

/// A glob that a whole text must match, segment by segment: `*` is any part of one segment, `**`
/// any number of whole segments (at the end at least one), `{principal.id}` and
/// `{principal.group}` are the caller's id and any of the caller's groups.
///
/// A placeholder's value must be one component of a repository's name; a caller with another id or
/// group (`../x`, `*`, a SPIFFE ID) never matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: Box<str>,
    separator: char,
    segments: Box<[Segment]>,
}

/// A glob that can match nothing, or not what was meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// No legal text matches.
    #[error("{pattern:?} matches no {kind}: {expected}")]
    MatchesNothing {
        /// The pattern.
        pattern: Box<str>,
        /// What it should match.
        kind: &'static str,
        /// How one of those looks.
        expected: &'static str,
    },
    /// `**` beside other characters in one segment.
    #[error("{0:?} has a `**` that is no whole segment: write `**/x`, `x/**` or `x*`")]
    PartialDoubleStar(Box<str>),
    /// Braces around something else than a placeholder.
    #[error(
        "{0:?} has braces around something else than `principal.id` or `principal.group`, \
         the placeholders for the caller's id and groups"
    )]
    UnknownPlaceholder(Box<str>),
    /// A placeholder where there is none to put in.
    #[error("{0:?} has a placeholder, which only repositories can have")]
    PlaceholderHere(Box<str>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Segment {
    Literal(Box<str>),
    One,
    Many,
    Mixed(Box<[Piece]>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Piece {
    Text(Box<str>),
    Star,
    PrincipalId,
    PrincipalGroup,
}

/// What stands for the placeholders in one match.
#[derive(Clone, Copy, Debug, Default)]
struct Bindings<'a> {
    id: Option<&'a str>,
    group: Option<&'a str>,
}

impl Pattern {
    /// A pattern of repository names.
    ///
    /// # Errors
    /// What keeps it from matching any name.
    pub fn repository(text: &str) -> Result<Self, PatternError> {
        Self::parse(text, '/')?.matching(
            oci::is_name,
            "repository name",
            "names are lower-case components parted by single slashes, as in \"library/*\" or \"team/**\"",
        )
    }

    /// A pattern of tags.
    ///
    /// # Errors
    /// What keeps it from matching any tag.
    pub fn tag(text: &str) -> Result<Self, PatternError> {
        Self::parse(text, '/')?.without_placeholders()?.matching(
            oci::is_tag,
            "tag",
            "tags are letters, digits, `_`, `.` and `-`, as in \"v1.*\"",
        )
    }

    /// A pattern of upstream registries, as `?ns=` names them.
    ///
    /// # Errors
    /// What keeps it from matching any registry.
    pub fn registry(text: &str) -> Result<Self, PatternError> {
        Self::parse(text, '/')?.without_placeholders()?.matching(
            oci::grammar::is_registry,
            "registry",
            "registries are lower-case hosts, as in \"docker.io\", \"*.gcr.io\" or \"registry:5000\"",
        )
    }

    /// A pattern of paths.
    ///
    /// # Errors
    /// What keeps it from matching any canonical path.
    pub fn path(text: &str) -> Result<Self, PatternError> {
        let is_path = |path: &str| {
            let plain = |byte: u8| {
                byte.is_ascii_graphic() && !matches!(byte, b'%' | b'\\' | b';' | b'#' | b'?')
            };
            path.starts_with('/')
                && path.bytes().all(plain)
                && !path.contains("//")
                && !path.split('/').any(|segment| matches!(segment, "." | ".."))
        };
        Self::parse(text, '/')?.without_placeholders()?.matching(
            is_path,
            "path",
            "paths begin with a slash and need no decoding, as in \"/healthz\"",
        )
    }

    /// A pattern of DNS names; `*` is within one label.
    ///
    /// # Errors
    /// What keeps it from matching any name.
    pub fn dns(text: &str) -> Result<Self, PatternError> {
        let is_dns = |name: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            name.split('.')
                .all(|label| !label.is_empty() && label.bytes().all(known))
        };
        Self::parse(text, '.')?.without_placeholders()?.matching(
            is_dns,
            "DNS name",
            "names are labels parted by dots, as in \"*.nodes.example.org\"",
        )
    }

    /// A pattern of URIs or e-mail addresses.
    ///
    /// # Errors
    /// What is no pattern in it.
    pub fn uri(text: &str) -> Result<Self, PatternError> {
        let is_uri =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        Self::parse(text, '/')?.without_placeholders()?.matching(
            is_uri,
            "URI",
            "URIs are visible ASCII",
        )
    }

    fn parse(text: &str, separator: char) -> Result<Self, PatternError> {
        let segment = |segment: &str| match segment {
            "*" => Ok(Segment::One),
            "**" => Ok(Segment::Many),
            _ if segment.contains("**") => Err(PatternError::PartialDoubleStar(text.into())),
            _ if segment.contains(['*', '{', '}']) => pieces(segment)
                .map(Segment::Mixed)
                .ok_or_else(|| PatternError::UnknownPlaceholder(text.into())),
            _ => Ok(Segment::Literal(segment.into())),
        };
        // A placeholder has a dot in it, but where dots part segments there are none.
        let segments: Result<_, _> = text.split(separator).map(segment).collect();
        Ok(Self {
            text: text.into(),
            separator,
            segments: segments?,
        })
    }

    fn matching(
        self,
        is_legal: fn(&str) -> bool,
        kind: &'static str,
        expected: &'static str,
    ) -> Result<Self, PatternError> {
        // By every grammar here a letter may stand wherever something may stand.
        let example = self
            .text
            .replace("{principal.id}", "a")
            .replace("{principal.group}", "a")
            .replace("**", "a")
            .replace('*', "a");
        if is_legal(&example) {
            return Ok(self);
        }
        Err(PatternError::MatchesNothing {
            pattern: self.text,
            kind,
            expected,
        })
    }

    fn without_placeholders(self) -> Result<Self, PatternError> {
        if self.has_placeholder() {
            return Err(PatternError::PlaceholderHere(self.text));
        }
        Ok(self)
    }

    /// Whether all of `text` matches, for a caller who is `principal`.
    pub fn matches(&self, text: &str, principal: Option<&Principal>) -> bool {
        if let [Segment::Many] = &*self.segments {
            return true;
        }
        let id = principal.map(Principal::id).filter(|id| is_component(id));
        if !self.mentions(&Piece::PrincipalGroup) {
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
            rest.find(self.separator)
                .map_or((rest.len(), None), |at| (at, Some(at + 1)))
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

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The whole text, if the pattern matches but one.
    pub(super) fn literal(&self) -> Option<&str> {
        let is_literal = |segment: &Segment| matches!(segment, Segment::Literal(_));
        self.segments.iter().all(is_literal).then_some(&*self.text)
    }

    /// The leading segments that every matching text has, without the separator after them.
    pub(super) fn prefix(&self) -> &str {
        let mut length = 0;
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => length += text.len() + 1,
                _ => break,
            }
        }
        &self.text[..length.saturating_sub(1)]
    }

    /// Whether every text matches.
    pub(super) fn is_universal(&self) -> bool {
        matches!(&*self.segments, [Segment::Many])
    }

    /// Whether surely everything that `other` matches is matched here too. May be false where it
    /// is true.
    pub(super) fn covers(&self, other: &Self) -> bool {
        if self.is_universal() || self == other {
            return true;
        }
        if let Some(text) = other.literal() {
            return !self.has_placeholder() && self.matches(text, None);
        }
        let Some((Segment::Many, below)) = self.segments.split_last() else {
            return false;
        };
        below.len() < other.segments.len()
            && below
                .iter()
                .zip(&other.segments)
                .all(|(ours, theirs)| ours == theirs && !matches!(ours, Segment::Many))
            && !below.is_empty()
    }

    fn has_placeholder(&self) -> bool {
        self.mentions(&Piece::PrincipalId) || self.mentions(&Piece::PrincipalGroup)
    }

    fn mentions(&self, piece: &Piece) -> bool {
        self.segments.iter().any(|segment| match segment {
            Segment::Mixed(pieces) => pieces.contains(piece),
            _ => false,
        })
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

fn pieces(segment: &str) -> Option<Box<[Piece]>> {
    let mut pieces = Vec::new();
    let mut rest = segment;
    while let Some(at) = rest.find(['*', '{', '}']) {
        let (text, special) = rest.split_at(at);
        if !text.is_empty() {
            pieces.push(Piece::Text(text.into()));
        }
        let known = [
            ("*", Piece::Star),
            ("{principal.id}", Piece::PrincipalId),
            ("{principal.group}", Piece::PrincipalGroup),
        ];
        let found = known
            .into_iter()
            .find_map(|(word, piece)| Some((special.strip_prefix(word)?, piece)));
        let (after, piece) = found?;
        pieces.push(piece);
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    Some(pieces.into())
}

fn is_component(text: &str) -> bool {
    !text.contains('/') && oci::is_name(text)
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
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
            assert!(
                matches!(
                    Pattern::repository(text),
                    Err(PatternError::MatchesNothing { .. })
                ),
                "{text}"
            );
        }
        assert!(matches!(
            Pattern::repository("a**"),
            Err(PatternError::PartialDoubleStar(_))
        ));
        for text in ["{a,b}", "{principal.name}", "a}", "{", "{principal.id"] {
            let error = Pattern::repository(text);
            assert!(
                matches!(error, Err(PatternError::UnknownPlaceholder(_))),
                "{text}"
            );
        }
        assert!(matches!(
            Pattern::tag("{principal.id}"),
            Err(PatternError::PlaceholderHere(_))
        ));
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

        #[test]
        fn a_pattern_matches_what_a_regular_expression_matches(
            pattern in "(a|b|ab\\*|\\*b|\\*|\\*\\*)(/(a|b|a\\*b|\\*|\\*\\*)){0,3}",
            text in "[ab]{1,3}(/[ab]{1,3}){0,4}",
        ) {
            let parsed = Pattern::repository(&pattern).unwrap();
            prop_assert_eq!(parsed.matches(&text, None), slow(&pattern, &text), "{} {}", pattern, text);
        }
    }

    /// The definition, without an eye on time.
    fn slow(pattern: &str, text: &str) -> bool {
        fn star(pattern: &[u8], text: &[u8]) -> bool {
            match pattern.split_first() {
                None => text.is_empty(),
                Some((b'*', rest)) => (0..=text.len()).any(|n| star(rest, &text[n..])),
                Some((byte, rest)) => text.first() == Some(byte) && star(rest, &text[1..]),
            }
        }
        fn segments(pattern: &[&str], text: &[&str]) -> bool {
            match pattern.split_first() {
                None => text.is_empty(),
                Some((&"**", [])) => !text.is_empty(),
                Some((&"**", rest)) => (0..=text.len()).any(|n| segments(rest, &text[n..])),
                Some((first, rest)) => text.split_first().is_some_and(|(head, tail)| {
                    star(first.as_bytes(), head.as_bytes()) && segments(rest, tail)
                }),
            }
        }
        let pattern: Vec<&str> = pattern.split('/').collect();
        segments(&pattern, &text.split('/').collect::<Vec<_>>())
    }
}
