use std::time::Duration;

use axum::http::Method;
use reqwest::Response;

use super::client::bounded;
use super::download::Downloads;
use super::{Live, Upstream, UpstreamError};
use crate::store::{
    Algorithm, Blob, Descriptor, Digest, MAX_MANIFEST, Manifest, Origin, Store, StoreError, Tag,
};

/// What is here is served from here; what is not comes from upstream. `Clone` costs a few `Arc`s.
#[derive(Clone)]
pub(crate) struct PullThrough {
    store: Store,
    upstream: Upstream,
    downloads: Downloads,
    tag_ttl: Duration,
}

/// A blob that was not under this repository a moment ago.
pub(crate) enum Pulled {
    /// It is now, whole.
    Stored(Blob),
    /// It is on its way.
    Live(Live),
}

impl PullThrough {
    /// `tag_ttl`: for how long a tag of the upstream's is taken to be where it was.
    pub(crate) fn new(store: Store, upstream: Upstream, tag_ttl: Duration) -> Self {
        Self {
            downloads: Downloads::new(store.clone(), upstream.clone()),
            store,
            upstream,
            tag_ttl,
        }
    }

    /// The length of a blob that is upstream, where it tells that.
    pub(crate) async fn blob_length(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<u64>, UpstreamError> {
        let response = self.upstream.blob(Method::HEAD, repository, digest).await?;
        let length = response.headers().get(axum::http::header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok());
        Ok(length.and_then(|text| text.parse().ok()))
    }

    /// A blob that `repository` does not have here.
    pub(crate) async fn blob(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Pulled, UpstreamError> {
        let (name, wanted) = (repository.to_owned(), digest.clone());
        let elsewhere = move |store: &Store| store.has_content(&wanted);
        if self.store.run(elsewhere).await? {
            // Another repository's: upstream says whether it is this one's, too.
            self.upstream.blob(Method::HEAD, repository, digest).await?;
            let wanted = digest.clone();
            let link = move |store: &Store| {
                store.link_blob(&name, &wanted)?;
                store.open_blob(&name, &wanted)
            };
            match self.store.run(link).await {
                Err(StoreError::BlobUnknown) => {}
                result => return Ok(Pulled::Stored(result?)),
            }
        }
        let live = self.downloads.join(repository, digest).await?;
        Ok(Pulled::Live(live))
    }

    /// A manifest by digest.
    pub(crate) async fn manifest_by_digest(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Manifest, UpstreamError> {
        let (name, wanted) = (repository.to_owned(), digest.clone());
        let read = move |store: &Store| store.manifest(&name, &wanted);
        match self.store.run(read).await {
            Err(StoreError::ManifestUnknown) => {}
            result => return Ok(result?),
        }
        self.fetch(repository, &digest.to_string(), Some(digest.clone()), None)
            .await
    }

    /// A manifest by tag: from here while the tag was checked lately or cannot be checked now.
    pub(crate) async fn manifest_by_tag(
        &self,
        repository: &str,
        tag: &str,
    ) -> Result<Manifest, UpstreamError> {
        let known = self.known(repository, tag).await?;
        if let Some((known, manifest)) = &known
            && self.is_current(known)
        {
            return Ok(manifest.clone());
        }
        let asked = self.digest_of(repository, tag).await;
        match (asked, known) {
            (Ok(Some(digest)), Some((_, manifest))) if digest == manifest.digest => {
                self.set(repository, tag, &digest).await?;
                Ok(manifest)
            }
            (Ok(Some(digest)), _) => {
                let reference = digest.to_string();
                self.fetch(repository, &reference, Some(digest), Some(tag))
                    .await
            }
            (Ok(None), _) => self.fetch(repository, tag, None, Some(tag)).await,
            (Err(error), Some((_, manifest))) if error.is_passing() => {
                tracing::warn!(repository, tag, %error, "serving a tag that could not be checked");
                Ok(manifest)
            }
            (Err(error), known) => {
                if known.is_some() && matches!(error, UpstreamError::Unknown) {
                    let (name, tag) = (repository.to_owned(), tag.to_owned());
                    let delete = move |store: &Store| store.delete_tag(&name, &tag);
                    match self.store.run(delete).await {
                        Ok(()) | Err(StoreError::ManifestUnknown) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error)
            }
        }
    }

    /// The tags that `repository` has upstream; none if it is not there.
    pub(crate) async fn tags(&self, repository: &str) -> Result<Vec<String>, UpstreamError> {
        let path = format!("v2/{repository}/tags/list");
        self.upstream.list(repository, &path, "tags").await
    }

    /// The referrers that a manifest has upstream; none if the registry does not know of such.
    pub(crate) async fn referrers(
        &self,
        repository: &str,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, UpstreamError> {
        let path = format!("v2/{repository}/referrers/{subject}");
        self.upstream.list(repository, &path, "manifests").await
    }

    /// The tag as it is here, with its manifest.
    async fn known(
        &self,
        repository: &str,
        tag: &str,
    ) -> Result<Option<(Tag, Manifest)>, UpstreamError> {
        let (repository, tag) = (repository.to_owned(), tag.to_owned());
        let read = move |store: &Store| {
            let Some(tag) = store.tag(&repository, &tag)? else {
                return Ok(None);
            };
            match store.manifest(&repository, &tag.digest) {
                Ok(manifest) => Ok(Some((tag, manifest))),
                Err(StoreError::ManifestUnknown) => Ok(None),
                Err(error) => Err(error),
            }
        };
        Ok(self.store.run(read).await?)
    }

    fn is_current(&self, tag: &Tag) -> bool {
        // A time that has not come yet says nothing.
        let age = tag.checked.elapsed().ok();
        tag.origin == Origin::Push || age.is_some_and(|age| age < self.tag_ttl)
    }

    /// The digest that the upstream says the tag has, if it says that.
    async fn digest_of(
        &self,
        repository: &str,
        tag: &str,
    ) -> Result<Option<Digest>, UpstreamError> {
        match self.upstream.manifest(Method::HEAD, repository, tag).await {
            Ok(response) => Ok(content_digest(&response)),
            // Some registries take no HEAD.
            Err(UpstreamError::Status(status)) if status.is_client_error() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gets, verifies and stores a manifest.
    async fn fetch(
        &self,
        repository: &str,
        reference: &str,
        expected: Option<Digest>,
        tag: Option<&str>,
    ) -> Result<Manifest, UpstreamError> {
        let response = self
            .upstream
            .manifest(Method::GET, repository, reference)
            .await?;
        let expected = expected.or_else(|| content_digest(&response));
        let content = bounded(response, MAX_MANIFEST).await?;
        let algorithm = expected
            .as_ref()
            .map_or(Algorithm::default(), Digest::algorithm);
        let manifest = Manifest::parse(algorithm, content);
        let manifest = manifest.map_err(|error| {
            tracing::warn!(repository, reference, %error, "what the upstream gives is no manifest");
            UpstreamError::Invalid("a manifest that is none")
        })?;
        if let Some(expected) = expected.filter(|expected| *expected != manifest.digest) {
            let actual = manifest.digest;
            return Err(UpstreamError::DigestMismatch { expected, actual });
        }
        let (name, kept) = (repository.to_owned(), manifest.clone());
        let keep = move |store: &Store| store.put_manifest(&name, &kept, Origin::Upstream);
        self.store.run(keep).await?;
        if let Some(tag) = tag {
            self.set(repository, tag, &manifest.digest).await?;
        }
        Ok(manifest)
    }

    /// Notes that the upstream's tag points there now.
    async fn set(&self, repository: &str, tag: &str, digest: &Digest) -> Result<(), UpstreamError> {
        let (repository, tag, digest) = (repository.to_owned(), tag.to_owned(), digest.clone());
        let put = move |store: &Store| store.put_tag(&repository, &tag, &digest, Origin::Upstream);
        Ok(self.store.run(put).await?)
    }
}

fn content_digest(response: &Response) -> Option<Digest> {
    let value = response.headers().get("docker-content-digest")?;
    value.to_str().ok()?.parse().ok()
}
