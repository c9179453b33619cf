use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use zeroize::{Zeroize, Zeroizing};

/// The longest header value that is looked at, in bytes.
const LONGEST: usize = 8 * 1024;

/// Encoders differ on padding; the decoded bytes do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What an `Authorization` header shows.
pub(super) enum Presented<'a> {
    Basic(Pair<'a>),
    Bearer(&'a [u8]),
}

/// User and password as they came, `user:password`.
pub(super) struct Pair<'a> {
    text: &'a [u8],
    colon: usize,
}

/// Where text is decoded, in one place that is wiped on drop: nearly all are short, and then nothing is
/// allocated.
pub(super) struct Room {
    short: [u8; SHORT],
    used: usize,
    long: Zeroizing<Vec<u8>>,
}

/// The longest text that is decoded in place, in bytes.
const SHORT: usize = 384;

/// Not what RFC 7617 or RFC 6750 allow. Never taken for "nothing was shown".
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Pair<'_> {
    pub(super) fn user(&self) -> &[u8] {
        &self.text[..self.colon]
    }

    pub(super) fn password(&self) -> &[u8] {
        &self.text[self.colon + 1..]
    }
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            short: [0; SHORT],
            used: 0,
            long: Zeroizing::new(Vec::new()),
        }
    }

    fn decode(&mut self, encoded: &[u8]) -> Result<&[u8], Malformed> {
        let room = if encoded.len() <= SHORT / 3 * 4 {
            // What is decoded before an error is wiped too.
            self.used = (encoded.len() / 4 + 1) * 3;
            self.short.as_mut_slice()
        } else {
            self.long.resize(encoded.len(), 0);
            self.long.as_mut_slice()
        };
        let length = BASE64.decode_slice(encoded, room).map_err(|_| Malformed)?;
        Ok(&room[..length])
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.short[..self.used.min(SHORT)].zeroize();
    }
}

/// Reads the one `Authorization` header (RFC 9110 §11.6.2); `None` if there is none.
pub(super) fn read<'a>(
    headers: &'a HeaderMap,
    room: &'a mut Room,
) -> Result<Option<Presented<'a>>, Malformed> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let value = value.as_bytes();
    if values.next().is_some() || value.len() > LONGEST {
        return Err(Malformed);
    }
    let space = value
        .iter()
        .position(|&byte| byte == b' ')
        .ok_or(Malformed)?;
    let (scheme, rest) = value.split_at(space);
    let rest = rest.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"basic") {
        basic(rest, room).map(|pair| Some(Presented::Basic(pair)))
    } else if scheme.eq_ignore_ascii_case(b"bearer") {
        bearer(rest).map(|token| Some(Presented::Bearer(token)))
    } else {
        Err(Malformed)
    }
}

/// RFC 7617 §2: `user-id ":" password`, neither with control characters, the user without colons.
fn basic<'a>(encoded: &[u8], room: &'a mut Room) -> Result<Pair<'a>, Malformed> {
    let decoded = room.decode(encoded)?;
    let text = str::from_utf8(decoded).map_err(|_| Malformed)?;
    // `Og==` is ":", what clients without credentials send.
    if has_controls(text) || text == ":" {
        return Err(Malformed);
    }
    let colon = text.find(':').ok_or(Malformed)?;
    Ok(Pair {
        text: decoded,
        colon,
    })
}

fn has_controls(text: &str) -> bool {
    // A loop without an early end is compiled to vector instructions.
    let (mut controls, mut ascii) = (false, true);
    for byte in text.bytes() {
        controls |= byte < b' ' || byte == 0x7f;
        ascii &= byte.is_ascii();
    }
    controls || !ascii && text.contains(char::is_control)
}

/// RFC 6750 §2.1: `b64token`.
fn bearer(token: &[u8]) -> Result<&[u8], Malformed> {
    if is_b64token(token) {
        Ok(token)
    } else {
        Err(Malformed)
    }
}

pub(super) fn is_b64token(token: &[u8]) -> bool {
    let padding = token.iter().rev().take_while(|&&byte| byte == b'=').count();
    let body = &token[..token.len() - padding];
    let plain = |&byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !body.is_empty() && body.iter().all(plain)
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
        match read(&headers(&[value]), &mut Room::new())? {
            Some(Presented::Basic(pair)) => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                Ok((text(pair.user()), text(pair.password())))
            }
            Some(Presented::Bearer(token)) => {
                Ok((String::new(), String::from_utf8(token.to_vec()).unwrap()))
            }
            None => panic!("never absent"),
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
    }

    #[test]
    fn what_they_do_not_allow_is_malformed_and_never_absent() {
        let long = format!("Bearer {}", "a".repeat(LONGEST));
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
        assert!(read(&headers(two), &mut Room::new()).is_err());
        let none = headers(&[]);
        assert!(read(&none, &mut Room::new()).is_ok_and(|shown| shown.is_none()));
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
                let headers: HeaderMap = [(AUTHORIZATION, value)].into_iter().collect();
                prop_assert!(matches!(read(&headers, &mut Room::new()), Err(Malformed)));
            }
        }

        #[test]
        fn no_value_is_taken_for_nothing(value in "[\\x20-\\x7e]{0,60}") {
            let _ = shown(value.as_bytes());
        }
    }
}
