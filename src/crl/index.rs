//! Where a serial number stands among a million others, exactly.
//!
//! Serial numbers of one sign and length are a class with a table of its own. A keyed hash puts each
//! into one of so many buckets that eight are in each on average. A bucket is a run in two arrays:
//! two bytes of each serial number, which is all that most misses look at, and the rest of it with
//! date and reason. With the usual 16 octets that is 0.5 bytes for the bucket, 2 and 14 for the
//! serial number, 4 for the date and 1 for the reason: 21.5 an entry, none of them allocated by
//! itself. The hash is keyed at random, so that nobody can choose serial numbers that meet in a bucket.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::OnceLock;

use super::entries::{Entries, Entry};
use super::{CrlError, RevocationReason, der};

/// The longest serial number that RFC 5280 §4.1.2.2 allows, in octets.
const LONGEST: usize = 20;

/// How many serial numbers a bucket has on average.
const BUCKET: usize = 8;

/// The octets of a serial number that are kept apart from the rest of it.
const PRINT: usize = 2;

/// Date and reason, in octets.
const MEANING: usize = 5;

/// The serial numbers of a CRL, each with its date and reason.
#[derive(Debug, Default)]
pub(super) struct Index {
    tables: Vec<Table>,
    /// What no table takes: more octets than are legal, or a date past 2106.
    odd: HashMap<Box<[u8]>, Entry>,
}

/// Sign and length of a serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    negative: bool,
    length: usize,
}

#[derive(Debug)]
struct Table {
    class: Class,
    /// Where each bucket begins; one more than there are buckets.
    starts: Box<[u32]>,
    prints: Box<[u16]>,
    /// The rest of the serial number, date and reason of each.
    records: Box<[u8]>,
}

/// A table being filled.
struct Filling {
    table: Table,
    /// Where the next of each bucket goes.
    ends: Box<[u32]>,
    doubles: bool,
}

impl Index {
    /// Indexes the content of `revokedCertificates`.
    pub(super) fn new(revoked: &[u8]) -> Result<Self, CrlError> {
        let mut filling = Filling::all(count(revoked)?)?;
        each_serial(revoked, |class, magnitude| {
            if let Some(filling) = filling.iter_mut().find(|one| one.table.class == class) {
                let bucket = filling.table.bucket(magnitude);
                filling.table.starts[bucket + 1] += 1;
            }
        })?;
        for filling in &mut filling {
            filling.begin();
        }
        let mut odd = HashMap::new();
        let mut entries = Entries::new(revoked);
        while let Some(revoked) = entries.read() {
            let revoked = revoked?;
            if revoked.issuer.is_some() {
                return Err(CrlError::UnexpectedIssuer);
            }
            let (class, magnitude) = Class::of(revoked.serial);
            let of_class = filling.iter_mut().find(|one| one.table.class == class);
            match (of_class, u32::try_from(revoked.entry.date)) {
                (Some(filling), Ok(date)) => {
                    filling.insert(magnitude, date, revoked.entry.reason);
                }
                _ => keep(&mut odd, revoked.serial, revoked.entry),
            }
        }
        Ok(Self {
            tables: filling.into_iter().map(Filling::finish).collect(),
            odd,
        })
    }

    /// What the list says of this serial number, the content of an INTEGER.
    pub(super) fn find(&self, serial: &[u8]) -> Option<Entry> {
        let (class, magnitude) = Class::of(serial);
        let table = self.tables.iter().find(|table| table.class == class);
        let found = table.and_then(|table| table.find(magnitude));
        if found.is_some() || self.odd.is_empty() {
            return found;
        }
        self.odd.get(der::minimal(serial)).copied()
    }

    pub(super) fn len(&self) -> usize {
        let tables = self.tables.iter().map(|table| table.prints.len());
        tables.sum::<usize>() + self.odd.len()
    }

    /// How many bytes of memory it takes.
    pub(super) fn size(&self) -> usize {
        let odd = self
            .odd
            .keys()
            .map(|key| key.len() + size_of::<(Box<[u8]>, Entry)>());
        let tables = self.tables.iter().map(|table| {
            size_of_val(&*table.starts) + size_of_val(&*table.prints) + table.records.len()
        });
        tables.chain(odd).sum()
    }
}

impl Class {
    /// The class of an INTEGER's content, and its octets without what the class tells already.
    #[inline]
    fn of(serial: &[u8]) -> (Self, &[u8]) {
        let minimal = der::minimal(serial);
        let (negative, magnitude) = match minimal {
            [0x00, rest @ ..] if !rest.is_empty() => (false, rest),
            [0x80..=0xff, ..] => (true, minimal),
            _ => (false, minimal),
        };
        let length = magnitude.len();
        (Self { negative, length }, magnitude)
    }

    fn has_table(self) -> bool {
        (1..=LONGEST).contains(&self.length)
    }
}

impl Table {
    fn stride(&self) -> usize {
        self.rest() + MEANING
    }

    /// The octets of a serial number that stand in its record.
    fn rest(&self) -> usize {
        self.class.length.saturating_sub(PRINT)
    }

    #[inline]
    fn bucket(&self, magnitude: &[u8]) -> usize {
        let buckets = (self.starts.len() - 1) as u64;
        high(hash(magnitude), buckets)
    }

    #[inline]
    fn run(&self, bucket: usize) -> Range<usize> {
        self.starts[bucket] as usize..self.starts[bucket + 1] as usize
    }

    #[inline]
    fn find(&self, magnitude: &[u8]) -> Option<Entry> {
        self.position(magnitude, self.run(self.bucket(magnitude)))
            .and_then(|position| self.entry(position))
    }

    #[inline]
    fn position(&self, magnitude: &[u8], run: Range<usize>) -> Option<usize> {
        let (rest, print) = split(magnitude);
        let first = run.start;
        let same = self.prints[run].iter().enumerate();
        let mut same = same.filter(|&(_, &other)| other == print);
        same.find_map(|(at, _)| {
            let position = first + at;
            (self.record(position)[..rest.len()] == *rest).then_some(position)
        })
    }

    #[inline]
    fn record(&self, position: usize) -> &[u8] {
        let stride = self.stride();
        &self.records[position * stride..(position + 1) * stride]
    }

    fn entry(&self, position: usize) -> Option<Entry> {
        let [date @ .., code] = &self.record(position)[self.rest()..] else {
            return None;
        };
        let date = u32::from_be_bytes(date.try_into().ok()?);
        Some(Entry {
            date: u64::from(date),
            reason: RevocationReason::from_code(&[*code])?,
        })
    }
}

impl Filling {
    fn all(counts: Vec<(Class, usize)>) -> Result<Vec<Self>, CrlError> {
        let tables = counts.into_iter().map(|(class, count)| {
            u32::try_from(count).map_err(|_| CrlError::TooLarge)?;
            let table = Table {
                class,
                starts: vec![0; (count / BUCKET).max(1) + 1].into(),
                prints: vec![0; count].into(),
                records: Box::default(),
            };
            let records = vec![0; count * table.stride()].into();
            Ok(Self {
                table: Table { records, ..table },
                ends: Box::default(),
                doubles: false,
            })
        });
        tables.collect()
    }

    /// Makes the counts of the buckets their beginnings.
    fn begin(&mut self) {
        let mut sum = 0;
        for start in &mut self.table.starts {
            sum += *start;
            *start = sum;
        }
        self.ends = self.table.starts[..self.table.starts.len() - 1].into();
    }

    #[inline]
    fn insert(&mut self, magnitude: &[u8], date: u32, reason: RevocationReason) {
        let bucket = self.table.bucket(magnitude);
        let run = self.table.starts[bucket] as usize..self.ends[bucket] as usize;
        let position = match self.table.position(magnitude, run) {
            None => {
                self.ends[bucket] += 1;
                self.ends[bucket] as usize - 1
            }
            Some(position) => {
                self.doubles = true;
                let known = self.table.entry(position).map(|entry| entry.reason);
                if known != Some(RevocationReason::RemoveFromCrl) {
                    return;
                }
                // What revokes counts more than what takes back.
                position
            }
        };
        let (rest, print) = split(magnitude);
        self.table.prints[position] = print;
        let stride = self.table.stride();
        let record = &mut self.table.records[position * stride..(position + 1) * stride];
        let (serial, meaning) = record.split_at_mut(rest.len());
        serial.copy_from_slice(rest);
        meaning[..4].copy_from_slice(&date.to_be_bytes());
        meaning[4] = reason.code();
    }

    fn finish(self) -> Table {
        let Self {
            table,
            ends,
            doubles,
        } = self;
        if !doubles {
            return table;
        }
        // Without the places that doubles had been counted for.
        let mut starts = vec![0];
        let (mut prints, mut records) = (Vec::new(), Vec::new());
        for (&start, &end) in table.starts.iter().zip(&ends) {
            let run = start as usize..end as usize;
            let stride = table.stride();
            prints.extend_from_slice(&table.prints[run.clone()]);
            records.extend_from_slice(&table.records[run.start * stride..run.end * stride]);
            starts.push(starts.last().copied().unwrap_or(0) + (end - start));
        }
        Table {
            class: table.class,
            starts: starts.into(),
            prints: prints.into(),
            records: records.into(),
        }
    }
}

/// How many serial numbers of each class there are.
fn count(revoked: &[u8]) -> Result<Vec<(Class, usize)>, CrlError> {
    let mut counts = [[0_usize; LONGEST + 1]; 2];
    each_serial(revoked, |class, _| {
        if class.has_table() {
            counts[usize::from(class.negative)][class.length] += 1;
        }
    })?;
    let mut classes = Vec::new();
    for (negative, counts) in [false, true].into_iter().zip(counts) {
        let counts = counts
            .into_iter()
            .enumerate()
            .filter(|&(_, count)| count > 0);
        classes.extend(counts.map(|(length, count)| (Class { negative, length }, count)));
    }
    // The usual class is found first.
    classes.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    Ok(classes)
}

#[inline]
fn each_serial<'a>(
    revoked: &'a [u8],
    mut read: impl FnMut(Class, &'a [u8]),
) -> Result<(), CrlError> {
    let mut entries = Entries::new(revoked);
    while let Some(serial) = entries.skim() {
        let (class, magnitude) = Class::of(serial?);
        read(class, magnitude);
    }
    Ok(())
}

#[cold]
fn keep(odd: &mut HashMap<Box<[u8]>, Entry>, serial: &[u8], entry: Entry) {
    let known = odd.entry(der::minimal(serial).into()).or_insert(entry);
    if known.reason == RevocationReason::RemoveFromCrl {
        *known = entry;
    }
}

/// The octets that stand in the record, and those that are compared first.
#[inline]
fn split(magnitude: &[u8]) -> (&[u8], u16) {
    match magnitude {
        [rest @ .., high, low] => (rest, u16::from_be_bytes([*high, *low])),
        [low] => (&[], u16::from(*low)),
        [] => (&[], 0),
    }
}

/// Multiplies and folds, as wyhash does, under keys that are drawn once a process.
#[inline]
fn hash(magnitude: &[u8]) -> u64 {
    let [first, second, third] = *keys();
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    let whole = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
    let (low, middle, high) = match magnitude.len() {
        16.. => (
            whole(&magnitude[..8]),
            whole(&magnitude[8..16]),
            word(&magnitude[16..]),
        ),
        8..16 => (whole(&magnitude[..8]), word(&magnitude[8..]), 0),
        _ => (word(magnitude), 0, 0),
    };
    fold(fold(low ^ first, middle ^ second) ^ high, third)
}

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
fn high(hash: u64, buckets: u64) -> usize {
    ((u128::from(hash) * u128::from(buckets)) >> 64) as usize
}

fn keys() -> &'static [u64; 3] {
    static KEYS: OnceLock<[u64; 3]> = OnceLock::new();
    KEYS.get_or_init(|| {
        let random = RandomState::new();
        [1, 2, 3].map(|number: u8| random.hash_one(number) | 1)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// `revokedCertificates` of these serial numbers, each with a reason code.
    fn revoked<'a>(entries: impl IntoIterator<Item = (&'a [u8], u8)>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (serial, code) in entries {
            let mut fields = vec![der::INTEGER, u8::try_from(serial.len()).unwrap()];
            fields.extend(serial);
            fields.extend(b"\x17\x0d240102030405Z");
            if code > 0 {
                fields.extend(b"\x30\x0c\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01");
                fields.push(code);
            }
            bytes.extend([der::SEQUENCE, u8::try_from(fields.len()).unwrap()]);
            bytes.extend(fields);
        }
        bytes
    }

    fn code(index: &Index, serial: &[u8]) -> Option<u8> {
        let entry = index.find(serial)?;
        assert_eq!(entry.date, 1_704_164_645);
        Some(entry.reason.code())
    }

    #[test]
    fn numbers_are_told_apart_by_value_and_not_by_how_they_are_written() {
        let serials: [&[u8]; 9] = [
            &[0],
            &[1],
            &[0x7f],
            &[0x80],
            &[0x00, 0x80],
            &[0x01, 0x00],
            &[0xff, 0x7f],
            &[0x11; 21],
            &[0x00, 0x81, 0x82],
        ];
        let bytes = revoked(serials.iter().map(|&serial| (serial, 1)));
        let index = Index::new(&bytes).unwrap();
        assert_eq!(index.len(), serials.len());
        for serial in serials {
            assert_eq!(code(&index, serial), Some(1), "{serial:x?}");
        }
        assert_eq!(code(&index, &[0x00, 0x00, 0x01]), Some(1));
        assert_eq!(code(&index, &[0xff, 0x80]), Some(1));
        let others: [&[u8]; 6] = [
            &[2],
            &[0x00, 0x7e],
            &[0xff],
            &[0x00, 0xff],
            &[0x11; 20],
            &[0x81, 0x82],
        ];
        for serial in others {
            assert_eq!(code(&index, serial), None, "{serial:x?}");
        }
    }

    #[test]
    fn doubles_are_kept_once_and_what_revokes_wins_over_what_takes_back() {
        let one = [0x21; 16];
        let bytes = revoked([(&one[..], 8), (&[5], 1), (&one, 1), (&one, 8), (&[5], 4)]);
        let index = Index::new(&bytes).unwrap();
        assert_eq!(index.len(), 2);
        assert_eq!((code(&index, &one), code(&index, &[5])), (Some(1), Some(1)));
    }

    #[test]
    fn hostile_serial_numbers_fill_no_bucket_more_than_others() {
        let numbers = 0..20_000_u64;
        let alike: [fn(u64) -> [u8; 16]; 2] = [
            |n| {
                let mut serial = [0x42; 16];
                serial[..8].copy_from_slice(&n.to_be_bytes());
                serial[0] = 0x42;
                serial
            },
            |n| {
                let mut serial = [0x42; 16];
                serial[8..].copy_from_slice(&n.to_be_bytes());
                serial
            },
        ];
        for serial in alike {
            let serials: Vec<_> = numbers.clone().map(serial).collect();
            let bytes = revoked(serials.iter().map(|serial| (&serial[..], 0)));
            let index = Index::new(&bytes).unwrap();
            let starts = &index.tables[0].starts;
            let fullest = starts.windows(2).map(|pair| pair[1] - pair[0]).max();
            assert!(fullest < Some(40), "{fullest:?}");
            assert!(serials.iter().all(|serial| index.find(serial).is_some()));
        }
    }

    #[test]
    fn an_entry_of_the_usual_kind_takes_less_than_22_bytes() {
        let serials: Vec<_> = (0..10_000_u128)
            .map(|n| ((1 << 126) | (n * n * n)).to_be_bytes())
            .collect();
        let bytes = revoked(serials.iter().map(|serial| (&serial[..], 1)));
        let index = Index::new(&bytes).unwrap();
        assert!(index.size() <= 22 * index.len(), "{}", index.size());
    }

    proptest! {
        #[test]
        fn it_says_what_a_map_says(
            entries in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 1..22), 0_u8..6), 0..200),
            asked in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..22), 0..50),
        ) {
            let mut map: BTreeMap<&[u8], u8> = BTreeMap::new();
            for (serial, code) in &entries {
                map.entry(der::minimal(serial)).or_insert(*code);
            }
            let bytes = revoked(entries.iter().map(|(serial, code)| (&serial[..], *code)));
            let index = Index::new(&bytes).unwrap();
            prop_assert_eq!(index.len(), map.len());
            for serial in entries.iter().map(|(serial, _)| serial).chain(&asked) {
                prop_assert_eq!(code(&index, serial), map.get(der::minimal(serial)).copied());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Index::new(&bytes);
        }
    }
}
