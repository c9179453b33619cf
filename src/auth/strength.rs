//! Whether a token can be guessed, of which a fast digest is all that is kept.
//!
//! Entropy cannot be seen in a text, so this asks for what no random token of 128 bits lacks in any usual
//! form (base64 has 22 characters, hexadecimal 32) and what a person who chooses has to want. A long phrase
//! passes; a default, a short password and a repetition do not.

const LEAST_CHARACTERS: usize = 22;
const LEAST_DIFFERENT: usize = 10;

/// Whether a text is long and varied enough for a random token.
pub(super) fn is_strong(text: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(text) else {
        return false;
    };
    let mut different: Vec<char> = text.chars().collect();
    let length = different.len();
    different.sort_unstable();
    different.dedup();
    length >= LEAST_CHARACTERS && different.len() >= LEAST_DIFFERENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_22_characters_and_10_different_ones_is_strong_and_nothing_less_is() {
        for (text, strong) in [
            ("", false),
            ("changeme", false),
            ("Harbor12345", false),
            // One too few, of either.
            ("Zq3v0yHk1Xt7Rb9cWm5Ls", false),
            ("123456789123456789123456789", false),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
            ("changeme-changeme-changeme", false),
            // Characters count, not octets.
            (
                "\u{43f}\u{430}\u{440}\u{43e}\u{43b}\u{44c}-\u{440}\u{435}\u{435}\u{441}\u{442}\u{440}\u{430}",
                false,
            ),
            ("Zq3v0yHk1Xt7Rb9cWm5LsP", true),
            ("8f14e45fceea167a5a36dedd4bea2543", true),
            ("c56a4180-65aa-42ec-a945-5fd21dec0538", true),
            ("6qzkc4drsc2knd7tyqgjyphhuhk3n5qe", true),
        ] {
            assert_eq!(is_strong(text.as_bytes()), strong, "{text}");
        }
        assert!(!is_strong(&[0xff; 64]));
    }
}
