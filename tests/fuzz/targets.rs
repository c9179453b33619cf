//! What must hold whatever the input is. Each function takes the bytes that a fuzzer makes up, panics
//! where something does not hold, and gives a number that tells kinds of outcomes apart.
//!
//! Under `tests/fuzz/libfuzzer` libFuzzer drives them, guided by coverage; `tests/fuzz.rs` drives them for
//! a bounded time on a stable toolchain.

use std::collections::hash_map::DefaultHasher;
use std::convert::Infallible;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{Empty, Full};
use portcullis::auth::{Authentication, Credential, Credentials, Secret, TokenAuthLayer};
use portcullis::identity;
use portcullis::oci::{Action, Endpoint, Route, is_digest, is_name, is_tag};
use portcullis::policy::{Caller, Pattern, Policy};
use portcullis::{Principal, Watched};
use tower::{Layer, Service};

#[path = "certificates.rs"]
mod certificates;
#[path = "crls.rs"]
mod crls;
#[path = "inputs.rs"]
mod inputs;
#[path = "manifests.rs"]
mod manifests;

pub use certificates::{certificate, xfcc};
pub use crls::crl;
pub use inputs::ALL;
pub use manifests::manifest;

fn number(outcome: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    outcome.hash(&mut hasher);
    hasher.finish()
}

/// A digit that chooses the method, and a target.
pub fn route(input: &[u8]) -> u64 {
    let Some((first, target)) = input.split_first() else {
        return 0;
    };
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PATCH,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::CONNECT,
    ];
    let method = &methods[usize::from(*first) % methods.len()];
    let Ok(uri) = Uri::try_from(target) else {
        return 1;
    };
    let route = match Route::parse(method, &uri) {
        Ok(route) => route,
        Err(error) => return number(error),
    };
    let target = uri.path_and_query().unwrap().as_str();
    assert_eq!(route.to_string(), target, "what was read is what was sent");
    let path = uri.path();
    let decoded = percent_decoded(path.as_bytes());
    assert_eq!(
        decoded,
        path.as_bytes(),
        "nobody can decode {path:?} to another"
    );
    assert!(
        !path.contains("//") && !path.contains('\\') && !path.contains(';'),
        "{path:?}"
    );
    assert!(
        !path.split('/').any(|part| part == "." || part == ".."),
        "{path:?}"
    );
    let under = path == "/v2" || path.starts_with("/v2/");
    assert_eq!(under, route.endpoint() != Endpoint::Outside, "{path:?}");
    if let Some(repository) = route.repository() {
        assert!(is_name(repository), "{repository:?}");
        assert!(
            path.starts_with(&format!("/v2/{repository}/")),
            "{path:?} {repository:?}"
        );
    }
    let digests = [route.digest(), route.mount(), route.upload_digest()];
    assert!(digests.into_iter().flatten().all(is_digest), "{target:?}");
    assert!(route.tags().all(is_tag), "{target:?}");
    assert!(route.mount_from().is_none_or(is_name), "{target:?}");
    assert!(
        route.tag().is_none() || route.digest().is_none(),
        "{target:?}"
    );
    let sets_tags = route.endpoint() == Endpoint::Manifest && route.action() == Action::Push;
    let extends = route.endpoint() == Endpoint::Extension;
    let tags_in_query = route.query_tags().next().is_some();
    assert!(!tags_in_query || sets_tags || extends, "{target:?}");
    let two_digests = route.mount().is_some() && route.upload_digest().is_some();
    assert!(!two_digests || extends, "{target:?}");
    let parts = (
        route.registry().is_some(),
        route.mount().is_some(),
        route.mount_from().is_some(),
        route.query_tags().count().min(3),
    );
    number((
        format!("{:?} {:?}", route.endpoint(), route.action()),
        parts,
    ))
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if let (b'%', Some(high), Some(low)) = (text[at], digit(at + 1), digit(at + 2)) {
            decoded.push(u8::try_from(high << 4 | low).unwrap());
            at += 3;
        } else {
            decoded.push(text[at]);
            at += 1;
        }
    }
    decoded
}

const USER: &str = "ci";
const PASSWORD: &str = "correct horse";

/// The values of `Authorization` headers, one a line.
pub fn authorization(input: &[u8]) -> u64 {
    static GATE: LazyLock<TokenAuthLayer> = LazyLock::new(|| {
        let secret = Secret::of_token(PASSWORD.as_bytes());
        let credential = Credential::new(USER).with_secret(secret);
        let credentials = Credentials::new([credential]).unwrap();
        let shown = Authentication::token(Watched::fixed(credentials)).with_throttle(None);
        TokenAuthLayer::new(shown.or_anonymous())
    });
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n').take(3) {
        let Ok(value) = HeaderValue::from_bytes(line) else {
            return 0;
        };
        headers.append(AUTHORIZATION, value);
    }
    let mut request = Request::get("/v2/").body(Empty::<Bytes>::new()).unwrap();
    *request.headers_mut() = headers.clone();
    let mut service = GATE.layer(tower::service_fn(
        |request: Request<Empty<Bytes>>| async move {
            let principal = Principal::of(request.extensions()).unwrap();
            assert_eq!(principal.id(), USER, "a header is never taken for none");
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        },
    ));
    let Poll::Ready(answer) = at_once(service.call(request)) else {
        panic!("a token is looked up at once");
    };
    let status = answer.unwrap().status().as_u16();
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let shows = match (values.next(), values.next()) {
        (Some(only), None) => shows_the_password(only.as_bytes()),
        _ => false,
    };
    assert_eq!(status == 200, shows, "{headers:?}");
    number((status, shows))
}

/// RFC 7617 §2 and RFC 6750 §2.1, by other means than the gate's.
fn shows_the_password(value: &[u8]) -> bool {
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let base64 = GeneralPurpose::new(&STANDARD, lenient);
    let Ok(text) = str::from_utf8(value) else {
        return false;
    };
    let Some((scheme, rest)) = text.split_once(' ') else {
        return false;
    };
    if value.len() > 8 * 1024 || !scheme.eq_ignore_ascii_case("basic") {
        // The password has a blank, so it is no `b64token`.
        return false;
    }
    let encoded = rest.trim_matches([' ', '\t']);
    base64
        .decode(encoded)
        .is_ok_and(|shown| shown == format!("{USER}:{PASSWORD}").as_bytes())
}

fn at_once<F: Future>(future: F) -> Poll<F::Output> {
    struct Nobody;

    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    let waker = Waker::from(Arc::new(Nobody));
    pin!(future).poll(&mut Context::from_waker(&waker))
}

/// A pattern, and on the next line a text.
pub fn pattern(input: &[u8]) -> u64 {
    let Ok(input) = str::from_utf8(input) else {
        return 0;
    };
    let (pattern, text) = input.split_once('\n').unwrap_or((input, ""));
    // The definition below takes exponential time.
    if pattern.len() > 40 || text.len() > 40 || pattern.matches('*').count() > 8 {
        return 1;
    }
    let caller = Principal::new(identity::Method::Token, "alice").in_groups(["red", "a/b"]);
    let kinds = [
        Pattern::repository,
        Pattern::tag,
        Pattern::registry,
        Pattern::path,
        Pattern::dns,
    ];
    let mut outcome = Vec::new();
    for (number, read) in kinds.iter().enumerate() {
        let Ok(read) = read(pattern) else {
            outcome.push(2);
            continue;
        };
        assert_eq!(read.as_str(), pattern);
        let matched = read.matches(text, Some(&caller));
        outcome.push(u8::from(matched));
        if matched && !pattern.contains('{') {
            assert!(read.matches(text, None), "{pattern:?} {text:?}");
        }
        if number == 0 && is_name(text) {
            // Of the caller's groups only one is a component of a name.
            let concrete = pattern.replace("{principal.id}", "alice");
            let concrete = concrete.replace("{principal.group}", "red");
            let defined = matches(&concrete, text);
            assert_eq!(matched, defined, "{pattern:?} {text:?}");
        }
    }
    self::number(outcome)
}

/// What a pattern of repositories is defined to match, without an eye on time.
fn matches(pattern: &str, text: &str) -> bool {
    fn star(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|n| star(rest, &text[n..])),
            Some((byte, rest)) => text.first() == Some(byte) && star(rest, &text[1..]),
        }
    }
    fn segments(pattern: &[&str], text: &[&str]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((&"**", [])) => !text.is_empty(),
            Some((&"**", rest)) => (0..=text.len()).any(|n| segments(rest, &text[n..])),
            Some((first, rest)) => text.split_first().is_some_and(|(head, tail)| {
                star(first.as_bytes(), head.as_bytes()) && segments(rest, tail)
            }),
        }
    }
    let pattern: Vec<&str> = pattern.split('/').collect();
    segments(&pattern, &text.split('/').collect::<Vec<_>>())
}

/// A policy file.
pub fn policy(input: &[u8]) -> u64 {
    let Ok(text) = str::from_utf8(input) else {
        return 0;
    };
    let policy = match Policy::from_toml(text) {
        Ok(policy) => policy,
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty());
            // Without the place and what was quoted.
            return number(
                said.split(':')
                    .nth(3)
                    .map(|kind| kind.chars().take(20).collect::<String>()),
            );
        }
    };
    let alice = Principal::new(identity::Method::Token, "alice").in_groups(["red"]);
    let address = "10.1.2.3".parse().ok();
    let callers = [Caller::new(None, None), Caller::new(Some(&alice), address)];
    let mut outcome = Vec::new();
    for (method, target) in [
        (
            Method::GET,
            "/v2/library/busybox/manifests/latest?ns=docker.io",
        ),
        (Method::PUT, "/v2/home/alice/x/manifests/latest"),
        (Method::DELETE, "/v2/a/manifests/latest"),
        (Method::GET, "/v2/_catalog"),
        (Method::GET, "/healthz"),
        (Method::GET, "/v2/"),
    ] {
        let route = Route::parse(&method, &Uri::from_static(target)).unwrap();
        for caller in callers {
            let verdict = policy.decide(&caller, &route, None);
            let explained = policy.explain(caller, &route, None);
            assert_eq!(verdict, explained.verdict(), "{text}");
            assert!(!explained.to_string().is_empty());
            let decided = |denies| {
                let rules = policy.rules().iter().zip(explained.mismatches());
                rules.filter(move |(rule, (_, mismatch))| {
                    rule.denies() == denies && mismatch.is_none()
                })
            };
            if decided(true).next().is_some() {
                assert!(!verdict.is_allowed(), "a deny wins: {text}");
            }
            if route.endpoint() != Endpoint::Base && decided(false).next().is_none() {
                assert!(
                    !verdict.is_allowed(),
                    "what nothing allows is denied: {text}"
                );
            }
            outcome.push(verdict.is_allowed());
        }
    }
    number(outcome)
}
