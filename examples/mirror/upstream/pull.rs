use std::time::Duration;

use axum::http::{Method, StatusCode};
use portcullis::Preset;

use super::answer::content_digest;
use super::client::Question;
use super::download::Downloads;
use super::flight::Flights;
use super::places::{Places, busy};
use super::{Live, Upstream, UpstreamError};
use crate::store::{
    Algorithm, Blob, Caller, Digest, MAX_MANIFEST, Manifest, Origin, Store, StoreError, Tag, Use,
};

/// How many questions are asked of the upstream at once for all callers, beside the transfers of blobs, and
/// how many listings, and how long a client waits for its turn.
const ALL: usize = 256;
const LISTINGS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(5);

/// What an operator says of what is pulled through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PullOptions {
    /// For how long a tag of the upstream's is taken to be where it was.
    pub(crate) tag_ttl: Duration,
    /// Whose clients are to be pleased.
    pub(crate) preset: Preset,
}

/// What is here is served from here; what is not comes from upstream. `Clone` costs a few `Arc`s.
#[derive(Clone)]
pub(crate) struct PullThrough {
    pub(super) store: Store,
    pub(super) upstream: Upstream,
    downloads: Downloads,
    options: PullOptions,
    places: Places,
    pub(super) listings: Places,
    manifests: Flights<(String, String), Result<Manifest, UpstreamError>>,
}

/// A blob that was not under this repository a moment ago.
pub(crate) enum Pulled {
    /// It is now, whole.
    Stored(Blob),
    /// It is on its way.
    Live(Live),
}

impl PullThrough {
    pub(crate) fn new(store: Store, upstream: Upstream, options: PullOptions) -> Self {
        Self {
            downloads: Downloads::new(store.clone(), upstream.clone()),
            store,
            upstream,
            options,
            places: Places::new(Use::Question, ALL, PATIENCE),
            listings: Places::new(Use::Listing, LISTINGS, 2 * PATIENCE),
            manifests: Flights::new(),
        }
    }

    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// The length of a blob that is upstream, where it tells that.
    pub(crate) async fn blob_length(
        &self,
        caller: &Caller,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<u64>, UpstreamError> {
        let key = (repository.to_owned(), digest.clone());
        if let Some(running) = self.downloads.running(&key) {
            return Ok(running.length());
        }
        let _place = self.places.take(caller).await?;
        let length = self.upstream.blob_length(repository, digest).await;
        self.judged(repository, length).await
    }

    /// A blob that `repository` does not have here.
    pub(crate) async fn blob(
        &self,
        caller: &Caller,
        repository: &str,
        digest: &Digest,
    ) -> Result<Pulled, UpstreamError> {
        if let Some(blob) = self.blob_of_another(caller, repository, digest).await? {
            return Ok(Pulled::Stored(blob));
        }
        let key = (repository.to_owned(), digest.clone());
        let live = self.downloads.join(caller, key).await;
        self.judged(repository, live).await.map(Pulled::Live)
    }

    /// A blob that another repository has here, if upstream says that it is this one's, too.
    async fn blob_of_another(
        &self,
        caller: &Caller,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<Blob>, UpstreamError> {
        let wanted = digest.clone();
        let length = move |store: &Store| store.length_of(&wanted);
        let Some(length) = self.store.run(length).await? else {
            return Ok(None);
        };
        let told = self.blob_length(caller, repository, digest).await?;
        // A page that says 200 to everything does not have this length.
        if told != Some(length) {
            return Ok(None);
        }
        let (name, wanted) = (repository.to_owned(), digest.clone());
        let link = move |store: &Store| {
            if store.link_blob(&name, &wanted)? {
                store.note_upstream(&name, true);
            }
            store.open_blob(&name, &wanted).map(Some)
        };
        match self.store.run(link).await {
            Err(StoreError::BlobUnknown) => Ok(None),
            result => Ok(result?),
        }
    }

    /// A manifest by digest.
    pub(crate) async fn manifest_by_digest(
        &self,
        caller: &Caller,
        repository: &str,
        digest: &Digest,
    ) -> Result<Manifest, UpstreamError> {
        if let Some(manifest) = self.kept(repository, digest).await? {
            return Ok(manifest);
        }
        let _place = self.places.own(caller).await?;
        // Others may have got it while this one waited.
        if let Some(manifest) = self.kept(repository, digest).await? {
            return Ok(manifest);
        }
        let (this, name) = (self.clone(), repository.to_owned());
        let (key, wanted) = ((name.clone(), digest.to_string()), digest.clone());
        let turn = self.places.turn(caller);
        let flight = self.manifests.join_in_turn(key, turn, |turn| async move {
            let _turn = turn;
            let reference = wanted.to_string();
            let fetched = this.fetch(&name, &reference, Some(&wanted), None).await;
            // Without a condition there is always one.
            fetched?.ok_or(UpstreamError::Unknown)
        });
        self.judged(repository, flight.await).await
    }

    async fn kept(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<Manifest>, UpstreamError> {
        let (name, wanted) = (repository.to_owned(), digest.clone());
        let read = move |store: &Store| store.manifest(&name, &wanted);
        match self.store.run(read).await {
            Err(StoreError::ManifestUnknown) => Ok(None),
            result => Ok(Some(result?)),
        }
    }

    /// A manifest by tag: from here while the tag was checked lately or cannot be checked now.
    pub(crate) async fn manifest_by_tag(
        &self,
        caller: &Caller,
        repository: &str,
        tag: &str,
    ) -> Result<Manifest, UpstreamError> {
        let mut known = self.known(repository, tag).await?;
        let mut place = self.places.own_now(caller);
        if known.is_none() && place.is_none() {
            place = Some(self.places.own(caller).await?);
            // Others may have got it while this one waited.
            known = self.known(repository, tag).await?;
        }
        if let Some((known, manifest)) = &known
            && self.is_current(known)
        {
            return Ok(manifest.clone());
        }
        let kept = known.map(|(_, manifest)| manifest);
        let Some(manifest) = kept.clone() else {
            let checked = self.checked(caller, repository, tag, None).await;
            return self.judged(repository, checked).await;
        };
        let error = match place {
            Some(place) => {
                let (this, name, tag) = (self.clone(), repository.to_owned(), tag.to_owned());
                let caller = caller.clone();
                // It goes on when it takes too long, so that a slow upstream's tags move all the same.
                let check = tokio::spawn(async move {
                    let checked = this.checked(&caller, &name, &tag, kept).await;
                    drop(place);
                    checked
                });
                let patience = self.upstream.patience().cached;
                match tokio::time::timeout(patience, check).await {
                    Ok(Ok(Err(error))) if !error.is_verdict() => error,
                    Ok(Ok(checked)) => return checked,
                    Ok(Err(_)) | Err(_) => UpstreamError::Silent,
                }
            }
            None => busy(),
        };
        tracing::warn!(repository, tag, %error, "serving a tag that could not be checked");
        Ok(manifest)
    }

    /// Checks a tag once for all who want that now.
    async fn checked(
        &self,
        caller: &Caller,
        repository: &str,
        tag: &str,
        kept: Option<Manifest>,
    ) -> Result<Manifest, UpstreamError> {
        let this = self.clone();
        let key = (repository.to_owned(), tag.to_owned());
        let turn = self.places.turn(caller);
        let (name, wanted) = key.clone();
        let check = self.manifests.join_in_turn(key, turn, |turn| async move {
            let _turn = turn;
            this.check(&name, &wanted, kept).await
        });
        check.await
    }

    /// Asks the upstream where a tag points, and for the manifest if that is not the one that is kept.
    async fn check(
        &self,
        repository: &str,
        tag: &str,
        known: Option<Manifest>,
    ) -> Result<Manifest, UpstreamError> {
        if let Some(manifest) = &known {
            // Registries count a GET of a manifest as a pull, and limit those. A HEAD that names the digest of what is
            // kept saves one; any other answer to it decides nothing.
            let head = Question::manifest(Method::HEAD, repository, tag);
            match self.upstream.ask(head).await {
                Ok(response)
                    if content_digest(response.headers()).as_ref() == Some(&manifest.digest) =>
                {
                    self.set(repository, tag, &manifest.digest).await;
                    return Ok(manifest.clone());
                }
                Err(error) if !error.is_of_the_question() => return Err(error),
                // It is a hint: GET decides.
                Ok(_) | Err(_) => {}
            }
        }
        let digest = known.as_ref().map(|manifest| &manifest.digest);
        let fetched = self.fetch(repository, tag, None, digest).await;
        let manifest = match (fetched, known) {
            (Ok(Some(manifest)), _) | (Ok(None), Some(manifest)) => manifest,
            (Ok(None), None) => return Err(UpstreamError::Unknown),
            (Err(UpstreamError::Unknown), Some(_)) => {
                let (name, tag) = (repository.to_owned(), tag.to_owned());
                let forget = move |store: &Store| store.forget_pulled_tag(&name, &tag);
                self.store.run(forget).await?;
                return Err(UpstreamError::Unknown);
            }
            (Err(error), _) => return Err(error),
        };
        self.set(repository, tag, &manifest.digest).await;
        Ok(manifest)
    }

    /// Gets, verifies and keeps a manifest; `None` if it is the one that is known.
    async fn fetch(
        &self,
        repository: &str,
        reference: &str,
        expected: Option<&Digest>,
        known: Option<&Digest>,
    ) -> Result<Option<Manifest>, UpstreamError> {
        let question = Question::manifest(Method::GET, repository, reference).unless(known);
        let (status, headers, content, _) = self.upstream.text(question, MAX_MANIFEST).await?;
        if known.is_some() && status == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let told = content_digest(&headers);
        let expected = expected.or(told.as_ref());
        let algorithm = expected.map_or(Algorithm::default(), Digest::algorithm);
        let manifest = Manifest::parse(algorithm, content)?;
        if let Some(expected) = expected.filter(|expected| **expected != manifest.digest) {
            return Err(UpstreamError::DigestMismatch {
                expected: expected.clone(),
                actual: manifest.digest,
            });
        }
        let (name, kept) = (repository.to_owned(), manifest.clone());
        let keep = move |store: &Store| {
            store.put_pulled_manifest(&name, &kept)?;
            store.note_upstream(&name, true);
            Ok(())
        };
        if let Err(error) = self.store.run(keep).await {
            tracing::error!(repository, reference, %error, "a manifest was passed on, but not kept");
        }
        Ok(Some(manifest))
    }

    /// What an upstream that does not answer means for a repository that it does not have: it said so when
    /// it still answered.
    async fn judged<T>(
        &self,
        repository: &str,
        result: Result<T, UpstreamError>,
    ) -> Result<T, UpstreamError> {
        self.judged_by(repository, result, Store::is_denied).await
    }

    /// The same, where `own` says whether the repository is one that the upstream does not have.
    pub(super) async fn judged_by<T>(
        &self,
        repository: &str,
        result: Result<T, UpstreamError>,
        own: fn(&Store, &str) -> Result<bool, StoreError>,
    ) -> Result<T, UpstreamError> {
        let Err(error) = result else { return result };
        let name = repository.to_owned();
        if !error.is_verdict() && self.store.run(move |store| own(store, &name)).await? {
            tracing::debug!(repository, %error, "a repository is taken to be this mirror's own");
            return Err(UpstreamError::Unknown);
        }
        // Clients of a mirror repeat a 429 at once, and go elsewhere after a 503.
        Err(match error {
            UpstreamError::Busy { retry_after, .. } if self.options.preset != Preset::Registry => {
                UpstreamError::Busy {
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    retry_after,
                }
            }
            error => error,
        })
    }

    /// The tag as it is here, with its manifest.
    async fn known(
        &self,
        repository: &str,
        tag: &str,
    ) -> Result<Option<(Tag, Manifest)>, UpstreamError> {
        let (repository, tag) = (repository.to_owned(), tag.to_owned());
        let read = move |store: &Store| {
            let known = match store.tag(&repository, &tag) {
                // The upstream says where it points.
                Err(StoreError::Corrupt(_)) => {
                    store.discard_tag(&repository, &tag)?;
                    None
                }
                known => known?,
            };
            let Some(tag) = known else {
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
        tag.origin == Origin::Push || age.is_some_and(|age| age < self.options.tag_ttl)
    }

    /// Notes that the upstream's tag points there now. Where that cannot be noted the answer is right
    /// all the same.
    async fn set(&self, repository: &str, tag: &str, digest: &Digest) {
        let (name, tag, digest) = (repository.to_owned(), tag.to_owned(), digest.clone());
        let put = move |store: &Store| store.put_pulled_tag(&name, &tag, &digest);
        match self.store.run(put).await {
            // The manifest could not be kept, which was logged, or was deleted meanwhile.
            Ok(()) | Err(StoreError::ManifestUnknown) => {}
            Err(error) => tracing::error!(repository, %error, "a tag could not be noted"),
        }
    }
}
