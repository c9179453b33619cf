//! What a program brings itself: its way to find out who asks, and the bodies of its errors.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use portcullis::auth::{Authentication, Credential, Credentials, Secret};
use portcullis::guard::Builder;
use portcullis::identity::Method;
use portcullis::policy::{Actions, Pattern, Policy, Rule, Who};
use portcullis::{ClientAddr, Guard, Preset, Principal, Refusal, Responder};
use tower::{Layer, ServiceExt, service_fn};

use crate::captured::Captured;

const TOKEN: &str = "cK7wQ2xRt9LmZ4vB8nPyD3sHf6Jg";

/// Who asks, as the service sees it, and whether it sees credentials.
async fn whoami<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let principal = Principal::of(request.extensions()).map(ToString::to_string);
    let shown = request.headers().contains_key("authorization");
    let text = format!("{} {shown}", principal.unwrap_or_default());
    Ok(Response::new(Full::new(text.into())))
}

/// Knows sessions by a header.
fn by_session() -> Builder {
    Guard::builder().authenticate_with(|head: &Request<()>| {
        let session = head.headers().get("x-session").cloned();
        async move {
            // As one asks another service.
            tokio::task::yield_now().await;
            match session.as_ref().map(HeaderValue::as_bytes) {
                None => Ok(None),
                Some(b"42") => Ok(Some(
                    Principal::new(Method::Custom, "alice").in_groups(["staff"]),
                )),
                Some(_) => Err(Refusal::CredentialsUnknown),
            }
        }
    })
}

fn by_token() -> Authentication {
    let ci = Credential::new("ci").with_secret(Secret::of_token(TOKEN.as_bytes()));
    Authentication::token(Credentials::new([ci]).unwrap().into())
}

fn request(headers: &[(&'static str, &str)]) -> Request<Full<Bytes>> {
    let client = ClientAddr::new("10.0.0.1:4711".parse().unwrap());
    let request = Request::get("/v2/team/app/manifests/1").header("host", "registry.example");
    let mut request = request.extension(client).body(Full::default()).unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    request
}

async fn ask(guard: &Guard, request: Request<Full<Bytes>>) -> (u16, String) {
    let answer = guard
        .layer(service_fn(whoami))
        .oneshot(request)
        .await
        .unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn the_program_says_first_who_asks_and_leaves_the_rest_to_the_configuration() {
    let log = Captured::start();
    let bearer = format!("Bearer {TOKEN}");
    let session = ("x-session", "42");
    let token = ("authorization", &*bearer);
    let alone = by_session().build();
    let besides = by_session().authentication(by_token()).build();
    for (guard, headers, status, body) in [
        (&alone, &[session][..], 200, "custom:alice false"),
        (&alone, &[], 200, "anonymous false"),
        (&alone, &[("x-session", "7")], 401, ""),
        (&besides, &[session, token], 200, "custom:alice false"),
        (&besides, &[token], 200, "token:ci false"),
        (&besides, &[], 401, ""),
        (&besides, &[("x-session", "7"), token], 401, ""),
    ] {
        let (got, said) = ask(guard, request(headers)).await;
        assert_eq!(got, status, "{headers:?}");
        assert!(status != 200 || said == body, "{headers:?}: {said}");
    }
    let first = log.events().remove(0);
    assert_eq!(first["principal"], "custom:alice", "{first:?}");
    let enforced = alone.report().enforced.join("\n");
    assert!(
        enforced.contains("the program itself is asked first who calls"),
        "{enforced}"
    );
    let warnings = format!("{:?}", alone.report().warnings);
    assert!(!warnings.contains("NoAuthentication"), "{warnings}");
}

#[tokio::test]
async fn a_policy_names_who_the_program_knows() {
    for (who, status) in [
        ("custom:alice", 200),
        ("group:staff", 200),
        ("token:alice", 403),
    ] {
        let pattern = Pattern::repository("team/**").unwrap();
        let rule = Rule::allow("team", who.parse::<Who>().unwrap(), Actions::PULL);
        let policy = Policy::new([rule.on_repositories([pattern])]).unwrap();
        let guard = by_session().policy(policy).build();
        let (got, _) = ask(&guard, request(&[("x-session", "42")])).await;
        assert_eq!(got, status, "{who}");
    }
}

#[tokio::test]
async fn a_caller_whom_a_layer_outside_knows_is_not_made_anonymous() {
    let guard = Guard::builder().build();
    let mut known = request(&[]);
    known
        .extensions_mut()
        .insert(Principal::new(Method::Custom, "bob"));
    assert_eq!(
        ask(&guard, known).await,
        (200, "custom:bob false".to_owned())
    );
    // Where something must be shown, it must be shown here.
    let guard = Guard::builder().authentication(by_token()).build();
    let mut known = request(&[]);
    known
        .extensions_mut()
        .insert(Principal::new(Method::Custom, "bob"));
    assert_eq!(ask(&guard, known).await.0, 401);
}

#[tokio::test]
async fn an_error_has_the_body_that_the_program_makes() {
    let responder = Responder::new(Preset::Registry).with_error_body(|error| {
        let html = error
            .headers
            .get("accept")
            .is_some_and(|accept| *accept == "text/html");
        html.then(|| {
            let text = format!(
                "<p>{} {} {}",
                error.status.as_u16(),
                error.message,
                error.uri.path()
            );
            (HeaderValue::from_static("text/html"), text.into())
        })
    });
    let guard = Guard::builder()
        .authentication(by_token())
        .responder(responder)
        .build();
    let service = guard.layer(service_fn(whoami));
    for (accept, content_type) in [("text/html", "text/html"), ("*/*", "application/json")] {
        let answer = service
            .clone()
            .oneshot(request(&[("accept", accept)]))
            .await
            .unwrap();
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.headers()["content-type"], content_type);
        assert!(answer.headers().contains_key("www-authenticate"));
        let length = answer.headers()["content-length"]
            .to_str()
            .unwrap()
            .to_owned();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(length, body.len().to_string());
        assert_eq!(
            body.starts_with(b"<p>401"),
            content_type == "text/html",
            "{body:?}"
        );
        // Its headers are those of a GET, and it has no body.
        let mut head = request(&[("accept", accept)]);
        *head.method_mut() = http::Method::HEAD;
        let answer = service.clone().oneshot(head).await.unwrap();
        assert_eq!(answer.headers()["content-length"], *length);
        assert!(
            answer
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .is_empty()
        );
    }
}

#[tokio::test]
async fn a_call_of_grpc_is_refused_by_a_status_of_its_own() {
    let denied = Guard::builder().policy(Policy::new([]).unwrap());
    let unknown = Guard::builder().authentication(by_token());
    for (guard, kind, expected) in [
        (unknown.build(), "application/grpc", Some("16")),
        (denied.build(), "application/grpc+proto", Some("7")),
        (
            by_session().policy(Policy::new([]).unwrap()).build(),
            "application/grpc;x=y",
            Some("7"),
        ),
        (
            Guard::builder().authentication(by_token()).build(),
            "application/grpc-web",
            None,
        ),
        (
            Guard::builder().authentication(by_token()).build(),
            "application/json",
            None,
        ),
    ] {
        let mut call = request(&[("content-type", kind), ("x-session", "42")]);
        *call.method_mut() = http::Method::POST;
        *call.uri_mut() = "/registry.Images/List".parse().unwrap();
        *call.version_mut() = Version::HTTP_2;
        let answer = guard.layer(service_fn(whoami)).oneshot(call).await.unwrap();
        let grpc = answer
            .headers()
            .get("grpc-status")
            .map(|value| value.to_str().unwrap());
        assert_eq!(grpc, expected, "{kind}");
        assert_eq!(answer.status() == 200, expected.is_some(), "{kind}");
        assert!(answer.extensions().get::<Refusal>().is_some());
        let content = answer.headers()["content-type"].to_str().unwrap();
        assert_eq!(
            content == "application/grpc",
            expected.is_some(),
            "{content}"
        );
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.is_empty(), expected.is_some(), "{kind}");
    }
}
