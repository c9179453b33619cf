//! What a manifest must be, for pushes and pulls alike.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};

use super::document::{Annotations, AtMost, Document, Reference};
use super::{Algorithm, Digest};

/// The longest manifest, in bytes. distribution-spec: a registry should take 4 MiB, and clients refuse
/// more.
pub(crate) const MAX_MANIFEST: usize = 4 * 1024 * 1024;

const OCI_IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Of a release candidate of image-spec 1.1. It has `blobs` and no schema version.
const OCI_ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A manifest or index whose form has been checked. `Clone` copies no content.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) digest: Digest,
    /// From the content alone: no header changes what the same bytes are.
    pub(crate) media_type: String,
    pub(crate) content: Bytes,
    pub(crate) subject: Option<Digest>,
    /// `artifactType`, or the config's media type (distribution-spec, "Listing Referrers").
    pub(crate) artifact_type: Option<String>,
    pub(crate) annotations: BTreeMap<String, String>,
    blobs: Vec<Reference>,
    children: Vec<Reference>,
}

/// Why content is no manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("it is longer than {MAX_MANIFEST} bytes")]
    TooLong,
    #[error("it is no JSON of a manifest: {0}")]
    Json(String),
    #[error("its schemaVersion is not 2")]
    SchemaVersion,
    #[error("it has both layers and manifests (CVE-2021-41190)")]
    Both,
    #[error("it has neither layers nor manifests")]
    Neither,
    #[error("its mediaType is not that of what it holds")]
    MediaType,
    #[error("its subject has no sha256 or sha512 digest")]
    Subject,
}

/// A reference to content (image-spec, "Descriptors"), as lists of referrers have it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    // What lacks it, or has `null`, clients read as if it were empty.
    #[serde(default, deserialize_with = "or_empty")]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    #[serde(default, deserialize_with = "or_empty")]
    pub(crate) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    #[serde(
        default,
        deserialize_with = "annotations",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

fn or_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn annotations<'de, D>(deserializer: D) -> Result<Option<BTreeMap<String, String>>, D::Error>
where
    D: Deserializer<'de>,
{
    let found = Option::<Annotations>::deserialize(deserializer)?;
    Ok(found.map(|Annotations(found)| found))
}

impl Manifest {
    /// Reads and checks `content`. Its digest is computed with `algorithm`; whether that is the one
    /// that was asked for is for the caller to compare.
    ///
    /// # Errors
    /// The content is not one manifest or index that every client reads the same way.
    pub(crate) fn parse(
        algorithm: Algorithm,
        content: impl Into<Bytes>,
    ) -> Result<Self, ManifestError> {
        let content = content.into();
        if content.len() > MAX_MANIFEST {
            return Err(ManifestError::TooLong);
        }
        let text = std::str::from_utf8(&content).map_err(|error| json(&error))?;
        let document: Document = serde_json::from_str(text).map_err(|error| json(&error))?;
        let media_type = document.media_type()?;
        let subject = document.subject.value();
        let subject = subject.map(|subject| subject.digest.parse()).transpose();
        let artifact_type = document.artifact_type.value();
        let artifact_type = artifact_type.filter(|text| !text.is_empty());
        let mut blobs = Vec::from_iter(document.config.value());
        // An index has no config, and so none of its type.
        let config_type = blobs.first().and_then(|config| config.media_type.clone());
        for list in [document.layers, document.blobs] {
            blobs.extend(list.value().into_iter().flat_map(|AtMost(list)| list));
        }
        Ok(Self {
            digest: Digest::of(algorithm, &content),
            subject: subject.map_err(|_| ManifestError::Subject)?,
            artifact_type: artifact_type.or(config_type),
            annotations: document.annotations.value().unwrap_or_default().0,
            blobs,
            children: document
                .manifests
                .value()
                .map_or(Vec::new(), |AtMost(list)| list),
            media_type,
            content,
        })
    }

    /// Whether `header`, a `Content-Type`, says the same as the content. Parameters are ignored
    /// (distribution-spec, "Pushing Manifests").
    pub(crate) fn is_of_type(&self, header: &str) -> bool {
        let header = header.split(';').next().unwrap_or(header).trim();
        header.eq_ignore_ascii_case(&self.media_type)
    }

    /// The digests of the blobs that the manifest needs in its own repository. A layer with `urls` may
    /// be kept elsewhere only (image-spec, "Non-distributable Layers").
    pub(crate) fn needed_blobs(&self) -> impl Iterator<Item = &str> {
        let blobs = self.blobs.iter().filter(|blob| !blob.elsewhere);
        blobs.map(|blob| &*blob.digest)
    }

    /// The digests of all blobs that the manifest refers to and that a store can have.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = Digest> {
        digests(&self.blobs)
    }

    /// The digests of the manifests that an index leads to.
    pub(crate) fn children(&self) -> impl Iterator<Item = Digest> {
        digests(&self.children)
    }

    /// The descriptor of this manifest in the list of its subject's referrers.
    pub(crate) fn descriptor(&self) -> Descriptor {
        let annotations = Some(self.annotations.clone());
        Descriptor {
            media_type: self.media_type.clone(),
            digest: self.digest.to_string(),
            size: self.content.len() as u64,
            artifact_type: self.artifact_type.clone(),
            annotations: annotations.filter(|annotations| !annotations.is_empty()),
        }
    }
}

fn digests(references: &[Reference]) -> impl Iterator<Item = Digest> {
    let digests = references.iter().map(|reference| reference.digest.parse());
    digests.filter_map(Result::ok)
}

impl Document {
    fn media_type(&self) -> Result<String, ManifestError> {
        let own = self.media_type.get().map(String::as_str);
        let own = own.filter(|text| !text.is_empty());
        if self.schema_version.get() != Some(&2) && own != Some(OCI_ARTIFACT) {
            return Err(ManifestError::SchemaVersion);
        }
        let Self {
            config,
            layers,
            blobs,
            manifests,
            ..
        } = self;
        let image = config.get().is_some() || layers.get().is_some() || blobs.get().is_some();
        let index = manifests.get().is_some();
        // What is `null` counts where nothing else does: it is left over from a form that serves for both.
        let null_image = layers.is_there() || blobs.is_there();
        let null_index = manifests.is_there();
        let is_index = match (image, index, null_image, null_index) {
            (true, true, ..) | (false, false, true, true) => return Err(ManifestError::Both),
            (false, false, false, false) => return Err(ManifestError::Neither),
            (image, index, _, null_index) => index || (!image && null_index),
        };
        let fits = match own {
            None if is_index => return Ok(OCI_INDEX.to_owned()),
            None => return Ok(OCI_IMAGE.to_owned()),
            Some(OCI_IMAGE | DOCKER_IMAGE | OCI_ARTIFACT) => !is_index,
            Some(OCI_INDEX | DOCKER_LIST) => is_index,
            Some(other) => is_registry_type(other),
        };
        let own = own.filter(|_| fits).ok_or(ManifestError::MediaType)?;
        Ok(own.to_owned())
    }
}

/// `application/…+json` (RFC 6838 §4.2): nothing that a browser renders.
fn is_registry_type(text: &str) -> bool {
    let name = text
        .strip_prefix("application/")
        .and_then(|rest| rest.strip_suffix("+json"));
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
    name.is_some_and(|name| (1..=127).contains(&name.len()) && name.bytes().all(allowed))
}

/// The text of an error, short: serde quotes what it found, which may be all of the document.
fn json(error: &dyn fmt::Display) -> ManifestError {
    ManifestError::Json(error.to_string().chars().take(200).collect())
}
