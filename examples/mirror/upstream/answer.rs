use std::time::SystemTime;

use axum::http::header::{CONTENT_LENGTH, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use reqwest::Response;

use super::UpstreamError;
use crate::store::Digest;

/// What the status says. `own` is whether the registry itself answered.
pub(super) fn judge(response: Response, own: bool) -> Result<Response, UpstreamError> {
    match response.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED => Ok(response),
        StatusCode::NOT_FOUND if own => Err(UpstreamError::Unknown),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if own => Err(UpstreamError::Refused),
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
    use std::time::Duration;

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
