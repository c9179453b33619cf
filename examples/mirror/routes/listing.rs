use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, LINK};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use portcullis::oci::is_tag;
use serde_json::{Value, json};

use super::problem::Problem;
use super::query::encode;
use super::registry::{Call, Registry};
use crate::store::{Descriptor, Digest, Memory, Referrers, Store, StoreError};
use crate::upstream::{Tags, UpstreamError, Walk};

/// The longest index of referrers, in bytes. Clients refuse manifests of more than 4 MiB.
const MAX_INDEX: usize = 3 * 1024 * 1024;

/// The longest page of names, and the memory that it takes at most.
const MAX_PAGE: usize = 10_000;
const MAX_NAME: usize = 256;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The parameter that says where in the upstream's tags a walk is, and its value for all in order.
const UPSTREAM: &str = "upstream";
const WHOLE: &str = "*";

const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

/// `GET /v2/<name>/tags/list`.
pub(super) async fn tags(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let repository = call.repository()?;
    let count = count(&call)?;
    let last = call.query.get("last").map(str::to_owned);
    let memory = Memory::take(count * MAX_NAME).await?;
    let (name, after) = (repository.clone(), last.clone());
    let read = move |store: &Store| {
        let known = store.has_repository(&name)?;
        let page = || store.tag_names(&name, after.as_deref(), count + 1);
        known.then(page).transpose()
    };
    let here = registry.store.run(read).await?;
    let found = match &registry.pull {
        Some(pull) => {
            // A registry may refuse a number that its client never asked for.
            let n = call.query.page()?.map(|_| count);
            let walk = walk(call.query.get(UPSTREAM))?;
            let page = (n, last.as_deref(), &walk);
            let found = pull.tags(&call.caller, &repository, here, page).await;
            found.map_err(upstream)?
        }
        None => here.map(|names| Tags { names, next: None }),
    };
    let Tags { mut names, next } = found.ok_or(StoreError::RepositoryUnknown)?;
    let target = format!("/v2/{repository}/tags/list");
    let link = cut(&mut names, count, &target);
    let link = match (next, &registry.pull) {
        (Some((last, walk)), _) => Some(link_to(&target, count, &last, Some(&walk))),
        (None, Some(_)) if link.is_some() => names
            .last()
            .map(|last| link_to(&target, count, last, Some(&Walk::Whole))),
        (None, _) => link,
    };
    let body = json!({"name": repository, "tags": names});
    Ok(answer(&body, memory, link))
}

/// `GET /v2/_catalog`.
pub(super) async fn catalog(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let count = count(&call)?;
    let memory = Memory::take(count * MAX_NAME).await?;
    let last = call.query.get("last");
    let mut names = registry.store.repository_names(last, count + 1);
    let link = cut(&mut names, count, "/v2/_catalog");
    Ok(answer(&json!({"repositories": names}), memory, link))
}

/// `GET /v2/<name>/referrers/<digest>`.
pub(super) async fn referrers(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let repository = call.repository()?;
    let subject: Digest = call.reference()?.parse()?;
    let target = format!("/v2/{repository}/referrers/{subject}");
    let filter = call.query.get("artifactType").map(str::to_owned);
    let last = call.query.get("last").map(str::to_owned);
    let there = match &registry.pull {
        Some(pull) => pull.referrers(&call.caller, &repository, &subject).await,
        None => Ok(Vec::new()),
    };
    let there = there.map_err(upstream)?;
    let memory = Memory::take(2 * MAX_INDEX).await?;
    let (kind, after) = (filter.clone(), last.clone());
    let read = move |store: &Store| {
        store.referrers(
            &repository,
            &subject,
            kind.as_deref(),
            after.as_deref(),
            MAX_INDEX,
        )
    };
    let Referrers {
        mut found,
        mut more_after,
    } = registry.store.run(read).await?;
    let there = there.into_iter().filter(|descriptor| {
        let wanted = filter.is_none() || descriptor.artifact_type == filter;
        let before_more = more_after
            .as_ref()
            .is_none_or(|more| descriptor.digest <= *more);
        wanted && before_more && Some(&descriptor.digest) > last.as_ref()
    });
    let text = |descriptor: &Descriptor| serde_json::to_string(descriptor).unwrap_or_default();
    found.extend(there.map(|descriptor| (descriptor.digest.clone(), text(&descriptor))));
    found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    found.dedup_by(|(a, _), (b, _)| a == b);
    // As many as make a manifest that a client takes, at least one.
    let mut left = MAX_INDEX;
    let fits = |(_, text): &&(String, String)| {
        let fits = text.len() <= left;
        left = left.saturating_sub(text.len());
        fits
    };
    let fitting = found.iter().take_while(fits).count().max(1);
    if fitting < found.len() {
        found.truncate(fitting);
        more_after = found.last().map(|(digest, _)| digest.clone());
    }
    let link = more_after.map(|last| {
        let filter = filter.as_ref();
        let filter = filter.map(|filter| format!("&artifactType={}", encode(filter)));
        let filter = filter.unwrap_or_default();
        format!("<{target}?last={}{filter}>; rel=\"next\"", encode(&last))
    });
    let texts: Vec<String> = found.into_iter().map(|(_, text)| text).collect();
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#,
        texts.join(",")
    );
    let mut response = with_link(memory.hold(body.into()), link);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(INDEX));
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

/// How many names the answer may have.
fn count(call: &Call) -> Result<usize, Problem> {
    Ok(call.query.page()?.unwrap_or(MAX_PAGE).min(MAX_PAGE))
}

/// Cuts the names off after `count`; returns the `Link` to those that follow (RFC 8288), if any do.
fn cut(names: &mut Vec<String>, count: usize, target: &str) -> Option<String> {
    let more = count < names.len();
    names.truncate(count);
    let last = names.last().filter(|_| more)?;
    Some(link_to(target, count, last, None))
}

fn link_to(target: &str, count: usize, last: &str, walk: Option<&Walk>) -> String {
    let walk = match walk {
        None | Some(Walk::Client) => String::new(),
        Some(Walk::Upstream(after)) => {
            format!(
                "&{UPSTREAM}={}",
                encode(after.as_deref().unwrap_or_default())
            )
        }
        Some(Walk::Whole) => format!("&{UPSTREAM}={}", encode(WHOLE)),
    };
    let last = encode(last);
    format!("<{target}?n={count}&last={last}{walk}>; rel=\"next\"")
}

/// Where a walk is, by what a link of before says.
fn walk(text: Option<&str>) -> Result<Walk, Problem> {
    Ok(match text {
        None => Walk::Client,
        Some("") => Walk::Upstream(None),
        Some(WHOLE) => Walk::Whole,
        Some(name) if is_tag(name) => Walk::Upstream(Some(name.to_owned())),
        Some(_) => return Err(Problem::QueryInvalid("upstream= is no tag")),
    })
}

fn answer(body: &Value, memory: Memory, link: Option<String>) -> Response {
    let body = memory.hold(body.to_string().into());
    let mut response = with_link(body, link);
    let media_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

fn with_link(body: Bytes, link: Option<String>) -> Response {
    let mut response = body.into_response();
    // Made of names and encoded values.
    if let Some(value) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
        response.headers_mut().insert(LINK, value);
    }
    response
}
