use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::problem::Problem;
use super::range::Selection;
use super::registry::{Call, Reference, Registry, empty};
use super::uploads::DIGEST;
use crate::store::{
    Algorithm, Digest, MAX_MANIFEST, Manifest, ManifestError, Origin, Store, StoreError,
};

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");

/// GET and HEAD.
pub(super) async fn get(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let repository = call.repository()?;
    let reference = call.manifest()?;
    let manifest = if let Some(pull) = &registry.pull {
        let caller = call.caller();
        let pulled = match &reference {
            Reference::Tag(tag) => pull.manifest_by_tag(&caller, &repository, tag).await,
            Reference::Digest(digest) => {
                pull.manifest_by_digest(&caller, &repository, digest).await
            }
        };
        pulled.map_err(|error| Problem::Upstream {
            error,
            unknown: "MANIFEST_UNKNOWN",
        })?
    } else {
        let read = move |store: &Store| stored(store, &repository, reference);
        registry.store.run(read).await?
    };
    let digest = manifest.digest.to_string();
    let etag = format!("\"{digest}\"");
    let length = manifest.content.len() as u64;
    let condition = Selection::of(call.request.headers(), &etag, length);
    let headers = [
        (CONTENT_TYPE, manifest.media_type),
        (DIGEST, digest),
        (ETAG, etag),
    ];
    if condition == Selection::Failed {
        return Err(Problem::PreconditionFailed);
    }
    if condition == Selection::Unchanged {
        return Ok(empty(StatusCode::NOT_MODIFIED, headers));
    }
    Ok((headers, manifest.content).into_response())
}

/// PUT, by tag or by digest; by digest with tags in the query.
pub(super) async fn put(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let repository = call.repository()?;
    let (expected, tags) = match call.manifest()? {
        Reference::Tag(tag) => (None, vec![tag]),
        Reference::Digest(digest) => {
            let tags = call.route.query_tags().map(str::to_owned);
            (Some(digest), tags.collect())
        }
    };
    let (parts, body) = call.request.into_parts();
    let content = read(&parts.headers, body).await?;
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
    let names = tags.clone();
    let name = repository.clone();
    let missing = registry
        .store
        .run(move |store| keep(store, &name, &manifest, &names, complete))
        .await?;
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
    let delete = move |store: &Store| match reference {
        Reference::Tag(tag) => store.delete_tag(&repository, &tag),
        Reference::Digest(digest) => store.delete_manifest(&repository, &digest),
    };
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

/// Stores the manifest and its tags; returns the blobs that it lacks instead, if it does.
fn keep(
    store: &Store,
    repository: &str,
    manifest: &Manifest,
    tags: &[String],
    complete: bool,
) -> Result<Vec<String>, StoreError> {
    if complete {
        let mut missing = Vec::new();
        for needed in manifest.needed_blobs() {
            let known = match needed.parse() {
                Ok(digest) => match store.open_blob(repository, &digest) {
                    Ok(_) => true,
                    Err(StoreError::BlobUnknown) => false,
                    Err(error) => return Err(error),
                },
                Err(_) => false,
            };
            if !known {
                missing.push(needed.to_owned());
            }
        }
        if !missing.is_empty() {
            return Ok(missing);
        }
    }
    store.put_manifest(repository, manifest, Origin::Push)?;
    for tag in tags {
        store.put_tag(repository, tag, &manifest.digest, Origin::Push)?;
    }
    Ok(Vec::new())
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    let announced = announced.and_then(|text| text.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_MANIFEST) {
        return Err(ManifestError::TooLong.into());
    }
    match Limited::new(body, MAX_MANIFEST).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ManifestError::TooLong.into()),
        Err(_) => Err(Problem::BodyCut),
    }
}
