use serde::Deserialize;
use sha2::{Digest, Sha256, Sha512};

/// What of manifests and indexes names other content (image-spec `manifest.md`, `image-index.md`;
/// Docker's schema 1 and 2; the artifact manifest of image-spec 1.1-rc).
#[derive(Debug, Deserialize)]
struct Manifest {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    #[serde(default)]
    blobs: Vec<Descriptor>,
    #[serde(default, rename = "fsLayers")]
    fs_layers: Vec<FsLayer>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    urls: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct FsLayer {
    #[serde(rename = "blobSum")]
    blob_sum: String,
}

/// The digests that a manifest or index leads to; `None` if it is neither.
pub(super) fn children(json: &[u8]) -> Option<Vec<String>> {
    let manifest: Manifest = serde_json::from_slice(json).ok()?;
    let lists = [manifest.layers, manifest.manifests, manifest.blobs];
    let descriptors = manifest
        .config
        .into_iter()
        .chain(lists.into_iter().flatten());
    let own = descriptors.filter(Descriptor::is_stored_here);
    let digests = own.map(|descriptor| descriptor.digest);
    Some(
        digests
            .chain(manifest.fs_layers.into_iter().map(|layer| layer.blob_sum))
            .filter(|digest| crate::oci::is_digest(digest))
            .collect(),
    )
}

impl Descriptor {
    /// What lies elsewhere may be named without being had: registries do not check that it is in
    /// the repository.
    fn is_stored_here(&self) -> bool {
        self.urls.is_empty()
            && !self.media_type.contains("nondistributable")
            && !self.media_type.contains(".foreign.")
    }
}

/// Whether `content` has this digest. An algorithm that is not known here proves nothing.
pub(super) fn is_content_of(digest: &str, content: &[u8]) -> bool {
    match digest.split_once(':') {
        Some(("sha256", encoded)) => hex(&Sha256::digest(content)) == encoded,
        Some(("sha512", encoded)) => hex(&Sha512::digest(content)) == encoded,
        _ => false,
    }
}

/// The canonical digest of `content`.
pub(super) fn digest_of(content: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(content)))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    let digits = bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)]);
    digits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(digit: char) -> String {
        format!("sha256:{}", digit.to_string().repeat(64))
    }

    #[test]
    fn every_kind_of_manifest_leads_to_its_parts() {
        let (a, b, c) = (digest('a'), digest('b'), digest('c'));
        for (json, expected) in [
            (
                format!(
                    r#"{{"config":{{"digest":"{a}"}},"layers":[{{"digest":"{b}"}}],"subject":{{"digest":"{c}"}}}}"#
                ),
                vec![a.clone(), b.clone()],
            ),
            (
                format!(r#"{{"manifests":[{{"digest":"{a}"}},{{"digest":"{b}"}}]}}"#),
                vec![a.clone(), b.clone()],
            ),
            (
                format!(r#"{{"blobs":[{{"digest":"{a}"}}]}}"#),
                vec![a.clone()],
            ),
            (
                format!(r#"{{"fsLayers":[{{"blobSum":"{a}"}}]}}"#),
                vec![a.clone()],
            ),
            (
                format!(
                    r#"{{"layers":[{{"digest":"{a}","urls":["https://x"]}},
                    {{"digest":"{b}","mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar"}},
                    {{"digest":"{c}","mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}}]}}"#
                ),
                vec![],
            ),
            (r#"{"layers":[{"digest":"latest"}]}"#.to_owned(), vec![]),
        ] {
            assert_eq!(children(json.as_bytes()), Some(expected), "{json}");
        }
        for json in [
            "",
            "[]",
            "{",
            r#"{"layers":[],"layers":[]}"#,
            r#"{"layers":[{}]}"#,
        ] {
            assert_eq!(children(json.as_bytes()), None, "{json}");
        }
    }

    #[test]
    fn content_is_what_its_digest_says() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest_of(b""), empty);
        assert!(is_content_of(empty, b""));
        assert!(!is_content_of(empty, b"x"));
        assert!(!is_content_of("md5:d41d8cd98f00b204e9800998ecf8427e", b""));
    }
}
