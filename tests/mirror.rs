//! What the mirror example's registry does by the OCI distribution-spec, over real HTTP, with no
//! gate in front of it. The headings in the tests are the spec's endpoint ids.
#![cfg(feature = "aws-lc-rs")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(
    dead_code,
    unused_imports,
    reason = "what only the program uses of its modules"
)]

#[path = "../examples/mirror/housekeeping.rs"]
mod housekeeping;
#[path = "../examples/mirror/routes/mod.rs"]
mod routes;
#[path = "../examples/mirror/store/mod.rs"]
mod store;
#[path = "../examples/mirror/upstream/mod.rs"]
mod upstream;

#[path = "mirror/blobs.rs"]
mod blobs;
#[path = "mirror/bounds.rs"]
mod bounds;
#[path = "mirror/callers.rs"]
mod callers;
#[path = "mirror/committed.rs"]
mod committed;
#[path = "mirror/conditions.rs"]
mod conditions;
#[path = "mirror/conformance.rs"]
mod conformance;
#[path = "mirror/conformance_blobs.rs"]
mod conformance_blobs;
#[path = "mirror/conformance_data.rs"]
mod conformance_data;
#[path = "mirror/damaged.rs"]
mod damaged;
#[path = "mirror/disk.rs"]
mod disk;
#[path = "support/folder.rs"]
mod folder;
#[path = "mirror/lies.rs"]
mod lies;
#[path = "mirror/listing.rs"]
mod listing;
#[path = "mirror/manifests.rs"]
mod manifests;
#[path = "mirror/misbehaving.rs"]
mod misbehaving;
#[path = "mirror/parts.rs"]
mod parts;
#[path = "mirror/pull.rs"]
mod pull;
#[path = "mirror/pulled_blobs.rs"]
mod pulled_blobs;
#[path = "mirror/pulled_tags.rs"]
mod pulled_tags;
#[path = "mirror/races.rs"]
mod races;
#[path = "mirror/restart.rs"]
mod restart;
#[path = "mirror/scrub.rs"]
mod scrub;
#[path = "mirror/space.rs"]
mod space;
#[path = "mirror/support.rs"]
mod support;
#[path = "mirror/truth.rs"]
mod truth;
#[path = "mirror/uploads.rs"]
mod uploads;
#[path = "mirror/verdicts.rs"]
mod verdicts;
