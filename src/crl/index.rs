//! Where a serial number stands among a million others, exactly.
//!
//! Serial numbers of one sign and length are a class with a [`Table`] of its own. What no table takes
//! (some octets more than are legal) is kept beside them.

use std::collections::HashMap;

use super::entries::{Entries, Entry};
use super::table::{Class, Dates, Places, Table};
use super::table_builder::{Put, TableBuilders};
use super::{CrlError, RevocationReason, der};

/// The serial numbers of a CRL, each with its date and reason.
#[derive(Debug, Default)]
pub(super) struct Index {
    tables: Vec<Table>,
    places: Places,
    /// What no table takes: some octets more than are legal.
    odd: HashMap<Box<[u8]>, Entry>,
}

impl Index {
    /// Indexes the content of `revokedCertificates`.
    pub(super) fn new(revoked: &[u8]) -> Result<Self, CrlError> {
        match Self::with(revoked, Dates::UpTo2106)? {
            Some(index) => Ok(index),
            // So that a date which no genuine list has costs those that have none nothing.
            None => Self::with(revoked, Dates::Any)?.ok_or(CrlError::TooLarge),
        }
    }

    /// `None` if there are other dates.
    fn with(revoked: &[u8], dates: Dates) -> Result<Option<Self>, CrlError> {
        let mut builders = TableBuilders::new(revoked, dates)?;
        let mut odd = HashMap::new();
        let mut entries = Entries::new(revoked);
        while let Some(revoked) = entries.read() {
            let revoked = revoked?;
            if revoked.issuer.is_some() {
                return Err(CrlError::UnexpectedIssuer);
            }
            match builders.put(revoked.serial, revoked.entry) {
                Put::Done => {}
                Put::TooLong => keep(&mut odd, revoked.serial, revoked.entry),
                Put::TooLate => return Ok(None),
            }
        }
        let (tables, places) = builders.finish();
        Ok(Some(Self {
            tables,
            places,
            odd,
        }))
    }

    /// What the list says of this serial number, the content of an INTEGER.
    pub(super) fn find(&self, serial: &[u8]) -> Option<Entry> {
        let (class, magnitude) = Class::of(serial);
        if class.number().is_some() {
            return self.tables[self.places.get(class)?].find(magnitude);
        }
        self.odd.get(der::minimal(serial)).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.tables.iter().map(Table::len).sum::<usize>() + self.odd.len()
    }

    /// How many bytes of its memory a look-up reads from that finds nothing.
    pub(super) fn searched_size(&self) -> usize {
        self.tables.iter().map(Table::searched_size).sum()
    }

    /// How many bytes of memory it takes.
    pub(super) fn size(&self) -> usize {
        let odd = self
            .odd
            .keys()
            .map(|key| key.len() + size_of::<(Box<[u8]>, Entry)>());
        self.tables.iter().map(Table::size).chain(odd).sum()
    }
}

#[cold]
fn keep(odd: &mut HashMap<Box<[u8]>, Entry>, serial: &[u8], entry: Entry) {
    let known = odd.entry(der::minimal(serial).into()).or_insert(entry);
    if known.reason == RevocationReason::RemoveFromCrl {
        *known = entry;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// `revokedCertificates` of these serial numbers, each with a reason code.
    fn revoked<'a>(entries: impl IntoIterator<Item = (&'a [u8], u8)>) -> Vec<u8> {
        let entries = entries.into_iter();
        dated(entries.map(|(serial, code)| (serial, 1_704_164_645, code)))
    }

    /// As [`revoked`], with a date in seconds after 1970.
    fn dated<'a>(entries: impl IntoIterator<Item = (&'a [u8], u64, u8)>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (serial, date, code) in entries {
            let mut fields = der::encode(der::INTEGER, serial);
            fields.extend(time(date));
            if code > 0 {
                fields.extend(b"\x30\x0c\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01");
                fields.push(code);
            }
            bytes.extend(der::encode(der::SEQUENCE, &fields));
        }
        bytes
    }

    /// A `Time` as RFC 5280 §4.1.2.5 has it.
    fn time(seconds: u64) -> Vec<u8> {
        let time = i64::try_from(seconds).unwrap();
        let time = ::time::OffsetDateTime::from_unix_timestamp(time).unwrap();
        let (year, of_year) = (
            time.year(),
            format!(
                "{:02}{:02}{:02}{:02}{:02}Z",
                u8::from(time.month()),
                time.day(),
                time.hour(),
                time.minute(),
                time.second()
            ),
        );
        if year < 2050 {
            der::encode(
                der::UTC_TIME,
                format!("{:02}{of_year}", year % 100).as_bytes(),
            )
        } else {
            der::encode(
                der::GENERALIZED_TIME,
                format!("{year:04}{of_year}").as_bytes(),
            )
        }
    }

    /// What an index must say, by the plainest means.
    fn map<'a>(
        entries: impl IntoIterator<Item = &'a (Vec<u8>, u64, u8)>,
    ) -> BTreeMap<&'a [u8], (u64, u8)> {
        let mut map = BTreeMap::new();
        for (serial, date, code) in entries {
            let known = map.entry(der::minimal(serial)).or_insert((*date, *code));
            if known.1 == 8 {
                *known = (*date, *code);
            }
        }
        map
    }

    fn index(entries: &[(Vec<u8>, u64, u8)]) -> Index {
        let entries = entries.iter();
        Index::new(&dated(
            entries.map(|(serial, date, code)| (&serial[..], *date, *code)),
        ))
        .unwrap()
    }

    fn said(index: &Index, serial: &[u8]) -> Option<(u64, u8)> {
        let entry = index.find(serial)?;
        Some((entry.date, entry.reason.code()))
    }

    fn code(index: &Index, serial: &[u8]) -> Option<u8> {
        let entry = index.find(serial)?;
        assert_eq!(entry.date, 1_704_164_645);
        Some(entry.reason.code())
    }

    #[test]
    fn numbers_are_told_apart_by_value_and_not_by_how_they_are_written() {
        let serials: [&[u8]; 11] = [
            &[0],
            &[1],
            &[0x7f],
            &[0x80],
            &[0x00, 0x80],
            &[0x01, 0x00],
            &[0xff, 0x7f],
            &[0x11; 21],
            &[0x11; 26],
            &[0x11; 27],
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
    fn a_large_list_with_doubles_all_over_is_the_same_without_them() {
        let serials: Vec<_> = (0..40_000_u128)
            .map(|n| (1 << 126 | n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c)).to_be_bytes())
            .collect();
        let once = serials.iter().map(|serial| (&serial[..], 1));
        let again = serials.iter().step_by(3).map(|serial| (&serial[..], 4));
        let index = Index::new(&revoked(once.clone())).unwrap();
        let doubled = Index::new(&revoked(once.chain(again))).unwrap();
        assert_eq!((index.len(), doubled.len()), (40_000, 40_000));
        assert!(index.size() <= 22 * index.len() && doubled.size() <= 22 * doubled.len());
        for serial in &serials {
            assert_eq!(code(&index, serial), Some(1));
            assert_eq!(code(&doubled, serial), Some(1));
            let mut other = *serial;
            other[3] ^= 0x10;
            assert_eq!(code(&doubled, &other), None);
        }
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
            let fullest = index.tables[0].fullest();
            assert!(fullest < Some(40), "{fullest:?}");
            // By chance it is one of 65,536.
            let same = index.tables[0].same_prints();
            assert!(same < 20, "{same}");
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

    #[test]
    fn a_date_past_2106_takes_no_other_entry_away() {
        let short = u64::from(u32::MAX);
        for entries in [1_u64, 200, 20_000] {
            for late in [
                &[0][..],
                &[entries / 2],
                &[entries - 1],
                &[0, entries / 3, entries - 1],
            ] {
                let list: Vec<_> = (0..entries)
                    .map(|n| {
                        let date = match late.iter().position(|at| *at == n) {
                            None => short - n,
                            Some(0) => short + 1,
                            Some(_) => 253_402_300_799,
                        };
                        (serial(n).to_vec(), date, 1)
                    })
                    .collect();
                let index = index(&list);
                assert_eq!(index.len(), list.len());
                for (serial, date, code) in &list {
                    assert_eq!(
                        said(&index, serial),
                        Some((*date, *code)),
                        "{entries} {late:?}"
                    );
                }
                assert!((entries..2 * entries).all(|n| index.find(&serial(n)).is_none()));
            }
        }
    }

    /// Two rounds of splitmix64.
    fn serial(number: u64) -> [u8; 16] {
        let mixed = |seed: u64| {
            let word = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ (word >> 31)
        };
        let first = mixed(number);
        let whole = u128::from(first) << 64 | u128::from(mixed(first));
        (whole >> 1 | 1 << 126).to_be_bytes()
    }

    /// A serial number of any sign and length, some of them one of few or not minimal.
    fn any_serial() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => proptest::collection::vec(any::<u8>(), 16..21),
            2 => proptest::collection::vec(any::<u8>(), 1..30),
            1 => proptest::collection::vec(0_u8..2, 1..4),
            1 => proptest::collection::vec(prop_oneof![Just(0), Just(0xff), any::<u8>()], 1..22),
        ]
    }

    fn any_date() -> impl Strategy<Value = u64> {
        let last = u64::from(u32::MAX);
        prop_oneof![
            20 => 0..2_000_000_000_u64,
            1 => last - 2..last + 3,
            1 => 0..253_402_300_800_u64,
        ]
    }

    fn any_code() -> impl Strategy<Value = u8> {
        proptest::sample::select(vec![0_u8, 1, 2, 3, 4, 5, 6, 8, 8, 9, 10])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn large_lists_of_all_kinds_say_what_a_map_says(
            entries in proptest::collection::vec((any_serial(), any_date(), any_code()), 0..400),
            ordinary in 0_u64..20_000,
            doubled in 1_usize..50,
        ) {
            let mut list = entries;
            list.extend((0..ordinary).map(|n| (serial(n).to_vec(), 1_700_000_000 + n, 1)));
            let again: Vec<_> = list.iter().step_by(doubled).cloned().collect();
            list.extend(again.into_iter().map(|(serial, date, _)| (serial, date ^ 1, 4)));
            let (index, map) = (index(&list), map(&list));
            prop_assert_eq!(index.len(), map.len());
            for (serial, ..) in &list {
                let known = map.get(der::minimal(serial)).copied();
                prop_assert_eq!(said(&index, serial), known);
                let mut other = serial.clone();
                let last = other.len() - 1;
                other[last] ^= 1;
                let known = map.get(der::minimal(&other)).copied();
                prop_assert_eq!(said(&index, &other), known);
            }
        }
    }

    proptest! {
        #[test]
        fn it_says_what_a_map_says(
            entries in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 1..30), 0_u8..6), 0..200),
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
