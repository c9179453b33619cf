use std::path::PathBuf;

use super::durable;
use super::error::At as _;
use super::walk::First;
use super::{Descriptor, Digest, Manifest, Store, StoreError, open};

/// How many entries are read for one page.
const AT_ONCE: usize = 4096;

/// A part of the referrers of a manifest.
#[derive(Debug, Default)]
pub(crate) struct Referrers {
    /// Digest and JSON of each descriptor, in the order of the digests.
    pub(crate) found: Vec<(String, String)>,
    /// The digest after which there may be more.
    pub(crate) more_after: Option<String>,
}

impl Store {
    /// The descriptors of those manifests of `repository` whose `subject` this is: of those after the
    /// digest `last`, and of type `artifact_type` if that is given, as many as take `size` bytes, and at
    /// least one.
    pub(crate) fn referrers(
        &self,
        repository: &str,
        subject: &Digest,
        artifact_type: Option<&str>,
        last: Option<&str>,
        size: usize,
    ) -> Result<Referrers, StoreError> {
        let directory = self.referrers_dir(repository, subject);
        let last = last.map(|digest| digest.replacen(':', "-", 1));
        let mut names = First::new(AT_ONCE, last.as_deref());
        Self::for_each_name(&directory, |name| {
            names.see(name);
            Ok(())
        })?;
        let names = names.into_sorted();
        let whole = names.len() < AT_ONCE;
        let mut page = Referrers::default();
        let mut left = size;
        for name in names {
            let digest = name.replacen('-', ":", 1);
            let path = directory.join(&name);
            let text = match open::read(&path) {
                Ok(None) => continue,
                Err(StoreError::Corrupt(_)) => Vec::new(),
                text => text?.unwrap_or_default(),
            };
            let parsed = digest.parse().map_err(|_| StoreError::Corrupt(path))?;
            let found = serde_json::from_slice::<Descriptor>(&text).ok();
            let found = match found.filter(|found| found.digest == digest) {
                None => self.mend_referrer(repository, &parsed)?,
                found => found,
            };
            let wanted = found.filter(|found| {
                artifact_type.is_none() || found.artifact_type.as_deref() == artifact_type
            });
            // A crash may have left the entry without its manifest.
            if let Some(descriptor) = wanted
                && self.has_manifest(repository, &parsed)?
            {
                let text = serde_json::to_string(&descriptor).unwrap_or_default();
                if text.len() > left && !page.found.is_empty() {
                    return Ok(page);
                }
                left = left.saturating_sub(text.len());
                page.found.push((digest.clone(), text));
            }
            page.more_after = Some(digest);
        }
        if whole {
            page.more_after = None;
        }
        Ok(page)
    }

    /// Writes the entry of a manifest again; `None` if that is damaged too, or gone.
    fn mend_referrer(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<Descriptor>, StoreError> {
        let manifest = match self.manifest(repository, digest) {
            Err(StoreError::ManifestUnknown) => return Ok(None),
            manifest => manifest?,
        };
        self.checked().count_damaged();
        tracing::warn!(
            repository,
            %digest,
            "a damaged entry of a list of referrers is written again from its manifest"
        );
        let _changes = self.changes();
        if self.has_manifest(repository, digest)? {
            self.put_referrer(repository, &manifest)?;
        }
        Ok(Some(manifest.descriptor()))
    }

    pub(super) fn put_referrer(
        &self,
        repository: &str,
        manifest: &Manifest,
    ) -> Result<(), StoreError> {
        let Some(path) = self.referrer_file(repository, &manifest.digest, manifest) else {
            return Ok(());
        };
        let text = serde_json::to_vec(&manifest.descriptor())
            .map_err(std::io::Error::from)
            .at(&path)?;
        durable::replace(&self.tmp(), &path, &text)
    }

    /// `digest` is the name of the manifest, which damage may have made another than that of what is
    /// there.
    pub(super) fn remove_referrer(
        &self,
        repository: &str,
        digest: &Digest,
        manifest: &Manifest,
    ) -> Result<(), StoreError> {
        match self.referrer_file(repository, digest, manifest) {
            Some(path) => durable::remove(&path).map(drop),
            None => Ok(()),
        }
    }

    fn referrer_file(
        &self,
        repository: &str,
        digest: &Digest,
        manifest: &Manifest,
    ) -> Option<PathBuf> {
        let subject = manifest.subject.as_ref()?;
        let name = format!("{}-{}", digest.algorithm().as_str(), digest.hex());
        Some(self.referrers_dir(repository, subject).join(name))
    }
}
