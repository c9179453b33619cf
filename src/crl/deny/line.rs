//! The form of a line.

use std::str::FromStr;

use super::entry::{DenyEntry, Subject};
use super::error::{DenyError, DenyLineError, DenyProblem};
use crate::identity::{NameKey, SpiffeId};
use crate::util::{calendar, der, hex};

/// The longest reason, in characters.
const LONGEST_REASON: usize = 512;

/// The entry of a line; `None` for one that is empty or a comment.
pub(super) fn read(text: &str) -> Result<Option<DenyEntry>, DenyLineError> {
    let is_entry = !text.trim().is_empty() && !text.trim_start().starts_with('#');
    is_entry.then(|| entry(text)).transpose()
}

/// The entry of a line that must have one.
pub(super) fn entry(text: &str) -> Result<DenyEntry, DenyLineError> {
    let mut words = Words { text, at: 0 };
    let subject = subject(&mut words)?;
    let missing = words.wrong_at_end(DenyProblem::DateMissing);
    let (at, written) = words.next()?.ok_or(missing)?;
    let wrong_date = |at, written: &str| wrong(text, at, DenyProblem::Date(written.into()));
    let (since, _) = span_of(written).ok_or_else(|| wrong_date(at, written))?;
    let mut until = None;
    let mut rest = words;
    if let Some((at, word)) = rest.next()?
        && let Some(written) = word.strip_prefix("until=")
    {
        let (_, end) = span_of(written).ok_or_else(|| wrong_date(at, written))?;
        if end < since {
            return Err(wrong(text, at, DenyProblem::Until));
        }
        until = Some(end);
        words = rest;
    }
    Ok(DenyEntry {
        subject,
        since,
        until,
        reason: reason(&words)?.into(),
    })
}

impl FromStr for DenyEntry {
    type Err = DenyError;

    fn from_str(text: &str) -> Result<Self, DenyError> {
        entry(text).map_err(|error| DenyError::Entry {
            column: error.column,
            problem: error.problem.to_string().into(),
        })
    }
}

fn subject(words: &mut Words<'_>) -> Result<Subject, DenyLineError> {
    let text = words.text;
    let missing = words.wrong_at_end(DenyProblem::Subject("".into()));
    let (at, word) = words.next()?.ok_or(missing)?;
    let digest = |digits| digest(digits).ok_or_else(|| wrong(text, at, DenyProblem::Digest));
    if let Some(digits) = word.strip_prefix("fingerprint:") {
        return Ok(Subject::Fingerprint(digest(digits)?));
    }
    if let Some(digits) = word.strip_prefix("key:") {
        return Ok(Subject::Key(digest(digits)?));
    }
    if let Some(digits) = word.strip_prefix("serial:") {
        let number = octets(digits).filter(|number| !number.is_empty());
        let number = number.ok_or_else(|| wrong(text, at, DenyProblem::Serial))?;
        let (issuer, written) = issuer(words)?;
        return Ok(Subject::Serial {
            number: der::magnitude(&number).into(),
            issuer,
            written,
        });
    }
    if word.starts_with("spiffe://") {
        let id = SpiffeId::parse(word).map_err(|error| wrong(text, at, error.into()))?;
        if id.path().is_empty() {
            return Err(wrong(text, at, DenyProblem::TrustDomain));
        }
        return Ok(Subject::SpiffeId(id.as_str().into()));
    }
    Err(wrong(text, at, DenyProblem::Subject(word.into())))
}

fn issuer(words: &mut Words<'_>) -> Result<(NameKey, Box<str>), DenyLineError> {
    let text = words.text;
    let missing = words.wrong_at_end(DenyProblem::IssuerMissing);
    let (at, word) = words.next()?.ok_or(missing)?;
    let name = word.strip_prefix("issuer:");
    let name = name.ok_or_else(|| wrong(text, at, DenyProblem::IssuerMissing))?;
    let bare = name
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'));
    let name = bare.unwrap_or(name);
    let key = NameKey::written(name);
    let key = key.ok_or_else(|| wrong(text, at, DenyProblem::Issuer(name.into())))?;
    Ok((key, name.into()))
}

fn reason<'a>(words: &Words<'a>) -> Result<&'a str, DenyLineError> {
    let rest = &words.text[words.at..];
    let reason = rest.trim();
    let at = words.at + (rest.len() - rest.trim_start().len());
    let problem = if reason.is_empty() {
        DenyProblem::ReasonMissing
    } else if reason.chars().any(char::is_control) || reason.chars().count() > LONGEST_REASON {
        DenyProblem::Reason
    } else {
        return Ok(reason);
    };
    Err(wrong(words.text, at, problem))
}

fn octets(digits: &str) -> Option<Vec<u8>> {
    hex::decode(&digits.replace(':', ""))
}

fn digest(digits: &str) -> Option<[u8; 32]> {
    octets(digits)?.try_into().ok()
}

/// The first and the last second of a date, or of a time twice.
fn span_of(written: &str) -> Option<(u64, u64)> {
    let (date, time) = match written.split_once('T') {
        Some((date, time)) => (date, Some(time.strip_suffix('Z')?)),
        None => (written, None),
    };
    let date = numbers(date, '-', [4, 2, 2])?;
    let (first, last) = match time {
        None => ([0, 0, 0], [23, 59, 59]),
        Some(time) => {
            let time = numbers(time, ':', [2, 2, 2])?;
            (time, time)
        }
    };
    let seconds = |time| u64::try_from(calendar::seconds(date, time)?).ok();
    Some((seconds(first)?, seconds(last)?))
}

/// Three numbers of so many digits each.
fn numbers(text: &str, separator: char, digits: [usize; 3]) -> Option<[u32; 3]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; 3];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits)?;
        let plain = part.bytes().all(|byte| byte.is_ascii_digit());
        *number = part.parse().ok().filter(|_| plain)?;
    }
    parts.next().is_none().then_some(numbers)
}

/// The words of a line, parted by blanks that are not between quotes.
#[derive(Clone, Copy)]
struct Words<'a> {
    text: &'a str,
    /// Where the next one is looked for, in bytes.
    at: usize,
}

impl<'a> Words<'a> {
    /// The next word with its place.
    fn next(&mut self) -> Result<Option<(usize, &'a str)>, DenyLineError> {
        let rest = &self.text[self.at..];
        let begin = self.at + (rest.len() - rest.trim_start().len());
        let mut quotes = None;
        let mut escaped = false;
        let mut end = self.text.len();
        for (at, character) in self.text[begin..].char_indices() {
            match character {
                _ if escaped => escaped = false,
                // As RFC 4514 has it, so that a name may have quotes in it.
                '\\' if quotes.is_some() => escaped = true,
                // A name is what is in quotes, and nothing else.
                '"' if quotes.is_some() => quotes = None,
                '"' if self.text[begin..begin + at].ends_with("issuer:") => {
                    quotes = Some(begin + at);
                }
                _ if character.is_whitespace() && quotes.is_none() => {
                    end = begin + at;
                    break;
                }
                _ => {}
            }
        }
        if let Some(at) = quotes {
            return Err(wrong(self.text, at, DenyProblem::Quotes));
        }
        self.at = end;
        let word = &self.text[begin..end];
        Ok((!word.is_empty()).then_some((begin, word)))
    }

    fn wrong_at_end(&self, problem: DenyProblem) -> DenyLineError {
        wrong(self.text, self.text.trim_end().len(), problem)
    }
}

fn wrong(text: &str, at: usize, problem: DenyProblem) -> DenyLineError {
    let column = text[..at].chars().count() + 1;
    DenyLineError { column, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn what_is_written_is_read_again_as_the_same_entry() {
        let colons = DIGEST.as_bytes().chunks(2);
        let colons: Vec<_> = colons
            .map(|two| std::str::from_utf8(two).unwrap())
            .collect();
        let colons = colons.join(":").to_ascii_uppercase();
        let digest = format!("fingerprint:{DIGEST}");
        for (line, written) in [
            (
                format!("  {digest} 2026-11-30 stolen"),
                format!("{digest} 2026-11-30T00:00:00Z stolen"),
            ),
            (
                format!("fingerprint:{colons}\t2026-11-30T08:15:00Z  stolen  twice \r"),
                format!("{digest} 2026-11-30T08:15:00Z stolen  twice"),
            ),
            (
                format!("key:{DIGEST} 2026-11-30 until=2026-12-01 in a log"),
                format!("key:{DIGEST} 2026-11-30T00:00:00Z until=2026-12-01T23:59:59Z in a log"),
            ),
            (
                "serial:00:FA01 issuer:\"CN=a b\\\"c\\\\,O=x\" 2026-11-30 x".to_owned(),
                "serial:fa:01 issuer:\"CN=a b\\\"c\\\\,O=x\" 2026-11-30T00:00:00Z x".to_owned(),
            ),
            // Quotes and backslashes of the name, with blanks behind them.
            (
                "serial:07 issuer:\"CN=a\\\" b\\\\ c\" 2026-11-30 x".to_owned(),
                "serial:07 issuer:\"CN=a\\\" b\\\\ c\" 2026-11-30T00:00:00Z x".to_owned(),
            ),
            // A second.
            (
                "spiffe://a/b 2026-11-30T08:15:00Z until=2026-11-30T08:15:00Z x".to_owned(),
                "spiffe://a/b 2026-11-30T08:15:00Z until=2026-11-30T08:15:00Z x".to_owned(),
            ),
            (
                "serial:00 issuer:CN=a 2026-11-30 x".to_owned(),
                "serial:00 issuer:\"CN=a\" 2026-11-30T00:00:00Z x".to_owned(),
            ),
            (
                "spiffe://example.org/ns/a 2026-11-30 until it is no end".to_owned(),
                "spiffe://example.org/ns/a 2026-11-30T00:00:00Z until it is no end".to_owned(),
            ),
        ] {
            let entry = entry(&line).unwrap();
            assert_eq!(entry.to_string(), written);
            assert_eq!(super::entry(&written).unwrap(), entry);
        }
        assert_eq!(read(" # spiffe://a/b").unwrap(), None);
        assert_eq!(read(" \t\r").unwrap(), None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_column() {
        use DenyProblem as P;
        let text = |text: &str| Box::from(text);
        let id = crate::identity::SpiffeId::parse("spiffe://example.org/a*").unwrap_err();
        for (line, column, problem) in [
            ("node-7 2026-11-30 x", 1, P::Subject(text("node-7"))),
            (" é 2026-11-30 x", 2, P::Subject(text("é"))),
            ("fingerprint:9f 2026-11-30 x", 1, P::Digest),
            ("serial: issuer:\"CN=a\" 2026-11-30 x", 1, P::Serial),
            ("serial:4g issuer:\"CN=a\" 2026-11-30 x", 1, P::Serial),
            ("serial:4f 2026-11-30 x", 11, P::IssuerMissing),
            ("serial:4f", 10, P::IssuerMissing),
            ("serial:4f issuer:\"CN=a 2026-11-30 x", 18, P::Quotes),
            (
                "serial:4f issuer:Nodes 2026-11-30 x",
                11,
                P::Issuer(text("Nodes")),
            ),
            (
                "serial:4f issuer:CN=a, O=b 2026-11-30 x",
                11,
                P::Issuer(text("CN=a,")),
            ),
            // Only a name is between quotes, and has escapes there.
            ("node\"7 2026-11-30 x", 1, P::Subject(text("node\"7"))),
            (
                "serial:4f issuer:a\\ 2026-11-30 x",
                11,
                P::Issuer(text("a\\")),
            ),
            ("spiffe://example.org/a* 2026-11-30 x", 1, P::SpiffeId(id)),
            ("spiffe://example.org 2026-11-30 x", 1, P::TrustDomain),
            ("spiffe://a/b", 13, P::DateMissing),
            ("spiffe://a/b stolen", 14, P::Date(text("stolen"))),
            ("spiffe://a/b 2026-02-30 x", 14, P::Date(text("2026-02-30"))),
            ("spiffe://a/b 2026-2-03 x", 14, P::Date(text("2026-2-03"))),
            (
                "spiffe://a/b 2026-11-30T8:00:00Z x",
                14,
                P::Date(text("2026-11-30T8:00:00Z")),
            ),
            (
                "spiffe://a/b 2026-11-30T08:00:00 x",
                14,
                P::Date(text("2026-11-30T08:00:00")),
            ),
            (
                "spiffe://a/b 2026-11-30 until=2026 x",
                25,
                P::Date(text("2026")),
            ),
            ("spiffe://a/b 2026-11-30 until=2026-11-29 x", 25, P::Until),
            ("spiffe://a/b 2026-11-30", 24, P::ReasonMissing),
            (
                "spiffe://a/b 2026-11-30 until=2026-12-01",
                41,
                P::ReasonMissing,
            ),
            ("spiffe://a/b 2026-11-30 a\u{7}b", 25, P::Reason),
        ] {
            let expected = DenyLineError { column, problem };
            assert_eq!(entry(line), Err(expected), "{line}");
        }
        let longest = format!("spiffe://a/b 2026-11-30 {}", "x".repeat(512));
        assert!(entry(&longest).is_ok());
        let long = format!("spiffe://a/b 2026-11-30 {}", "x".repeat(513));
        assert_eq!(entry(&long).unwrap_err().problem, P::Reason);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(line in ".*", tail in "[a-z:\"\\\\ =0-9é-]{0,80}") {
            let _ = read(&line);
            for head in ["serial:00 issuer:\"", "spiffe://a/b 2026-11-30 ", "key:"] {
                let _ = read(&format!("{head}{tail}"));
            }
        }
    }
}
