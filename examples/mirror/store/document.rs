//! The fields of a manifest, read with a bound on each list.
//!
//! The types of `oci-spec` 0.10 do not serve: they refuse `"layers": null`, `"manifests": null`, an image without
//! `config` and a descriptor without `mediaType`, which registries have and clients take; they take a document
//! with both `layers` and `manifests` (CVE-2021-41190), an empty `mediaType` and a field in another case, which
//! two readers read differently; and they have no bound on a list.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use portcullis::oci::is_digest;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// How many descriptors one list of a manifest may have, and how many annotations a manifest.
const MAX_DESCRIPTORS: usize = 8192;
const MAX_ANNOTATIONS: usize = 1024;

/// The fields that a registry reads.
#[derive(Default)]
pub(super) struct Document {
    pub(super) schema_version: Field<u64>,
    pub(super) media_type: Field<String>,
    pub(super) artifact_type: Field<String>,
    pub(super) config: Field<Reference>,
    pub(super) layers: Field<List>,
    pub(super) blobs: Field<List>,
    pub(super) manifests: Field<List>,
    pub(super) subject: Field<Reference>,
    pub(super) annotations: Field<Annotations>,
}

#[derive(Default)]
pub(super) enum Field<T> {
    #[default]
    Absent,
    Null,
    Is(T),
}

const FIELDS: [&str; 9] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "blobs",
    "manifests",
    "subject",
    "annotations",
];

impl<T> Field<T> {
    pub(super) fn is_there(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    pub(super) fn get(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Document;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut found = Document::default();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    match &*key {
                        "schemaVersion" => once(&mut map, &mut found.schema_version)?,
                        "mediaType" => once(&mut map, &mut found.media_type)?,
                        "artifactType" => once(&mut map, &mut found.artifact_type)?,
                        "config" => once(&mut map, &mut found.config)?,
                        "layers" => once(&mut map, &mut found.layers)?,
                        "blobs" => once(&mut map, &mut found.blobs)?,
                        "manifests" => once(&mut map, &mut found.manifests)?,
                        "subject" => once(&mut map, &mut found.subject)?,
                        "annotations" => once(&mut map, &mut found.annotations)?,
                        other if is_field_to_go(other) => {
                            return Err(A::Error::custom("a field in another case"));
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(found)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// Reads a field that must not come twice: of two, readers take different ones.
fn once<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    field: &mut Field<T>,
) -> Result<(), A::Error> {
    if field.is_there() {
        return Err(A::Error::custom("a field twice"));
    }
    *field = map
        .next_value::<Option<T>>()?
        .map_or(Field::Null, Field::Is);
    Ok(())
}

/// Whether Go's `encoding/json`, by which most clients read, takes `key` for a known field in spite of
/// its case: it folds these two letters too.
fn is_field_to_go(key: &str) -> bool {
    let folded = key.replace('\u{17f}', "s").replace('\u{212a}', "k");
    FIELDS
        .iter()
        .any(|field| folded.eq_ignore_ascii_case(field))
}

/// What is kept of a descriptor.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) digest: Box<str>,
    pub(super) media_type: Option<String>,
    pub(super) elsewhere: bool,
}

pub(super) type List = AtMost<Reference, MAX_DESCRIPTORS>;

/// A list that is refused as soon as it has one item more.
pub(crate) struct AtMost<T, const MOST: usize>(pub(crate) Vec<T>);

#[derive(Default)]
pub(super) struct Annotations(pub(super) BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Fields {
            media_type: Option<String>,
            digest: Box<str>,
            #[serde(rename = "size")]
            _size: u64,
            urls: Option<Vec<IgnoredAny>>,
        }

        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a descriptor")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Fields, A::Error> {
                // Without the detour serde would take an array for the fields in their order.
                Fields::deserialize(MapAccessDeserializer::new(map))
            }
        }

        let fields = deserializer.deserialize_map(Object)?;
        if !is_digest(&fields.digest) {
            return Err(D::Error::custom("a descriptor without a valid digest"));
        }
        Ok(Self {
            digest: fields.digest,
            media_type: fields.media_type.filter(|text| !text.is_empty()),
            elsewhere: fields.urls.is_some_and(|urls| !urls.is_empty()),
        })
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for AtMost<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MOST: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Items<T, MOST> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MOST} items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
                let mut found = Vec::new();
                while let Some(item) = list.next_element()? {
                    if found.len() == MOST {
                        return Err(A::Error::invalid_length(MOST + 1, &self));
                    }
                    found.push(item);
                }
                Ok(found)
            }
        }

        deserializer
            .deserialize_seq(Items::<T, MOST>(PhantomData))
            .map(Self)
    }
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;

        impl<'de> Visitor<'de> for Bounded {
            type Value = Annotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("annotations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut found = BTreeMap::new();
                while let Some((key, value)) = map.next_entry()? {
                    if found.len() == MAX_ANNOTATIONS {
                        return Err(A::Error::custom("more annotations than 1024"));
                    }
                    found.insert(key, value);
                }
                Ok(Annotations(found))
            }
        }

        deserializer.deserialize_map(Bounded)
    }
}
