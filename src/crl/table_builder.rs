//! Tables being built, in two steps, so that no step writes all over the memory.
//!
//! A part is a run of neighbouring buckets. First each entry goes to the end of its part, of which
//! there are few enough that the ends of all stay in the cache; then each part, which is small enough
//! to stay there itself, is sorted by bucket. The parts are sorted on two threads.

use std::ops::Range;
use std::thread;

use super::entries::{Entries, Entry};
use super::table::{AT_ONCE, BUCKET, CLASSES, Class, Dates, Form, Places, Table, copy, scaled};
use super::{CrlError, RevocationReason};

/// The most parts that a table has: the ends of more would not stay in the cache.
const PARTS: usize = 256;

/// How many entries a part has, if that does not make too many parts.
const PART: usize = 1 << 12;

#[derive(Debug)]
struct TableBuilder {
    table: Table,
    /// Where each part begins; one more than there are parts.
    parts: Vec<u32>,
    /// Where the next entry of each part goes: what lies behind was not put.
    next: Vec<u32>,
}

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

/// Some neighbouring parts that are sorted.
struct Sorting<'a> {
    form: Form,
    /// Where these parts begin; one more than there are.
    parts: &'a [u32],
    /// Where what was put in these parts ends; and afterwards, where that without the doubles does.
    ends: &'a mut [u32],
    /// The first bucket of these parts, how many a part has, and how many there are in all.
    first: usize,
    buckets: usize,
    of: usize,
    starts: &'a mut [u32],
    prints: &'a mut [u16],
    records: &'a mut [u8],
}

/// A part while it is sorted.
#[derive(Default)]
struct Scratch {
    /// The bucket of each entry.
    buckets: Vec<u32>,
    /// Where each bucket begins, and where its next entry goes.
    starts: Vec<u32>,
    next: Vec<u32>,
    prints: Vec<u16>,
    records: Vec<u8>,
}

impl TableBuilders {
    /// Empty tables of the sizes that these entries need.
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
        let mut all = Vec::new();
        for (form, counts) in forms.into_iter().zip(&counts) {
            let mut parts = vec![0];
            let mut sum = 0_u32;
            for &count in counts {
                sum = sum.checked_add(count).ok_or(CrlError::TooLarge)?;
                parts.push(sum);
            }
            if sum > 0 {
                all.push(TableBuilder::of_parts(form, &parts));
            }
        }
        Ok(Self {
            places: Places::of(all.iter().map(TableBuilder::class)),
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

    pub(super) fn finish(self) -> (Vec<Table>, Places) {
        let tables = self.all.into_iter().map(TableBuilder::finish).collect();
        (tables, self.places)
    }
}

impl TableBuilder {
    fn of_parts(form: Form, parts: &[u32]) -> Self {
        let count = parts[PARTS] as usize;
        let wanted = match count / PART {
            ..4 => 1,
            parts => parts.next_power_of_two().min(PARTS),
        };
        let parts: Vec<u32> = parts.iter().copied().step_by(PARTS / wanted).collect();
        // As many in each part, so that no bucket is in two.
        let buckets = (count / BUCKET / wanted).max(1) * wanted;
        Self {
            next: parts[..parts.len() - 1].to_vec(),
            parts,
            table: Table {
                form,
                starts: vec![0; buckets + 1].into(),
                prints: vec![0; count + AT_ONCE].into(),
                records: vec![0; count * form.stride()].into(),
            },
        }
    }

    fn class(&self) -> Class {
        self.table.class()
    }

    #[inline]
    fn put(&mut self, magnitude: &[u8], entry: Entry) {
        let form = self.table.form;
        let (number, hash) = form.number(magnitude);
        let next = &mut self.next[scaled(hash, self.parts.len() - 1)];
        let position = *next as usize;
        *next += 1;
        self.table.prints[position] = number.print;
        let record = &mut self.table.records[position * form.stride()..][..form.stride()];
        form.write(record, magnitude, entry);
    }

    fn finish(mut self) -> Table {
        let parts = self.parts.len() - 1;
        let of = self.table.starts.len() - 1;
        let all = Sorting {
            form: self.table.form,
            parts: &self.parts,
            ends: &mut self.next,
            first: 0,
            buckets: of / parts,
            of,
            starts: &mut self.table.starts[..of],
            prints: &mut self.table.prints,
            records: &mut self.table.records,
        };
        if parts == 1 {
            all.run();
        } else {
            let (some, others) = all.split(parts / 2);
            thread::scope(|scope| {
                scope.spawn(|| others.run());
                some.run();
            });
        }
        self.table.starts[of] = self.parts[parts];
        if self.next[..] == self.parts[1..] {
            self.table
        } else {
            self.close_gaps()
        }
    }

    /// Without the places at the end of each part that nothing is in, as where doubles were counted.
    #[cold]
    fn close_gaps(self) -> Table {
        let form = self.table.form;
        let stride = form.stride();
        let mut starts = self.table.starts;
        let mut prints = self.table.prints.into_vec();
        let mut records = self.table.records.into_vec();
        let parts = self.next.len();
        let buckets = (starts.len() - 1) / parts;
        let mut to = 0;
        for part in 0..parts {
            let (begin, end) = (self.parts[part] as usize, self.next[part] as usize);
            prints.copy_within(begin..end, to);
            records.copy_within(begin * stride..end * stride, to * stride);
            for start in &mut starts[part * buckets..(part + 1) * buckets] {
                *start -= index(begin - to);
            }
            to += end - begin;
        }
        starts[parts * buckets] = index(to);
        prints.truncate(to + AT_ONCE);
        records.truncate(to * stride);
        Table {
            form,
            starts,
            prints: prints.into(),
            records: records.into(),
        }
    }
}

impl Sorting<'_> {
    fn split(self, at: usize) -> (Self, Self) {
        let entries = (self.parts[at] - self.parts[0]) as usize;
        let (ends, other_ends) = self.ends.split_at_mut(at);
        let (starts, other_starts) = self.starts.split_at_mut(at * self.buckets);
        let (prints, other_prints) = self.prints.split_at_mut(entries);
        let (records, other_records) = self.records.split_at_mut(entries * self.form.stride());
        let some = Self {
            parts: &self.parts[..=at],
            ends,
            starts,
            prints,
            records,
            ..self
        };
        let others = Self {
            form: self.form,
            parts: &self.parts[at..],
            ends: other_ends,
            first: self.first + at * self.buckets,
            buckets: self.buckets,
            of: self.of,
            starts: other_starts,
            prints: other_prints,
            records: other_records,
        };
        (some, others)
    }

    fn run(mut self) {
        let mut scratch = Scratch::default();
        for part in 0..self.ends.len() {
            self.sort(part, &mut scratch);
        }
    }

    fn sort(&mut self, part: usize, scratch: &mut Scratch) {
        let (form, stride) = (self.form, self.form.stride());
        let begin = (self.parts[part] - self.parts[0]) as usize;
        let end = (self.ends[part] - self.parts[0]) as usize;
        let prints = &mut self.prints[begin..end];
        let records = &mut self.records[begin * stride..end * stride];
        let starts = &mut self.starts[part * self.buckets..][..self.buckets];
        scratch.begin(prints.len(), stride, self.buckets);

        let first = self.first + part * self.buckets;
        for (print, record) in prints.iter().zip(records.chunks_exact(stride)) {
            let hash = form.hash_of(form.written(*print, record));
            let bucket = scaled(hash, self.of) - first;
            scratch.buckets.push(index(bucket));
            scratch.starts[bucket + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut scratch.starts {
            sum += *start;
            *start = sum;
        }
        scratch.next.extend_from_slice(&scratch.starts);

        let entries = prints.iter().zip(records.chunks_exact(stride));
        for ((print, record), bucket) in entries.zip(&scratch.buckets) {
            let next = &mut scratch.next[*bucket as usize];
            let position = *next as usize;
            *next += 1;
            scratch.prints[position] = *print;
            copy(&mut scratch.records[position * stride..][..stride], record);
        }
        let mut doubles = false;
        for bucket in 0..self.buckets {
            if scratch.may_have_doubles(bucket) {
                doubles |= scratch.drop_doubles(bucket, form);
            }
        }

        let base = self.parts[part];
        if !doubles {
            for (start, of_part) in starts.iter_mut().zip(&scratch.starts) {
                *start = base + of_part;
            }
            prints.copy_from_slice(&scratch.prints[..prints.len()]);
            records.copy_from_slice(&scratch.records[..records.len()]);
            return;
        }
        let mut to = 0;
        for (bucket, start) in starts.iter_mut().enumerate() {
            let run = scratch.starts[bucket] as usize..scratch.next[bucket] as usize;
            *start = base + index(to);
            prints[to..to + run.len()].copy_from_slice(&scratch.prints[run.clone()]);
            records[to * stride..(to + run.len()) * stride]
                .copy_from_slice(&scratch.records[run.start * stride..run.end * stride]);
            to += run.len();
        }
        self.ends[part] = base + index(to);
    }
}

impl Scratch {
    fn run(&self, bucket: usize) -> Range<usize> {
        self.starts[bucket] as usize..self.starts[bucket + 1] as usize
    }

    /// Whether two prints of a bucket are the same; true also for some that are not.
    #[inline]
    fn may_have_doubles(&self, bucket: usize) -> bool {
        let run = self.run(bucket);
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

    /// Keeps each serial number of a bucket once. True if one was there twice.
    #[cold]
    fn drop_doubles(&mut self, bucket: usize, form: Form) -> bool {
        let run = self.run(bucket);
        let stride = form.stride();
        let mut end = run.start;
        for from in run.clone() {
            let number = form.written(self.prints[from], form.record(&self.records, from));
            let known = form.position(&self.prints, &self.records, number, run.start..end);
            let to = match known {
                None => {
                    end += 1;
                    end - 1
                }
                Some(known) => {
                    let entry = form.entry(form.record(&self.records, known));
                    if entry.map(|entry| entry.reason) != Some(RevocationReason::RemoveFromCrl) {
                        continue;
                    }
                    // What revokes counts more than what takes back.
                    known
                }
            };
            self.prints[to] = self.prints[from];
            self.records
                .copy_within(from * stride..(from + 1) * stride, to * stride);
        }
        self.next[bucket] = index(end);
        end < run.end
    }

    fn begin(&mut self, entries: usize, stride: usize, buckets: usize) {
        self.buckets.clear();
        self.buckets.reserve(entries);
        self.starts.clear();
        self.starts.resize(buckets + 1, 0);
        self.next.clear();
        self.prints
            .resize(self.prints.len().max(entries + AT_ONCE), 0);
        self.records
            .resize(self.records.len().max(entries * stride), 0);
    }
}

/// A position in a table, none of which has 2^32 entries.
#[allow(clippy::cast_possible_truncation, reason = "counted in 32 bits before")]
fn index(position: usize) -> u32 {
    position as u32
}
