//! Where a serial number stands among a million others, exactly.
//!
//! Serial numbers of one sign and length are a class with a [`Table`] of its own. What no table takes
//! (some octets more than are legal, a date past 2106) is kept beside them.

use std::collections::HashMap;

use super::entries::{Entries, Entry};
use super::filling::Filling;
use super::table::{Class, Table};
use super::{CrlError, RevocationReason, der};

/// The serial numbers of a CRL, each with its date and reason.
#[derive(Debug, Default)]
pub(super) struct Index {
    tables: Vec<Table>,
    /// What no table takes: some octets more than are legal, or a date past 2106.
    odd: HashMap<Box<[u8]>, Entry>,
}

impl Index {
    /// Indexes the content of `revokedCertificates`.
    pub(super) fn new(revoked: &[u8]) -> Result<Self, CrlError> {
        let mut filling = Filling::for_all(revoked)?;
        let mut odd = HashMap::new();
        let mut entries = Entries::new(revoked);
        while let Some(revoked) = entries.read() {
            let revoked = revoked?;
            if revoked.issuer.is_some() {
                return Err(CrlError::UnexpectedIssuer);
            }
            let (class, magnitude) = Class::of(revoked.serial);
            let of_class = filling.iter_mut().find(|one| one.class() == class);
            match (of_class, u32::try_from(revoked.entry.date)) {
                (Some(filling), Ok(date)) => filling.put(magnitude, date, revoked.entry.reason),
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
        let table = self.tables.iter().find(|table| table.class() == class);
        let found = table.and_then(|table| table.find(magnitude));
        if found.is_some() || self.odd.is_empty() {
            return found;
        }
        self.odd.get(der::minimal(serial)).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.tables.iter().map(Table::len).sum::<usize>() + self.odd.len()
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
