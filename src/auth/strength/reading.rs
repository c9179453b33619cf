use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;

use super::{patterns, words};

/// How much of a text is looked at: whoever chose so much chose the rest alike.
const LONGEST: usize = 256;
const BASE62: f64 = 62.0;
/// What a character holds that is neither letter nor digit, in bits.
const OTHER: f64 = 5.0;
/// What one holds that is not ASCII, whatever its octets: nobody writes random bits so, and letters of a
/// language hold no more.
const BEYOND_ASCII: f64 = 1.5;
/// What one holds that stands between words and that the text had before.
const BETWEEN: f64 = 1.0;
/// The same in a text with capitals and digits, which could be base64 for URLs.
const BETWEEN_ANY: f64 = 3.0;

/// Something that a text can be read as.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) length: usize,
    /// What it takes to say it, in bits. Decides between readings.
    pub(super) price: f64,
    /// What it holds for somebody who guesses, in bits.
    pub(super) bits: f64,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    price: f64,
    bits: f64,
}

/// A guess at how many bits of surprise a text holds.
pub(in crate::auth) fn bits(text: &[u8]) -> f64 {
    let text = &text[..text.len().min(LONGEST)];
    let bits = cheapest(text);
    decoded(text).map_or(bits, |inner| bits.min(cheapest(&inner)))
}

fn cheapest(text: &[u8]) -> f64 {
    let character = bits_a_character(text);
    let mut readings = vec![None; text.len() + 1];
    readings[0] = Some(Reading {
        price: 0.0,
        bits: 0.0,
    });
    let mut pieces = Vec::new();
    for at in 0..text.len() {
        let Some(Reading { price, bits }) = readings[at] else {
            continue;
        };
        let unforeseen = if text[at].is_ascii_alphanumeric() {
            character
        } else {
            other(text, at, character)
        };
        pieces.push(Piece {
            length: 1,
            price: unforeseen,
            bits: unforeseen,
        });
        words::find(text, at, &mut pieces);
        patterns::find(text, at, &mut pieces);
        for piece in pieces.drain(..) {
            let price = price + piece.price;
            let known = &mut readings[at + piece.length];
            if known.is_none_or(|known| price < known.price) {
                let bits = bits + piece.bits;
                *known = Some(Reading { price, bits });
            }
        }
    }
    readings[text.len()].map_or(0.0, |reading| reading.bits)
}

/// What an unforeseen letter or digit holds: the smallest usual alphabet decides that has all of the text.
fn bits_a_character(text: &[u8]) -> f64 {
    let has = |is: fn(&u8) -> bool| text.iter().any(is);
    let lower = has(u8::is_ascii_lowercase);
    let upper = has(u8::is_ascii_uppercase);
    let digit = has(u8::is_ascii_digit);
    let alphabet: f64 = match (lower, upper, digit) {
        (false, false, _) => 10.0,
        (true, true, true) => BASE62,
        (true, true, false) => 52.0,
        (_, _, false) => 26.0,
        _ if !has(|byte| matches!(byte.to_ascii_lowercase(), b'g'..=b'z')) => 16.0,
        _ if !has(|byte| matches!(byte, b'0' | b'1' | b'8' | b'9')) => 32.0,
        _ => 36.0,
    };
    alphabet.log2()
}

fn other(text: &[u8], at: usize, character: f64) -> f64 {
    let byte = text[at];
    if !byte.is_ascii() {
        let continues = byte & 0b1100_0000 == 0b1000_0000;
        return if continues { 0.0 } else { BEYOND_ASCII };
    }
    let known = b"-_.:,/+= ".contains(&byte) && text[..at].contains(&byte);
    match known {
        false => OTHER,
        true if character < BASE62.log2() => BETWEEN,
        true => BETWEEN_ANY,
    }
}

/// The printable text of which this is the base64 or hexadecimal form.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let standard = text.iter().map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => *byte,
    });
    let mut standard: Vec<u8> = standard.collect();
    while standard.last() == Some(&b'=') {
        standard.pop();
    }
    let printable = |text: &Vec<u8>| {
        let is = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
        text.iter().all(is)
    };
    let base64 = BASE64_STANDARD_NO_PAD.decode(&standard).ok();
    base64
        .filter(printable)
        .or_else(|| from_hex(text).filter(printable))
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_chunks::<2>() else {
        return None;
    };
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(nibble(*high)? * 16 + nibble(*low)?).ok();
    pairs.iter().map(byte).collect()
}

pub(super) fn count(length: usize) -> f64 {
    f64::from(u32::try_from(length).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
    use sha2::{Digest, Sha256};

    use super::*;

    const STRONG: f64 = 100.0;

    const HEX: &[u8] = b"0123456789abcdef";
    const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    const BASE58: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

    const CHOSEN: &[&str] = &[
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
        "changeme-changeme-changeme-changeme",
        "qwertyuiopasdfghjklzxcvbnm",
        "qwertyuiopasdfghjklzxcvbnm1234567890",
        "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,",
        "zaq12wsxcde34rfvbgt56yhnmju78ik",
        "QWERTYUIOPASDFGHJKLZXCVBNMqwertyuiop",
        "asdfghjklasdfghjklasdfghjkl",
        "1q2w3e4r5t6y7u8i9o0p",
        "poiuytrewqlkjhgfdsamnbvcxz",
        "P4ssw0rd-R3g1stry-T0k3n-2026",
        "S3cr3tT0k3nF0rTh3R3g1stry",
        "r3g1stry-m1rr0r-t0k3n-pr0duct10n",
        "Sup3rS3cr3tP4ssw0rdF0rD0ck3rR3g1stry",
        "my-very-long-and-secret-registry-password",
        "ThisIsTheSecretTokenForTheRegistryMirror",
        "thequickbrownfoxjumpsoverthelazydog",
        "The-Quick-Brown-Fox-Jumps-Over-The-Lazy-Dog",
        "registry.prod.eu-central-1.example.com",
        "docker-registry.internal.corp.example.org",
        "k8s-node-01.cluster.local-pull-token",
        "2026-11-25-2025-11-25-2024-11-25",
        "20261125202511252024112520231125",
        "25.11.1984-01.01.2000-31.12.1999",
        "token-2026-11-25-registry-mirror-prod",
        "secretterces-secretterces-secretterces",
        "drowssapdrowssap-passwordpassword",
        "passworddrowssappassworddrowssap",
        "0123456789abcdef0123456789abcdef",
        "0123456789abcdeffedcba9876543210",
        "deadbeefdeadbeefcafebabecafebabe",
        "deadbeefcafebabefeedfacedecafbad",
        "00000000-0000-0000-0000-000000000000",
        "12345678-1234-1234-1234-123456789012",
        "00000000000000000000000000000001",
        "AAAAB3NzaC1yc2EAAAADAQABAAABAQ",
        "AAAAC3NzaC1lZDI1NTE5AAAAI",
        "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC",
        "-----BEGIN-RSA-PRIVATE-KEY-----",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
        "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9",
        "admin-admin-admin-admin-admin-admin",
        "Winter2025!Spring2026!Summer2026!",
        "let-me-in-please-let-me-in-please",
        "iloveyouiloveyouiloveyou1234567890",
        "password123456789012345678901234567890",
        "PasswordPassword123!PasswordPassword123!",
        "this.is.not.a.secure.password.at.all",
        "replace-me-with-a-long-random-string",
        "your-256-bit-secret-goes-here-please",
        "REPLACE_ME_WITH_A_STRONG_RANDOM_SECRET",
        "insert-your-super-secret-token-here",
        "to-be-or-not-to-be-that-is-the-question",
        "maryhadalittlelambitsfleecewaswhiteassnow",
        "four-score-and-seven-years-ago-our-fathers",
        "dasistdasgeheimepasswortdesregisters",
        "contrasena-secreta-del-registro-de-imagenes",
        "ma-cle-secrete-du-registre-des-images",
        "kubernetes-image-puller-service-account",
        "PROD_REGISTRY_TOKEN_DO_NOT_SHARE_2026",
        "aaaabbbbccccddddeeeeffffgggghhhh",
        "abababababababababababababababab",
        "123abc123abc123abc123abc123abc123abc",
        "abc123def456ghi789jkl012mno345pqr678",
        "a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6",
        "a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6",
        "zyxwvutsrqponmlkjihgfedcba9876543210",
        "1234567890123456789012345678901234567890",
        "31415926535897932384626433832795028841971",
        "27182818284590452353602874713526624977572",
        "Y2hhbmdlbWUtY2hhbmdlbWUtY2hhbmdlbWU=",
        "dXNlcjpzdXBlci1zZWNyZXQtcGFzc3dvcmQ=",
        "70617373776f726470617373776f7264313233",
        "superSecretRegistryTokenDoNotTell",
        "SuperSecretRegistryTokenDoNotTell2026!!",
        "pull-secret-for-the-mirror-in-frankfurt-2",
        "ilovemydogandmycatandmyhorse",
        "johnpaulgeorgeringo1962liverpool",
        "HarborAdmin12345HarborAdmin12345",
        "tok_live_test_1234567890abcdefghijkl",
        "bearer-token-for-node-1-node-2-node-3",
        "correct.horse.battery.staple.purple.monkey",
        "password1password2password3password4",
        "abcdefgh-ijklmnop-qrstuvwx-yz012345",
        "the-registry-token-of-team-a-7f3a9c21",
        "registry-pull-token-team-a-2026-q4",
        "Tr0ub4dor&3Tr0ub4dor&3Tr0ub4dor",
        "gitlab-ci-token-frankfurt-prod-01",
        "mon-mot-de-passe-tres-long-et-secret",
        "пароль-реестра-контейнеров-команды",
        "ひみつのことばはだれにもいわない",
    ];

    fn digits(alphabet: &[u8], length: usize, mut number: u128) -> String {
        let base = alphabet.len() as u128;
        let mut text = vec![b'0'; length];
        for place in text.iter_mut().rev() {
            *place = alphabet[usize::try_from(number % base).unwrap()];
            number /= base;
        }
        String::from_utf8(text).unwrap()
    }

    fn uuid(random: u128) -> String {
        let version_and_variant = random & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        let text = digits(HEX, 32, version_and_variant);
        let parts = [
            &text[..8],
            &text[8..12],
            &text[12..16],
            &text[16..20],
            &text[20..],
        ];
        parts.join("-")
    }

    type Form = (&'static str, fn(u128) -> String);

    /// 128 bits as people and programs write them; a UUID has 122.
    const FORMS: &[Form] = &[
        ("hexadecimal", |random| digits(HEX, 32, random)),
        ("HEXADECIMAL", |random| {
            digits(HEX, 32, random).to_uppercase()
        }),
        ("BASE32", |random| digits(BASE32, 26, random)),
        ("base32", |random| digits(BASE32, 26, random).to_lowercase()),
        ("base58", |random| digits(BASE58, 22, random)),
        ("base64", |random| {
            BASE64_STANDARD.encode(random.to_be_bytes())
        }),
        ("base64url", |random| {
            BASE64_URL_SAFE_NO_PAD.encode(random.to_be_bytes())
        }),
        ("UUID", uuid),
        ("decimal", |random| digits(b"0123456789", 39, random)),
        ("behind words", |random| {
            format!(
                "registry-token-{}",
                BASE64_URL_SAFE_NO_PAD.encode(random.to_be_bytes())
            )
        }),
    ];

    fn random(number: u32) -> u128 {
        let digest = Sha256::digest(number.to_be_bytes());
        u128::from_be_bytes(digest[..16].try_into().unwrap())
    }

    #[test]
    fn of_a_thousand_random_tokens_in_any_usual_form_at_most_one_is_found_weak() {
        const TOKENS: u32 = 2_000;
        for (form, write) in FORMS {
            let bits = (0..TOKENS).map(|number| bits(write(random(number)).as_bytes()));
            let found: Vec<f64> = bits.collect();
            let weak = found.iter().filter(|bits| **bits < STRONG).count();
            assert!(weak * 1_000 <= found.len(), "{form}: {weak} of {TOKENS}");
            let most = found.iter().copied().fold(0.0, f64::max);
            assert!(form == &"behind words" || most <= 140.0, "{form}: {most}");
        }
    }

    #[test]
    fn generated_texts_are_strong() {
        for strong in [
            "pcls_4sKLcU0Wg0kPCEXTAhcyVv6ApwPsqfnUuCCkxWbPHRS1ocdnd",
            "8f14e45fceea167a5a36dedd4bea2543",
            "c56a4180-65aa-42ec-a945-5fd21dec0538",
            "Zq3v0yHk1Xt7Rb9cWm5LsPd2",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "6qzkc4drsc2knd7tyqgjyphhuhk3n5qe",
        ] {
            let found = bits(strong.as_bytes());
            assert!(found >= STRONG, "{strong}: {found}");
        }
    }

    #[test]
    fn chosen_texts_are_weak() {
        for weak in CHOSEN {
            let found = bits(weak.as_bytes());
            assert!(found < STRONG, "{weak}: {found}");
        }
    }

    #[test]
    fn a_long_text_is_read_in_bounded_time() {
        for text in ["a".repeat(8192), "password".repeat(1024)] {
            assert!(bits(text.as_bytes()) < STRONG);
        }
    }
}
