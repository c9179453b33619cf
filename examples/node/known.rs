//! What a containerd holds, as one listing of it has it.

use std::collections::{HashMap, HashSet};

/// The label of content that says from which repositories of a registry it came: the registry's host follows,
/// without its port.
const SOURCE: &str = "containerd.io/distribution.source.";

/// The longest label, key and value. containerd writes none that is longer, so what came from more repositories than
/// fit is not known to have come from each.
const LONGEST_LABEL: usize = 4_096;

#[derive(Debug, Default)]
pub(crate) struct Known {
    sizes: HashMap<String, u64>,
    /// The digests by the registry's host and the repository.
    sources: HashMap<String, HashMap<String, HashSet<String>>>,
    /// The digests by the names of images.
    tags: HashMap<String, String>,
}

/// Content that a request may have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) digest: String,
    pub(crate) size: u64,
}

impl Known {
    /// Adds an object of the content store with its labels.
    pub(crate) fn add(
        &mut self,
        digest: String,
        size: u64,
        labels: impl IntoIterator<Item = (String, String)>,
    ) {
        for (label, value) in labels {
            let host = label.strip_prefix(SOURCE).filter(|host| !host.is_empty());
            let Some(host) = host.filter(|_| label.len() + value.len() <= LONGEST_LABEL) else {
                continue;
            };
            let repositories = self.sources.entry(host.to_owned()).or_default();
            for repository in value.split(',').filter(|name| !name.is_empty()) {
                let digests = repositories.entry(repository.to_owned()).or_default();
                digests.insert(digest.clone());
            }
        }
        self.sizes.insert(digest, size);
    }

    /// Adds an image: `docker.io/library/busybox:1`, and what its name stands for.
    pub(crate) fn add_image(&mut self, name: String, digest: String) {
        self.tags.insert(name, digest);
    }

    pub(crate) fn objects(&self) -> usize {
        self.sizes.len()
    }

    /// Whether the content was pulled from this repository.
    pub(crate) fn leads_to(&self, registry: &str, repository: &str, digest: &str) -> bool {
        let repositories = self.sources.get(without_port(registry));
        let digests = repositories.and_then(|repositories| repositories.get(repository));
        digests.is_some_and(|digests| digests.contains(digest))
    }

    pub(crate) fn find(&self, registry: &str, repository: &str, digest: &str) -> Option<Held> {
        let size = *self.sizes.get(digest)?;
        let digest = digest.to_owned();
        self.leads_to(registry, repository, &digest)
            .then_some(Held { digest, size })
    }

    pub(crate) fn find_tag(&self, registry: &str, repository: &str, tag: &str) -> Option<Held> {
        let digest = self.tags.get(&format!("{registry}/{repository}:{tag}"))?;
        self.find(registry, repository, digest)
    }
}

/// As Go's `url.Hostname`, by which containerd makes its labels.
fn without_port(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, _)) if !host.ends_with(']') => name,
        _ => host,
    };
    let inner = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    inner.unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u8) -> String {
        format!("sha256:{}", format!("{number:02x}").repeat(32))
    }

    /// One object with one label.
    fn known(label: &str, value: &str) -> Known {
        let mut known = Known::default();
        known.add(digest(1), 7, [(label.to_owned(), value.to_owned())]);
        known
    }

    #[test]
    fn content_is_found_by_each_repository_of_its_label_and_by_no_other() {
        let known = known(
            "containerd.io/distribution.source.docker.io",
            "library/busybox,mirror/busybox",
        );
        for (registry, repository, leads) in [
            ("docker.io", "library/busybox", true),
            ("docker.io", "mirror/busybox", true),
            ("docker.io:443", "library/busybox", true),
            ("docker.io", "library/busybox,mirror/busybox", false),
            ("docker.io", "library", false),
            ("docker.io", "", false),
            ("quay.io", "library/busybox", false),
            ("", "library/busybox", false),
        ] {
            let named = format!("{registry}/{repository}");
            let found = known.find(registry, repository, &digest(1));
            assert_eq!(found.is_some(), leads, "{named}");
            assert_eq!(
                known.leads_to(registry, repository, &digest(1)),
                leads,
                "{named}"
            );
            assert!(!known.leads_to(registry, repository, &digest(2)), "{named}");
        }
        let held = known.find("docker.io", "library/busybox", &digest(1));
        assert_eq!(held.map(|held| held.size), Some(7));
    }

    #[test]
    fn a_registry_is_known_without_its_port() {
        for (label, registry) in [
            ("localhost", "localhost:5000"),
            ("localhost", "localhost"),
            ("127.0.0.1", "127.0.0.1:5000"),
            ("::1", "[::1]:5000"),
            ("::1", "[::1]"),
        ] {
            let known = known(&format!("containerd.io/distribution.source.{label}"), "a");
            assert!(known.leads_to(registry, "a", &digest(1)), "{registry}");
        }
    }

    #[test]
    fn a_label_that_containerd_would_not_write_and_other_labels_say_nothing() {
        let key = "containerd.io/distribution.source.docker.io";
        let fits = "a".repeat(LONGEST_LABEL - key.len());
        assert!(known(key, &fits).leads_to("docker.io", &fits, &digest(1)));
        let longer = format!("a,{fits}");
        assert!(!known(key, &longer).leads_to("docker.io", "a", &digest(1)));
        for label in [
            "containerd.io/distribution.source.",
            "containerd.io/gc.ref.content.docker.io",
            "example.org/containerd.io/distribution.source.docker.io",
        ] {
            let known = known(label, "a");
            assert!(!known.leads_to("docker.io", "a", &digest(1)), "{label}");
            assert!(!known.leads_to("", "a", &digest(1)), "{label}");
        }
        for value in ["", ","] {
            assert!(!known(key, value).leads_to("docker.io", "", &digest(1)));
        }
    }

    #[test]
    fn a_tag_is_that_of_an_image_whose_content_came_from_its_repository() {
        let mut known = known("containerd.io/distribution.source.docker.io", "lib/a");
        known.add_image("docker.io/lib/a:1".to_owned(), digest(1));
        // Named so here, and pulled from elsewhere.
        known.add_image("docker.io/secret/a:1".to_owned(), digest(1));
        // An image whose content is not there any more.
        known.add_image("docker.io/lib/a:2".to_owned(), digest(2));
        let tag = |repository: &str, tag: &str| known.find_tag("docker.io", repository, tag);
        assert_eq!(tag("lib/a", "1").map(|held| held.digest), Some(digest(1)));
        assert_eq!(tag("lib/a", "2"), None);
        assert_eq!(tag("lib/a", "3"), None);
        assert_eq!(tag("secret/a", "1"), None);
    }
}
