use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use sha2::{Digest, Sha256};

use super::table::Table;

/// What a file of digests begins with.
const BEGINNING: &[u8; 21] = b"portcullis digests 2\n";

/// A key, little-endian.
const KEY: usize = 16;

/// The SHA-256 of all before it.
const SUM: usize = 32;

/// Why a file is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    #[error("it is no file of digests, or of another version")]
    Beginning,
    #[error("its end is missing, or something follows it")]
    Length,
    #[error("something in it was changed: its checksum is another")]
    Sum,
}

pub(super) fn write(table: &Table, writer: impl Write) -> io::Result<()> {
    let mut writer = Summing {
        inner: BufWriter::new(writer),
        sum: Sha256::new(),
    };
    writer.write_all(BEGINNING)?;
    for key in table.keys() {
        writer.write_all(&key.to_le_bytes())?;
    }
    let Summing { mut inner, sum } = writer;
    inner.write_all(&sum.finalize())?;
    inner.flush()
}

/// Reads it twice, so that nothing is taken of what is damaged and no more is held than a key.
pub(super) fn read(table: &Table, mut reader: impl Read + Seek) -> io::Result<()> {
    let start = reader.stream_position()?;
    let length = reader.seek(SeekFrom::End(0))? - start;
    let around = (BEGINNING.len() + SUM) as u64;
    reader.seek(SeekFrom::Start(start))?;
    let mut reader = BufReader::new(reader);
    let mut sum = Sha256::new();
    let mut beginning = [0; BEGINNING.len()];
    if length < beginning.len() as u64 {
        return Err(damaged(Damage::Beginning));
    }
    reader.read_exact(&mut beginning)?;
    if beginning != *BEGINNING {
        return Err(damaged(Damage::Beginning));
    }
    let keys = match length.checked_sub(around) {
        Some(bytes) if bytes % KEY as u64 == 0 => bytes / KEY as u64,
        _ => return Err(damaged(Damage::Length)),
    };
    sum.update(beginning);
    let mut key = [0; KEY];
    for _ in 0..keys {
        reader.read_exact(&mut key)?;
        sum.update(key);
    }
    let mut told = [0; SUM];
    reader.read_exact(&mut told)?;
    if *sum.finalize() != told {
        return Err(damaged(Damage::Sum));
    }
    reader.seek(SeekFrom::Start(start + BEGINNING.len() as u64))?;
    for _ in 0..keys {
        reader.read_exact(&mut key)?;
        table.insert(u128::from_le_bytes(key).max(1));
    }
    Ok(())
}

fn damaged(damage: Damage) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, damage)
}

/// Adds up what is written.
struct Summing<W> {
    inner: W,
    sum: Sha256,
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// Spread as hashes are.
    fn key(number: u128) -> u128 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    }

    fn table(numbers: impl IntoIterator<Item = u128>) -> Table {
        let table = Table::new(1000);
        numbers
            .into_iter()
            .for_each(|number| assert!(table.insert(key(number))));
        table
    }

    fn written(table: &Table) -> Vec<u8> {
        let mut file = Vec::new();
        write(table, &mut file).unwrap();
        file
    }

    #[test]
    fn a_table_is_the_same_after_it_was_written_and_read() {
        let file = written(&table(1..500));
        assert_eq!(file.len(), 21 + 499 * 16 + 32);
        let again = table([]);
        read(&again, Cursor::new(&file)).unwrap();
        assert!((1..500).all(|number| again.contains(key(number))));
        assert_eq!(again.keys().count(), 499);
        read(&table([]), Cursor::new(written(&table([])))).unwrap();
    }

    #[test]
    fn of_a_file_that_was_cut_or_changed_anywhere_nothing_is_taken() {
        let file = written(&table(1..5));
        let mut damaged: Vec<Vec<u8>> = (0..file.len()).map(|end| file[..end].to_vec()).collect();
        damaged.push([&*file, &[0; 16]].concat());
        damaged.push([&*file, &*file].concat());
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1;
            damaged.push(changed);
        }
        for file in damaged {
            let empty = table([]);
            let error = read(&empty, Cursor::new(&file)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            assert_eq!(empty.keys().count(), 0);
        }
    }

    #[test]
    fn damage_is_told_by_its_kind_and_a_file_may_begin_anywhere() {
        let file = written(&table(1..5));
        let damage = |file: &[u8]| {
            let error = read(&table([]), Cursor::new(file)).unwrap_err();
            let damage = error
                .get_ref()
                .and_then(|error| error.downcast_ref::<Damage>());
            damage.copied()
        };
        let mut changed = file.clone();
        changed[30] ^= 1;
        for (file, kind) in [
            (&file[..20], Damage::Beginning),
            (&file[..21], Damage::Length),
            (&file[..21 + 31], Damage::Length),
            (&file[..file.len() - 1], Damage::Length),
            (&[&*file, &[0]].concat(), Damage::Length),
            (&file[..file.len() - 16], Damage::Sum),
            (&changed, Damage::Sum),
        ] {
            assert_eq!(damage(file), Some(kind), "{}", file.len());
        }
        let mut reader = Cursor::new([&b"before"[..], &*file].concat());
        reader.set_position(6);
        let again = table([]);
        read(&again, reader).unwrap();
        assert_eq!(again.keys().count(), 4);
    }
}
