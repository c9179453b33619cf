//! Serial numbers of one class, each with its date and reason.
//!
//! A keyed hash puts each serial number into one of so many buckets that eight are in each on average. A bucket
//! is a run in two arrays: a print of two bytes of each serial number, which is all that most misses look at,
//! and the rest of it with date and reason. The print is the last two octets, masked with a keyed hash of those
//! before, so that print and rest together are the serial number, and yet a CA cannot choose serial numbers
//! whose prints are the same. With the usual 16 octets that is 0.5 bytes for the bucket, 2 and 14 for the
//! serial number, 4 for the date and 1 for the reason: 21.5 an entry, none of them allocated by itself. In a
//! list that has a date past 2106 every date takes 8.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::OnceLock;

use super::entries::Entry;
use super::{RevocationReason, der};

/// The longest serial number that a table takes, in octets: its print, and what [`Words`] hold. RFC 5280
/// §4.1.2.2 allows 20.
const LONGEST: usize = PRINT + 24;

/// How many classes have tables.
pub(super) const CLASSES: usize = 2 * LONGEST;

/// How many serial numbers a bucket has on average.
pub(super) const BUCKET: usize = 8;

/// The octets of a serial number that are kept apart from the rest of it.
const PRINT: usize = 2;

/// The octets of a date up to 2106, which all are that a genuine list has.
const SHORT: usize = size_of::<u32>();

/// The octets of any other date.
const LONG: usize = size_of::<u64>();

/// The octets of a reason.
const REASON: usize = 1;

/// How many prints are compared at once. There are as many behind the last, so that this many can be
/// read wherever a run begins.
pub(super) const AT_ONCE: usize = 16;

/// Sign and length of a serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class {
    pub(super) negative: bool,
    pub(super) length: usize,
}

#[derive(Debug)]
pub(super) struct Table {
    pub(super) form: Form,
    /// Where each bucket begins; one more than there are buckets.
    pub(super) starts: Box<[u32]>,
    pub(super) prints: Box<[u16]>,
    pub(super) records: Box<[u8]>,
}

/// Where the table of each class is among others.
#[derive(Clone, Debug)]
pub(super) struct Places([u8; CLASSES]);

/// How the serial numbers of a table are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) class: Class,
    /// How many octets a date takes.
    date: usize,
    keys: [u64; 3],
}

/// Which dates a table takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dates {
    UpTo2106,
    Any,
}

/// A serial number as a table has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number {
    rest: Words,
    pub(super) print: u16,
}

/// Some octets, as numbers that can be compared: the same for those of the same length only if all
/// octets are.
type Words = [u64; 3];

impl Table {
    pub(super) fn len(&self) -> usize {
        self.prints.len() - AT_ONCE
    }

    pub(super) fn size(&self) -> usize {
        self.searched_size() + self.records.len()
    }

    /// Without the records, of which a miss reads one only where another serial number of its bucket
    /// has the same print.
    pub(super) fn searched_size(&self) -> usize {
        size_of_val(&*self.starts) + size_of_val(&*self.prints)
    }

    #[inline]
    pub(super) fn find(&self, magnitude: &[u8]) -> Option<Entry> {
        let (number, hash) = self.form.number(magnitude);
        let bucket = scaled(hash, self.starts.len() - 1);
        let run = self.starts[bucket] as usize..self.starts[bucket + 1] as usize;
        let position = self
            .form
            .position(&self.prints, &self.records, number, run)?;
        self.form.entry(self.form.record(&self.records, position))
    }

    #[cfg(test)]
    pub(super) fn fullest(&self) -> Option<u32> {
        self.starts.windows(2).map(|pair| pair[1] - pair[0]).max()
    }

    /// How often a print of one serial number is that of the one before it.
    #[cfg(test)]
    pub(super) fn same_prints(&self) -> usize {
        let prints = &self.prints[..self.len()];
        prints.windows(2).filter(|pair| pair[0] == pair[1]).count()
    }
}

impl Class {
    /// All that have tables.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        [false, true].into_iter().flat_map(|negative| {
            let lengths = 1..=LONGEST;
            lengths.map(move |length| Self { negative, length })
        })
    }

    /// Which of [`Class::all`] it is; `None` if it has no table.
    #[inline]
    pub(super) fn number(self) -> Option<usize> {
        let number = usize::from(self.negative) * LONGEST + self.length.checked_sub(1)?;
        (self.length <= LONGEST).then_some(number)
    }

    /// The class of an INTEGER's content, and its octets without what the class tells already.
    #[inline]
    pub(super) fn of(serial: &[u8]) -> (Self, &[u8]) {
        let minimal = der::minimal(serial);
        let (negative, magnitude) = match minimal {
            [0x00, rest @ ..] if !rest.is_empty() => (false, rest),
            [0x80..=0xff, ..] => (true, minimal),
            _ => (false, minimal),
        };
        let length = magnitude.len();
        (Self { negative, length }, magnitude)
    }
}

impl Places {
    const NONE: u8 = u8::MAX;

    /// Of tables of these classes, in this order.
    pub(super) fn of(classes: impl Iterator<Item = Class>) -> Self {
        let mut places = [Self::NONE; CLASSES];
        for (place, class) in (0..Self::NONE).zip(classes) {
            if let Some(number) = class.number() {
                places[number] = place;
            }
        }
        Self(places)
    }

    #[inline]
    pub(super) fn get(&self, class: Class) -> Option<usize> {
        match self.0[class.number()?] {
            Self::NONE => None,
            place => Some(usize::from(place)),
        }
    }
}

impl Default for Places {
    fn default() -> Self {
        Self([Self::NONE; CLASSES])
    }
}

impl Form {
    pub(super) fn new(class: Class, dates: Dates) -> Self {
        Self {
            class,
            date: match dates {
                Dates::UpTo2106 => SHORT,
                Dates::Any => LONG,
            },
            keys: *keys(),
        }
    }

    /// How many octets a record takes.
    pub(super) fn stride(&self) -> usize {
        self.rest() + self.date + REASON
    }

    /// The octets of a serial number that stand in its record.
    fn rest(&self) -> usize {
        self.class.length.saturating_sub(PRINT)
    }

    /// A serial number, and its hash.
    #[inline]
    pub(super) fn number(&self, magnitude: &[u8]) -> (Number, u64) {
        let (rest, last) = match magnitude {
            [rest @ .., high, low] => (rest, u16::from_be_bytes([*high, *low])),
            [low] => (&[][..], u16::from(*low)),
            [] => (&[][..], 0),
        };
        let rest = words(rest);
        let (mask, hash) = self.mask(rest);
        let print = last ^ mask;
        (Number { rest, print }, self.hash(hash, last))
    }

    /// The serial number of which these are print and record.
    #[inline]
    pub(super) fn written(&self, print: u16, record: &[u8]) -> Number {
        let rest = words(&record[..self.rest()]);
        Number { rest, print }
    }

    #[inline]
    pub(super) fn hash_of(&self, number: Number) -> u64 {
        let (mask, hash) = self.mask(number.rest);
        self.hash(hash, number.print ^ mask)
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the lowest bits are taken")]
    fn mask(&self, rest: Words) -> (u16, u64) {
        let [first, second, _] = self.keys;
        let mut hash = fold(rest[0] ^ first, rest[1] ^ second);
        if self.class.length > 16 + PRINT {
            hash = fold(hash ^ rest[2], second);
        }
        (hash as u16, hash)
    }

    #[inline]
    fn hash(&self, of_rest: u64, last: u16) -> u64 {
        // Twice: consecutive numbers times a key that is near a simple fraction of 2^64 are not spread.
        let [_, second, third] = self.keys;
        fold(fold(of_rest ^ u64::from(last), third), second)
    }

    /// Where the serial number is in a run.
    #[inline]
    pub(super) fn position(
        &self,
        prints: &[u16],
        records: &[u8],
        number: Number,
        mut run: Range<usize>,
    ) -> Option<usize> {
        while !run.is_empty() {
            let prints = prints[run.start..].first_chunk::<AT_ONCE>()?;
            let mut same = same_as(prints, number.print);
            while same != 0 {
                let position = run.start + same.trailing_zeros() as usize;
                if position >= run.end {
                    return None;
                }
                let record = self.record(records, position);
                if words(&record[..self.rest()]) == number.rest {
                    return Some(position);
                }
                same &= same - 1;
            }
            run.start += AT_ONCE;
        }
        None
    }

    #[inline]
    pub(super) fn record<'a>(&self, records: &'a [u8], position: usize) -> &'a [u8] {
        &records[position * self.stride()..][..self.stride()]
    }

    #[inline]
    pub(super) fn entry(&self, record: &[u8]) -> Option<Entry> {
        let [date @ .., code] = &record[self.rest()..] else {
            return None;
        };
        let date = match *date {
            [a, b, c, d] => u64::from(u32::from_be_bytes([a, b, c, d])),
            _ => u64::from_be_bytes(date.try_into().ok()?),
        };
        Some(Entry {
            date,
            reason: RevocationReason::from_code(&[*code])?,
        })
    }

    /// The entry's date must be one of the table's.
    #[inline]
    pub(super) fn write(&self, record: &mut [u8], magnitude: &[u8], entry: Entry) {
        let (serial, meaning) = record.split_at_mut(self.rest());
        copy(serial, &magnitude[..serial.len()]);
        let date = entry.date.to_be_bytes();
        match meaning {
            [a, b, c, d, code] => {
                [*a, *b, *c, *d] = [date[4], date[5], date[6], date[7]];
                *code = entry.reason.code();
            }
            [longer @ .., code] => {
                longer.copy_from_slice(&date);
                *code = entry.reason.code();
            }
            [] => {}
        }
    }
}

/// Copies a slice of mostly 8 to 32 octets without a call.
#[inline]
pub(super) fn copy(to: &mut [u8], from: &[u8]) {
    match from.len() {
        8..16 => copy_ends::<8>(to, from),
        16..=32 => copy_ends::<16>(to, from),
        _ => to.copy_from_slice(from),
    }
}

/// Copies the first and the last `N` octets, which are all.
#[inline]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    let last = from.len() - N;
    to[..N].copy_from_slice(&from[..N]);
    to[last..].copy_from_slice(&from[last..]);
}

/// A bit for each that is this print. Without a branch: which of them it is cannot be predicted.
#[inline]
fn same_as(prints: &[u16; AT_ONCE], print: u16) -> u16 {
    let bits: [u16; AT_ONCE] = std::array::from_fn(|at| 1 << at);
    let same = prints.iter().zip(bits);
    same.fold(0, |all, (other, bit)| {
        all | if *other == print { bit } else { 0 }
    })
}

#[inline]
fn words(octets: &[u8]) -> Words {
    let first = octets.first_chunk().copied().map(u64::from_le_bytes);
    let last = octets.last_chunk().copied().map(u64::from_le_bytes);
    match (first, last) {
        (Some(first), Some(last)) if octets.len() <= 16 => [first, last, 0],
        (Some(first), Some(last)) => {
            let middle = octets[8..].first_chunk().copied();
            [first, middle.map_or(0, u64::from_le_bytes), last]
        }
        _ => {
            let mut word = [0; 8];
            word[..octets.len()].copy_from_slice(octets);
            [u64::from_le_bytes(word), 0, 0]
        }
    }
}

/// Multiplies and folds, as wyhash does, under keys that are drawn once a process.
#[inline]
#[allow(
    clippy::cast_possible_truncation,
    reason = "the two halves of a product are what is folded"
)]
fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

/// `hash`, evenly spread over `0..buckets`.
#[inline]
#[allow(
    clippy::cast_possible_truncation,
    reason = "what is shifted down is below `buckets`, which is a length"
)]
pub(super) fn scaled(hash: u64, buckets: usize) -> usize {
    ((u128::from(hash) * buckets as u128) >> 64) as usize
}

fn keys() -> &'static [u64; 3] {
    static KEYS: OnceLock<[u64; 3]> = OnceLock::new();
    KEYS.get_or_init(|| {
        let random = RandomState::new();
        [1, 2, 3].map(|number: u8| random.hash_one(number) | 1)
    })
}
