//! A mirror of a cache that finds content by its digest alone: there a repository's name is no boundary,
//! unless digests are bound to repositories.

use crate::refused::logged;
use crate::support::commands::host;
use crate::support::containerd::Containerd;
use crate::support::gate::{Demands, Gate};
use crate::support::image::Image;
use crate::support::shared_cache::SharedCache;

/// What `reader` may pull and what not, in one cache.
struct Images {
    public: Image,
    secret: Image,
}

impl Images {
    fn new() -> Self {
        Self {
            public: Image::small(),
            secret: Image::build(96 * 1024),
        }
    }

    fn behind(&self, more: &str) -> (Gate, SharedCache) {
        let cache = SharedCache::start(&[
            ("lib/busybox:1", &self.public),
            ("secret/busybox:1", &self.secret),
        ]);
        let demands = Demands {
            upstream: Some(cache.url()),
            more: more.to_owned(),
            ..Demands::default()
        };
        (demands.start(), cache)
    }

    /// Content of the other repository alone: a layer, and the manifest that leads to it.
    fn secrets(&self) -> [String; 2] {
        let layout = self.secret.layout();
        let layer = layout.layers().remove(1);
        assert!(!self.public.layout().layers().contains(&layer));
        [layer, layout.manifest_digest()]
    }

    fn pull(&self, gate: &Gate) -> Containerd {
        let containerd = Containerd::start();
        containerd.set_hosts(
            "docker.io",
            &gate.mirror.url(),
            &[host(gate, gate.reader())],
        );
        containerd.pull("docker.io/lib/busybox:1").succeeded();
        let layout = self.public.layout();
        for digest in layout.layers().into_iter().chain([layout.config()]) {
            layout.assert_blob(&digest, &containerd.content(&digest));
        }
        containerd
    }
}

#[test]
fn without_a_binding_containerd_has_a_secret_layer_by_a_name_that_it_may_pull() {
    let images = Images::new();
    let (gate, _cache) = images.behind("");
    let containerd = images.pull(&gate);
    for digest in images.secrets() {
        // By its own name it is refused,
        let said = containerd.fetch(&format!("docker.io/secret/busybox@{digest}"));
        said.unwrap_err().failed_saying(&["403 Forbidden"]);
        // by another it comes.
        let stolen = containerd.fetch(&format!("docker.io/lib/busybox@{digest}"));
        let stolen = stolen.unwrap_or_else(|said| panic!("{said}"));
        images.secret.layout().assert_blob(&digest, &stolen);
    }
}

#[test]
fn with_a_binding_containerd_has_no_secret_layer_by_any_name_and_its_own_as_before() {
    for unknown in ["refuse", "ask"] {
        let images = Images::new();
        let section = format!("[policy.digest_binding]\nunknown = {unknown:?}\n");
        let (gate, _cache) = images.behind(&section);
        let containerd = images.pull(&gate);
        for digest in images.secrets() {
            let said = containerd.fetch(&format!("docker.io/secret/busybox@{digest}"));
            said.unwrap_err().failed_saying(&["403 Forbidden"]);
            let taken = containerd.fetch(&format!("docker.io/lib/busybox@{digest}"));
            taken.unwrap_err();
            let entry = logged(
                &gate,
                &format!("lib/busybox/blobs/{digest}"),
                "policy_denied",
                404,
            );
            let reason = entry.text("refusal.detail");
            assert!(reason.contains("no manifest was seen"), "{entry:?}");
        }
        let own = images.public.layout().layers().remove(1);
        let got = containerd.fetch(&format!("docker.io/lib/busybox@{own}"));
        let got = got.unwrap_or_else(|said| panic!("{said}"));
        images.public.layout().assert_blob(&own, &got);
    }
}

#[test]
fn what_is_known_of_digests_outlives_a_restart_of_the_mirror() {
    let images = Images::new();
    let section = "[policy.digest_binding]\nfile = \"digests\"\nsave_every = \"1h\"\n";
    let (mut gate, _cache) = images.behind(section);
    let file = gate.keys.folder.join("digests");
    images.pull(&gate);
    assert!(!file.exists());
    gate.mirror.daemon.terminate();
    assert!(gate.mirror.daemon.ended().success());
    assert!(file.is_file());
}
