use portcullis::oci::is_digest;
use portcullis::policy::DigestBinding;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::number;

/// A digit that chooses the media type, and a manifest: what is learnt from it, a reader in Go and one
/// that takes the last of equal keys find there too.
pub fn manifest(input: &[u8]) -> u64 {
    let Some((first, json)) = input.split_first() else {
        return 0;
    };
    let (told, lists) = KINDS[usize::from(*first) % KINDS.len()];
    let binding = DigestBinding::new(100).with_pushes(true);
    let learnt = binding.bind_manifest(None, "a", Some(&own(json)), told, json);
    let Ok(tree) = serde_json::from_slice::<Node>(json) else {
        assert!(!learnt, "no JSON");
        return 1;
    };
    let mut texts = Vec::new();
    tree.texts(&mut texts);
    texts.retain(|text| is_digest(text));
    let led_to = |digest: &&String| binding.leads_to(None, "a", digest);
    let led_to: Vec<&String> = texts.iter().filter(led_to).collect();
    assert!(learnt || led_to.is_empty(), "nothing is learnt from it");
    for folds in [true, false] {
        let media_type = tree.get("mediaType", folds).and_then(Node::text);
        let lists = lists.or_else(|| {
            let said = |(kind, _): &&(Option<&str>, _)| media_type.is_some() && *kind == media_type;
            KINDS.iter().find(said).and_then(|(_, lists)| *lists)
        });
        let found = tree.digests(lists.unwrap_or_default(), folds);
        for digest in &led_to {
            let own = **digest == own(json);
            assert!(own || found.contains(digest), "{digest} for {found:?}");
        }
    }
    number((learnt, led_to.len().min(3), first % 8))
}

fn own(json: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(json);
    let hex: Vec<_> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", hex.concat())
}

type Lists = &'static [&'static str];

const KINDS: [(Option<&str>, Option<Lists>); 7] = [
    (None, None),
    (
        Some("application/vnd.oci.image.manifest.v1+json"),
        Some(&["config", "layers"]),
    ),
    (
        Some("application/vnd.oci.image.index.v1+json"),
        Some(&["manifests"]),
    ),
    (
        Some("application/vnd.docker.distribution.manifest.v2+json"),
        Some(&["config", "layers"]),
    ),
    (
        Some("application/vnd.docker.distribution.manifest.list.v2+json"),
        Some(&["manifests"]),
    ),
    (
        Some("application/vnd.docker.distribution.manifest.v1+json"),
        Some(&["fsLayers"]),
    ),
    (Some("application/json"), Some(&[])),
];

/// JSON with every key that is there, as often as it is.
#[derive(Debug)]
enum Node {
    Object(Vec<(String, Node)>),
    Array(Vec<Node>),
    Text(String),
    Other,
}

impl Node {
    /// As `encoding/json` fills a field, the last key counts, whatever its case; or the last exact one.
    fn get(&self, key: &str, folds: bool) -> Option<&Self> {
        let Self::Object(pairs) = self else {
            return None;
        };
        let is = |(found, _): &&(String, Self)| {
            found == key || folds && folded(found) == key.to_ascii_lowercase()
        };
        pairs.iter().rev().find(is).map(|(_, value)| value)
    }

    fn digests(&self, lists: &[&str], folds: bool) -> Vec<&String> {
        let entries = lists.iter().filter_map(|list| self.get(list, folds));
        let entries = entries.flat_map(|entry| match entry {
            Self::Array(entries) => entries.iter().collect(),
            entry => vec![entry],
        });
        let digests = entries.filter_map(|entry| {
            let digest = entry.get("digest", folds);
            match digest.or_else(|| entry.get("blobSum", folds))? {
                Self::Text(text) => Some(text),
                _ => None,
            }
        });
        digests.collect()
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn texts(&self, texts: &mut Vec<String>) {
        match self {
            Self::Object(pairs) => pairs.iter().for_each(|(_, value)| value.texts(texts)),
            Self::Array(values) => values.iter().for_each(|value| value.texts(texts)),
            Self::Text(text) => texts.push(text.clone()),
            Self::Other => {}
        }
    }
}

fn folded(key: &str) -> String {
    key.replace('\u{17f}', "s")
        .replace('\u{212a}', "k")
        .to_ascii_lowercase()
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Node;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON")
            }

            fn visit_str<E>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Text(text.to_owned()))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
                Ok(Node::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
                Ok(Node::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
                Ok(Node::Other)
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element()? {
                    values.push(value);
                }
                Ok(Node::Array(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Node::Object(pairs))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}
