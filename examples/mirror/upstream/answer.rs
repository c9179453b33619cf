use std::time::{Duration, SystemTime};

use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use reqwest::Response;
use serde::Deserialize;

use super::UpstreamError;
use crate::store::Digest;

/// How long the text of a refusal may be, and how long it may take.
const MAX_REFUSAL: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);

/// What the status says. `own` is whether the registry itself answered.
pub(super) async fn judge(response: Response, own: bool) -> Result<Response, UpstreamError> {
    match response.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED => Ok(response),
        status @ (StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            if own =>
        {
            Err(verdict(response, status).await)
        }
        status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
            let retry_after = retry_after(response.headers());
            Err(UpstreamError::Busy {
                status,
                retry_after,
            })
        }
        status => Err(UpstreamError::Status(status)),
    }
}

/// What a refusal means. Only by the code in its body is it a registry's: while one restarts, what is in
/// front of it answers 404, and a firewall 403. A HEAD has no body, and so decides nothing.
pub(super) async fn verdict(response: Response, status: StatusCode) -> UpstreamError {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Code>,
    }

    #[derive(Deserialize)]
    struct Code {
        code: String,
    }

    let text = tokio::time::timeout(PATIENCE, bounded(response, MAX_REFUSAL)).await;
    let text = text.unwrap_or(Ok(Vec::new())).unwrap_or_default();
    let errors = serde_json::from_slice(&text).map_or(Vec::new(), |Errors { errors }| errors);
    let one_is = |fits: fn(&str) -> bool| errors.iter().any(|error| fits(&error.code));
    match status {
        StatusCode::NOT_FOUND
            if one_is(|code| code.ends_with("_UNKNOWN") || code.ends_with("NOT_FOUND")) =>
        {
            UpstreamError::Unknown
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
            if one_is(|code| ["DENIED", "UNAUTHORIZED"].contains(&code)) =>
        {
            UpstreamError::Refused
        }
        status => UpstreamError::Status(status),
    }
}

/// Whether what came may be this blob, as far as its headers say; `length` is that of the whole.
///
/// # Errors
/// It is a page to log in, or something else.
pub(super) fn may_be(
    digest: &Digest,
    headers: &HeaderMap,
    length: Option<u64>,
) -> Result<(), UpstreamError> {
    let kind = headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or("");
    let kind = kind.trim_start().as_bytes();
    let is_page = kind
        .get(..9)
        .is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/html"));
    let told = content_digest(headers);
    let is_other =
        told.is_some_and(|told| told.algorithm() == digest.algorithm() && told != *digest);
    if is_page || is_other || (length == Some(0) && !is_of_nothing(digest)) {
        return Err(UpstreamError::Invalid("something else for a blob"));
    }
    Ok(())
}

/// Whether it is the digest of an empty blob.
pub(super) fn is_of_nothing(digest: &Digest) -> bool {
    *digest == Digest::of(digest.algorithm(), b"")
}

/// Reads a whole body that must not be long.
pub(super) async fn bounded(
    mut response: Response,
    limit: usize,
) -> Result<Vec<u8>, UpstreamError> {
    let mut content = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if content.len() + chunk.len() > limit {
            return Err(UpstreamError::Invalid("a text that is too long"));
        }
        content.extend_from_slice(&chunk);
    }
    Ok(content)
}

/// The digest that the upstream says its content has. It is a hint: what comes is hashed.
pub(super) fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    let value = headers.get("docker-content-digest")?;
    value.to_str().ok()?.parse().ok()
}

/// The length in the headers, of a HEAD too.
pub(super) fn content_length(response: &Response) -> Option<u64> {
    let value = response.headers().get(CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

/// Seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap) -> u64 {
    let value = headers.get(RETRY_AFTER);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or("");
    let until = || {
        let date = httpdate::parse_http_date(text).ok()?;
        date.duration_since(SystemTime::now()).ok()
    };
    let seconds = text.trim().parse().ok();
    let seconds = seconds.or_else(|| until().map(|left| left.as_secs() + 1));
    // A client would rather go elsewhere than wait longer.
    seconds.unwrap_or(1).clamp(1, 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_wait_is_read_as_seconds_and_as_a_date() {
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(30));
        let past = httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(30));
        for (text, expected) in [
            ("7", 7..=7),
            ("0", 1..=1),
            ("3600", 60..=60),
            ("-1", 1..=1),
            ("later", 1..=1),
            (soon.as_str(), 20..=31),
            (past.as_str(), 1..=1),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            assert!(expected.contains(&retry_after(&headers)), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), 1);
    }
}
