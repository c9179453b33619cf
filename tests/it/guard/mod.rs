mod advice;
mod client_warnings;
mod config;
mod digests;
mod nested;
mod own;
mod wiring;

/// What `/readyz` says.
#[cfg(feature = "config")]
pub(crate) fn readiness(guard: &portcullis::Guard) -> String {
    use futures_util::FutureExt;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    let admin = portcullis::admin::Admin::new().with_checks(guard.checks());
    let request = http::Request::get("/readyz").body(()).unwrap();
    let response = admin.oneshot(request).now_or_never().unwrap().unwrap();
    let body = response.into_body().collect().now_or_never().unwrap();
    String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap()
}
