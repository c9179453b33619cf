//! The layers in a plain `ServiceBuilder`, around a service of one's own. There is no server here:
//! the program makes a few requests to itself and prints what came of them; the access log goes to
//! standard error as JSON.
//!
//! ```text
//! cargo run --example layers --features json-log
//! ```
#![allow(clippy::print_stdout, reason = "a program")]

use std::convert::Infallible;
use std::error::Error;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use portcullis::access_log::{AccessLogLayer, JsonLines};
use portcullis::auth::{Authentication, CredentialSource, Credentials, TokenAuthLayer};
use portcullis::policy::{Actions, Pattern, Policy, PolicyLayer, Rule, Who};
use portcullis::rate::{ByteRateLayer, Key, Limit, Limits};
use portcullis::reload::WatchOptions;
use portcullis::source::{Networks, SourceLayer};
use portcullis::{Connection, Preset, Principal, Responder};
use tower::{Service, ServiceBuilder, ServiceExt};

/// SHA-256 of the token `correct-horse-battery-staple`, made by
/// `printf %s correct-horse-battery-staple | sha256sum`.
const TOKEN_DIGEST: &str = "87cbebfeebc05f7c54ac9336c4b4bbec831227a641951a4bde7edd56020f8590";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // What the layers log beside it: files that change, limits that are reached.
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let access_log = AccessLogLayer::new().with_sink(JsonLines::new(std::io::stderr())?);

    let tokens = Credentials::watch(
        [CredentialSource::sha256("ci", [TOKEN_DIGEST])?],
        WatchOptions::default(),
    )?;
    let networks = Networks::allow(["10.0.0.0/8".parse()?]).and_deny(["10.9.0.0/16".parse()?]);
    let policy = Policy::new([
        Rule::allow("everybody reads the library", Who::Anyone, Actions::PULL)
            .on_repositories([Pattern::repository("library/**")?]),
        Rule::allow(
            "ci writes its own",
            Who::Authenticated,
            Actions::PULL | Actions::PUSH,
        )
        .on_repositories([Pattern::repository("{principal.id}/**")?]),
    ])?;
    let limits = Limits::new([Limit::rate("caller", Key::Principal, 50_000_000)])?;

    // From the outermost in: what is refused never reaches a layer further down.
    let responder = Responder::new(Preset::Registry);
    let authentication = Authentication::token(tokens).or_anonymous();
    let gate = ServiceBuilder::new()
        .layer(access_log)
        .layer(SourceLayer::new(networks).with_responder(responder.clone()))
        .layer(TokenAuthLayer::new(authentication).with_responder(responder.clone()))
        .layer(PolicyLayer::new(policy).with_responder(responder.clone()))
        .layer(ByteRateLayer::new(limits).with_responder(responder))
        .service_fn(registry);

    let token = "Bearer correct-horse-battery-staple";
    for (what, client, method, path, authorization) in [
        (
            "anybody pulls from the library",
            "10.0.0.7",
            "GET",
            "/v2/library/alpine/manifests/3.22",
            None,
        ),
        (
            "anybody pulls from elsewhere",
            "10.0.0.7",
            "GET",
            "/v2/ci/app/manifests/1",
            None,
        ),
        (
            "ci pulls its own",
            "10.0.0.7",
            "GET",
            "/v2/ci/app/manifests/1",
            Some(token),
        ),
        (
            "ci pushes its own",
            "10.0.0.7",
            "PUT",
            "/v2/ci/app/manifests/1",
            Some(token),
        ),
        (
            "ci pushes another's",
            "10.0.0.7",
            "PUT",
            "/v2/web/app/manifests/1",
            Some(token),
        ),
        (
            "a wrong token",
            "10.0.0.7",
            "GET",
            "/v2/ci/app/manifests/1",
            Some("Bearer guess"),
        ),
        (
            "a denied network",
            "10.9.0.7",
            "GET",
            "/v2/library/alpine/manifests/3.22",
            Some(token),
        ),
        (
            "a path with two readings",
            "10.0.0.7",
            "GET",
            "/v2/library/%2e%2e/ci/app/manifests/1",
            None,
        ),
    ] {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "registry.example");
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let mut request = request.body(Full::new(Bytes::from_static(b"{}")))?;
        // An acceptor does this for each connection; see the example `hyper`.
        let connection = Connection::builder(format!("{client}:4711").parse()?).build();
        request.extensions_mut().insert(connection);
        println!("{what}: {}", ask(gate.clone(), request).await?);
    }
    Ok(())
}

/// The service behind the gate: each request that comes here is allowed.
async fn registry<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let principal = Principal::of(request.extensions()).map(ToString::to_string);
    let answer = format!("hello, {}", principal.unwrap_or_default());
    Ok(Response::new(Full::new(answer.into())))
}

async fn ask<S, B>(service: S, request: Request<Full<Bytes>>) -> Result<String, Box<dyn Error>>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes, Error: Error + 'static>,
{
    let (head, body) = service.oneshot(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(format!(
        "{} {}",
        head.status,
        String::from_utf8_lossy(&body)
    ))
}
