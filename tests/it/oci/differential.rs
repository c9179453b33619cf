//! No path that the gate accepts can be read as another repository by the servers behind it: what
//! axum, actix and Go make of the same bytes is what [`Route`] made of them, or nothing at all.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::LazyLock;

use actix_router::{Path, ResourceDef, Url};
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Path as Captured, Request};
use axum::routing::any;
use futures_util::FutureExt;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Uri};
use portcullis::oci::{Action, Endpoint, Route};
use proptest::prelude::*;
use regex::Regex;
use tower::ServiceExt;

/// What a server found in a path: the name and the reference.
type Reading = Option<(String, String)>;

/// Paths from pieces that servers read differently.
fn path() -> impl Strategy<Value = String> {
    let clean = prop::sample::select(vec![
        "a",
        "b",
        "secret",
        "manifests",
        "blobs",
        "uploads",
        "tags",
        "list",
        "referrers",
        "v2",
        "latest",
        "x.y",
        "a__b",
    ]);
    let odd = prop::sample::select(vec![
        "A",
        "_catalog",
        ".",
        "..",
        "",
        "%2F",
        "%2f",
        "%2e",
        "%2E%2E",
        "%41",
        "%61",
        "%",
        "%zz",
        "a%2Fb",
        "a;b",
        "a\\b",
        "a:b",
        "a+b",
        "a___b",
        "%00",
        "%5c",
        "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "sha256%3A0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ]);
    let piece = prop_oneof![4 => clean, 1 => odd];
    let root = prop::sample::select(vec![
        "/v2/", "/v2/", "/v2/", "/v2", "/V2/", "//v2/", "/%762/",
    ]);
    let tail = prop::sample::select(vec![
        "",
        "",
        "/manifests/latest",
        "/tags/list",
        "/blobs/uploads/",
        "/blobs/uploads/s",
        "/manifests/sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ]);
    (root, prop::collection::vec(piece, 1..6), tail)
        .prop_map(|(root, pieces, tail)| format!("{root}{}{tail}", pieces.join("/")))
}

fn query() -> impl Strategy<Value = String> {
    let pair = prop::sample::select(vec![
        "ns=docker.io",
        "ns=reg%3A5000",
        "ns=a",
        "ns",
        "ns=",
        "n%73=b",
        "from=a",
        "from=b%2Fc",
        "from=A",
        "from=a;x=1",
        "from=%zz",
        "tag=t",
        "tag=%74",
        "tag=a%20b",
        "x=1",
        "",
        "NS=c",
        "mount=sha256%3A0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ]);
    prop::collection::vec(pair, 0..5).prop_map(|pairs| pairs.join("&"))
}

/// `net/url`: a path is decoded; what cannot be is a bad request.
fn go_path(raw: &str) -> Option<String> {
    String::from_utf8(go_unescape(raw, false)?).ok()
}

fn go_unescape(raw: &str, is_query: bool) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                if digits.starts_with('+') {
                    return None;
                }
                u8::from_str_radix(digits, 16).ok()?
            }
            b'+' if is_query => b' ',
            byte => byte,
        });
    }
    Some(out)
}

/// `path.Clean` as `ServeMux` and gorilla's router use it, which keep a slash at the end.
fn go_clean(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let slash = if path.ends_with('/') && !segments.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{slash}", segments.join("/"))
}

/// `url.ParseQuery` and `Get`: pairs that cannot be decoded are left out, the first value counts.
fn go_query(raw: &str, key: &str) -> Option<String> {
    raw.split('&')
        .filter(|pair| !pair.contains(';'))
        .find_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = String::from_utf8(go_unescape(name, true)?).ok()?;
            let value = String::from_utf8(go_unescape(value, true)?).ok()?;
            (name == key).then_some(value)
        })
}

/// `Request.FormValue`: of a POST, PUT or PATCH with a form in its body, the body's value comes first.
fn go_form_value(method: &Method, form: Option<&str>, query: &str, key: &str) -> Option<String> {
    let has_body = [Method::POST, Method::PUT, Method::PATCH].contains(method);
    let in_body = form
        .filter(|_| has_body)
        .and_then(|form| go_query(form, key));
    in_body.or_else(|| go_query(query, key))
}

/// distribution's routes, in its order, with `reference.NameRegexp` and the rest as they are there.
static DISTRIBUTION: LazyLock<Vec<(Endpoint, Regex)>> = LazyLock::new(|| {
    let part = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
    let label = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
    let domain = format!("(?:{label}(?:\\.{label})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?");
    let name = format!("(?P<name>(?:{domain}/)?{part}(?:/{part})*)");
    let digest = "[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*[:][[:xdigit:]]{32,}";
    let tag = "[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}";
    [
        (
            Endpoint::Manifest,
            format!("/v2/{name}/manifests/(?P<tail>{tag}|{digest})"),
        ),
        (Endpoint::Tags, format!("/v2/{name}/tags/list")),
        (
            Endpoint::Blob,
            format!("/v2/{name}/blobs/(?P<tail>{digest})"),
        ),
        (Endpoint::UploadStart, format!("/v2/{name}/blobs/uploads/")),
        (
            Endpoint::Upload,
            format!("/v2/{name}/blobs/uploads/(?P<tail>[a-zA-Z0-9-_.=]+)"),
        ),
    ]
    .into_iter()
    .map(|(endpoint, pattern)| (endpoint, Regex::new(&format!("^{pattern}$")).unwrap()))
    .collect()
});

fn by_distribution(path: &str) -> Option<(Endpoint, String, String)> {
    DISTRIBUTION.iter().find_map(|(endpoint, pattern)| {
        let found = pattern.captures(path)?;
        let part = |part| found.name(part).map_or("", |part| part.as_str()).to_owned();
        Some((*endpoint, part("name"), part("tail")))
    })
}

/// actix is still on the `http` before this one.
fn actix_url(uri: &Uri) -> Url {
    Url::new(uri.to_string().parse::<http02::Uri>().unwrap())
}

fn by_actix(uri: &Uri) -> Reading {
    let mut path = Path::new(actix_url(uri));
    let pattern = ResourceDef::new("/v2/{name:.+}/manifests/{tail}");
    pattern.capture_match_info(&mut path).then(|| {
        let part = |part| path.get(part).unwrap_or_default().to_owned();
        (part("name"), part("tail"))
    })
}

/// All after `/v2/`, decoded as handlers in axum get it.
fn by_axum(uri: &Uri) -> Option<String> {
    static ROUTER: LazyLock<Router> = LazyLock::new(|| {
        let rest = |Captured(rest): Captured<String>| async move { rest };
        Router::new().route("/v2/{*rest}", any(rest))
    });
    let request = Request::builder()
        .uri(uri.clone())
        .body(axum::body::Body::empty())
        .unwrap();
    let response = ROUTER
        .clone()
        .oneshot(request)
        .now_or_never()
        .unwrap()
        .unwrap();
    let ok = response.status().is_success();
    let body = to_bytes(response.into_body(), 4096)
        .now_or_never()
        .unwrap()
        .unwrap();
    ok.then(|| String::from_utf8(body.to_vec()).unwrap())
}

/// Whether any method makes a route of `target`, each with no body and with a form that says something
/// else.
fn compare(target: &str) -> Result<bool, TestCaseError> {
    let Ok(uri) = target.parse::<Uri>() else {
        return Ok(false);
    };
    let mut some = false;
    for method in [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ] {
        for form in [None, Some(FORM)] {
            let mut headers = HeaderMap::new();
            if form.is_some() {
                let form = HeaderValue::from_static("application/x-www-form-urlencoded");
                headers.insert(CONTENT_TYPE, form);
            }
            let Ok(route) = Route::parse_with_headers(&method, &uri, &headers) else {
                continue;
            };
            some = true;
            compare_route(&route, &method, form, &uri)?;
        }
    }
    Ok(some)
}

const FORM: &str = "ns=elsewhere&from=elsewhere&tag=elsewhere\
    &mount=sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
    &digest=sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

fn compare_route(
    route: &Route,
    method: &Method,
    form: Option<&str>,
    uri: &Uri,
) -> Result<(), TestCaseError> {
    let target = uri.to_string();
    if route.endpoint() == Endpoint::Outside {
        let read = go_clean(&go_path(uri.path()).unwrap());
        prop_assert!(!read.starts_with("/v2/") && read != "/v2", "{}", target);
        return Ok(());
    }
    let name = route.repository().unwrap_or_default();
    let tail = route.reference().unwrap_or_default();

    // Go: nothing to decode and nothing to clean, so its readings begin with the same path.
    let decoded = go_path(uri.path());
    prop_assert_eq!(decoded.as_deref(), Some(uri.path()));
    prop_assert_eq!(go_clean(uri.path()), uri.path());
    if let Some((endpoint, its_name, its_tail)) = by_distribution(uri.path()) {
        prop_assert_eq!(
            (endpoint, &*its_name, &*its_tail),
            (route.endpoint(), name, tail)
        );
    }
    for (key, ours) in [
        ("ns", route.registry()),
        ("from", route.mount_from()),
        ("mount", route.mount()),
        ("digest", route.upload_digest()),
        ("tag", route.query_tags().next()),
    ] {
        let query = uri.query().unwrap_or_default();
        // What an extension reads, and from where, nothing is said of.
        let form = form.filter(|_| route.endpoint() != Endpoint::Extension);
        let theirs = go_form_value(method, form, query, key);
        prop_assert_eq!(theirs.as_deref(), ours, "{} in {} {}", key, method, target);
    }
    // What distribution deletes is what its path names.
    if route.action() == Action::Delete {
        prop_assert_eq!(route.tags().next(), route.tag(), "{}", target);
    }

    // actix decodes all but slashes and a few more; axum decodes what it captured.
    let url = actix_url(uri);
    prop_assert_eq!(url.path(), uri.path());
    if route.endpoint() == Endpoint::Manifest {
        prop_assert_eq!(by_actix(uri), Some((name.to_owned(), tail.to_owned())));
    }
    let rest = uri
        .path()
        .strip_prefix("/v2/")
        .filter(|rest| !rest.is_empty());
    if let Some(rest) = rest {
        let captured = by_axum(uri);
        prop_assert_eq!(captured.as_deref(), Some(rest));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_accepted_path_is_another_repository_to_axum_actix_or_go(path in path(), query in query()) {
        let target = if query.is_empty() { path } else { format!("{path}?{query}") };
        compare(&target)?;
    }
}

#[test]
fn the_models_read_what_the_gate_reads_in_ordinary_requests() {
    let digest = format!("sha256:{}", "0f".repeat(32));
    for target in [
        "/v2/library/busybox/manifests/latest?ns=docker.io".to_owned(),
        "/v2/a/manifests/b/manifests/c".to_owned(),
        "/v2/a/blobs/uploads/tags/list".to_owned(),
        "/v2/a/tags/list/manifests/latest".to_owned(),
        format!("/v2/a/b/blobs/{digest}"),
        "/v2/a/blobs/uploads/?from=b%2Fc&x=%74".to_owned(),
        format!("/v2/a/blobs/uploads/s?digest={digest}"),
        format!("/v2/a/manifests/{digest}?tag=%74"),
        "/healthz".to_owned(),
    ] {
        assert!(compare(&target).unwrap(), "{target} is no route");
    }
    // The models are no tautologies: they do read what the gate refuses.
    assert_eq!(
        go_path("/v2/a%2Fb/manifests/x").unwrap(),
        "/v2/a/b/manifests/x"
    );
    assert_eq!(go_clean("/v2/a/../b/manifests/x"), "/v2/b/manifests/x");
    let encoded: Uri = "/v2/%61/manifests/x".parse().unwrap();
    assert_eq!(by_actix(&encoded).unwrap().0, "a");
    assert_eq!(by_axum(&encoded).unwrap(), "a/manifests/x");
    assert_eq!(go_query("from=a;x=1&from=b", "from").unwrap(), "b");
    let form_value = |method| go_form_value(&method, Some("digest=b"), "digest=a", "digest");
    assert_eq!(form_value(Method::PATCH).as_deref(), Some("b"));
    assert_eq!(form_value(Method::DELETE).as_deref(), Some("a"));
}
