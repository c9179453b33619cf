use axum::http::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::Response;
use tokio_util::sync::CancellationToken;

use super::problem::Problem;
use super::receive::{discard, receive};
use super::registry::{Call, Registry, empty};
use crate::store::{Algorithm, Digest, Incoming, Lease, Store, StoreError};

pub(super) const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const UPLOAD: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// POST: mounts a blob, takes a whole one, or begins an upload.
pub(super) async fn start(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let repository = call.repository()?;
    if let Some(digest) = call.query.get("mount") {
        let digest: Digest = digest.parse()?;
        // Without `from` it would be mounted from anywhere: a client that knows a digest would have it.
        if let Some(from) = call.route.mount_from() {
            let (to, from, blob) = (repository.clone(), from.to_owned(), digest.clone());
            let mount = move |store: &Store| store.mount_blob(&to, &from, &blob);
            if registry.store.run(mount).await? {
                return Ok(created(&repository, &digest));
            }
        }
    } else if let Some(digest) = call.query.get("digest") {
        let digest: Digest = digest.parse()?;
        return monolithic(registry, call, repository, digest).await;
    }
    let algorithm = call.query.get("digest-algorithm").map(str::parse);
    let algorithm = algorithm.transpose()?.unwrap_or(Algorithm::default());
    let id = registry
        .uploads
        .start(&call.owner(), repository.clone(), algorithm)
        .await?;
    Ok(progress(StatusCode::ACCEPTED, &repository, &id, 0))
}

async fn monolithic(
    registry: &Registry,
    call: Call,
    repository: String,
    digest: Digest,
) -> Result<Response, Problem> {
    let algorithm = digest.algorithm();
    let temporary = move |store: &Store| Incoming::pushed(store, algorithm);
    let incoming = registry.store.run(temporary).await?;
    let body = call.request.into_body();
    let never = CancellationToken::new();
    let (incoming, received) = receive(&registry.store, body, incoming, None, &never).await;
    received?;
    let incoming = incoming.ok_or(Problem::BodyCut)?;
    let (to, expected) = (repository.clone(), digest.clone());
    let commit = move |store: &Store| incoming.commit(store, &to, &expected);
    registry.store.run(commit).await?;
    Ok(created(&repository, &digest))
}

/// GET: how far the upload has come.
pub(super) fn status(registry: &Registry, call: &Call) -> Result<Response, Problem> {
    let repository = call.repository()?;
    let id = call.reference()?;
    let length = registry.uploads.length(&call.owner(), &repository, id)?;
    Ok(progress(StatusCode::NO_CONTENT, &repository, id, length))
}

/// PATCH: one chunk, or all of it as a stream.
pub(super) async fn append(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let repository = call.repository()?;
    let id = call.reference()?.to_owned();
    let (lease, received) = write(registry, call, &repository, &id).await?;
    received?;
    let length = lease.length();
    Ok(progress(StatusCode::ACCEPTED, &repository, &id, length))
}

/// PUT: the last chunk, if there is one, and the digest of the whole.
pub(super) async fn finish(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let repository = call.repository()?;
    let id = call.reference()?.to_owned();
    let digest = call.query.get("digest").ok_or(Problem::DigestMissing)?;
    let digest: Digest = digest.parse()?;
    let committed = registry.uploads.committed(&call.owner(), &repository, &id);
    if committed.as_ref() == Some(&digest) {
        return again(registry, call, repository, digest).await;
    }
    let (lease, received) = write(registry, call, &repository, &id).await?;
    received?;
    let (to, expected) = (repository.clone(), digest.clone());
    let commit = move |store: &Store| lease.commit(store, &to, &expected);
    registry.store.run(commit).await?;
    Ok(created(&repository, &digest))
}

/// The PUT of an upload that is done already: its answer was lost, so it is given again.
async fn again(
    registry: &Registry,
    call: Call,
    repository: String,
    digest: Digest,
) -> Result<Response, Problem> {
    discard(call.request.into_body()).await;
    let (name, blob) = (repository.clone(), digest.clone());
    let open = move |store: &Store| store.open_blob(&name, &blob).map(drop);
    match registry.store.run(open).await {
        Err(StoreError::BlobUnknown) => Err(StoreError::UploadUnknown.into()),
        result => {
            result?;
            Ok(created(&repository, &digest))
        }
    }
}

/// DELETE: gives up, also what another request is sending.
pub(super) async fn cancel(registry: &Registry, call: Call) -> Result<Response, Problem> {
    let repository = call.repository()?;
    let id = call.reference()?;
    registry
        .uploads
        .cancel(&call.owner(), &repository, id)
        .await?;
    Ok(empty(StatusCode::NO_CONTENT, []))
}

/// Appends the body to the upload. What arrives of a body that is cut stays, for the client to go
/// on from; a body that breaks its own word leaves nothing.
async fn write(
    registry: &Registry,
    call: Call,
    repository: &str,
    id: &str,
) -> Result<(Lease, Result<(), Problem>), Problem> {
    let owner = call.owner();
    let headers = call.request.headers();
    let lease = match registry.uploads.lease(&owner, repository, id) {
        // Whatever the other request sends, what this one has does not follow what is there now.
        Err(StoreError::UploadBusy) if headers.contains_key(CONTENT_RANGE) => {
            let offset = registry.uploads.length(&owner, repository, id)?;
            let location = location(repository, id);
            return Err(Problem::OutOfOrder { location, offset });
        }
        lease => lease?,
    };
    let offset = lease.length();
    let length = chunk(headers, offset, || location(repository, id))?;
    let given_up = lease.given_up();
    let body = call.request.into_body();
    let (lease, received) = receive(&registry.store, body, lease, length, &given_up).await;
    let Some(mut lease) = lease else {
        return received.and(Err(Problem::BodyCut));
    };
    if matches!(received, Err(Problem::SizeInvalid)) {
        let truncate = move |_: &Store| {
            lease.truncate(offset)?;
            Ok(lease)
        };
        lease = registry.store.run(truncate).await?;
    }
    Ok((lease, received))
}

/// The length that `Content-Range` promises, checked against what the upload has and against
/// `Content-Length`.
fn chunk(
    headers: &HeaderMap,
    offset: u64,
    location: impl FnOnce() -> String,
) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(CONTENT_RANGE) else {
        return Ok(None);
    };
    let range = value.to_str().ok().and_then(|text| text.split_once('-'));
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    let (first, last) = range
        .and_then(|(first, last)| Some((number(first)?, number(last)?)))
        .filter(|(first, last)| first <= last)
        .ok_or(Problem::ContentRangeInvalid)?;
    if first != offset {
        let location = location();
        return Err(Problem::OutOfOrder { location, offset });
    }
    let length = (last - first).checked_add(1);
    let length = length.ok_or(Problem::ContentRangeInvalid)?;
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    if announced.is_some_and(|announced| announced.parse() != Ok(length)) {
        return Err(Problem::SizeInvalid);
    }
    Ok(Some(length))
}

/// `Range` of an upload with this many bytes. None yet is `0-0`, as distribution writes it.
pub(super) fn range(length: u64) -> String {
    format!("0-{}", length.saturating_sub(1))
}

fn location(repository: &str, id: &str) -> String {
    format!("/v2/{repository}/blobs/uploads/{id}")
}

fn progress(status: StatusCode, repository: &str, id: &str, length: u64) -> Response {
    let headers = [
        (LOCATION, location(repository, id)),
        (RANGE, range(length)),
        (UPLOAD, id.to_owned()),
    ];
    empty(status, headers)
}

fn created(repository: &str, digest: &Digest) -> Response {
    let headers = [
        (LOCATION, format!("/v2/{repository}/blobs/{digest}")),
        (DIGEST, digest.to_string()),
    ];
    empty(StatusCode::CREATED, headers)
}
