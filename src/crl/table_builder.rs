//! Tables being built, in two steps, so that no step writes all over the memory.
//!
//! A part is a run of neighbouring buckets. First each entry goes to the end of its part, of which
//! there are few enough that the ends of all stay in the cache; then each part, which is small enough
//! to stay there itself, is sorted by bucket.

use std::mem;
use std::ops::Range;

use super::entries::{Entries, Entry};
use super::table::{AT_ONCE, BUCKET, CLASSES, Class, Dates, Form, Places, Table, copy, scaled};
use super::{CrlError, RevocationReason};

/// The most parts that a table has: the ends of more would not stay in the cache.
const PARTS: usize = 256;

/// How many entries a part has, if that does not make too many parts.
const PART: usize = 1 << 12;

/// The tables of a CRL being built, one for each class of serial numbers that occurs.
#[derive(Debug)]
pub(super) struct TableBuilders {
    all: Vec<TableBuilder>,
    /// Where the table of each class is.
    places: Places,
    dates: Dates,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Done,
    /// No table takes a serial number of so many octets.
    TooLong,
    /// The tables have no room for its date.
    TooLate,
}

#[derive(Debug)]
struct TableBuilder {
    form: Form,
    /// Where each part begins; one more than there are parts.
    parts: Vec<u32>,
    /// Where the next entry of each part goes.
    next: Vec<u32>,
    /// Where each bucket begins; one more than there are buckets.
    starts: Vec<u32>,
    prints: Vec<u16>,
    records: Vec<u8>,
}

/// A part while it is sorted.
#[derive(Default)]
struct Scratch {
    /// The bucket of each entry.
    buckets: Vec<u32>,
    prints: Vec<u16>,
    records: Vec<u8>,
}

impl TableBuilders {
    /// Makes empty tables of the sizes that these entries need.
    pub(super) fn new(revoked: &[u8], dates: Dates) -> Result<Self, CrlError> {
        let forms: Vec<_> = Class::all().map(|class| Form::new(class, dates)).collect();
        let mut counts = vec![[0_u32; PARTS]; CLASSES];
        let mut entries = Entries::new(revoked);
        while let Some(serial) = entries.skim() {
            let (class, magnitude) = Class::of(serial?);
            if let Some(at) = class.number() {
                let part = scaled(forms[at].number(magnitude).1, PARTS);
                counts[at][part] = counts[at][part].checked_add(1).ok_or(CrlError::TooLarge)?;
            }
        }
        let used = forms
            .into_iter()
            .zip(&counts)
            .filter(|(_, counts)| **counts != [0; PARTS]);
        let all = used.map(|(form, counts)| TableBuilder::new(form, counts));
        let all: Vec<_> = all.collect::<Result<_, _>>()?;
        Ok(Self {
            places: Places::of(all.iter().map(|builder| builder.form.class)),
            all,
            dates,
        })
    }

    #[inline]
    pub(super) fn put(&mut self, serial: &[u8], entry: Entry) -> Put {
        let (class, magnitude) = Class::of(serial);
        let Some(at) = self.places.get(class) else {
            return Put::TooLong;
        };
        if self.dates == Dates::UpTo2106 && u32::try_from(entry.date).is_err() {
            return Put::TooLate;
        }
        self.all[at].put(magnitude, entry);
        Put::Done
    }

    /// All of the entries must have been put.
    pub(super) fn finish(self) -> (Vec<Table>, Places) {
        let tables = self.all.into_iter().map(TableBuilder::finish).collect();
        (tables, self.places)
    }
}

impl TableBuilder {
    /// For so many entries in each of [`PARTS`].
    fn new(form: Form, counts: &[u32; PARTS]) -> Result<Self, CrlError> {
        let sum = |sum: u32, count: &u32| sum.checked_add(*count);
        let count = counts.iter().try_fold(0, sum).ok_or(CrlError::TooLarge)? as usize;
        let wanted = match count / PART {
            ..4 => 1,
            parts => parts.next_power_of_two().min(PARTS),
        };
        let mut parts = vec![0];
        for counts in counts.chunks(PARTS / wanted) {
            parts.push(parts[parts.len() - 1] + counts.iter().sum::<u32>());
        }
        // As many buckets in each part, so that no bucket is in two.
        let buckets = (count / BUCKET / wanted).max(1) * wanted;
        Ok(Self {
            form,
            next: parts.clone(),
            parts,
            starts: vec![0; buckets + 1],
            prints: vec![0; count + AT_ONCE],
            records: vec![0; count * form.stride()],
        })
    }

    #[inline]
    fn put(&mut self, magnitude: &[u8], entry: Entry) {
        let (number, hash) = self.form.number(magnitude);
        let next = &mut self.next[scaled(hash, self.parts.len() - 1)];
        let position = *next as usize;
        *next += 1;
        self.prints[position] = number.print;
        let stride = self.form.stride();
        let record = &mut self.records[position * stride..][..stride];
        self.form.write(record, magnitude, entry);
    }

    fn finish(mut self) -> Table {
        let mut scratch = Scratch::default();
        for part in 0..self.parts.len() - 1 {
            self.sort(part, &mut scratch);
        }
        self.drop_doubles();
        Table {
            form: self.form,
            starts: self.starts.into(),
            prints: self.prints.into(),
            records: self.records.into(),
        }
    }

    /// Sorts the entries of a part by bucket.
    fn sort(&mut self, part: usize, scratch: &mut Scratch) {
        let (form, stride) = (self.form, self.form.stride());
        let run = self.parts[part] as usize..self.parts[part + 1] as usize;
        let of = self.starts.len() - 1;
        let buckets = of / (self.parts.len() - 1);
        let first = part * buckets;
        let prints = &mut self.prints[run.clone()];
        let records = &mut self.records[run.start * stride..run.end * stride];
        // The start of the bucket behind each: putting a bucket's entries moves it there.
        let starts = &mut self.starts[first + 1..=first + buckets];

        scratch.prints.clear();
        scratch.prints.extend_from_slice(prints);
        scratch.records.clear();
        scratch.records.extend_from_slice(records);
        scratch.buckets.clear();
        for (print, record) in prints.iter().zip(records.chunks_exact(stride)) {
            let hash = form.hash_of(form.written(*print, record));
            let bucket = scaled(hash, of) - first;
            scratch.buckets.push(index(bucket));
            starts[bucket] += 1;
        }
        let mut sum = 0;
        for start in &mut *starts {
            sum += mem::replace(start, sum);
        }
        let entries = scratch
            .prints
            .iter()
            .zip(scratch.records.chunks_exact(stride));
        for ((print, record), bucket) in entries.zip(&scratch.buckets) {
            let next = &mut starts[*bucket as usize];
            let position = *next as usize;
            *next += 1;
            prints[position] = *print;
            copy(&mut records[position * stride..][..stride], record);
        }
        for start in starts {
            *start += self.parts[part];
        }
    }

    /// Keeps each serial number once.
    fn drop_doubles(&mut self) {
        let mut to = 0;
        let mut begin = 0;
        for bucket in 0..self.starts.len() - 1 {
            let run = begin..self.starts[bucket + 1] as usize;
            begin = run.end;
            self.starts[bucket] = index(to);
            if self.may_have_doubles(&run) {
                to = self.move_without_doubles(run, to);
            } else {
                let length = run.len();
                self.move_down(run, to);
                to += length;
            }
        }
        let last = self.starts.len() - 1;
        self.starts[last] = index(to);
        self.prints.truncate(to + AT_ONCE);
        self.records.truncate(to * self.form.stride());
    }

    /// Whether two prints of a bucket are the same; true also for some that are not.
    #[inline]
    fn may_have_doubles(&self, run: &Range<usize>) -> bool {
        let prints = self.prints[run.start..].first_chunk::<AT_ONCE>();
        let (Some(prints), ..=AT_ONCE) = (prints, run.len()) else {
            return true;
        };
        // Each is the same as itself, and as no other.
        let mut same = [0_u16; AT_ONCE];
        for one in &prints[..run.len()] {
            for (same, other) in same.iter_mut().zip(prints) {
                *same += u16::from(one == other);
            }
        }
        same.iter().map(|same| usize::from(*same)).sum::<usize>() != run.len()
    }

    /// Moves entries down to `to`, where doubles before them were dropped.
    #[inline]
    fn move_down(&mut self, from: Range<usize>, to: usize) {
        if from.start != to {
            let stride = self.form.stride();
            let records = from.start * stride..from.end * stride;
            self.records.copy_within(records, to * stride);
            self.prints.copy_within(from, to);
        }
    }

    /// Moves a bucket down to `begin`, each serial number once; returns where it ends there.
    #[cold]
    fn move_without_doubles(&mut self, run: Range<usize>, begin: usize) -> usize {
        let form = self.form;
        let mut end = begin;
        for from in run {
            let record = form.record(&self.records, from);
            let number = form.written(self.prints[from], record);
            let known = form.position(&self.prints, &self.records, number, begin..end);
            let to = known.unwrap_or(end);
            if known.is_none() {
                end += 1;
            } else if form
                .entry(form.record(&self.records, to))
                .map(|entry| entry.reason)
                != Some(RevocationReason::RemoveFromCrl)
            {
                // What revokes counts more than what takes back.
                continue;
            }
            self.move_down(from..from + 1, to);
        }
        end
    }
}

/// A position in a table, none of which has 2^32 entries.
#[allow(clippy::cast_possible_truncation, reason = "counted in 32 bits before")]
fn index(position: usize) -> u32 {
    position as u32
}
