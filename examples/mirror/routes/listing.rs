use axum::http::header::{CONTENT_TYPE, LINK};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::problem::Problem;
use super::query::encode;
use super::registry::{Call, Registry};
use crate::store::{Descriptor, Digest, Store, StoreError};
use crate::upstream::UpstreamError;

/// The longest index of referrers, in bytes. Clients refuse manifests of more than 4 MiB.
const MAX_INDEX: usize = 3 * 1024 * 1024;

const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

/// `GET /v2/<name>/tags/list`.
pub(super) async fn tags(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let repository = call.repository()?;
    let name = repository.clone();
    let list = move |store: &Store| {
        let known = store.has_repository(&name)?;
        known.then(|| store.tag_names(&name)).transpose()
    };
    let here = registry.store.run(list).await?;
    let (n, after) = (call.query.page()?, call.query.get("last"));
    let found = match &registry.pull {
        Some(pull) => {
            let caller = call.caller();
            let found = pull.tags(&caller, &repository, here, (n, after)).await;
            found.map_err(upstream)?
        }
        None => here.map(|names| page(names, n, after)),
    };
    let (tags, more) = found.ok_or(StoreError::RepositoryUnknown)?;
    let target = format!("/v2/{repository}/tags/list");
    let link = next(&target, &call, more.then(|| tags.last()).flatten());
    Ok(with_link(
        axum::Json(json!({"name": repository, "tags": tags})),
        link,
    ))
}

/// `GET /v2/_catalog`.
pub(super) async fn catalog(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let names = registry.store.run(Store::repository_names).await?;
    let (repositories, more) = page(names, call.query.page()?, call.query.get("last"));
    let link = next(
        "/v2/_catalog",
        &call,
        more.then(|| repositories.last()).flatten(),
    );
    Ok(with_link(
        axum::Json(json!({"repositories": repositories})),
        link,
    ))
}

/// `GET /v2/<name>/referrers/<digest>`.
pub(super) async fn referrers(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let repository = call.repository()?;
    let subject: Digest = call.reference()?.parse()?;
    let target = format!("/v2/{repository}/referrers/{subject}");
    let there = match &registry.pull {
        Some(pull) => pull.referrers(&call.caller(), &repository, &subject).await,
        None => Ok(Vec::new()),
    };
    let read = move |store: &Store| store.referrers(&repository, &subject);
    let mut found = registry.store.run(read).await?;
    found.extend(there.map_err(upstream)?);
    found.sort_unstable_by(|a, b| a.digest.cmp(&b.digest));
    found.dedup_by(|a, b| a.digest == b.digest);
    let filter = call.query.get("artifactType");
    if let Some(filter) = filter {
        found.retain(|descriptor| descriptor.artifact_type.as_deref() == Some(filter));
    }
    if let Some(last) = call.query.get("last") {
        found.retain(|descriptor| descriptor.digest.as_str() > last);
    }
    let more = found.len();
    let found = fitting(found);
    let last = found.last().filter(|_| found.len() < more);
    let link = last.map(|last| {
        let filter = filter.map(|filter| format!("&artifactType={}", encode(filter)));
        let last = encode(&last.digest);
        format!(
            "<{target}?last={last}{}>; rel=\"next\"",
            filter.unwrap_or_default()
        )
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": found,
    });
    let mut response = with_link(axum::Json(index), link);
    let headers = response.headers_mut();
    let media_type = HeaderValue::from_static("application/vnd.oci.image.index.v1+json");
    headers.insert(CONTENT_TYPE, media_type);
    if filter.is_some() {
        headers.insert(FILTERS, HeaderValue::from_static("artifactType"));
    }
    Ok(response)
}

fn upstream(error: UpstreamError) -> Problem {
    Problem::Upstream {
        error,
        unknown: "NAME_UNKNOWN",
    }
}

/// At most `n` of the sorted `names` after `last`, and whether there are more.
fn page(mut names: Vec<String>, n: Option<usize>, last: Option<&str>) -> (Vec<String>, bool) {
    if let Some(last) = last {
        names.drain(..names.partition_point(|name| name.as_str() <= last));
    }
    let n = n.unwrap_or(names.len());
    let more = n < names.len();
    names.truncate(n);
    (names, more)
}

/// As many descriptors as make a manifest that a client takes, at least one.
fn fitting(mut found: Vec<Descriptor>) -> Vec<Descriptor> {
    let mut size = 0;
    let fits = |descriptor: &&Descriptor| {
        size += serde_json::to_vec(descriptor).map_or(0, |text| text.len());
        size < MAX_INDEX
    };
    let count = found.iter().take_while(fits).count().max(1);
    found.truncate(count);
    found
}

/// `Link` to the page after `last` (RFC 8288).
fn next(target: &str, call: &Call, last: Option<&String>) -> Option<String> {
    let n = call.query.get("n")?;
    last.map(|last| format!("<{target}?n={n}&last={}>; rel=\"next\"", encode(last)))
}

fn with_link(body: impl IntoResponse, link: Option<String>) -> Response {
    let mut response = body.into_response();
    // Made of names and encoded values.
    if let Some(value) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
        response.headers_mut().insert(LINK, value);
    }
    response
}
