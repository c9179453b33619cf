use super::der::{self, Value};
use crate::util::hex;

/// A non-negative number of any size, its octets without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Number(Box<[u8]>);

impl Number {
    pub(super) fn parse(field: &'static str, value: Value<'_>) -> Result<Self, der::Malformed> {
        let integer = value.reader().at(field).expect(der::INTEGER)?;
        match der::minimal(integer.content) {
            [] | [0x80..=0xff, ..] => Err(integer.wrong()),
            [0x00, octets @ ..] | octets => Ok(Self(octets.into())),
        }
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.0
    }

    /// The number in hexadecimal.
    pub(super) fn text(&self) -> String {
        hex::encode(self.octets())
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let size = |number: &Self| number.0.len();
        (size(self), &self.0).cmp(&(size(other), &other.0))
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
