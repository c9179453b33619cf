use std::borrow::Cow;
use std::sync::Arc;

use super::grammar::{is_digest, is_name, is_registry, is_tag};
use super::{Action, Endpoint, RouteError};

/// The parameters that say what is asked for. Values are spans of the target, or, where they were
/// percent-encoded, of one buffer of decoded text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) registry: Span,
    pub(super) mount: Span,
    pub(super) from: Span,
    pub(super) digest: Span,
    tags: Option<Arc<[Span]>>,
    decoded: Option<Arc<str>>,
}

/// A part of the target, or of the decoded text. Empty means absent: no value here may be empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u16,
    end: u16,
}

/// What is gathered while a query is read.
struct Reader {
    /// Whether there is nothing to decode, and nothing that is read in two ways.
    plain: bool,
    query: Query,
    tags: Vec<Span>,
    decoded: String,
    seen: u8,
}

/// Marks a span of the decoded text; a target is far shorter.
const DECODED: u16 = 1 << 15;

impl Query {
    /// Reads the query that stands at `offset` of `target`.
    pub(super) fn parse(target: &str, offset: usize) -> Result<Self, RouteError> {
        let query = &target[offset..];
        // A loop without an early end is compiled to vector instructions.
        let special = |byte| matches!(byte, b'%' | b'+' | b';' | b'#');
        let mut reader = Reader {
            plain: !query
                .bytes()
                .fold(false, |found, byte| found | special(byte)),
            query: Self::default(),
            tags: Vec::new(),
            decoded: String::new(),
            seen: 0,
        };
        let mut at = offset;
        let mut rest = Some(query);
        while let Some(pairs) = rest {
            let end = pairs.bytes().position(|byte| byte == b'&');
            let pair = &pairs[..end.unwrap_or(pairs.len())];
            rest = end.map(|end| &pairs[end + 1..]);
            reader.pair(pair, at)?;
            at += pair.len() + 1;
        }
        let Reader {
            mut query,
            tags,
            decoded,
            ..
        } = reader;
        query.tags = (!tags.is_empty()).then(|| tags.into());
        query.decoded = (!decoded.is_empty()).then(|| decoded.into());
        Ok(query)
    }

    /// The value at `span`, a field of this query read from `target`.
    pub(super) fn value<'a>(&'a self, target: &'a str, span: Span) -> Option<&'a str> {
        if span.start & DECODED == 0 {
            return span.of(target);
        }
        let span = Span::new(span.start & !DECODED, span.end & !DECODED);
        span.of(self.decoded.as_deref()?)
    }

    /// Whether each parameter is one that the endpoint takes. What one server overlooks, another may
    /// obey: a delete by digest must not look like the delete of a tag, nor an upload like a mount.
    pub(super) fn check(&self, endpoint: Endpoint, action: Action) -> Result<(), RouteError> {
        let mounts = !self.mount.is_empty() || !self.from.is_empty();
        let sets_tags = !self.tags().is_empty();
        let fits = match endpoint {
            // What its parameters mean, only the extension knows.
            Endpoint::Extension => true,
            Endpoint::Manifest => !mounts && (!sets_tags || action == Action::Push),
            Endpoint::UploadStart => {
                !sets_tags && (self.mount.is_empty() || self.digest.is_empty())
            }
            _ => !mounts && !sets_tags,
        };
        if fits { Ok(()) } else { Err(RouteError::Query) }
    }

    pub(super) fn tags(&self) -> &[Span] {
        self.tags.as_deref().unwrap_or_default()
    }
}

impl Reader {
    fn pair(&mut self, pair: &str, at: usize) -> Result<(), RouteError> {
        let equals = pair.bytes().position(|byte| byte == b'=');
        let (key, raw) = equals.map_or((pair, ""), |at| (&pair[..at], &pair[at + 1..]));
        // What one reader decodes, splits or leaves out is another parameter to the next: Go drops
        // a pair with a `;` or a malformed escape.
        if !self.plain && (key.contains(['%', '+']) || pair.contains([';', '#'])) {
            return Err(RouteError::Query);
        }
        let value = if self.plain {
            Cow::Borrowed(raw)
        } else {
            decoded(raw)?
        };
        let at = at + key.len() + 1;
        match key {
            "ns" => {
                self.once(0)?;
                self.query.registry = self.keep(at, raw, value, is_registry, RouteError::Query)?;
            }
            "mount" => {
                self.once(1)?;
                self.query.mount = self.keep(at, raw, value, is_digest, RouteError::Digest)?;
            }
            "from" => {
                self.once(2)?;
                self.query.from = self.keep(at, raw, value, is_name, RouteError::Name)?;
            }
            "digest" => {
                self.once(3)?;
                self.query.digest = self.keep(at, raw, value, is_digest, RouteError::Digest)?;
            }
            "tag" => {
                let tag = self.keep(at, raw, value, is_tag, RouteError::Tag)?;
                self.tags.push(tag);
            }
            "n" => {
                self.once(4)?;
                if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(RouteError::Number);
                }
            }
            "last" => self.once(5)?,
            "digest-algorithm" => self.once(6)?,
            _ => {}
        }
        Ok(())
    }

    /// Two values of a parameter that has one: readers differ in which of them they take.
    fn once(&mut self, parameter: u8) -> Result<(), RouteError> {
        let before = self.seen;
        self.seen |= 1 << parameter;
        if self.seen == before {
            return Err(RouteError::Query);
        }
        Ok(())
    }

    fn keep(
        &mut self,
        at: usize,
        raw: &str,
        value: Cow<'_, str>,
        is_valid: fn(&str) -> bool,
        error: RouteError,
    ) -> Result<Span, RouteError> {
        if !is_valid(&value) {
            return Err(error);
        }
        let (start, length, mark) = match value {
            Cow::Borrowed(_) => (at, raw.len(), 0),
            Cow::Owned(value) => {
                let start = self.decoded.len();
                self.decoded.push_str(&value);
                (start, value.len(), DECODED)
            }
        };
        let place = |offset: usize| u16::try_from(offset).ok().filter(|at| at & DECODED == 0);
        match (place(start), place(start + length)) {
            (Some(start), Some(end)) => Ok(Span::new(start + mark, end + mark)),
            _ => Err(RouteError::TooLong),
        }
    }
}

impl Span {
    pub(super) const fn new(start: u16, end: u16) -> Self {
        Self { start, end }
    }

    fn is_empty(self) -> bool {
        self.start == self.end
    }

    pub(super) fn of(self, text: &str) -> Option<&str> {
        let text = text.get(usize::from(self.start)..usize::from(self.end))?;
        (!text.is_empty()).then_some(text)
    }
}

fn decoded(raw: &str) -> Result<Cow<'_, str>, RouteError> {
    if !raw.contains(['%', '+']) {
        return Ok(Cow::Borrowed(raw));
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => match (rest.next().and_then(hex), rest.next().and_then(hex)) {
                (Some(high), Some(low)) => high * 16 + low,
                _ => return Err(RouteError::Query),
            },
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|_| RouteError::Query)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}
