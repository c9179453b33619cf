use std::collections::HashSet;
use std::sync::LazyLock;

use super::reading::{Piece, count};

/// The most frequent words of the English Wikipedia and of films, by the lists of zxcvbn (MIT, see
/// words.LICENSE), and those of
/// this field.
static WORDS: LazyLock<HashSet<&'static [u8]>> = LazyLock::new(|| {
    let words = include_str!("words.txt").split_ascii_whitespace();
    words.map(str::as_bytes).collect()
});

/// What it takes to say which of them: there are 2,000.
const WHICH: f64 = 11.0;
/// How long a word in the list is.
const LENGTHS: std::ops::RangeInclusive<usize> = 3..=13;
/// What it takes to say that there is one.
const LISTED: f64 = 1.2;
/// What it takes to say that there are letters that follow each other as in words.
const UNLISTED: f64 = 7.0;
/// The same where nothing else stands between two signs that are neither letters nor digits.
const UNLISTED_ALONE: f64 = 3.0;
/// How many such letters are looked at.
const LONGEST: usize = 64;
/// What a letter holds for somebody who knows the language. Shannon (1951) found 0.6 to 1.3 bits where the
/// hundred letters before it are known, and here fewer are.
const LETTER: f64 = 1.5;
/// What such letters hold besides.
const BEGINNING: f64 = 4.0;
/// What it takes to say that a letter has another sign in its place, and in a word alone.
const STAND_IN: f64 = 3.0;
const STAND_IN_ALONE: f64 = 1.5;
/// The shortest words, which count alone only, and what it takes to say which.
const SHORT: &[&[u8]] = &[
    b"a", b"i", b"am", b"an", b"as", b"at", b"be", b"by", b"da", b"de", b"do", b"du", b"el", b"en",
    b"es", b"et", b"go", b"he", b"if", b"im", b"in", b"is", b"it", b"la", b"le", b"me", b"my",
    b"no", b"of", b"on", b"or", b"so", b"to", b"un", b"up", b"us", b"we", b"zu",
];
const WHICH_SHORT: f64 = 5.3;

/// What it takes to say a letter after another, in halves of bits and in base 36: a row for each from `a`
/// to `z` and one for the beginning, a column for each and one for the end. Counted over the lists of
/// zxcvbn, the frequent words more.
const FOLLOWS: [&[u8; 27]; 27] = [
    b"gb9afebeahc796hbh686ccegbe7",
    b"6bdf5iig7gi7he6ii7bf7hij9ia",
    b"6hbh6ii68i89hh5ih9e8agjidi8",
    b"8ggc5eeg7hidee7hiaagafejci3",
    b"9ea7addgdig8b7ecg579fcddcf5",
    b"7igh68ef6ig9hg5ij7fa8hijdi6",
    b"7gif6gb88iiafb8ij8be9jhjdi4",
    b"5fih4hif6gheec6ijbfaaigibj6",
    b"9d7a9caiiie8a48cha77gaigida",
    b"5iff5igeagchhg4hifhi5gigfia",
    b"7fhg4fhc6hfbc9agjc8ecifjai5",
    b"6efa5egh6ie6eh7fjhbbbegj8i6",
    b"5aei5hii6iigaf78jgbi9iijbi6",
    b"8g987e6g8gcffb9iih97dfhidg4",
    b"dcabebcddhc8959ai6a97b9geh7",
    b"6hhh5hi88ih8fh79j69a9jijdj8",
    b"7iiiiihiejiiiiiicihj2i4gii8",
    b"7eca5ecg7icbbb7eib99begjai5",
    b"agbf7gi88jedde9bgh96ahdgdi3",
    b"8feh5hi66jiceg8fj89abiejah5",
    b"aa9a9dagahf796gai667ifigff8",
    b"6dii2fhj5higji9ijghhghjjeja",
    b"5fhf5gi66igeg97hibaghjgjfj6",
    b"8e6g8eic7hiffhc6hdc7dhfcbg4",
    b"addd9fghchhbcb8djdaddhfihh2",
    b"5fgf5igc7ifdee9ggffgcf88b95",
    b"8889a9a99bca8ba8e978cd9icgj",
];
const EDGE: usize = 26;

/// Pushes what the text can be read as from here: words in any case, with what usually stands for letters.
pub(super) fn find(text: &[u8], at: usize, pieces: &mut Vec<Piece>) {
    let begins = text[..at]
        .last()
        .is_none_or(|byte| !byte.is_ascii_alphanumeric());
    let text = &text[at..];
    let mut spelling = Spelling::default();
    let mut word = Vec::new();
    let mut before = EDGE;
    let mut following = 0.0;
    for &byte in text.iter().take(LONGEST) {
        let Some(letter) = spelling.next(byte) else {
            break;
        };
        word.push(letter);
        let letter = usize::from(letter - b'a');
        following += follows(before, letter);
        before = letter;
        let length = word.len();
        let ends = text
            .get(length)
            .is_none_or(|byte| !byte.is_ascii_alphanumeric());
        let alone = begins && ends;
        let letters = count(length) * LETTER;
        let mut push = |price: f64, bits: f64| {
            pieces.push(Piece {
                length,
                price: price + spelling.price(alone),
                bits: bits + spelling.bits,
            });
        };
        if alone && SHORT.contains(&&word[..]) {
            push(LISTED + WHICH_SHORT, letters);
        }
        if LENGTHS.contains(&length) && (is_listed(&word) || is_listed(&with_l(&word, text))) {
            push(LISTED + WHICH, letters.min(WHICH));
        }
        if spelling.letters >= 2 {
            let beginning = if alone { UNLISTED_ALONE } else { UNLISTED };
            push(
                beginning + following + follows(before, EDGE),
                BEGINNING + letters,
            );
        }
    }
}

fn is_listed(word: &[u8]) -> bool {
    WORDS.contains(word)
}

/// The word if `1` stands for `l` and not for `i`.
fn with_l(word: &[u8], text: &[u8]) -> Vec<u8> {
    let letters = word.iter().zip(text);
    letters
        .map(|(letter, byte)| if *byte == b'1' { b'l' } else { *letter })
        .collect()
}

fn follows(before: usize, letter: usize) -> f64 {
    let halves = char::from(FOLLOWS[before][letter]).to_digit(36);
    halves.map_or(f64::INFINITY, f64::from) / 2.0
}

/// How letters are written.
#[derive(Debug, Default)]
struct Spelling {
    case: f64,
    stand_ins: usize,
    bits: f64,
    /// How many are letters indeed.
    letters: usize,
    upper: Option<bool>,
}

impl Spelling {
    fn price(&self, alone: bool) -> f64 {
        let stand_in = if alone { STAND_IN_ALONE } else { STAND_IN };
        self.case + count(self.stand_ins) * stand_in
    }

    /// The letter that this is or stands for, in lower case.
    fn next(&mut self, byte: u8) -> Option<u8> {
        if !byte.is_ascii_alphabetic() {
            let letter = stands_for(byte)?;
            self.stand_ins += 1;
            self.bits += 1.0;
            return Some(letter);
        }
        let upper = byte.is_ascii_uppercase();
        let (price, bits) = match (self.upper, upper) {
            (None, false) => (1.0, 0.0),
            (None, true) => (1.0, 1.0),
            (Some(false), true) => (3.6, 1.0),
            (Some(true), true) if self.letters == 1 => (0.6, 0.0),
            (Some(false), false) | (Some(true), true) => (0.2, 0.0),
            (Some(true), false) if self.letters == 1 => (1.6, 0.0),
            (Some(true), false) => (3.3, 1.0),
        };
        self.case += price;
        self.bits += bits;
        self.letters += 1;
        self.upper = Some(upper);
        Some(byte.to_ascii_lowercase())
    }
}

fn stands_for(byte: u8) -> Option<u8> {
    Some(match byte {
        b'0' => b'o',
        b'1' | b'!' => b'i',
        b'3' => b'e',
        b'4' | b'@' => b'a',
        b'5' | b'$' => b's',
        b'7' => b't',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_letter_is_a_code() {
        for before in 0..FOLLOWS.len() {
            let all = (0..FOLLOWS.len()).map(|letter| (-follows(before, letter)).exp2());
            let sum: f64 = all.sum();
            assert!((0.5..=1.0).contains(&sum), "{before}: {sum}");
        }
    }

    #[test]
    fn the_list_is_what_it_is_said_to_be() {
        assert!(WORDS.len() <= 2_000);
        for word in WORDS.iter() {
            let text = String::from_utf8_lossy(word);
            let lower = word.iter().all(u8::is_ascii_lowercase);
            assert!(lower && LENGTHS.contains(&word.len()), "{text}");
        }
    }
}
