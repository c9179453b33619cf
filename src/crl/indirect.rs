//! The entries of an indirect CRL, which are of certificates of several issuers.
//!
//! Each issuer that is named gets a number, and the numbers stand before the serial numbers in one
//! [`Index`]: an entry costs four octets more than in another list, and nothing is allocated for it. An
//! issuer costs some 40 to 90 octets, fewer than it takes to name it.

use std::collections::HashMap;

use super::der::Malformed;
use super::entries::{Entries, Entry};
use super::index::Index;
use super::{CrlError, der};
use crate::identity::{DistinguishedName, NameKey};

#[derive(Debug)]
pub(super) struct Indirect {
    issuers: HashMap<NameKey, Number>,
    /// By the number of the issuer with the serial number.
    index: Index,
}

/// What stands before the serial numbers of an issuer: four octets that begin a positive INTEGER.
type Number = [u8; 4];

/// The first octet of each [`Number`] has this bit, and none above it.
const POSITIVE: u32 = 1 << 30;

impl Indirect {
    /// RFC 5280 §5.3.3: an entry is of the issuer that it names, or else of the one before it, and the
    /// first of the list's own.
    pub(super) fn new(revoked: &[u8], own: &DistinguishedName) -> Result<Self, CrlError> {
        let mut issuers = HashMap::new();
        let mut issuer = own.der();
        let mut serial = number(&mut issuers, own.key())?.to_vec();
        let mut written = Vec::with_capacity(revoked.len());
        let mut entries = Entries::new(revoked);
        loop {
            let position = entries.position();
            let Some(revoked) = entries.read() else {
                break;
            };
            let revoked = revoked?;
            if let Some(named) = revoked.issuer.filter(|named| *named != issuer) {
                issuer = named;
                serial.clear();
                let key = NameKey::read(named).ok_or(Malformed {
                    field: "certificateIssuer",
                    offset: position,
                })?;
                serial.extend(number(&mut issuers, key)?);
            }
            serial.truncate(size_of::<Number>());
            serial.extend_from_slice(der::minimal(revoked.serial));
            revoked.write_as(&serial, &mut written);
        }
        issuers.shrink_to_fit();
        let index = Index::new(&written)?;
        Ok(Self { issuers, index })
    }

    /// What the list says of the certificate of this issuer and serial number.
    pub(super) fn find(&self, issuer: NameKey, serial: &[u8]) -> Option<Entry> {
        let number = self.issuers.get(&issuer)?;
        self.index.find(&[number, der::minimal(serial)].concat())
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// How many bytes of memory it takes.
    pub(super) fn size(&self) -> usize {
        self.issuers.capacity() * (size_of::<(NameKey, Number)>() + 1) + self.index.size()
    }

    /// How many of these a look-up reads from that finds nothing.
    pub(super) fn searched_size(&self) -> usize {
        self.issuers.capacity() * (size_of::<(NameKey, Number)>() + 1) + self.index.searched_size()
    }
}

fn number(issuers: &mut HashMap<NameKey, Number>, name: NameKey) -> Result<Number, CrlError> {
    let next = u32::try_from(issuers.len()).map_err(|_| CrlError::TooLarge)?;
    if next >= POSITIVE {
        return Err(CrlError::TooLarge);
    }
    Ok(*issuers
        .entry(name)
        .or_insert_with(|| (POSITIVE | next).to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    fn of(revoked: &[u8], own: &[u8]) -> Result<Indirect, CrlError> {
        Indirect::new(revoked, &DistinguishedName::new(own))
    }

    /// A name of one common name, of this string type.
    fn name(tag: u8, text: &str) -> Vec<u8> {
        let value = der::encode(tag, text.as_bytes());
        let attribute = der::encode(der::SEQUENCE, &[b"\x06\x03\x55\x04\x03", &*value].concat());
        der::encode(der::SEQUENCE, &der::encode(der::SET, &attribute))
    }

    fn entry(serial: &[u8], code: u8, issuer: Option<&[u8]>) -> Vec<u8> {
        let mut extensions = Vec::new();
        if code > 0 {
            extensions.extend(b"\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01");
            extensions.push(code);
        }
        if let Some(issuer) = issuer {
            let names = der::encode(der::SEQUENCE, &der::encode(der::context(4, true), issuer));
            let value = der::encode(der::OCTET_STRING, &names);
            let extension = [b"\x06\x03\x55\x1d\x1d\x01\x01\xff", &*value].concat();
            extensions.extend(der::encode(der::SEQUENCE, &extension));
        }
        let mut fields = der::encode(der::INTEGER, serial);
        fields.extend(b"\x17\x0d240102030405Z");
        if !extensions.is_empty() {
            fields.extend(der::encode(der::SEQUENCE, &extensions));
        }
        der::encode(der::SEQUENCE, &fields)
    }

    #[test]
    fn an_issuer_is_found_however_its_name_is_written() {
        let (own, printable) = (name(0x0c, "Lists"), name(0x13, "NODES  2026"));
        let revoked = [
            entry(&[1], 1, None),
            entry(&[2], 0, Some(&printable)),
            entry(&[3], 0, None),
            entry(&[4], 1, Some(&own)),
        ];
        let list = of(&revoked.concat(), &own).unwrap();
        assert_eq!(list.len(), 4);
        let nodes = name(0x0c, "Nodes 2026");
        let listed =
            |issuer: &[u8], serial: u8| list.find(NameKey::of(issuer), &[serial]).is_some();
        assert_eq!(
            [1, 2, 3, 4].map(|serial| listed(&nodes, serial)),
            [false, true, true, false]
        );
        assert_eq!(
            [1, 2, 3, 4].map(|serial| listed(&own, serial)),
            [true, false, false, true]
        );
        assert!((1..5).all(|serial| !listed(&name(0x0c, "Users"), serial)));
    }

    #[test]
    fn an_entry_costs_four_octets_more_than_in_another_list() {
        let nodes = name(0x0c, "Nodes");
        let revoked: Vec<u8> = (0..10_000_u128)
            .flat_map(|n| {
                let serial = ((1 << 126) | (n * n * n)).to_be_bytes();
                entry(&serial, 1, (n == 5_000).then_some(&nodes))
            })
            .collect();
        let list = of(&revoked, &name(0x0c, "Lists")).unwrap();
        assert!(list.size() <= 26 * list.len(), "{}", list.size());
        assert!(
            list.find(
                NameKey::of(&nodes),
                &((1_u128 << 126) | (5_000 * 5_000 * 5_000)).to_be_bytes()
            )
            .is_some()
        );
    }

    #[test]
    fn another_issuer_at_each_entry_takes_no_more_memory_than_the_list() {
        let revoked: Vec<u8> = (0..50_000_u32)
            .flat_map(|n| entry(&[7], 0, Some(&name(0x0c, &format!("{n}")))))
            .collect();
        let began = Instant::now();
        let list = of(&revoked, &name(0x0c, "Lists")).unwrap();
        // In a debug build under load it takes 1 s.
        assert!(began.elapsed().as_secs() < 60);
        assert_eq!(list.len(), 50_000);
        assert!(
            list.size() < 2 * revoked.len(),
            "{} {}",
            list.size(),
            revoked.len()
        );
        assert!(list.find(NameKey::of(&name(0x0c, "49999")), &[7]).is_some());
        assert!(list.find(NameKey::of(&name(0x0c, "49999")), &[8]).is_none());
    }

    proptest! {
        #[test]
        fn it_says_what_a_map_says(
            entries in proptest::collection::vec((
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 1..30),
                    proptest::collection::vec(0_u8..2, 1..3),
                    proptest::collection::vec(any::<u8>(), 90..140),
                ],
                proptest::sample::select(vec![0_u8, 1, 6, 8]),
                proptest::option::of(0_usize..4),
            ), 0..100),
        ) {
            let names = ["A", "B", "C", "Lists"].map(|text| name(0x0c, text));
            let mut map: BTreeMap<(usize, &[u8]), u8> = BTreeMap::new();
            let mut issuer = 3;
            for (serial, code, named) in &entries {
                issuer = named.unwrap_or(issuer);
                let known = map.entry((issuer, der::minimal(serial))).or_insert(*code);
                if *known == 8 {
                    *known = *code;
                }
            }
            let revoked: Vec<u8> = entries
                .iter()
                .flat_map(|(serial, code, named)| entry(serial, *code, named.map(|at| &*names[at])))
                .collect();
            let list = of(&revoked, &names[3]).unwrap();
            prop_assert_eq!(list.len(), map.len());
            for (serial, ..) in &entries {
                for (at, issuer) in names.iter().enumerate() {
                    let code = list.find(NameKey::of(issuer), serial).map(|entry| entry.reason.code());
                    prop_assert_eq!(code, map.get(&(at, der::minimal(serial))).copied());
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = of(&bytes, b"\x30\x00");
        }
    }
}
