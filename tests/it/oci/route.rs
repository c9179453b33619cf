//! Every path and query that registries and clients disagree about, and what the gate reads in it.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests and their tables"
)]

use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use portcullis::oci::{Action, Endpoint, ErrorCode, Route, RouteError, is_digest, is_name, is_tag};
use proptest::prelude::*;

const SHA256: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn parse(method: &str, target: &str) -> Result<Route, RouteError> {
    let target = target.replace("$D", SHA256);
    let uri: Uri = target.parse().unwrap_or_else(|_| panic!("{target}"));
    Route::parse(&Method::from_bytes(method.as_bytes()).unwrap(), &uri)
}

fn get(target: &str) -> Result<Route, RouteError> {
    parse("GET", target)
}

#[test]
fn every_endpoint_of_the_specification_is_read() {
    use Endpoint as E;
    let session = "a_B-9.=";
    for (method, target, endpoint, action, repository, reference) in [
        ("GET", "/v2/", E::Base, Action::Probe, None, None),
        ("GET", "/v2", E::Base, Action::Probe, None, None),
        ("HEAD", "/v2/", E::Base, Action::Probe, None, None),
        (
            "GET",
            "/v2/a/blobs/$D",
            E::Blob,
            Action::Pull,
            Some("a"),
            Some(SHA256),
        ),
        (
            "HEAD",
            "/v2/a/b/blobs/$D",
            E::Blob,
            Action::Pull,
            Some("a/b"),
            Some(SHA256),
        ),
        (
            "DELETE",
            "/v2/a/blobs/$D",
            E::Blob,
            Action::Delete,
            Some("a"),
            Some(SHA256),
        ),
        (
            "GET",
            "/v2/a/manifests/t",
            E::Manifest,
            Action::Pull,
            Some("a"),
            Some("t"),
        ),
        (
            "GET",
            "/v2/a/manifests/$D",
            E::Manifest,
            Action::Pull,
            Some("a"),
            Some(SHA256),
        ),
        (
            "PUT",
            "/v2/a/manifests/t",
            E::Manifest,
            Action::Push,
            Some("a"),
            Some("t"),
        ),
        (
            "DELETE",
            "/v2/a/manifests/t",
            E::Manifest,
            Action::Delete,
            Some("a"),
            Some("t"),
        ),
        (
            "POST",
            "/v2/a/blobs/uploads/",
            E::UploadStart,
            Action::Push,
            Some("a"),
            None,
        ),
        (
            "POST",
            "/v2/a/blobs/uploads",
            E::UploadStart,
            Action::Push,
            Some("a"),
            None,
        ),
        (
            "PATCH",
            "/v2/a/blobs/uploads/a_B-9.=",
            E::Upload,
            Action::Push,
            Some("a"),
            Some(session),
        ),
        (
            "PUT",
            "/v2/a/blobs/uploads/a_B-9.=",
            E::Upload,
            Action::Push,
            Some("a"),
            Some(session),
        ),
        (
            "GET",
            "/v2/a/blobs/uploads/a_B-9.=",
            E::Upload,
            Action::Push,
            Some("a"),
            Some(session),
        ),
        (
            "DELETE",
            "/v2/a/blobs/uploads/a_B-9.=",
            E::Upload,
            Action::Push,
            Some("a"),
            Some(session),
        ),
        (
            "GET",
            "/v2/a/tags/list",
            E::Tags,
            Action::List,
            Some("a"),
            None,
        ),
        (
            "GET",
            "/v2/a/referrers/$D",
            E::Referrers,
            Action::Pull,
            Some("a"),
            Some(SHA256),
        ),
        (
            "GET",
            "/v2/_catalog",
            E::Catalog,
            Action::Catalog,
            None,
            None,
        ),
        (
            "GET",
            "/v2/_catalog/",
            E::Catalog,
            Action::Catalog,
            None,
            None,
        ),
        (
            "GET",
            "/v2/_oci/ext/discover",
            E::Extension,
            Action::Extension,
            None,
            Some("_oci/ext/discover"),
        ),
        (
            "POST",
            "/v2/a/b/_x/c/m",
            E::Extension,
            Action::Extension,
            Some("a/b"),
            Some("_x/c/m"),
        ),
        ("GET", "/metrics", E::Outside, Action::Other, None, None),
        ("OPTIONS", "/", E::Outside, Action::Other, None, None),
        ("GET", "/v1/search", E::Outside, Action::Other, None, None),
        ("GET", "/v2x/a", E::Outside, Action::Other, None, None),
    ] {
        let route = parse(method, target).unwrap_or_else(|error| panic!("{target}: {error}"));
        assert_eq!(route.endpoint(), endpoint, "{target}");
        assert_eq!(route.action(), action, "{target}");
        assert_eq!(route.repository(), repository, "{target}");
        assert_eq!(route.reference(), reference, "{target}");
        assert_eq!(route.to_string(), target.replace("$D", SHA256));
    }
}

#[test]
fn names_that_hold_the_words_of_endpoints_are_read_from_the_right() {
    for (target, endpoint, repository, reference) in [
        (
            "/v2/a/manifests/b/manifests/c",
            Endpoint::Manifest,
            "a/manifests/b",
            Some("c"),
        ),
        (
            "/v2/a/blobs/uploads/b/manifests/latest",
            Endpoint::Manifest,
            "a/blobs/uploads/b",
            Some("latest"),
        ),
        (
            "/v2/a/tags/list/manifests/latest",
            Endpoint::Manifest,
            "a/tags/list",
            Some("latest"),
        ),
        (
            "/v2/a/manifests/tags/list",
            Endpoint::Tags,
            "a/manifests",
            None,
        ),
        (
            "/v2/a/blobs/uploads/tags/list",
            Endpoint::Tags,
            "a/blobs/uploads",
            None,
        ),
        (
            "/v2/manifests/manifests/manifests",
            Endpoint::Manifest,
            "manifests",
            Some("manifests"),
        ),
        ("/v2/blobs/blobs/$D", Endpoint::Blob, "blobs", Some(SHA256)),
        (
            "/v2/foo__bar------baz/manifests/x",
            Endpoint::Manifest,
            "foo__bar------baz",
            Some("x"),
        ),
    ] {
        let route = get(target).unwrap_or_else(|error| panic!("{target}: {error}"));
        assert_eq!(route.endpoint(), endpoint, "{target}");
        assert_eq!(route.repository(), Some(repository), "{target}");
        assert_eq!(route.reference(), reference, "{target}");
    }
}

#[test]
fn what_two_servers_could_read_in_two_ways_is_no_route() {
    let long = format!("/v2/{}/manifests/x", "a".repeat(256));
    let longer = format!("/v2/{}/manifests/x", "a/".repeat(1024));
    for (target, error) in [
        ("/v2/UPPER/v2/secret/manifests/latest", RouteError::Name),
        ("/v2/a/blobs/sha256:ABC", RouteError::Digest),
        ("/v2/a/blobs/latest", RouteError::Digest),
        ("/v2/a/manifests/sha256:abc", RouteError::Digest),
        ("/v2/a/manifests/sha256%3Aabc", RouteError::NotCanonical),
        ("/v2/a%2Fb/manifests/x", RouteError::NotCanonical),
        ("/v2/a%2fb/manifests/x", RouteError::NotCanonical),
        ("/v2/a/%2e%2e/b/manifests/x", RouteError::NotCanonical),
        ("/v2/a/../b/manifests/x", RouteError::NotCanonical),
        ("/v2/a/./b/manifests/x", RouteError::NotCanonical),
        ("/v2/a/manifests/..", RouteError::NotCanonical),
        ("/v2/..", RouteError::NotCanonical),
        ("/v2//a/manifests/x", RouteError::NotCanonical),
        ("//v2/a/manifests/x", RouteError::NotCanonical),
        ("/v2/a\\b/manifests/x", RouteError::NotCanonical),
        ("/v2/a;b/manifests/x", RouteError::NotCanonical),
        ("/v2/a/manifests/x;y", RouteError::NotCanonical),
        ("/v2/a/manifests/x/", RouteError::UnknownEndpoint),
        ("/v2/a/tags/list/", RouteError::UnknownEndpoint),
        ("/v2/a/_catalog", RouteError::UnknownEndpoint),
        ("/v2/_catalog/x", RouteError::UnknownEndpoint),
        ("/v2/_catalog//", RouteError::NotCanonical),
        ("/v2/a", RouteError::UnknownEndpoint),
        ("/v2/tags/list", RouteError::UnknownEndpoint),
        ("/v2/manifests/x", RouteError::UnknownEndpoint),
        ("/v2/auth", RouteError::UnknownEndpoint),
        ("/v2/foo___bar/manifests/x", RouteError::Name),
        ("/v2/a/blobs/uploads/../x", RouteError::NotCanonical),
        ("/v2/a/manifests/-x", RouteError::NoSuchTag),
        ("/v2/a/manifests/", RouteError::NoSuchTag),
        ("/v2/a/blobs/uploads/x,y", RouteError::Session),
        ("/V2/a/manifests/x", RouteError::NotCanonical),
        ("/V2", RouteError::NotCanonical),
        ("/%762/a/manifests/x", RouteError::NotCanonical),
        ("/x/../v2/a/manifests/x", RouteError::NotCanonical),
        (&long, RouteError::Name),
        (&longer, RouteError::TooLong),
    ] {
        assert_eq!(get(target), Err(error), "{target}");
    }
}

#[test]
fn an_endpoint_takes_its_own_methods_only() {
    use Endpoint as E;
    for (method, target, endpoint) in [
        ("POST", "/v2/", E::Base),
        ("PUT", "/v2/a/blobs/$D", E::Blob),
        ("POST", "/v2/a/manifests/x", E::Manifest),
        ("PATCH", "/v2/a/manifests/x", E::Manifest),
        ("GET", "/v2/a/blobs/uploads/", E::UploadStart),
        ("DELETE", "/v2/a/tags/list", E::Tags),
        ("DELETE", "/v2/_catalog", E::Catalog),
        ("PUT", "/v2/a/referrers/$D", E::Referrers),
        ("OPTIONS", "/v2/a/manifests/x", E::Manifest),
        ("TRACE", "/v2/", E::Base),
        ("get", "/v2/", E::Base),
        ("PROPFIND", "/v2/a/manifests/x", E::Manifest),
    ] {
        assert_eq!(
            parse(method, target),
            Err(RouteError::Method(endpoint)),
            "{method} {target}"
        );
    }
}

/// The methods in an order of which the standard has none.
fn allow_in_order(allow: &str) -> String {
    let mut allowed: Vec<_> = allow.split(", ").collect();
    let order = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    allowed.sort_by_key(|method| order.iter().position(|known| known == method));
    allowed.join(", ")
}

#[test]
fn allow_names_exactly_the_methods_that_an_endpoint_takes() {
    let methods = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
    ];
    for target in [
        "/v2/",
        "/v2/a/blobs/$D",
        "/v2/a/manifests/x",
        "/v2/a/manifests/$D",
        "/v2/a/blobs/uploads/",
        "/v2/a/blobs/uploads/s",
        "/v2/a/tags/list",
        "/v2/a/referrers/$D",
        "/v2/_catalog",
    ] {
        let error = parse("BREW", target).unwrap_err();
        let allow = error.allow().unwrap();
        let taken = methods.into_iter().filter(|method| {
            let taken = parse(method, target);
            if let Err(other) = &taken {
                assert_eq!(*other, error, "{method} {target}");
            }
            taken.is_ok()
        });
        assert_eq!(taken.collect::<Vec<_>>().join(", "), allow_in_order(allow));
    }
    for target in ["/v2/_x/y/z", "/elsewhere"] {
        assert!(parse("BREW", target).is_ok(), "{target}");
    }
}

#[test]
fn an_error_has_the_code_of_what_is_wrong() {
    for (method, target, status, code) in [
        // What cannot be there is not found, and what cannot be made is invalid.
        ("GET", "/v2/a/manifests/.x", 404, "MANIFEST_UNKNOWN"),
        ("HEAD", "/v2/a/manifests/.x", 404, "MANIFEST_UNKNOWN"),
        ("DELETE", "/v2/a/manifests/.x", 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/a/manifests/", 404, "MANIFEST_UNKNOWN"),
        ("PUT", "/v2/a/manifests/.x", 400, "MANIFEST_INVALID"),
        ("PUT", "/v2/a/manifests/$D?tag=.x", 400, "MANIFEST_INVALID"),
        ("GET", "/v2/a/manifests/sha256:0f", 400, "DIGEST_INVALID"),
        ("GET", "/v2/a/blobs/x", 400, "DIGEST_INVALID"),
        ("GET", "/v2/a/referrers/x", 400, "DIGEST_INVALID"),
        (
            "PUT",
            "/v2/a/blobs/uploads/s?digest=x",
            400,
            "DIGEST_INVALID",
        ),
        (
            "POST",
            "/v2/a/blobs/uploads/?mount=x",
            400,
            "DIGEST_INVALID",
        ),
        ("POST", "/v2/a/blobs/uploads/?from=A", 400, "NAME_INVALID"),
        (
            "PATCH",
            "/v2/a/blobs/uploads/x,y",
            404,
            "BLOB_UPLOAD_UNKNOWN",
        ),
        ("GET", "/v2/A/manifests/x", 400, "NAME_INVALID"),
        ("GET", "/v2/a%2Fb/manifests/x", 400, "NAME_INVALID"),
        (
            "GET",
            "/v2/a/tags/list?n=",
            400,
            "PAGINATION_NUMBER_INVALID",
        ),
        ("GET", "/v2/a/tags/list?n", 400, "PAGINATION_NUMBER_INVALID"),
        ("GET", "/v2/_catalog?n=-1", 400, "PAGINATION_NUMBER_INVALID"),
        ("GET", "/v2/a/tags/list?n=1&n=2", 400, "UNSUPPORTED"),
        ("GET", "/v2/a/tags/list?ns=%zz", 400, "UNSUPPORTED"),
        ("GET", "/v2/a/manifests/x?tag=y", 400, "UNSUPPORTED"),
        ("GET", "/v2/a", 404, "UNSUPPORTED"),
        ("POST", "/v2/a/tags/list", 405, "UNSUPPORTED"),
    ] {
        let error = parse(method, target).unwrap_err();
        let told = (error.status().as_u16(), error.code().as_str());
        assert_eq!(told, (status, code), "{method} {target}");
        assert_eq!(error.allow().is_some(), status == 405);
        assert!(!error.message().is_empty() && !error.message().contains(['"', '\\']));
    }
}

#[test]
fn targets_that_are_no_paths_are_no_routes_and_a_host_changes_nothing() {
    assert_eq!(parse("OPTIONS", "*"), Err(RouteError::NotCanonical));
    assert_eq!(
        parse("CONNECT", "registry:443"),
        Err(RouteError::NotCanonical)
    );
    let route = get("http://elsewhere:5000/v2/a/manifests/x?ns=docker.io").unwrap();
    assert_eq!(route.repository(), Some("a"));
    // An HTTP/2 `:path` with a fragment, which `http` cuts off: the service sees what we saw.
    let uri: Uri = "/v2/a/manifests/x#/../../b".parse().unwrap();
    assert_eq!(uri.to_string(), "/v2/a/manifests/x");
    assert_eq!(
        Route::parse(&Method::GET, &uri).unwrap().reference(),
        Some("x")
    );
}

#[test]
fn a_query_without_a_path_is_no_route() {
    for target in ["http://elsewhere?/v2/", "http://elsewhere?ns=a"] {
        assert_eq!(get(target), Err(RouteError::NotCanonical), "{target}");
    }
    let root = get("http://elsewhere").unwrap();
    assert_eq!(root.to_string(), "/");
}

#[test]
fn query_parameters_are_decoded_and_none_comes_twice() {
    let route = get("/v2/a/manifests/x?ns=reg%3A5000").unwrap();
    assert_eq!(route.registry(), Some("reg:5000"));
    assert_eq!(
        get("/v2/a/manifests/x?ns=reg:5000").unwrap().registry(),
        Some("reg:5000")
    );

    let target = "/v2/a/blobs/uploads/?mount=$D&from=b%2Fc";
    let route = parse("POST", target).unwrap();
    assert_eq!(
        (route.mount(), route.mount_from()),
        (Some(SHA256), Some("b/c"))
    );
    let encoded = format!(
        "/v2/a/blobs/uploads/?from=b&mount={}",
        SHA256.replace(':', "%3a")
    );
    let route = parse("POST", &encoded).unwrap();
    assert_eq!(
        (route.mount(), route.mount_from()),
        (Some(SHA256), Some("b"))
    );
    assert_eq!(route.to_string(), encoded);

    let route = parse("PUT", "/v2/a/manifests/$D?tag=a&tag=latest&x=1&tag=%62").unwrap();
    assert_eq!(route.query_tags().collect::<Vec<_>>(), ["a", "latest", "b"]);
    assert_eq!(route.tag(), None);
    let route = parse("PUT", "/v2/a/manifests/t?tag=u").unwrap();
    assert_eq!(route.tags().collect::<Vec<_>>(), ["t", "u"]);

    let route = parse("PUT", "/v2/a/blobs/uploads/s?_state=a%2Bb%3D+&digest=$D").unwrap();
    assert_eq!(route.upload_digest(), Some(SHA256));
    let route = get("/v2/_catalog?n=100&last=a%2Fb&&").unwrap();
    assert_eq!((route.registry(), route.mount_from()), (None, None));
}

#[test]
fn a_digest_of_a_registered_algorithm_has_its_one_length() {
    for (algorithm, length) in [("sha256", 64), ("blake3", 64), ("sha512", 128)] {
        for (digits, is_one) in [(length - 1, false), (length, true), (length + 1, false)] {
            let target = format!("/v2/a/blobs/{algorithm}:{}", "a".repeat(digits));
            assert_eq!(get(&target).is_ok(), is_one, "{target}");
        }
    }
}

#[test]
fn a_target_that_is_too_long_is_no_route() {
    let target = |query| format!("/v2/a/manifests/x?x={}", "a".repeat(query));
    let most = 16 * 1024 - target(0).len();
    for query in [9_000, most] {
        assert!(get(&target(query)).is_ok(), "{query}");
    }
    for query in [most + 1, 20_000, 60_000] {
        assert_eq!(get(&target(query)), Err(RouteError::TooLong), "{query}");
    }
}

#[test]
fn a_query_that_two_servers_could_read_in_two_ways_is_no_route() {
    for query in [
        "ns=a&ns=b",
        "ns=a&ns=a",
        "ns=",
        "ns",
        "ns=Docker.io",
        "ns=a..b",
        "ns=a-.b",
        "ns=a.-b",
        "ns=.a",
        "ns=a-:80",
        "ns=a.:80",
        "ns=a/b",
        "ns=%zz",
        "ns=%",
        "ns=%e9",
        "ns=a%00",
        "ns=a;b",
        "%6es=a",
        "n=5&n=6",
        "last=a&last=b",
        "x=%zz",
        "a;b=c",
        "n+=5",
    ] {
        let target = format!("/v2/a/tags/list?{query}");
        assert_eq!(get(&target), Err(RouteError::Query), "{query}");
    }
    for query in ["n=", "n", "n=-1", "n=+5", "n=x", "n=%20"] {
        let target = format!("/v2/a/tags/list?{query}");
        assert_eq!(get(&target), Err(RouteError::Number), "{query}");
    }
    for (query, error) in [
        ("from=x&from=y", RouteError::Query),
        ("mount=$D&mount=$D", RouteError::Query),
        ("digest=$D&digest=$D", RouteError::Query),
        (
            "digest-algorithm=sha512&digest-algorithm=sha512",
            RouteError::Query,
        ),
        ("from=", RouteError::Name),
        ("from", RouteError::Name),
        ("from=A", RouteError::Name),
        ("from=a%2F..%2Fb", RouteError::Name),
        ("from=a+b", RouteError::Name),
        ("mount=x", RouteError::Digest),
        ("mount=", RouteError::Digest),
        ("digest=sha256:0f", RouteError::Digest),
        ("tag=", RouteError::Tag),
        ("tag=a&tag=-b", RouteError::Tag),
    ] {
        let target = format!("/v2/a/blobs/uploads/?{query}");
        assert_eq!(parse("POST", &target), Err(error), "{query}");
    }
}

#[test]
fn a_parameter_of_another_endpoint_is_refused() {
    for (method, target) in [
        ("DELETE", "/v2/a/manifests/$D?tag=t"),
        ("DELETE", "/v2/a/manifests/t?tag=u"),
        ("DELETE", "/v2/a/blobs/$D?tag=t"),
        ("GET", "/v2/a/manifests/$D?tag=t"),
        ("GET", "/v2/a/blobs/$D?mount=$D"),
        ("PUT", "/v2/a/manifests/$D?mount=$D&from=b"),
        ("PUT", "/v2/a/blobs/uploads/s?digest=$D&mount=$D"),
        ("PATCH", "/v2/a/blobs/uploads/s?from=b"),
        ("POST", "/v2/a/blobs/uploads/?tag=t"),
        // One of the two is had, and the other could be taken for it.
        ("POST", "/v2/a/blobs/uploads/?mount=$D&from=b&digest=$D"),
        ("POST", "/v2/a/blobs/uploads/?digest=$D&mount=$D"),
        ("GET", "/v2/_catalog?from=b"),
        ("GET", "/v2/?tag=t"),
    ] {
        assert_eq!(parse(method, target), Err(RouteError::Query), "{target}");
    }
    // What its own parameters mean, only an extension knows, and those of other paths only the service.
    assert!(get("/v2/_x/y/z?tag=t&from=b").is_ok());
    assert!(get("/elsewhere?tag=t&from=b&ns=.&ns=%zz").is_ok());
}

#[test]
fn a_form_body_cannot_carry_the_parameters_of_a_mount_or_a_push() {
    let parse = |method: Method, target: &str, content_type: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(content_type));
        Route::parse_with_headers(&method, &target.parse().unwrap(), &headers)
    };
    for form in [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-URLEncoded; charset=utf-8",
        " multipart/form-data; boundary=x",
    ] {
        let mount = parse(Method::POST, "/v2/a/blobs/uploads/", form);
        assert_eq!(mount, Err(RouteError::Form), "{form}");
        let push = parse(Method::PUT, "/v2/a/manifests/x", form);
        assert_eq!(push, Err(RouteError::Form), "{form}");
        for method in [Method::PATCH, Method::PUT] {
            let upload = parse(method, "/v2/a/blobs/uploads/s", form);
            assert_eq!(upload, Err(RouteError::Form), "{form}");
        }
        assert!(parse(Method::GET, "/v2/a/manifests/x", form).is_ok());
    }
    let octets = "application/octet-stream";
    assert!(parse(Method::POST, "/v2/a/blobs/uploads/", octets).is_ok());
    assert!(parse(Method::PUT, "/v2/a/blobs/uploads/s", octets).is_ok());
}

#[test]
fn a_requests_route_is_parsed_once_and_tells_a_peers_mirrored_request() {
    let mut request = Request::get("/v2/a/manifests/x?ns=docker.io")
        .header("host", "registry.example")
        .header("X-Spegel-Mirrored", "true")
        .body(())
        .unwrap();
    let route = Route::of(&mut request).unwrap();
    assert!(route.is_mirrored());
    assert!(!get("/v2/a/manifests/x").unwrap().is_mirrored());
    *request.uri_mut() = Uri::from_static("/v2/b/manifests/x");
    assert_eq!(Route::of(&mut request).unwrap(), route);
    assert_eq!(request.extensions().get::<Route>(), Some(&route));
}

#[test]
fn what_is_not_there_has_the_code_of_its_kind() {
    for (method, target, code) in [
        ("GET", "/v2/a/manifests/x", ErrorCode::ManifestUnknown),
        ("GET", "/v2/a/manifests/$D", ErrorCode::ManifestUnknown),
        ("GET", "/v2/a/blobs/$D", ErrorCode::BlobUnknown),
        (
            "PATCH",
            "/v2/a/blobs/uploads/s",
            ErrorCode::BlobUploadUnknown,
        ),
        ("POST", "/v2/a/blobs/uploads/", ErrorCode::NameUnknown),
        ("GET", "/v2/a/tags/list", ErrorCode::NameUnknown),
        ("GET", "/v2/a/referrers/$D", ErrorCode::NameUnknown),
    ] {
        assert_eq!(parse(method, target).unwrap().unknown_code(), code);
    }
}

prop_compose! {
    fn name()(
        components in prop::collection::vec("[a-z0-9]{1,3}((\\.|_|__|-{1,3})[a-z0-9]{1,2}){0,2}|manifests|blobs|tags|list|uploads|referrers|v2", 1..5)
    ) -> String {
        components.join("/")
    }
}

fn digest() -> impl Strategy<Value = String> {
    prop_oneof![
        "sha256:[0-9a-f]{64}",
        "sha512:[0-9a-f]{128}",
        "[a-z0-9]{1,5}(\\+[a-z0-9]{1,3})?x:[a-zA-Z0-9=_-]{1,20}"
    ]
}

fn target() -> impl Strategy<Value = String> {
    let path = prop_oneof![
        Just("/v2".to_owned()),
        Just("/v2/".to_owned()),
        Just("/v2/_catalog".to_owned()),
        (name(), digest()).prop_map(|(name, digest)| format!("/v2/{name}/blobs/{digest}")),
        (name(), digest()).prop_map(|(name, digest)| format!("/v2/{name}/manifests/{digest}")),
        (name(), "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}")
            .prop_map(|(name, tag)| format!("/v2/{name}/manifests/{tag}")),
        name().prop_map(|name| format!("/v2/{name}/tags/list")),
        (name(), digest()).prop_map(|(name, digest)| format!("/v2/{name}/referrers/{digest}")),
        (name(), "_[a-z]{1,4}/[a-z]{1,4}/[a-z]{1,4}")
            .prop_map(|(name, ext)| format!("/v2/{name}/{ext}")),
    ];
    (
        path,
        prop::option::of("ns=[a-z]{1,8}(\\.io)?((:|%3A)5000)?(&x=[a-z%3A]{0,3})?"),
    )
        .prop_map(|(path, query)| match query {
            Some(query) => format!("{path}?{query}"),
            None => path,
        })
}

fn round_trip(method: &Method, uri: &Uri) -> Result<(), TestCaseError> {
    let Ok(route) = Route::parse(method, uri) else {
        return Ok(());
    };
    prop_assert_eq!(route.to_string(), uri.path_and_query().unwrap().as_str());
    for name in [route.repository(), route.mount_from()]
        .into_iter()
        .flatten()
    {
        prop_assert!(is_name(name), "{}", name);
    }
    for digest in [route.digest(), route.mount(), route.upload_digest()]
        .into_iter()
        .flatten()
    {
        prop_assert!(is_digest(digest), "{}", digest);
    }
    for tag in route.tags() {
        prop_assert!(is_tag(tag), "{}", tag);
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_route_formatted_again_has_the_same_bytes(target in target()) {
        let uri: Uri = target.parse().unwrap();
        let parsed = Route::parse(&Method::GET, &uri);
        let encoded_badly = target.split_once("x=").is_some_and(|(_, value)| value.contains('%'));
        prop_assert!(parsed.is_ok() || encoded_badly, "{}: {:?}", target, parsed);
        round_trip(&Method::GET, &uri)?;
    }

    #[test]
    fn no_bytes_make_a_route_that_formats_to_others(
        text in "/(v2/|V2/)?[a-c/._%2fFeE\\-A:;?=&#s]{0,40}(/(manifests|blobs|blobs/uploads|tags)/)?[a-z/.%:?]{0,20}",
        method in prop::sample::select(vec!["GET", "PUT", "POST", "DELETE", "PATCH"]),
    ) {
        if let Ok(uri) = text.parse::<Uri>() {
            round_trip(&Method::from_bytes(method.as_bytes()).unwrap(), &uri)?;
        }
    }
}
