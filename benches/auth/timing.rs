//! Whether time tells why somebody is refused, in the manner of dudect: Welch's t of two classes.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use portcullis::auth::{
    Authentication, Credential, Credentials, Secret, SecretDigest, TokenAuth, TokenAuthLayer,
};
use portcullis::{ClientAddr, Watched};
use tower::{Layer, Service};
use tower_http::validate_request::ValidateRequestHeaderLayer;

use super::figures::Figures;
use super::{Bare, TOKEN, answer, basic, bearer};

/// How many secrets a class has: few would show their own luck in the table.
const DISTINCT: usize = 65_536;

/// How many credentials there are of each kind.
const CREDENTIALS: usize = 1_000;

pub(super) fn timing(figures: &mut Figures, samples: usize) {
    let mut letters = Letters(1);
    let length = TOKEN.len();
    let begin = &TOKEN[..length - 4];
    let (near, far) = classes(DISTINCT, || {
        // All but the last four characters are right.
        let near = bearer(&format!("{begin}{}", letters.next(4)));
        (near, bearer(&letters.next(length)))
    });
    let mut theirs = ValidateRequestHeaderLayer::bearer(TOKEN).layer(Bare);
    let their_near = t_value(&mut theirs, [&near, &far], samples);
    let mut ours = gate();
    let (one, other) = classes(DISTINCT, || {
        (bearer(&letters.next(length)), bearer(&letters.next(length)))
    });
    // What the machine alone says: more than the target here makes the others worthless.
    figures
        .row(
            "|t|, one far miss or another",
            "",
            t_value(&mut ours, [&one, &other], samples),
        )
        .at_most(4.5);
    figures
        .row(
            "|t|, near miss or far miss",
            "",
            t_value(&mut ours, [&near, &far], samples),
        )
        .peer("tower-http", their_near)
        .at_most(4.5);
    let mut number = 0;
    let (known, unknown) = classes(DISTINCT, || {
        number = (number + 1) % CREDENTIALS;
        let (known, unknown) = (format!("user-{number:03}"), format!("nobo-{number:03}"));
        let known = basic(&known, &letters.next(length));
        (known, basic(&unknown, &letters.next(length)))
    });
    let found = t_value(&mut ours, [&known, &unknown], samples);
    figures
        .row("|t|, wrong token or unknown user", "", found)
        .at_most(4.5);
    for kind in ["expired", "elsewhere"] {
        let mut number = 0;
        let (refused, unknown) = classes(CREDENTIALS, || {
            number += 1;
            (
                bearer(&secret(kind, number - 1)),
                bearer(&letters.next(length)),
            )
        });
        let found = t_value(&mut ours, [&refused, &unknown], samples);
        let why = if kind == "expired" {
            "an expired token"
        } else {
            "a token from a wrong network"
        };
        figures
            .row(format!("|t|, {why} or an unknown one"), "", found)
            .at_most(4.5);
    }
}

/// A token, as long as a generated one.
fn secret(kind: &str, number: usize) -> String {
    format!("pcls_{kind:x<41}{number:08}")
}

/// Credentials that are good, over, and good from elsewhere only.
fn gate() -> TokenAuth<Bare> {
    let credentials = ["user", "expired", "elsewhere"]
        .into_iter()
        .flat_map(|kind| {
            (0..CREDENTIALS).map(move |number| {
                let secret = Secret::new(SecretDigest::of_token(secret(kind, number).as_bytes()));
                let credential = Credential::new(format!("{kind}-{number:03}"));
                match kind {
                    "expired" => {
                        let end = SystemTime::UNIX_EPOCH + Duration::from_hours(24);
                        credential.with_secret(secret.expires(end))
                    }
                    "elsewhere" => {
                        let networks = ["192.0.2.0/24".parse().unwrap()];
                        credential.with_secret(secret).within(networks)
                    }
                    _ => credential.with_secret(secret),
                }
            })
        });
    let ci = Credential::new("ci").with_secret(SecretDigest::of_token(TOKEN.as_bytes()));
    let credentials = Credentials::new(credentials.chain([ci])).unwrap();
    let authentication = Authentication::token(Watched::fixed(credentials)).with_throttle(None);
    TokenAuthLayer::new(authentication).layer(Bare)
}

/// Two classes, made in turn: neither has the better places in memory.
fn classes(
    count: usize,
    mut make: impl FnMut() -> (HeaderValue, HeaderValue),
) -> (Vec<HeaderValue>, Vec<HeaderValue>) {
    (0..count).map(|_| make()).unzip()
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
fn t_value<S, B>(service: &mut S, classes: [&[HeaderValue]; 2], samples: usize) -> f64
where
    S: Service<Request<()>, Response = Response<B>>,
{
    let client: SocketAddr = "198.51.100.7:4711".parse().unwrap();
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
        let headers = classes[usize::from(class)];
        let index = usize::try_from((draw >> 8) % headers.len() as u64).unwrap();
        // Made before the clock starts, so that both classes come from a fresh place.
        let header = HeaderValue::from_bytes(headers[index].as_bytes()).unwrap();
        let mut request = Request::new(());
        request.headers_mut().insert(AUTHORIZATION, header);
        request.extensions_mut().insert(ClientAddr::new(client));
        let begin = Instant::now();
        let status = answer(service, request);
        let time = begin.elapsed().as_nanos();
        assert_eq!(black_box(status), 401);
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
