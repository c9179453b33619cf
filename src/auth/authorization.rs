use std::sync::LazyLock;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig, Simd};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

/// The longest header value that is looked at, in bytes.
const LONGEST: usize = 8 * 1024;

/// Encoders differ on padding; the decoded bytes do not.
static BASE64: LazyLock<Simd> = LazyLock::new(|| {
    let config = GeneralPurposeConfig::new();
    Simd::standard(config.with_decode_padding_mode(DecodePaddingMode::Indifferent))
});

/// The `Authorization` of a request, of which there may be one (RFC 9110 §5.3).
#[derive(Clone, Copy)]
pub(super) enum AuthorizationField<'a> {
    Nothing,
    One(&'a HeaderValue),
    Several,
}

/// What an `Authorization` header shows.
pub(super) enum PresentedCredentials<'a> {
    Basic(UserPass<'a>),
    Bearer(&'a [u8]),
}

/// User and password as they came, `user:password`.
pub(super) struct UserPass<'a> {
    text: &'a [u8],
    colon: usize,
}

/// Where text is decoded, in one place that is wiped on drop: nearly all are short, and then nothing is
/// allocated.
pub(super) struct DecodeBuffer {
    short: Zeroizing<[u8; SHORT]>,
    long: Zeroizing<Vec<u8>>,
}

/// The longest text that is decoded in place, in bytes.
const SHORT: usize = 192;

/// Not what RFC 7617 or RFC 6750 allow. Never taken for "nothing was shown".
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl<'a> AuthorizationField<'a> {
    #[inline]
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        // As mostly: no header has several values.
        if headers.len() == headers.keys_len() {
            return headers.get(AUTHORIZATION).map_or(Self::Nothing, Self::One);
        }
        let mut values = headers.get_all(AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Nothing,
            (Some(value), None) => Self::One(value),
            (Some(_), Some(_)) => Self::Several,
        }
    }
}

impl UserPass<'_> {
    pub(super) fn user(&self) -> &[u8] {
        &self.text[..self.colon]
    }

    pub(super) fn password(&self) -> &[u8] {
        &self.text[self.colon + 1..]
    }
}

impl DecodeBuffer {
    pub(super) fn new() -> Self {
        Self {
            short: Zeroizing::new([0; SHORT]),
            long: Zeroizing::new(Vec::new()),
        }
    }

    fn decode(&mut self, encoded: &[u8]) -> Result<&[u8], Malformed> {
        let buffer = if encoded.len() <= SHORT / 3 * 4 {
            self.short.as_mut_slice()
        } else {
            self.long.resize(encoded.len(), 0);
            self.long.as_mut_slice()
        };
        let length = BASE64
            .decode_slice(encoded, buffer)
            .map_err(|_| Malformed)?;
        Ok(&buffer[..length])
    }
}

/// Reads the one `Authorization` header (RFC 9110 §11.6.2).
pub(super) fn read<'a>(
    value: &'a HeaderValue,
    buffer: &'a mut Option<DecodeBuffer>,
) -> Result<PresentedCredentials<'a>, Malformed> {
    let value = value.as_bytes();
    if value.len() > LONGEST {
        return Err(Malformed);
    }
    if let Some(encoded) = after(b"basic ", value) {
        basic(encoded, buffer.insert(DecodeBuffer::new())).map(PresentedCredentials::Basic)
    } else if let Some(token) = after(b"bearer ", value) {
        bearer(token).map(PresentedCredentials::Bearer)
    } else {
        Err(Malformed)
    }
}

/// What stands after a scheme.
fn after<'a>(scheme: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (begin, rest) = value.split_at_checked(scheme.len())?;
    begin
        .eq_ignore_ascii_case(scheme)
        .then(|| rest.trim_ascii())
}

/// RFC 7617 §2: `user-id ":" password`, neither with control characters, the user without colons.
// Not inlined: both schemes are read faster if neither has the other's registers to save.
#[inline(never)]
fn basic<'a>(encoded: &[u8], buffer: &'a mut DecodeBuffer) -> Result<UserPass<'a>, Malformed> {
    let text = buffer.decode(encoded)?;
    let controls = if text.is_ascii() {
        any(text, |byte| byte < b' ' || byte == 0x7f)
    } else {
        let text = str::from_utf8(text).map_err(|_| Malformed)?;
        text.contains(char::is_control)
    };
    // `Og==` is ":", what clients without credentials send.
    if controls || text == b":" {
        return Err(Malformed);
    }
    let colon = text.iter().position(|&byte| byte == b':');
    let colon = colon.ok_or(Malformed)?;
    Ok(UserPass { text, colon })
}

/// RFC 6750 §2.1: `b64token`.
fn bearer(token: &[u8]) -> Result<&[u8], Malformed> {
    if is_b64token(token) {
        Ok(token)
    } else {
        Err(Malformed)
    }
}

#[expect(
    clippy::needless_bitwise_bool,
    reason = "with branches it is not compiled to vector instructions and takes ten times as long"
)]
pub(super) fn is_b64token(token: &[u8]) -> bool {
    let padding = token.iter().rev().take_while(|&&byte| byte == b'=').count();
    let body = &token[..token.len() - padding];
    let foreign = |byte: u8| {
        let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        // `-`, `.`, `/` and the digits.
        let middle = byte.wrapping_sub(b'-') < 13;
        let other = (byte == b'_') | (byte == b'~') | (byte == b'+');
        !(letter | middle | other)
    };
    !body.is_empty() && !any(body, foreign)
}

/// Whether any of the bytes is such a one. In chunks, which vector instructions look at as a whole; the
/// last is looked at partly for a second time.
#[inline]
fn any(bytes: &[u8], is: impl Fn(u8) -> bool) -> bool {
    const CHUNK: usize = 16;
    let Some(last) = bytes.last_chunk::<CHUNK>() else {
        return bytes.iter().any(|&byte| is(byte));
    };
    let mut found = [0_u8; CHUNK];
    for chunk in bytes.as_chunks().0.iter().chain([last]) {
        for (found, &byte) in found.iter_mut().zip(chunk) {
            *found |= if is(byte) { u8::MAX } else { 0 };
        }
    }
    found.into_iter().fold(0, |any, one| any | one) != 0
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let values = values
            .iter()
            .map(|value| HeaderValue::from_bytes(value).unwrap());
        values.map(|value| (AUTHORIZATION, value)).collect()
    }

    fn shown(value: &[u8]) -> Result<(String, String), Malformed> {
        let headers = headers(&[value]);
        let AuthorizationField::One(value) = AuthorizationField::of(&headers) else {
            panic!("one is shown");
        };
        match read(value, &mut None)? {
            PresentedCredentials::Basic(pair) => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                Ok((text(pair.user()), text(pair.password())))
            }
            PresentedCredentials::Bearer(token) => {
                Ok((String::new(), String::from_utf8(token.to_vec()).unwrap()))
            }
        }
    }

    #[test]
    fn what_the_rfcs_allow_is_read() {
        for (value, user, secret) in [
            (
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
                "Aladdin",
                "open sesame",
            ),
            (
                "bASIC   QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
                "Aladdin",
                "open sesame",
            ),
            ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", "Aladdin", "open sesame"),
            (
                "Basic QWxhZGRpbjpvcGVuOnNlc2FtZQ==",
                "Aladdin",
                "open:sesame",
            ),
            ("Basic dGVzdDoxMjPCow==", "test", "123£"),
            // RFC 7617 §2.1, in UTF-8, and RFC 6750 §2.1.
            ("Basic dGVzdDoxMjPCow", "test", "123£"),
            ("Bearer mF_9.B5f-4.1JqM", "", "mF_9.B5f-4.1JqM"),
            ("BEARER mF_9.B5f-4.1JqM  ", "", "mF_9.B5f-4.1JqM"),
            // As web-platform-tests have users and passwords: empty ones, colons, other scripts.
            ("Basic dXNlcjo=", "user", ""),
            ("Basic OnBhc3M=", "", "pass"),
            ("Basic dTo6OnA=", "u", "::p"),
            ("Basic 0YI60Yw=", "т", "ь"),
            ("Bearer abc-._~+/==", "", "abc-._~+/=="),
            ("bearer  abc", "", "abc"),
        ] {
            let expected = Ok((user.to_owned(), secret.to_owned()));
            assert_eq!(shown(value.as_bytes()), expected, "{value}");
        }
        let longest = format!("Bearer {}", "a".repeat(LONGEST - "Bearer ".len()));
        assert!(shown(longest.as_bytes()).is_ok());
    }

    #[test]
    fn each_octet_is_told_at_each_place_of_a_token() {
        for byte in 0..=u8::MAX {
            let allowed = byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
            for length in [1, 15, 16, 17, 40] {
                for at in 0..length {
                    let mut token = vec![b'a'; length];
                    token[at] = byte;
                    let padding = byte == b'=' && at == length - 1 && at > 0;
                    let found = is_b64token(&token);
                    assert_eq!(found, allowed || padding, "{byte} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn what_they_do_not_allow_is_malformed_and_never_absent() {
        let long = format!("Bearer {}", "a".repeat(LONGEST + 1 - "Bearer ".len()));
        for value in [
            "",
            "x",
            "Basic",
            "Basic ",
            "Bearer",
            "Bearer ",
            "Basic Og==",
            "Basic dTpw, Basic eDp5",
            "BasicQWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            "Basic !!!!",
            "Basic bm9jb2xvbg==",
            "Basic dQFwOng=",
            "Basic /zr/",
            "Digest abc",
            "Bearer a b",
            "Bearer ==",
            "Bearer a=b",
            // Only spaces stand between scheme and credentials (RFC 9110 §11.4).
            "Basic\tdTpw",
            "Basic,dTpw",
            " dTpw",
            "Bearer a, Basic dTpw",
            "Bearer token=\"a\"",
            // Of the URL alphabet, with white space, cut, and with bits that stand for nothing.
            "Basic dTpw_w==",
            "Basic dTpw-w==",
            "Basic dT pw",
            "Basic d",
            "Basic dTp=w",
            "Basic dTpx====",
            "Basic dXNlcjr=",
            // Not UTF-8: ISO 8859-1, an overlong form, half of a pair.
            "Basic dGVzdDoxMjOj",
            "Basic dTrAgA==",
            "Basic dTrtoIA=",
            // Control characters: zero, delete, and one beyond ASCII.
            "Basic dQA6cA==",
            "Basic dTp/",
            "Basic dTrChQ==",
            &long,
        ] {
            assert_eq!(shown(value.as_bytes()), Err(Malformed), "{value:?}");
        }
        let two: &[&[u8]] = &[b"Bearer abc", b"Bearer abc"];
        assert!(matches!(
            AuthorizationField::of(&headers(two)),
            AuthorizationField::Several
        ));
        assert!(matches!(
            AuthorizationField::of(&headers(&[])),
            AuthorizationField::Nothing
        ));
    }

    proptest! {
        #[test]
        fn any_pair_without_controls_is_read_back(user in "[^:\\pC]{1,40}", password in "[^\\pC]{0,80}") {
            let value = format!("Basic {}", BASE64.encode(format!("{user}:{password}")));
            prop_assert_eq!(shown(value.as_bytes()), Ok((user, password)));
        }

        #[test]
        fn what_is_no_base64_is_malformed(begin in "[A-Za-z0-9+/]{0,20}", wrong in "[^A-Za-z0-9+/= ]", end in "[A-Za-z0-9+/]{0,20}") {
            let value = format!("Basic {begin}{wrong}{end}");
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                prop_assert!(matches!(read(&value, &mut None), Err(Malformed)));
            }
        }

        #[test]
        fn a_token_is_what_the_grammar_says(token in "[a-z0-9._~+/=-]{0,70}|[\\x20-\\x7e]{0,20}|[\\x00-\u{ff}]{0,4}") {
            let grammar = regex::Regex::new("^[A-Za-z0-9._~+/-]+=*$").unwrap();
            prop_assert_eq!(is_b64token(token.as_bytes()), grammar.is_match(&token));
        }

        #[test]
        fn no_value_is_taken_for_nothing(value in "[\\x20-\\x7e]{0,60}") {
            let _ = shown(value.as_bytes());
        }
    }
}
