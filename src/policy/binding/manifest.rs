use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use sha2::{Digest, Sha256, Sha512};

use crate::util::hex;

/// What a manifest is, and so where the digests are that it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `config` and `layers` (image-spec `manifest.md`, Docker's schema 2).
    Image,
    /// `manifests` (image-spec `image-index.md`, Docker's list).
    Index,
    /// `blobs` (the artifact manifest of image-spec 1.1-rc).
    Artifact,
    /// `fsLayers` (Docker's schema 1).
    Schema1,
}

/// What of manifests and indexes names other content. Serde refuses a key that comes twice; of one
/// that others read as another, see [`Others`].
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    blobs: Option<Vec<Descriptor>>,
    fs_layers: Option<Vec<FsLayer>>,
    #[serde(flatten)]
    _others: Others,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: Option<String>,
    digest: String,
    urls: Option<Vec<String>>,
    #[serde(flatten)]
    _others: Others,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FsLayer {
    blob_sum: String,
    #[serde(flatten)]
    _others: Others,
}

/// The keys that mean nothing here. None of them may mean something to a registry or client that does
/// not tell cases apart, as those in Go do not: what one of them verified would not be what is learnt.
#[derive(Debug)]
struct Others;

/// The keys that mean something.
const KNOWN: [&str; 9] = [
    "mediaType",
    "digest",
    "urls",
    "config",
    "layers",
    "manifests",
    "blobs",
    "fsLayers",
    "blobSum",
];

impl<'de> Deserialize<'de> for Others {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self)
    }
}

impl<'de> Visitor<'de> for Others {
    type Value = Self;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
            let folded = folded(&key);
            let is = |known: &&str| *known != key && known.eq_ignore_ascii_case(&folded);
            if KNOWN.iter().any(is) {
                return Err(A::Error::custom("a key that others read as another"));
            }
        }
        Ok(self)
    }
}

/// The digests that a manifest or index leads to; `None` if it is neither, or if two readers could
/// take it for different ones. `content_type` is the one that it came with.
pub(super) fn children(content_type: Option<&str>, json: &[u8]) -> Option<Vec<String>> {
    let manifest: Manifest = serde_json::from_slice(json).ok()?;
    let said = manifest
        .media_type
        .as_deref()
        .filter(|said| !said.is_empty());
    let kind = match (content_type, said) {
        (Some(content_type), None) => Kind::of(content_type)?,
        (None, Some(said)) => Kind::of(said)?,
        (Some(content_type), Some(said)) => {
            let kind = Kind::of(content_type)?;
            (Kind::of(said)? == kind).then_some(kind)?
        }
        (None, None) => return None,
    };
    let lists = [
        (
            Kind::Image,
            manifest.config.is_some() || manifest.layers.is_some(),
        ),
        (Kind::Index, manifest.manifests.is_some()),
        (Kind::Artifact, manifest.blobs.is_some()),
        (Kind::Schema1, manifest.fs_layers.is_some()),
    ];
    // CVE-2021-41190: what is an image to one and an index to another.
    if lists
        .iter()
        .any(|(other, is_there)| *is_there && *other != kind)
    {
        return None;
    }
    let descriptors = [manifest.layers, manifest.manifests, manifest.blobs];
    let descriptors = descriptors.into_iter().flatten().flatten();
    let own = manifest
        .config
        .into_iter()
        .chain(descriptors)
        .filter(Descriptor::is_stored_here);
    let layers = manifest.fs_layers.into_iter().flatten();
    Some(
        own.map(|descriptor| descriptor.digest)
            .chain(layers.map(|layer| layer.blob_sum))
            .filter(|digest| crate::oci::is_digest(digest))
            .collect(),
    )
}

/// The digests that a list of referrers leads to.
pub(super) fn referrers(content_type: Option<&str>, json: &[u8]) -> Option<Vec<String>> {
    let is_index = content_type.and_then(Kind::of) == Some(Kind::Index);
    is_index.then(|| children(content_type, json)).flatten()
}

impl Kind {
    fn of(media_type: &str) -> Option<Self> {
        let essence = media_type.split(';').next()?.trim_ascii();
        let is = |known: &&str| essence.eq_ignore_ascii_case(known);
        let kinds = [
            (
                Self::Image,
                &[
                    "application/vnd.oci.image.manifest.v1+json",
                    "application/vnd.docker.distribution.manifest.v2+json",
                ][..],
            ),
            (
                Self::Index,
                &[
                    "application/vnd.oci.image.index.v1+json",
                    "application/vnd.docker.distribution.manifest.list.v2+json",
                ],
            ),
            (
                Self::Artifact,
                &["application/vnd.oci.artifact.manifest.v1+json"],
            ),
            (
                Self::Schema1,
                &[
                    "application/vnd.docker.distribution.manifest.v1+json",
                    "application/vnd.docker.distribution.manifest.v1+prettyjws",
                ],
            ),
        ];
        let found = kinds.into_iter().find(|(_, names)| names.iter().any(is));
        found.map(|(kind, _)| kind)
    }
}

impl Descriptor {
    /// What lies elsewhere may be named without being had: registries do not check that it is in
    /// the repository.
    fn is_stored_here(&self) -> bool {
        let media_type = self.media_type.as_deref().unwrap_or_default();
        self.urls.as_ref().is_none_or(Vec::is_empty)
            && !media_type.contains("nondistributable")
            && !media_type.contains(".foreign.")
    }
}

/// A key as readers see it that do not tell cases apart. To them two more letters are ASCII ones
/// (Unicode's simple folding, as Go's `encoding/json` does it).
fn folded(key: &str) -> String {
    let fold = |char: char| match char {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        char => char.to_ascii_lowercase(),
    };
    key.chars().map(fold).collect()
}

/// Whether `content` has this digest. An algorithm that is not known here proves nothing.
pub(super) fn is_content_of(digest: &str, content: &[u8]) -> bool {
    match digest.split_once(':') {
        Some(("sha256", encoded)) => hex::encode(&Sha256::digest(content)) == encoded,
        Some(("sha512", encoded)) => hex::encode(&Sha512::digest(content)) == encoded,
        _ => false,
    }
}

/// The canonical digest of `content`.
pub(super) fn digest_of(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(&Sha256::digest(content)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
    const SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json; charset=utf-8";

    fn digest(digit: char) -> String {
        format!("sha256:{}", digit.to_string().repeat(64))
    }

    #[test]
    fn every_kind_of_manifest_leads_to_its_parts() {
        let (a, b, c) = (digest('a'), digest('b'), digest('c'));
        for (kind, json, expected) in [
            (
                IMAGE,
                format!(
                    r#"{{"config":{{"digest":"{a}"}},"layers":[{{"digest":"{b}"}}],"subject":{{"digest":"{c}"}}}}"#
                ),
                vec![a.clone(), b.clone()],
            ),
            (
                INDEX,
                format!(r#"{{"manifests":[{{"digest":"{a}"}},{{"digest":"{b}"}}]}}"#),
                vec![a.clone(), b.clone()],
            ),
            (
                LIST,
                format!(
                    r#"{{"manifests":[{{"digest":"{a}","platform":{{"os":"linux"}}}}],"layers":null}}"#
                ),
                vec![a.clone()],
            ),
            (
                ARTIFACT,
                format!(r#"{{"blobs":[{{"digest":"{a}"}}]}}"#),
                vec![a.clone()],
            ),
            (
                SCHEMA1,
                format!(r#"{{"name":"x","tag":"y","fsLayers":[{{"blobSum":"{a}"}}]}}"#),
                vec![a.clone()],
            ),
            (
                IMAGE,
                format!(
                    r#"{{"layers":[{{"digest":"{a}","urls":["https://x"]}},
                    {{"digest":"{b}","mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar"}},
                    {{"digest":"{c}","mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}}]}}"#
                ),
                vec![],
            ),
            (
                IMAGE,
                r#"{"layers":[{"digest":"latest"}]}"#.to_owned(),
                vec![],
            ),
        ] {
            let found = children(Some(kind), json.as_bytes());
            assert_eq!(found, Some(expected.clone()), "{json}");
            // By what it says itself.
            let said = kind.split(';').next().unwrap();
            let json = json.replacen('{', &format!(r#"{{"mediaType":"{said}","#), 1);
            for told in [Some(kind), None] {
                assert_eq!(
                    children(told, json.as_bytes()),
                    Some(expected.clone()),
                    "{json}"
                );
            }
        }
        for json in [
            "",
            "[]",
            "{",
            r#"{"layers":[],"layers":[]}"#,
            r#"{"layers":[{}]}"#,
        ] {
            assert_eq!(children(Some(IMAGE), json.as_bytes()), None, "{json}");
        }
    }

    /// What a registry verified with one reader would not be what is learnt with another.
    #[test]
    #[allow(clippy::too_many_lines, reason = "a table")]
    fn nothing_is_learnt_from_what_two_readers_take_for_different_things() {
        let (own, secret) = (digest('a'), digest('b'));
        let own = format!(r#"{{"digest":"{own}"}}"#);
        let secret = format!(r#"{{"digest":"{secret}"}}"#);
        for (told, json) in [
            // CVE-2021-41190: an image and an index at once.
            (
                IMAGE,
                format!(r#"{{"layers":[{own}],"manifests":[{secret}]}}"#),
            ),
            (
                INDEX,
                format!(r#"{{"manifests":[{own}],"layers":[{secret}]}}"#),
            ),
            (
                INDEX,
                format!(r#"{{"manifests":[{own}],"config":{secret}}}"#),
            ),
            (IMAGE, format!(r#"{{"layers":[{own}],"blobs":[{secret}]}}"#)),
            (
                IMAGE,
                format!(
                    r#"{{"layers":[{own}],"fsLayers":[{{"blobSum":"{}"}}]}}"#,
                    digest('b')
                ),
            ),
            (SCHEMA1, format!(r#"{{"fsLayers":[],"layers":[{secret}]}}"#)),
            // Of another kind than its content type says.
            (INDEX, format!(r#"{{"layers":[{secret}]}}"#)),
            (IMAGE, format!(r#"{{"manifests":[{secret}]}}"#)),
            (
                IMAGE,
                format!(r#"{{"mediaType":"{INDEX}","manifests":[{secret}]}}"#),
            ),
            (
                IMAGE,
                format!(r#"{{"mediaType":"text/html","layers":[{secret}]}}"#),
            ),
            (
                "application/json",
                format!(r#"{{"mediaType":"{IMAGE}","layers":[{secret}]}}"#),
            ),
            (
                "",
                format!(r#"{{"mediaType":"{IMAGE}","layers":[{secret}]}}"#),
            ),
            // Go takes the last of these, and serde the only one that it knows.
            (
                IMAGE,
                format!(r#"{{"layers":[{secret}],"Layers":[{own}]}}"#),
            ),
            (IMAGE, format!(r#"{{"layers":[{secret}],"LAYERS":[]}}"#)),
            (
                IMAGE,
                format!("{{\"layers\":[{secret}],\"layer\u{17f}\":[{own}]}}"),
            ),
            (
                IMAGE,
                format!(r#"{{"layers":[{secret}],"layer\u017f":[{own}]}}"#),
            ),
            (
                IMAGE,
                format!(r#"{{"config":{secret},"Config":{own},"layers":[]}}"#),
            ),
            (
                IMAGE,
                format!(r#"{{"MediaType":"{INDEX}","layers":[{secret}]}}"#),
            ),
            (
                SCHEMA1,
                format!(
                    r#"{{"fsLayers":[{{"blobSum":"{}","blob\u017fum":""}}]}}"#,
                    digest('b')
                ),
            ),
            (
                SCHEMA1,
                format!(
                    r#"{{"fsLayers":[{{"blobSum":"{}"}}],"fslayers":[]}}"#,
                    digest('b')
                ),
            ),
            // Twice the same.
            (
                IMAGE,
                format!(r#"{{"layers":[{secret}],"layers":[{own}]}}"#),
            ),
            (
                IMAGE,
                format!(r#"{{"mediaType":"{IMAGE}","mediaType":"{INDEX}","layers":[{secret}]}}"#),
            ),
            (
                IMAGE,
                format!(
                    r#"{{"layers":[{{"digest":"{0}","digest":"{0}"}}]}}"#,
                    digest('b')
                ),
            ),
            // A layer that lies elsewhere to a registry in Go, which does not ask whether it is there.
            (
                IMAGE,
                format!(
                    r#"{{"layers":[{{"digest":"{}","URLs":["https://x"]}}]}}"#,
                    digest('b')
                ),
            ),
            (
                IMAGE,
                format!(
                    "{{\"layers\":[{{\"digest\":\"{}\",\"url\u{17f}\":[\"x\"]}}]}}",
                    digest('b')
                ),
            ),
            (
                IMAGE,
                format!(
                    r#"{{"layers":[{{"digest":"{}","Digest":"{}"}}]}}"#,
                    digest('b'),
                    digest('a')
                ),
            ),
        ] {
            assert_eq!(children(Some(told), json.as_bytes()), None, "{told} {json}");
        }
        let untold = format!(r#"{{"layers":[{secret}]}}"#);
        assert_eq!(children(None, untold.as_bytes()), None);
    }

    #[test]
    fn a_key_is_folded_as_go_folds_it() {
        assert_eq!(folded("fſLayerS"), "fslayers");
        assert_eq!(folded("\u{212a}EY"), "key");
        assert_eq!(folded("ÄÉ"), "ÄÉ");
    }

    #[test]
    fn a_list_of_referrers_is_an_index() {
        let a = digest('a');
        let json = format!(r#"{{"manifests":[{{"digest":"{a}","artifactType":"x"}}]}}"#);
        assert_eq!(referrers(Some(INDEX), json.as_bytes()), Some(vec![a]));
        assert_eq!(referrers(Some(IMAGE), json.as_bytes()), None);
        assert_eq!(referrers(None, json.as_bytes()), None);
    }

    #[test]
    fn content_is_what_its_digest_says() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest_of(b""), empty);
        assert!(is_content_of(empty, b""));
        assert!(!is_content_of(empty, b"x"));
        assert!(!is_content_of("md5:d41d8cd98f00b204e9800998ecf8427e", b""));
        // FIPS 180-4's example.
        let abc = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                   2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        assert!(is_content_of(abc, b"abc"));
        assert!(!is_content_of(abc, b"abd"));
    }
}
