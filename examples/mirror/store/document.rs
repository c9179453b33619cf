//! The fields of a manifest, read with a bound on each list, and refused where two readers of the same text
//! read two things: `encoding/json`, by which most clients read, takes the last of several keys and knows a
//! field in spite of its case, and others do not.
//!
//! The types of `oci-spec` 0.10 do not serve: they refuse `"layers": null`, `"manifests": null`, an image without
//! `config` and a descriptor without `mediaType`, which registries have and clients take; they take a document
//! with both `layers` and `manifests` (CVE-2021-41190), an empty `mediaType` and a field in another case, which
//! two readers read differently; and they have no bound on a list.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::marker::PhantomData;

use portcullis::oci::is_digest;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// How many descriptors one list of a manifest may have, and how many keys an object, such as annotations.
const MAX_DESCRIPTORS: usize = 8192;
const MAX_KEYS: usize = 1024;

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

/// The fields of a descriptor (image-spec, "Descriptors"), and of its platform (image-spec, "Image Index").
const DESCRIPTOR: [&str; 8] = [
    "mediaType",
    "digest",
    "size",
    "urls",
    "annotations",
    "data",
    "artifactType",
    "platform",
];
const PLATFORM: [&str; 6] = [
    "architecture",
    "os",
    "os.version",
    "os.features",
    "variant",
    "features",
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
                let mut keys = Keys::of(&FIELDS);
                while let Some(key) = keys.next(&mut map)? {
                    match &*key {
                        "schemaVersion" => found.schema_version = map.next_value()?,
                        "mediaType" => found.media_type = map.next_value()?,
                        "artifactType" => found.artifact_type = map.next_value()?,
                        "config" => found.config = map.next_value()?,
                        "layers" => found.layers = map.next_value()?,
                        "blobs" => found.blobs = map.next_value()?,
                        "manifests" => found.manifests = map.next_value()?,
                        "subject" => found.subject = map.next_value()?,
                        "annotations" => found.annotations = map.next_value()?,
                        _ => map.next_value_seed(Plain(&[]))?,
                    }
                }
                Ok(found)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Is))
    }
}

/// The keys that an object has had so far.
struct Keys {
    fields: &'static [&'static str],
    seen: HashSet<Box<str>>,
}

impl Keys {
    fn of(fields: &'static [&'static str]) -> Self {
        let seen = HashSet::new();
        Self { fields, seen }
    }

    fn next<'de, A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
    ) -> Result<Option<Cow<'de, str>>, A::Error> {
        let Some(key) = map.next_key::<Cow<'de, str>>()? else {
            return Ok(None);
        };
        if self.seen.len() == MAX_KEYS {
            return Err(A::Error::custom("an object of more than 1024 fields"));
        }
        if !self.seen.insert(key.as_ref().into()) {
            return Err(A::Error::custom("a field twice"));
        }
        // Go folds these two letters too.
        let folded = key.replace('\u{17f}', "s").replace('\u{212a}', "k");
        let is = |field: &&str| **field != *key && folded.eq_ignore_ascii_case(field);
        if self.fields.iter().any(is) {
            return Err(A::Error::custom("a field in another case"));
        }
        Ok(Some(key))
    }
}

/// A value of which nothing is kept, in an object of these fields.
struct Plain(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Plain {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Plain {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Plain(&[]))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys = Keys::of(self.0);
        while keys.next(&mut map)?.is_some() {
            map.next_value_seed(Plain(&[]))?;
        }
        Ok(())
    }
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
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Reference;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a descriptor")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Reference, A::Error> {
                let mut digest: Option<Box<str>> = None;
                let (mut media_type, mut elsewhere) = (None, false);
                let mut keys = Keys::of(&DESCRIPTOR);
                while let Some(key) = keys.next(&mut map)? {
                    match &*key {
                        "digest" => digest = map.next_value()?,
                        "mediaType" => media_type = map.next_value::<Option<String>>()?,
                        "urls" => {
                            let urls: Option<Vec<IgnoredAny>> = map.next_value()?;
                            elsewhere = urls.is_some_and(|urls| !urls.is_empty());
                        }
                        // Only that it can be one; clients take none for 0.
                        "size" => drop(map.next_value::<Option<u64>>()?),
                        "annotations" => drop(map.next_value::<Option<Annotations>>()?),
                        "platform" => map.next_value_seed(Plain(&PLATFORM))?,
                        _ => map.next_value_seed(Plain(&[]))?,
                    }
                }
                let digest = digest.filter(|digest| is_digest(digest));
                let invalid = || A::Error::custom("a descriptor without a valid digest");
                Ok(Reference {
                    digest: digest.ok_or_else(invalid)?,
                    media_type: media_type.filter(|text| !text.is_empty()),
                    elsewhere,
                })
            }
        }

        deserializer.deserialize_map(Fields)
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
                let mut keys = Keys::of(&[]);
                while let Some(key) = keys.next(&mut map)? {
                    // Of what is `null` clients make an empty text.
                    let value: Option<String> = map.next_value()?;
                    found.insert(key.into_owned(), value.unwrap_or_default());
                }
                Ok(Annotations(found))
            }
        }

        deserializer.deserialize_map(Bounded)
    }
}
