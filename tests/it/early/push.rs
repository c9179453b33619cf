//! Pushes as registries' conformance tests make them: a client that pushes before it was challenged.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tower::{Layer, service_fn};

use super::support::{Client, TOKEN, guard, measure, serve};

/// A registry that reads all that it is sent before it says who may send it.
async fn own(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let bearer = format!("Bearer {TOKEN}");
    let known = request
        .headers()
        .get(AUTHORIZATION)
        .is_some_and(|value| *value == *bearer);
    let length = request
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes()
        .len();
    let mut response = Response::new(Full::new(length.to_string().into()));
    if !known {
        *response.status_mut() = http::StatusCode::UNAUTHORIZED;
    }
    Ok(response)
}

/// What 200 pushes of 60 kB to 6 MB get over connections that are kept as long as the server lets.
async fn pushes(address: std::net::SocketAddr) -> Vec<(u16, String)> {
    let sizes = [60_000, 150_000, 262_144, 600_000, 1_500_000, 6_000_000];
    let mut client = Client::new(address).await;
    let mut got = Vec::new();
    for size in sizes.into_iter().cycle().take(200) {
        let body = vec![7; size];
        // First as it comes, then with the token for which it was asked.
        for token in [None, Some(TOKEN)] {
            let answer = client.push(token, &body).await;
            let answer = answer.unwrap_or_else(|| panic!("{size} bytes were lost"));
            if answer.closes {
                client = Client::new(address).await;
            }
            let body = String::from_utf8(answer.body).unwrap();
            got.push((
                answer.status,
                if token.is_some() { body } else { String::new() },
            ));
        }
    }
    got
}

/// The same behind `serve::Server`.
#[cfg(feature = "serve")]
async fn served() -> std::net::SocketAddr {
    use portcullis::Body;
    use portcullis::serve::{Incoming, Server};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = service_fn(async |request: Request<Body<Incoming>>| {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::new(
            body.len().to_string().into(),
        )))
    });
    tokio::spawn(Server::new(guard()).serve(listener, service));
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_pushes_before_a_challenge_get_what_they_get_without_a_guard() {
    let guarded = pushes(serve(guard().layer(service_fn(measure))).await).await;
    let bare = pushes(serve(service_fn(own)).await).await;
    assert_eq!(guarded.len(), 400);
    assert!(guarded == bare);
    #[cfg(feature = "serve")]
    assert!(pushes(served().await).await == bare);
    assert!(guarded.iter().step_by(2).all(|(status, _)| *status == 401));
    assert!(
        guarded
            .iter()
            .skip(1)
            .step_by(2)
            .all(|(status, _)| *status == 200)
    );
}
