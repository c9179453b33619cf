//! Whether time tells who exists or how near a guess was, in the manner of dudect: Welch's t of two classes.
//!
//! Measured is what helps an attacker to guess: a known user or an unknown one, a wrong password or
//! an unknown user, a right token or a wrong one where the certificate is missing. Not measured is which
//! random token was unknown, expired or of another network: 128 random bits cannot be guessed at any speed.

use std::num::NonZeroU32;
use std::time::Instant;

use http::{HeaderValue, Request};
use portcullis::Watched;
use portcullis::auth::{
    Authentication, Credential, Credentials, Secret, ThrottleOptions, TokenAuthLayer,
};
use tower::{Layer, Service};

use super::figures::Figures;
use super::{Bare, TOKEN, basic, bearer, now, request};

/// How many secrets a class has: few would show their own luck in the table.
const DISTINCT: usize = 65_536;

/// How many credentials there are.
const CREDENTIALS: usize = 1_000;

type Classes = [Vec<HeaderValue>; 2];

pub(super) fn timing(figures: &mut Figures, samples: usize) {
    let mut letters = Letters(1);
    let length = TOKEN.len();
    let rows = [
        // What the machine alone says: more than the target here makes the others worthless.
        (
            "one unknown token or another",
            classes(DISTINCT, |_| {
                (bearer(&letters.next(length)), bearer(&letters.next(length)))
            }),
        ),
        (
            "a wrong token of a known user or of an unknown one",
            classes(DISTINCT, |number| {
                let number = number % CREDENTIALS;
                let (known, unknown) = (format!("user-{number:03}"), format!("nobo-{number:03}"));
                let known = basic(&known, &letters.next(length));
                (known, basic(&unknown, &letters.next(length)))
            }),
        ),
    ];
    // Failures are counted, and never too many.
    let throttle = ThrottleOptions::default().with_burst(NonZeroU32::MAX);
    let ours = Authentication::token(Watched::fixed(credentials())).with_throttle(Some(&throttle));
    let mut layer = TokenAuthLayer::new(ours.clone()).layer(Bare);
    for (name, classes) in &rows {
        let check = t_value(classes, samples, |request| {
            now(ours.identify(&request)).map_or(Ok(true), |_| Ok::<_, ()>(false))
        });
        let whole = t_value(classes, samples, |request| {
            now(layer.call(request)).map(|answer| answer.status() == 401)
        });
        for (what, found) in [("check", check), ("layer", whole)] {
            let row = figures.row(format!("|t| of the {what}, {name}"), "", found);
            row.at_most(4.5);
        }
    }
    certificate_first(figures, samples, &mut letters);
    passwords(figures, samples / 50);
}

/// Where a certificate is needed too and there is none, no attacker learns which token is right.
fn certificate_first(figures: &mut Figures, samples: usize, letters: &mut Letters) {
    let ours = Authentication::token_and_certificate(Watched::fixed(credentials()));
    let length = TOKEN.len();
    let classes = classes(CREDENTIALS, |number| {
        (bearer(&secret(number)), bearer(&letters.next(length)))
    });
    let found = t_value(&classes, samples, |request| {
        now(ours.identify(&request)).map_or(Ok(true), |_| Ok::<_, ()>(false))
    });
    figures
        .row(
            "|t| of the check, a right token or a wrong one, both without a certificate",
            "",
            found,
        )
        .at_most(4.5);
}

/// Whether a wrong password is distinguished from an unknown user, on bcrypt's cheapest cost: where the work is
/// least, differences show most.
fn passwords(figures: &mut Figures, samples: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let ours = super::with_password(4);
    let mut letters = Letters(2);
    let classes = classes(CREDENTIALS, |_| {
        let wrong = letters.next(11);
        (basic("alice", &wrong), basic("nobod", &wrong))
    });
    let found = t_value(&classes, samples, |request| {
        let identified = runtime.block_on(ours.identify(&request));
        identified.map_or(Ok(true), |_| Ok::<_, ()>(false))
    });
    figures
        .row(
            "|t| of the check, a wrong password or an unknown user",
            "",
            found,
        )
        .at_most(4.5);
}

/// A token, as long as a generated one.
fn secret(number: usize) -> String {
    format!("pcls_{:x<41}{number:08}", "user")
}

fn credentials() -> Credentials {
    let all = (0..CREDENTIALS).map(|number| {
        let digest = Secret::of_token(secret(number).as_bytes());
        Credential::new(format!("user-{number:03}")).with_secret(digest)
    });
    Credentials::new(all).unwrap()
}

/// Two classes, made in turn: neither has the better places in memory.
fn classes(count: usize, make: impl FnMut(usize) -> (HeaderValue, HeaderValue)) -> Classes {
    let (one, other) = (0..count).map(make).unzip();
    [one, other]
}

struct Letters(u64);

impl Letters {
    fn next(&mut self, length: usize) -> String {
        let letter = |_| {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            char::from(b'a' + u8::try_from((self.0 >> 33) % 26).unwrap())
        };
        (0..length).map(letter).collect()
    }
}

/// Welch's |t| of the times of two classes, taken in random order; the slowest tenth is left out, as
/// dudect does, since there the machine speaks and not the code.
fn t_value<E: std::fmt::Debug>(
    classes: &Classes,
    samples: usize,
    mut is_refused: impl FnMut(Request<http_body_util::Full<bytes::Bytes>>) -> Result<bool, E>,
) -> f64 {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut times: Vec<(bool, u32)> = Vec::with_capacity(samples);
    for _ in 0..samples {
        let draw = next();
        let class = draw & 1 == 1;
        let headers = &classes[usize::from(class)];
        let index = usize::try_from((draw >> 8) % headers.len() as u64).unwrap();
        // Made before the clock starts, so that both classes come from a fresh place.
        let header = HeaderValue::from_bytes(headers[index].as_bytes()).unwrap();
        let request = request(&header);
        let begin = Instant::now();
        let refused = is_refused(request);
        let time = begin.elapsed().as_nanos();
        assert!(refused.unwrap());
        times.push((class, u32::try_from(time).unwrap_or(u32::MAX)));
    }
    let mut sorted: Vec<u32> = times.iter().map(|(_, time)| *time).collect();
    sorted.sort_unstable();
    let cut = sorted[samples * 9 / 10];
    let moments = |wanted: bool| {
        let of_class = times
            .iter()
            .filter(|(class, time)| *class == wanted && *time <= cut);
        let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for (_, time) in of_class {
            count += 1.0;
            let delta = f64::from(*time) - mean;
            mean += delta / count;
            squares += delta * (f64::from(*time) - mean);
        }
        (mean, squares / (count - 1.0) / count)
    };
    let ((a, va), (b, vb)) = (moments(false), moments(true));
    ((a - b) / (va + vb).sqrt()).abs()
}
