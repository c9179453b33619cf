use std::fmt;
use std::time::SystemTime;

use crate::crl::verdict::{date, time};
use crate::identity::NameKey;
use crate::util::hex;

/// One entry of a deny list: what it denies, since when and why.
///
/// Its text, which [`FromStr`](std::str::FromStr) reads and `Display` writes, is a line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DenyEntry {
    pub(super) subject: Subject,
    pub(super) since: u64,
    pub(super) until: Option<u64>,
    pub(super) reason: Box<str>,
}

/// What an entry names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Fingerprint([u8; 32]),
    Key([u8; 32]),
    /// A number without leading zeros, and its issuer's name with the text that it was written as.
    Serial {
        number: Box<[u8]>,
        issuer: NameKey,
        written: Box<str>,
    },
    SpiffeId(Box<str>),
}

impl DenyEntry {
    /// Returns what it denies, as a list names it.
    pub fn subject(&self) -> String {
        self.subject.to_string()
    }

    /// Returns since when it denies, as the operator noted; the entry counts whatever it is.
    pub fn since(&self) -> SystemTime {
        time(self.since)
    }

    /// Returns the last second at which it counts; `None` if it does not end.
    pub fn until(&self) -> Option<SystemTime> {
        self.until.map(time)
    }

    /// Returns why.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for DenyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.subject, date(self.since))?;
        if let Some(until) = self.until {
            write!(f, " until={}", date(until))?;
        }
        write!(f, " {}", self.reason)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fingerprint(digest) => write!(f, "fingerprint:{}", hex::encode(digest)),
            Self::Key(digest) => write!(f, "key:{}", hex::encode(digest)),
            Self::Serial {
                number, written, ..
            } => {
                // No number is none at all.
                let number = if number.is_empty() { &[0] } else { &**number };
                write!(
                    f,
                    "serial:{} issuer:\"{written}\"",
                    hex::with_colons(number)
                )
            }
            Self::SpiffeId(id) => f.write_str(id),
        }
    }
}
