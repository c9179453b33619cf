use std::fmt;

use super::segment::{Piece, Segment, pieces};
use crate::oci;
use crate::policy::PolicyError;

/// A glob that a whole text must match, segment by segment: `*` is any part of one segment, `**`
/// any number of whole segments (at the end at least one), `{principal.id}` and
/// `{principal.group}` are the caller's id and any of the caller's groups.
///
/// A placeholder's value must be one component of a repository's name; a caller with another id or
/// group (`../x`, `*`, a SPIFFE ID) never matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    pub(super) text: Box<str>,
    /// One byte, which is no part of another character in UTF-8.
    pub(super) separator: u8,
    pub(super) segments: Box<[Segment]>,
    /// Whether the caller's id or groups are asked for.
    pub(super) placeholders: bool,
    pub(super) groups: bool,
}

/// A glob that can match nothing, or not what was meant.
#[derive(Debug, thiserror::Error)]
enum PatternError {
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

impl From<PatternError> for PolicyError {
    fn from(error: PatternError) -> Self {
        Self::Text(error.to_string().into())
    }
}

impl Pattern {
    /// Reads a pattern of repository names.
    ///
    /// # Errors
    /// What keeps it from matching any name.
    pub fn repository(text: &str) -> Result<Self, PolicyError> {
        let pattern = Self::parse(text, b'/')?.matching(
            oci::is_name,
            "repository name",
            "names are lower-case components parted by single slashes, as in \"library/*\" or \"team/**\"",
        );
        Ok(pattern?)
    }

    /// Reads a pattern of tags.
    ///
    /// # Errors
    /// What keeps it from matching any tag.
    pub fn tag(text: &str) -> Result<Self, PolicyError> {
        let pattern = Self::parse(text, b'/')?.without_placeholders()?.matching(
            oci::is_tag,
            "tag",
            "tags are letters, digits, `_`, `.` and `-`, as in \"v1.*\"",
        );
        Ok(pattern?)
    }

    /// Reads a pattern of upstream registries, as `?ns=` names them.
    ///
    /// # Errors
    /// What keeps it from matching any registry.
    pub fn registry(text: &str) -> Result<Self, PolicyError> {
        // A star can be part of a host, a port or an address.
        let is_registry = |example: &str| {
            let [digit, address] = ["1", "::"].map(|other| {
                let last = text.rfind('*').unwrap_or(text.len());
                let (head, tail) = text.split_at(last);
                format!("{}{}", head.replace('*', "a"), tail.replacen('*', other, 1))
            });
            [example, &digit, &address]
                .into_iter()
                .any(oci::grammar::is_registry)
        };
        let pattern = Self::parse(text, b'/')?.without_placeholders()?.matching(
            is_registry,
            "registry",
            "registries are lower-case hosts, as in \"docker.io\", \"*.gcr.io\" or \"registry:5000\"",
        );
        Ok(pattern?)
    }

    /// The patterns of the same registries with other ports, or none, that might be the same ones: a
    /// host without a port means every port, and the ports of HTTP mean none too.
    pub(in crate::policy) fn other_ports(&self) -> Option<Self> {
        let port = match self.text.rfind(']') {
            Some(end) => self.text[end..].rfind(':').map(|at| end + at),
            None => self.text.rfind(':'),
        };
        let other = match port.map(|at| self.text.split_at(at)) {
            None => format!("{}:*", self.text),
            Some((host, ":443" | ":80" | ":*")) => host.to_owned(),
            Some(_) => return None,
        };
        Self::parse(&other, self.separator).ok()
    }

    /// Reads a pattern of paths.
    ///
    /// # Errors
    /// What keeps it from matching any canonical path.
    pub fn path(text: &str) -> Result<Self, PolicyError> {
        let is_path = |path: &str| {
            let plain = |byte: u8| {
                byte.is_ascii_graphic() && !matches!(byte, b'%' | b'\\' | b';' | b'#' | b'?')
            };
            path.starts_with('/')
                && path.bytes().all(plain)
                && !path.contains("//")
                && !path.split('/').any(|segment| matches!(segment, "." | ".."))
        };
        let pattern = Self::parse(text, b'/')?.without_placeholders()?.matching(
            is_path,
            "path",
            "paths begin with a slash and need no decoding, as in \"/healthz\"",
        );
        Ok(pattern?)
    }

    /// Reads a pattern of DNS names; `*` is within one label.
    ///
    /// # Errors
    /// What keeps it from matching any name.
    pub fn dns(text: &str) -> Result<Self, PolicyError> {
        let is_dns = |name: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            name.split('.')
                .all(|label| !label.is_empty() && label.bytes().all(known))
        };
        let pattern = Self::parse(text, b'.')?.without_placeholders()?.matching(
            is_dns,
            "DNS name",
            "names are labels parted by dots, as in \"*.nodes.example.org\"",
        );
        Ok(pattern?)
    }

    /// Reads a pattern of URIs or e-mail addresses.
    ///
    /// # Errors
    /// What is no pattern in it.
    pub fn uri(text: &str) -> Result<Self, PolicyError> {
        let is_uri =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let pattern = Self::parse(text, b'/')?.without_placeholders()?.matching(
            is_uri,
            "URI",
            "URIs are visible ASCII",
        );
        Ok(pattern?)
    }

    fn parse(text: &str, separator: u8) -> Result<Self, PatternError> {
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
        let segments: Result<_, _> = text.split(char::from(separator)).map(segment).collect();
        let segments: Box<[Segment]> = segments?;
        let mentions = |piece| segments.iter().any(|segment| segment.mentions(piece));
        let groups = mentions(&Piece::PrincipalGroup);
        Ok(Self {
            text: text.into(),
            separator,
            placeholders: groups || mentions(&Piece::PrincipalId),
            groups,
            segments,
        })
    }

    fn matching(
        self,
        is_legal: impl Fn(&str) -> bool,
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
        if self.placeholders {
            return Err(PatternError::PlaceholderHere(self.text));
        }
        Ok(self)
    }

    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
