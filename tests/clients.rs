//! The `mirror` and `gate` examples driven by software of other projects: skopeo, containerd, podman, dockerd, curl,
//! Python's `oras` and `requests`, openssl, nginx and Debian's docker-registry, with a real image.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "nothing reaches into a test program, and a panic is how it says no"
)]

#[path = "../examples/node/known.rs"]
#[allow(dead_code, reason = "what only the program uses")]
mod known;
mod support;

#[cfg(feature = "jwt")]
#[path = "clients/bearer.rs"]
mod bearer;
#[path = "clients/containerd.rs"]
mod containerd;
#[path = "clients/curl.rs"]
mod curl;
#[path = "clients/demo.rs"]
mod demo;
#[path = "clients/docker.rs"]
mod docker;
#[path = "clients/fallover.rs"]
mod fallover;
#[path = "clients/faults.rs"]
mod faults;
#[path = "clients/hosts.rs"]
mod hosts;
#[path = "clients/in_front.rs"]
mod in_front;
#[path = "clients/lifetime.rs"]
mod lifetime;
#[path = "clients/limits.rs"]
mod limits;
#[path = "clients/node.rs"]
mod node;
#[path = "clients/openssl.rs"]
mod openssl;
#[path = "clients/passwords.rs"]
mod passwords;
#[path = "clients/podman.rs"]
mod podman;
#[path = "clients/readme.rs"]
mod readme;
#[path = "clients/refused.rs"]
mod refused;
#[path = "clients/secrets.rs"]
mod secrets;
#[path = "clients/shared_cache.rs"]
mod shared_cache;
#[path = "clients/skopeo.rs"]
mod skopeo;
#[path = "clients/trust.rs"]
mod trust;
#[path = "clients/two_nodes.rs"]
mod two_nodes;
#[path = "clients/uploads.rs"]
mod uploads;
#[path = "clients/upstream.rs"]
mod upstream;
