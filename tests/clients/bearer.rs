//! Clients that follow the gate's challenge to a token server, and come back with what it signed.

use crate::refused::no_secret_is_logged;
use crate::support::commands::{
    curl_push, host, podman_pull, skopeo_pull, skopeo_pulled, skopeo_push,
};
use crate::support::containerd::Containerd;
use crate::support::gate::{Demands, Gate, Shown};
use crate::support::image::Image;
use crate::support::process::Said;
use crate::support::token_server::{ISSUER, SERVICE, TokenServer};
use serde_json::json;

const USER: &str = "alice";
const PASSWORD: &str = "open sesame";

/// A gate for the tokens of a server that lets [`USER`] pull what begins with one of `may_pull`, with
/// an image in two repositories.
fn gate(preset: &'static str, may_pull: &[&str]) -> (Gate, TokenServer, Image) {
    let server = TokenServer::start(USER, PASSWORD, may_pull);
    let more = format!(
        "[auth.bearer]\nrealm = {:?}\nservice = {SERVICE:?}\n\
         [[auth.jwt]]\nkind = \"registry\"\nissuer = {ISSUER:?}\naudiences = [{SERVICE:?}]\n\
         keys = \"{}\"\n\
         [[policy.rules]]\nname = \"known by the token server\"\nwho = [\"jwt:{USER}\"]\n\
         actions = [\"any\"]\nrepositories = [\"**\"]\n",
        server.realm(),
        server.keys().display(),
    );
    let demands = Demands {
        preset,
        more,
        ..Demands::token()
    };
    let gate = demands.start();
    let image = Image::small();
    for name in ["lib/busybox:1", "secret/busybox:1"] {
        curl_push(&gate, gate.ci().without_pair(), &image, name);
    }
    (gate, server, image)
}

fn alice() -> Shown<'static> {
    Shown {
        token: Some((USER, PASSWORD)),
        pair: None,
    }
}

#[test]
fn skopeo_gets_a_token_for_what_it_pulls_and_for_nothing_else() {
    let (gate, server, image) = gate("registry", &["lib/"]);
    let pulled = skopeo_pulled(&gate, alice(), "lib/busybox:1");
    image.layout().assert_same(&pulled);
    let entry = gate.mirror.logged("a pull by alice", |entry| {
        entry.text("principal").contains(USER) && entry.text("oci.endpoint").contains("blob")
    });
    assert_eq!(entry.status(), 200, "{entry:?}");
    let asked = server.asked();
    assert!(asked.iter().all(|ask| ask.known && ask.service == SERVICE));
    let wanted = "repository:lib/busybox:pull".to_owned();
    assert!(
        asked.iter().any(|ask| ask.scopes.contains(&wanted)),
        "{asked:?}"
    );

    // The policy would allow both of these: the token does not.
    skopeo_pull(&gate, alice(), "secret/busybox:1").failed_saying(&["unauthorized"]);
    gate.mirror.refused("scope_insufficient");
    let said = skopeo_push(&gate, alice(), &Image::small(), "lib/busybox:2");
    assert!(!said.status.success(), "{said}");
    let entry = gate.mirror.logged("a push that is refused", |entry| {
        entry.text("refusal.reason") == "scope_insufficient" && entry.text("oci.action") == "push"
    });
    assert_eq!(entry.status(), 401, "{entry:?}");
    no_secret_is_logged(&gate);
}

#[test]
fn skopeo_with_a_wrong_password_gets_no_token_and_nothing_else() {
    let (gate, server, _) = gate("registry", &["lib/"]);
    let wrong = alice().with_token(USER, "open barley");
    let said = skopeo_pull(&gate, wrong, "lib/busybox:1");
    assert!(!said.status.success(), "{said}");
    let asked = server.asked();
    assert!(!asked.is_empty() && asked.iter().all(|ask| !ask.known));
}

fn containerd_pull(gate: &Gate, containerd: &Containerd, name: &str) -> Said {
    let shown = Shown {
        token: None,
        pair: None,
    };
    containerd.set_hosts("docker.io", &gate.mirror.url(), &[host(gate, shown)]);
    let user = format!("{USER}:{PASSWORD}");
    containerd.pull_with(&format!("docker.io/{name}"), &["--user", &user])
}

/// A pull secret is not bypassed by a mirror (spegel 1432): the token must be for the upstream
/// repository.
#[test]
fn containerd_gets_a_token_for_the_upstream_repository_that_it_pulls() {
    let (gate, server, image) = gate("mirror", &["docker.io/lib/"]);
    let containerd = Containerd::start();
    containerd_pull(&gate, &containerd, "lib/busybox:1").succeeded();
    for digest in image.layout().layers() {
        image
            .layout()
            .assert_blob(&digest, &containerd.content(&digest));
    }
    let wanted = "repository:docker.io/lib/busybox:pull".to_owned();
    let asked = server.asked();
    assert!(
        asked.iter().any(|ask| ask.scopes.contains(&wanted)),
        "{asked:?}"
    );
    let said = containerd_pull(&gate, &containerd, "secret/busybox:1");
    assert!(!said.status.success(), "{said}");
    gate.mirror.refused("scope_insufficient");
}

#[test]
fn containerd_gets_nothing_by_a_token_for_a_repository_of_the_same_name_elsewhere() {
    let (gate, _, _) = gate("mirror", &["lib/", "quay.io/lib/"]);
    let containerd = Containerd::start();
    let said = containerd_pull(&gate, &containerd, "lib/busybox:1");
    assert!(!said.status.success(), "{said}");
    gate.mirror.refused("scope_insufficient");
}

fn shown<'a>(user: &'a str, token: &'a str) -> Shown<'a> {
    Shown {
        token: Some((user, token)),
        pair: None,
    }
}

/// A kubelet shows a pod's token so, by its containerd: as the password of a user that the registry does not know.
#[test]
fn a_service_accounts_token_pulls_as_a_password_by_skopeo_podman_and_containerd() {
    let server = TokenServer::start(USER, PASSWORD, &[]);
    let more = format!(
        "[[auth.jwt]]\nkind = \"service-account\"\nissuer = {ISSUER:?}\naudiences = [{SERVICE:?}]\n\
         keys = \"{}\"\nbasic_users = [\"any\"]\n\
         [[policy.rules]]\nname = \"the shop's pods\"\nwho = [\"group:system:serviceaccounts:shop\"]\n\
         actions = [\"pull\"]\nrepositories = [\"lib/**\"]\n",
        server.keys().display(),
    );
    let demands = Demands {
        preset: "registry",
        more,
        ..Demands::token()
    };
    let gate = demands.start();
    let image = Image::small();
    curl_push(&gate, gate.ci().without_pair(), &image, "lib/busybox:1");
    let token =
        |account: &str| server.sign(&json!({ "sub": format!("system:serviceaccount:{account}") }));
    let (shop, other) = (token("shop:web"), token("other:web"));
    let pulled = skopeo_pulled(&gate, shown("any", &shop), "lib/busybox:1");
    image.layout().assert_same(&pulled);
    let entry = gate.mirror.logged("a pull by the pod", |entry| {
        entry
            .text("principal")
            .contains("system:serviceaccount:shop:web")
            && entry.text("oci.endpoint").contains("blob")
    });
    assert_eq!(entry.status(), 200, "{entry:?}");
    podman_pull(&gate, shown("any", &shop), "lib/busybox:1").succeeded();
    let containerd = Containerd::start();
    let here = host(&gate, gate.ci().without_pair().without_token());
    containerd.set_hosts("docker.io", &gate.mirror.url(), &[here]);
    let user = format!("any:{shop}");
    containerd
        .pull_with("docker.io/lib/busybox:1", &["--user", &user])
        .succeeded();

    let said = skopeo_pull(&gate, shown("any", &other), "lib/busybox:1");
    assert!(!said.status.success(), "{said}");
    gate.mirror.refused("policy_denied");
    // The tokens count beside the listed user only.
    skopeo_pull(&gate, shown("bob", &shop), "lib/busybox:1").failed_saying(&["unauthorized"]);
    gate.mirror.refused("credentials_unknown");
    no_secret_is_logged(&gate);
    for line in gate.mirror.daemon.err().all() {
        assert!(!line.contains(&shop) && !line.contains(&other), "{line}");
    }
}
