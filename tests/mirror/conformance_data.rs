//! The images, indexes and artifacts of the distribution-spec's conformance suite.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::store::{Algorithm, Digest};
use crate::support::{INDEX, MANIFEST, noise, sha256};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const ARTIFACT: [&str; 2] = [
    "application/vnd.example.oci.conformance.v1",
    "application/vnd.example.oci.conformance.v2",
];

/// What is pushed together, in this order.
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) algorithm: Algorithm,
    pub(crate) blobs: BTreeSet<Vec<u8>>,
    pub(crate) manifests: Vec<Pushed>,
    unique: usize,
}

pub(crate) struct Pushed {
    pub(crate) content: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) tags: Vec<String>,
    /// With its tags in the query, if it has any.
    pub(crate) by_digest: bool,
}

impl Pushed {
    fn value(&self) -> Value {
        serde_json::from_slice(&self.content).unwrap()
    }

    pub(crate) fn media_type(&self) -> String {
        self.value()["mediaType"].as_str().unwrap().to_owned()
    }

    pub(crate) fn subject(&self) -> Option<String> {
        let subject = self.value()["subject"]["digest"].as_str()?.to_owned();
        Some(subject)
    }
}

impl Set {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            algorithm: Algorithm::Sha256,
            blobs: BTreeSet::new(),
            manifests: Vec::new(),
            unique: 0,
        }
    }

    fn descriptor(&self, media_type: &str, content: &[u8]) -> Value {
        let digest = Digest::of(self.algorithm, content).to_string();
        json!({"mediaType": media_type, "digest": digest, "size": content.len()})
    }

    fn blob(&mut self, media_type: &str, content: &[u8]) -> Value {
        self.blobs.insert(content.to_vec());
        self.descriptor(media_type, content)
    }

    fn unique_blob(&mut self, media_type: &str) -> Value {
        self.unique += 1;
        self.blob(media_type, &noise(200 + self.unique))
    }

    /// Adds a manifest of these fields; returns its descriptor.
    fn push(&mut self, fields: &Value, tags: &[&str]) -> Value {
        let content = serde_json::to_vec(fields).unwrap();
        let descriptor = self.descriptor(fields["mediaType"].as_str().unwrap(), &content);
        self.manifests.push(Pushed {
            digest: Digest::of(self.algorithm, &content),
            content,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            by_digest: false,
        });
        descriptor
    }

    /// An image of so many layers, with more fields.
    fn image(&mut self, kind: &str, layers: usize, more: &Value, tags: &[&str]) -> Value {
        let layers: Vec<_> = (0..layers).map(|_| self.unique_blob(kind)).collect();
        let config = self.unique_blob(CONFIG);
        let fields = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        });
        self.push(&with(fields, more), tags)
    }

    fn artifact(&mut self, kind: &str, layer: &Value, more: &Value, tags: &[&str]) -> Value {
        let config = self.blob(EMPTY, b"{}");
        let fields = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind, "config": config,
            "layers": [layer],
        });
        self.push(&with(fields, more), tags)
    }

    fn index(&mut self, manifests: &[Value], more: &Value, tags: &[&str]) -> Value {
        let fields = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        self.push(&with(fields, more), tags)
    }

    /// An index of two images of two platforms.
    fn platforms(&mut self, more: &Value, tags: &[&str]) -> Value {
        let images = ["amd64", "arm64"].map(|architecture| {
            let mut image = self.image(GZIP, 2, more, &[]);
            image["platform"] = json!({"os": "linux", "architecture": architecture});
            image
        });
        self.index(&images, more, tags)
    }

    pub(crate) fn tags(&self) -> impl Iterator<Item = &str> {
        let tags = self.manifests.iter().flat_map(|pushed| &pushed.tags);
        tags.map(String::as_str)
    }

    pub(crate) fn subjects(&self) -> BTreeSet<String> {
        let subjects = self.manifests.iter().filter_map(Pushed::subject);
        subjects.collect()
    }

    /// The descriptors of those manifests whose subject this is.
    pub(crate) fn referrers(&self, subject: &str) -> Vec<Value> {
        let pushed = self.manifests.iter();
        let pushed = pushed.filter(|pushed| pushed.subject().as_deref() == Some(subject));
        let entry = |pushed: &Pushed| {
            let value = pushed.value();
            let mut entry = self.descriptor(&pushed.media_type(), &pushed.content);
            let kind = [&value["artifactType"], &value["config"]["mediaType"]];
            let kind = kind.into_iter().find(|kind| kind.is_string());
            entry["artifactType"] = kind.unwrap().clone();
            if value["annotations"].is_object() {
                entry["annotations"] = value["annotations"].clone();
            }
            entry
        };
        pushed.map(entry).collect()
    }
}

fn with(mut fields: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        fields[key] = value.clone();
    }
    fields
}

/// Takes what a set is called and what fills it.
type Add<'a> = dyn FnMut(&'static str, &dyn Fn(&mut Set)) + 'a;

pub(crate) fn sets() -> Vec<Set> {
    let mut all = Vec::new();
    let mut add = |name, fill: &dyn Fn(&mut Set)| {
        let mut set = Set::new(name);
        fill(&mut set);
        all.push(set);
    };
    images(&mut add);
    indexes(&mut add);
    artifacts(&mut add);
    digests(&mut add);
    all
}

fn images(add: &mut Add<'_>) {
    let none = &json!({});
    add("image", &|set| {
        set.image(GZIP, 2, none, &["image"]);
    });
    add("image-uncompressed", &|set| {
        set.image(LAYER, 2, none, &["image-uncompressed"]);
    });
    add("large-manifest", &|set| {
        let text = "A".repeat(10_000);
        let annotations =
            (0..390).map(|number| (format!("large-annotation-{number}"), json!(text)));
        let annotations: serde_json::Map<_, _> = annotations.collect();
        set.image(GZIP, 2, &json!({"annotations": annotations}), &["large"]);
    });
    add("data-field", &|set| {
        let mut config = set.blob(CONFIG, b"{}");
        config["data"] = json!("e30=");
        set.image(GZIP, 2, &json!({"config": config}), &["data-field"]);
    });
    add("non-distributable-layers", &|set| {
        let away = |kind: &str, content: &[u8]| {
            let digest = sha256(content);
            let url = format!("https://store.example.com/blobs/sha256/{}", digest.hex());
            json!({
                "mediaType": format!("application/vnd.oci.image.layer.nondistributable.v1.{kind}"),
                "digest": digest.to_string(), "size": 12345, "urls": [url],
            })
        };
        let here = set.unique_blob(GZIP);
        let layers = json!([away("tar+gzip", b"one"), away("tar", b"two"), here]);
        set.image(GZIP, 0, &json!({"layers": layers}), &["non-distributable"]);
    });
    add("no-layers", &|set| {
        set.image(GZIP, 0, none, &["no-layers"]);
    });
}

fn indexes(add: &mut Add<'_>) {
    let none = &json!({});
    add("index", &|set| {
        set.platforms(none, &["index"]);
    });
    add("nested-index", &|set| {
        let inner = [set.platforms(none, &[]), set.platforms(none, &[])];
        set.index(&inner, none, &["index-of-index"]);
    });
    add("empty-index", &|set| {
        set.index(&[], none, &["index"]);
    });
    add("custom-fields", &|set| {
        let more = json!({"org.example.field": {"any": ["thing", 1, null]}});
        set.platforms(&more, &["custom-fields"]);
    });
    add("sparse-index", &|set| {
        let here = set.image(GZIP, 2, none, &[]);
        let digest = sha256(b"nowhere").to_string();
        let nowhere = json!({"mediaType": MANIFEST, "digest": digest, "size": 1024});
        set.index(&[here, nowhere], none, &["sparse-index"]);
    });
}

fn artifacts(add: &mut Add<'_>) {
    let none = &json!({});
    add("artifact", &|set| {
        let layer = set.unique_blob(ARTIFACT[0]);
        set.artifact(ARTIFACT[0], &layer, none, &["artifact"]);
    });
    add("artifact-index", &|set| {
        let artifacts = [(); 2].map(|()| {
            let layer = set.unique_blob(ARTIFACT[0]);
            set.artifact(ARTIFACT[0], &layer, none, &[])
        });
        let kind = json!({"artifactType": ARTIFACT[0]});
        set.index(&artifacts, &kind, &["artifact-index"]);
    });
    add("artifact-without-layers", &|set| {
        let layer = set.blob(EMPTY, b"{}");
        set.artifact(ARTIFACT[0], &layer, none, &["artifact"]);
    });
    add("artifacts-with-subject", &|set| {
        let subject = set.image(GZIP, 2, none, &["image"]);
        set.image(GZIP, 2, &json!({"subject": subject}), &[]);
        for (number, kind) in ARTIFACT.into_iter().enumerate() {
            let annotations = json!({"org.opencontainers.conformance": "hello", "n": kind});
            let more = json!({"subject": subject, "annotations": annotations});
            let layer = set.unique_blob(kind);
            set.artifact(kind, &layer, &more, &[&format!("tagged-artifact{number}")]);
        }
    });
    add("index-with-subject", &|set| {
        let subject = set.platforms(none, &["index"]);
        let layer = set.unique_blob(ARTIFACT[0]);
        let artifact = set.artifact(ARTIFACT[0], &layer, none, &[]);
        let annotations = json!({"org.opencontainers.conformance": "hello"});
        let more = json!({
            "artifactType": ARTIFACT[0], "annotations": annotations, "subject": subject,
        });
        set.index(&[artifact], &more, &["tagged-artifact"]);
    });
    add("missing-subject", &|set| {
        let digest = sha256(b"missing content").to_string();
        let subject = json!({"mediaType": MANIFEST, "size": 123, "digest": digest});
        let layer = set.unique_blob(ARTIFACT[0]);
        let more = json!({"subject": subject});
        set.artifact(ARTIFACT[0], &layer, &more, &["tagged-artifact"]);
    });
}

fn digests(add: &mut Add<'_>) {
    let none = &json!({});
    add("sha512", &|set| {
        set.algorithm = Algorithm::Sha512;
        set.platforms(none, &[]);
        by_digest(set);
    });
    for (name, algorithm) in [
        ("tag-param-sha256", Algorithm::Sha256),
        ("tag-param-sha512", Algorithm::Sha512),
    ] {
        add(name, &|set| {
            set.algorithm = algorithm;
            set.platforms(none, &["tag-param"]);
            for (number, pushed) in set.manifests.iter_mut().enumerate() {
                pushed.tags.push(format!("tag-param-{number}"));
            }
            by_digest(set);
        });
    }
}

fn by_digest(set: &mut Set) {
    for pushed in &mut set.manifests {
        pushed.by_digest = true;
    }
}
