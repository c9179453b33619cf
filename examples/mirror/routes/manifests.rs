use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::problem::Problem;
use super::range::{Selection, may_change};
use super::registry::{Call, Registry, empty};
use super::uploads::DIGEST;
use crate::store::{
    Algorithm, Digest, MAX_MANIFEST, Manifest, ManifestError, Memory, Reference, Store, StoreError,
};

/// How many tags one manifest may be pushed with. distribution-spec: at least 10 should be.
const MAX_TAGS: usize = 32;
/// How many missing blobs are listed.
const MAX_MISSING: usize = 100;
/// How long a manifest may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);
/// Up to this length a manifest takes no more memory than a piece of a blob.
const SHORT: usize = 64 * 1024;

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");

/// GET and HEAD.
pub(super) async fn get(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let repository = call.repository()?;
    let reference = call.manifest()?;
    let mut manifest = if let Some(pull) = &registry.pull {
        let caller = &call.caller;
        let pulled = match &reference {
            Reference::Tag(tag) => pull.manifest_by_tag(caller, &repository, tag).await,
            Reference::Digest(digest) => pull.manifest_by_digest(caller, &repository, digest).await,
        };
        pulled.map_err(|error| Problem::Upstream {
            error,
            unknown: "MANIFEST_UNKNOWN",
        })?
    } else {
        let name = repository.clone();
        let read = move |store: &Store| stored(store, &name, reference);
        registry.store.run(read).await?
    };
    if manifest.content.len() > SHORT {
        manifest = in_own_memory(registry, repository, manifest).await?;
    }
    let digest = manifest.digest.to_string();
    let etag = format!("\"{digest}\"");
    // What has no use for a part of a manifest asks for none.
    let condition = Selection::of(call.request.headers(), &etag, None, call.is_head());
    let headers = [
        (CONTENT_TYPE, manifest.media_type),
        (DIGEST, digest),
        (ETAG, etag),
    ];
    match condition {
        Selection::Failed => Err(StoreError::ConditionFailed.into()),
        Selection::Unchanged => Ok(empty(StatusCode::NOT_MODIFIED, headers)),
        _ => Ok((headers, manifest.content).into_response()),
    }
}

/// A long manifest, whose content has memory of its caller's.
async fn in_own_memory(
    registry: &Registry,
    repository: String,
    mut manifest: Manifest,
) -> Result<Manifest, Problem> {
    let length = manifest.content.len();
    let memory = if let Some(memory) = Memory::try_take(length) {
        memory
    } else {
        // While it waits it has none, neither of the content nor of what was read of it.
        let digest = manifest.digest.clone();
        drop(manifest);
        let memory = Memory::take(length).await?;
        let read = move |store: &Store| store.manifest(&repository, &digest);
        manifest = registry.store.run(read).await?;
        memory
    };
    manifest.content = memory.hold(manifest.content);
    Ok(manifest)
}

/// PUT, by tag or by digest; by digest with tags in the query.
pub(super) async fn put(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let repository = call.repository()?;
    if call.route.query_tags().count() > MAX_TAGS {
        return Err(Problem::TooManyTags(MAX_TAGS));
    }
    let reference = call.manifest()?;
    let (expected, tags) = match reference.clone() {
        Reference::Tag(tag) => (None, vec![tag]),
        Reference::Digest(digest) => {
            let tags = call.route.query_tags().map(str::to_owned);
            (Some(digest), tags.collect())
        }
    };
    let (parts, body) = call.request.into_parts();
    let read = read(&parts.headers, body);
    let read = tokio::time::timeout(PATIENCE, read).await;
    let content = read.map_err(|_| Problem::BodyCut)??;
    let algorithm = expected
        .as_ref()
        .map_or(Algorithm::default(), Digest::algorithm);
    let manifest = Manifest::parse(algorithm, content)?;
    let header = parts.headers.get(CONTENT_TYPE).map(HeaderValue::to_str);
    if header.is_some_and(|header| !header.is_ok_and(|header| manifest.is_of_type(header))) {
        return Err(Problem::ManifestType(manifest.media_type));
    }
    let digest = manifest.digest.clone();
    if let Some(expected) = expected.filter(|expected| *expected != digest) {
        let actual = digest;
        return Err(StoreError::DigestMismatch { expected, actual }.into());
    }
    let subject = manifest.subject.clone();
    // Behind a mirror the blobs may be upstream: they come when they are asked for.
    let complete = registry.pull.is_none();
    let may_change = condition(&parts.headers);
    let names = tags.clone();
    let name = repository.clone();
    let push = move |store: &Store| {
        let missing = missing(store, &name, &manifest)?;
        if missing.is_empty() || !complete {
            store.push_manifest(&name, &manifest, &names, &reference, may_change)?;
            return Ok(Vec::new());
        }
        Ok(missing)
    };
    let missing = registry.store.run(push).await?;
    if !missing.is_empty() {
        return Err(Problem::ManifestBlobUnknown(missing));
    }
    let headers = [
        (LOCATION, format!("/v2/{repository}/manifests/{digest}")),
        (DIGEST, digest.to_string()),
    ];
    let mut response = empty(StatusCode::CREATED, headers);
    let headers = response.headers_mut();
    // Tags and digests are ASCII.
    for value in tags
        .into_iter()
        .filter_map(|tag| HeaderValue::try_from(tag).ok())
    {
        headers.append(TAG, value);
    }
    if let Some(value) = subject.and_then(|digest| HeaderValue::try_from(digest.to_string()).ok()) {
        headers.insert(SUBJECT, value);
    }
    Ok(response)
}

/// DELETE: a tag alone, or a manifest with its tags.
pub(super) async fn delete(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let repository = call.repository()?;
    let reference = call.manifest()?;
    let may_change = condition(call.request.headers());
    let delete = move |store: &Store| store.delete_manifest(&repository, &reference, may_change);
    registry.store.run(delete).await?;
    Ok(empty(StatusCode::ACCEPTED, []))
}

fn stored(store: &Store, repository: &str, reference: Reference) -> Result<Manifest, StoreError> {
    let digest = match reference {
        Reference::Digest(digest) => digest,
        Reference::Tag(tag) => {
            let tag = store.tag(repository, &tag)?;
            tag.ok_or(StoreError::ManifestUnknown)?.digest
        }
    };
    store.manifest(repository, &digest)
}

/// Whether `If-Match` and `If-None-Match` allow what has this digest now to be changed. They count once all
/// else about the request is right (RFC 9110 §13.2.1).
fn condition(headers: &HeaderMap) -> impl Fn(Option<&Digest>) -> bool + Send + 'static {
    let headers = headers.clone();
    move |current| {
        let etag = current.map(|digest| format!("\"{digest}\""));
        may_change(&headers, etag.as_deref())
    }
}

/// Some of the blobs that the manifest needs and the repository does not have.
fn missing(
    store: &Store,
    repository: &str,
    manifest: &Manifest,
) -> Result<Vec<String>, StoreError> {
    let mut missing = Vec::new();
    for needed in manifest.needed_blobs() {
        // To open it is to use it: it does not go before the manifest is there.
        let opened = needed
            .parse()
            .map(|digest| store.open_blob(repository, &digest));
        let known = match opened {
            Ok(Ok(_)) => true,
            Ok(Err(StoreError::BlobUnknown)) | Err(_) => false,
            Ok(Err(error)) => return Err(error),
        };
        if !known && missing.len() < MAX_MISSING {
            missing.push(needed.to_owned());
        }
    }
    Ok(missing)
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    let announced = announced.and_then(|text| text.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_MANIFEST) {
        return Err(ManifestError::TooLong.into());
    }
    let memory = Memory::take(announced.unwrap_or(MAX_MANIFEST)).await?;
    match Limited::new(body, MAX_MANIFEST).collect().await {
        Ok(collected) => Ok(memory.hold(collected.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Err(ManifestError::TooLong.into()),
        Err(_) => Err(Problem::BodyCut),
    }
}
