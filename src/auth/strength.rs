//! How hard a secret is to guess for somebody who tries what people choose first.

/// What an unforeseeable letter holds, in bits; one more where both cases are in use.
const LETTER: f64 = 4.7;
const DIGIT: f64 = 3.3;
const OTHER: f64 = 5.0;
/// What a word holds: as if out of a list of 100,000.
const WORD: f64 = 17.0;
/// The longest run of letters that nobody has in mind as a word.
const NO_WORD: usize = 3;
/// The longest run of letters that is one word.
const LONGEST_WORD: usize = 8;

/// A guess at how many bits of surprise a text holds, never far above the truth.
///
/// What repeats counts once, and a character that goes on as the last two did (`abcd`, `1111`) not at
/// all. More than three letters in a row, of one case but maybe for the first, are taken for words. So a
/// random text of letters alone, in one case, may count less than it
/// holds.
pub(super) fn bits(text: &[u8]) -> f64 {
    let text = unforeseen(&text[..period(text)]);
    let has = |is: fn(&u8) -> bool| text.iter().any(is);
    let both_cases = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
    let letter = if both_cases { LETTER + 1.0 } else { LETTER };
    let mut seen = [false; 256];
    let mut rest = text.as_slice();
    let mut bits = 0.0;
    while let Some(&first) = rest.first() {
        let length = letters(rest);
        bits += match length {
            0 if first.is_ascii_digit() => DIGIT,
            0 if seen[usize::from(first)] => 1.0,
            0 => OTHER,
            1..=NO_WORD => count(length) * letter,
            _ if !can_be_said(&rest[..length]) => count(length) * letter,
            _ => (count(length) * letter).min(count(length.div_ceil(LONGEST_WORD)) * WORD),
        };
        seen[usize::from(first)] = true;
        rest = &rest[length.max(1)..];
    }
    bits
}

/// The length of what the text repeats, or of the whole.
fn period(text: &[u8]) -> usize {
    let repeats = |length: &usize| text.iter().skip(*length).eq(&text[..text.len() - length]);
    (1..text.len()).find(repeats).unwrap_or(text.len())
}

/// The text without the characters that just go on as the last two did.
fn unforeseen(text: &[u8]) -> Vec<u8> {
    let step = |a: u8, b: u8| i16::from(b) - i16::from(a);
    let goes_on = |at: usize| {
        at >= 2 && {
            let first = step(text[at - 2], text[at - 1]);
            first == step(text[at - 1], text[at]) && first.abs() <= 1
        }
    };
    let kept = (0..text.len()).filter(|&at| !goes_on(at));
    kept.map(|at| text[at]).collect()
}

/// How many letters the text begins with that could be of one word.
fn letters(text: &[u8]) -> usize {
    let run = |text: &[u8], is: fn(&u8) -> bool| text.iter().take_while(|byte| is(byte)).count();
    let upper = run(text, u8::is_ascii_uppercase);
    match upper {
        0 | 1 => upper + run(&text[upper..], u8::is_ascii_lowercase),
        _ => upper,
    }
}

/// Whether a run of letters has vowels as words have them.
fn can_be_said(letters: &[u8]) -> bool {
    let vowel = |byte: &u8| b"aeiouyAEIOUY".contains(byte);
    letters.split(vowel).all(|consonants| consonants.len() <= 4)
}

fn count(length: usize) -> f64 {
    f64::from(u32::try_from(length).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

    use super::*;

    #[test]
    fn generated_texts_are_told_from_chosen_ones() {
        for strong in [
            "pcls_4sKLcU0Wg0kPCEXTAhcyVv6ApwPsqfnUuCCkxWbPHRS1ocdnd",
            "8f14e45fceea167a5a36dedd4bea2543",
            "c56a4180-65aa-42ec-a945-5fd21dec0538",
            "Zq3v0yHk1Xt7Rb9cWm5LsPd2",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "6qzkc4drsc2knd7tyqgjyphhuhk3n5qe",
        ] {
            let found = bits(strong.as_bytes());
            assert!(found >= 100.0, "{strong}: {found}");
        }
        for weak in [
            "",
            "a",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "abcdefghijklmnopqrstuvwxyz0123456789",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            "passwordpasswordpassword",
            "changeme",
            "1111222233334444",
            "admin:admin",
            "registry-password",
            "Passw0rd-Registry-2026!",
            "the-registry-token-of-team-a",
            "correct-horse-battery-staple",
            "CorrectHorseBatteryStaple",
            "a-token-of-the-ci-0123456789",
            "8f14e45f8f14e45f8f14e45f8f14e45f",
            "d41d8cd98f00b204",
        ] {
            let found = bits(weak.as_bytes());
            assert!(found < 100.0, "{weak}: {found}");
        }
    }

    #[test]
    fn random_octets_in_any_usual_form_are_strong() {
        // 192 bits each. Of those with 128, in base64, one of 40 looks too much like words.
        for number in 0..2_000_u32 {
            let digest = <sha2::Sha256 as sha2::Digest>::digest(number.to_be_bytes());
            let octets = &digest[..24];
            let hex: String = octets
                .iter()
                .flat_map(|byte| [byte >> 4, byte & 15])
                .map(|nibble| char::from_digit(nibble.into(), 16).unwrap())
                .collect();
            let url = BASE64_URL_SAFE_NO_PAD.encode(octets);
            for text in [hex, url, BASE64_STANDARD.encode(octets)] {
                let found = bits(text.as_bytes());
                assert!((100.0..=230.0).contains(&found), "{text}: {found}");
            }
        }
    }
}
