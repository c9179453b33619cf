use super::reading::{Piece, count};

/// What it takes to say which pattern it is that the text goes on with.
const WHICH: f64 = 5.0;
/// What it takes to say that it goes on, for each character.
const ON: f64 = 0.15;
/// What it takes to say that it ends.
const END: f64 = 3.3;

const KEY: f64 = 6.5;
const SAME_WAY: f64 = 1.0;
const ANY_WAY: f64 = 4.0;
const NEXT_STRETCH: f64 = 6.0;
const SAME_SHIFT: f64 = 0.15;
const OTHER_SHIFT: f64 = 3.3;

/// How far back a series looks, and how far it steps.
const LAGS: usize = 8;
const STEPS: std::ops::RangeInclusive<i16> = -3..=3;
/// Which of those lags and steps.
const SERIES: f64 = 5.9;

const SHORTEST_COPY: usize = 3;
/// Forwards or backwards.
const DIRECTION: f64 = 1.0;
const OTHER_CASE: f64 = 3.0;

/// One of 200 years.
const YEAR: f64 = 7.6;
/// A year, a month, a day, and in which order.
const DATE: f64 = 17.6;

/// How much of a constant there must be.
const SHORTEST_CONSTANT: usize = 6;
/// What it takes to say which and how much of it.
const CONSTANT: f64 = 8.0;
/// What everybody knows though it looks like nothing: how keys and tokens of usual formats begin, the
/// digits of constants, digests of nothing and of `password`, words in hexadecimal.
const CONSTANTS: &[&str] = &[
    "AAAAB3NzaC1yc2EAAAADAQABAAAB",
    "AAAAC3NzaC1lZDI1NTE5AAAAI",
    "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABB",
    "MIIEowIBAAKCAQEA",
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC",
    "MIIEvgIBADANBgkqhkiG9w0BAQEFAASC",
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9",
    "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9",
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9",
    "14142135623730950488016887242096980785696718753769",
    "27182818284590452353602874713526624977572470936999",
    "31415926535897932384626433832795028841971693993751",
    "5f4dcc3b5aa765d61d8327deb882cf99",
    "d41d8cd98f00b204e9800998ecf8427e",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "baadf00d",
    "cafebabe",
    "deadbeef",
    "decafbad",
    "feedface",
];

/// Pushes the patterns that the text can go on with from here.
pub(super) fn find(text: &[u8], at: usize, pieces: &mut Vec<Piece>) {
    walk(&text[at..], pieces);
    series(text, at, pieces);
    copies(text, at, pieces);
    dates(&text[at..], pieces);
    constants(&text[at..], pieces);
}

/// `price` without what it takes to say that it ends.
fn piece(length: usize, price: f64) -> Piece {
    Piece {
        length,
        price: price + END,
        bits: price,
    }
}

/// A key of a keyboard, by column and row.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    column: usize,
    row: usize,
    shift: bool,
}

impl Key {
    const ROWS: [&[u8]; 8] = [
        b"1234567890-=",
        b"qwertyuiop[]",
        b"asdfghjkl;'",
        b"zxcvbnm,./",
        b"!@#$%^&*()_+",
        b"QWERTYUIOP{}",
        b"ASDFGHJKL:\"",
        b"ZXCVBNM<>?",
    ];

    fn of(byte: u8) -> Option<Self> {
        let mut rows = Self::ROWS.iter().enumerate();
        rows.find_map(|(row, keys)| {
            let column = keys.iter().position(|key| *key == byte)?;
            Some(Self {
                column,
                row: row % 4,
                shift: row >= 4,
            })
        })
    }

    /// Which way a key is that is this one or beside it.
    fn way_to(self, other: Self) -> Option<(usize, usize)> {
        let way = (
            (other.column + 1).checked_sub(self.column)?,
            (other.row + 1).checked_sub(self.row)?,
        );
        (way.0 <= 2 && way.1 <= 2).then_some(way)
    }
}

/// Keys each beside the last, in stretches that begin beside each other: `qwerty`, `1qaz2wsx`.
fn walk(text: &[u8], pieces: &mut Vec<Piece>) {
    let mut keys = text.iter().map_while(|byte| Key::of(*byte)).enumerate();
    let Some((_, mut last)) = keys.next() else {
        return;
    };
    let mut begun = last;
    let (mut first_way, mut last_way) = (None, None);
    let mut price = WHICH + KEY;
    for (place, key) in keys {
        if let Some(way) = last.way_to(key) {
            first_way = first_way.or(Some(way));
            price += if last_way == Some(way) {
                SAME_WAY
            } else {
                ANY_WAY
            };
            last_way = Some(way);
        } else if begun.way_to(key).is_some() {
            price += NEXT_STRETCH;
            (begun, last_way) = (key, first_way);
        } else {
            break;
        }
        price += ON;
        price += if key.shift == last.shift {
            SAME_SHIFT
        } else {
            OTHER_SHIFT
        };
        last = key;
        pieces.push(piece(place + 1, price));
    }
}

/// Each character as far from one before it as the one before: `aaaa`, `abcd`, `1a2b3c`, `abcabc`.
fn series(text: &[u8], at: usize, pieces: &mut Vec<Piece>) {
    for lag in 1..=LAGS.min(at) {
        for step in STEPS {
            let goes_on = |place: &usize| text[*place] == stepped(text[place - lag], step);
            let length = (at..text.len()).take_while(goes_on).count();
            for length in 1..=length {
                pieces.push(piece(length, WHICH + SERIES + count(length) * ON));
            }
        }
    }
}

fn stepped(byte: u8, step: i16) -> u8 {
    let (first, size) = match byte {
        b'0'..=b'9' => (b'0', 10),
        b'a'..=b'z' => (b'a', 26),
        b'A'..=b'Z' => (b'A', 26),
        _ => return byte,
    };
    let place = (i16::from(byte - first) + step).rem_euclid(size);
    first + u8::try_from(place).unwrap_or(0)
}

/// What the text had before, in any case, forwards or backwards.
fn copies(text: &[u8], at: usize, pieces: &mut Vec<Piece>) {
    for from in 0..at {
        let forwards = text[from..].iter();
        copy(&text[at..], forwards, at, pieces);
        let backwards = text[..=from].iter().rev();
        copy(&text[at..], backwards, at, pieces);
    }
}

fn copy<'a>(text: &[u8], of: impl Iterator<Item = &'a u8>, places: usize, pieces: &mut Vec<Piece>) {
    let mut price = WHICH + DIRECTION + count(places).log2();
    let same = text
        .iter()
        .zip(of)
        .take_while(|(one, other)| one.eq_ignore_ascii_case(other));
    for (place, (one, other)) in same.enumerate() {
        price += if one == other { ON } else { ON + OTHER_CASE };
        if place + 1 >= SHORTEST_COPY {
            pieces.push(piece(place + 1, price));
        }
    }
}

/// A year, or a date from its year or its day on, with or without something between.
fn dates(text: &[u8], pieces: &mut Vec<Piece>) {
    let digits = |from: usize, length: usize| {
        let digits = text.get(from..from + length)?;
        let mut number = 0;
        for digit in digits {
            number = number * 10 + char::from(*digit).to_digit(10)?;
        }
        Some(number)
    };
    let year = |from| digits(from, 4).is_some_and(|year| (1900..2100).contains(&year));
    let part = |from| digits(from, 2).is_some_and(|part| (1..=31).contains(&part));
    if year(0) {
        pieces.push(Piece {
            length: 4,
            price: WHICH + YEAR,
            bits: YEAR,
        });
    }
    for between in 0..=1 {
        let apart = |at: usize| between == 0 || text.get(at).is_some_and(u8::is_ascii_punctuation);
        let (second, third) = (4 + between, 6 + 2 * between);
        let year_first = year(0) && apart(4) && part(second) && apart(6 + between) && part(third);
        let (second, third) = (2 + between, 4 + 2 * between);
        let day_first = part(0) && apart(2) && part(second) && apart(4 + between) && year(third);
        if year_first || day_first {
            pieces.push(Piece {
                length: 8 + 2 * between,
                price: WHICH + DATE,
                bits: DATE,
            });
        }
    }
}

fn constants(text: &[u8], pieces: &mut Vec<Piece>) {
    for constant in CONSTANTS {
        let pairs = constant.bytes().zip(text);
        let same = pairs.take_while(|(known, byte)| known.eq_ignore_ascii_case(byte));
        let length = same.count();
        if length >= SHORTEST_CONSTANT {
            pieces.push(Piece {
                length,
                price: WHICH + CONSTANT,
                bits: WHICH + CONSTANT,
            });
        }
    }
}
