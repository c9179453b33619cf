//! Pull-through: what the store lacks comes from another registry, to the client and to the disk at
//! once.
//!
//! ```text
//! pull        what is asked for: from the store, or through the upstream into it
//! listing     tags and referrers, page by page (link), and a walk through both registries' tags (tag_walk)
//! download    blobs: one transfer for all who want one (live), which goes on where it was cut (transfer)
//! client      one question to the upstream: its token (auth), its redirects (reach), its status (answer)
//! flight      one question for all who ask the same; places: how many at once by a caller and by all
//! health      whether the upstream answers, so that no request waits for one that does not
//! ```
//!
//! Only the registry's own 404, 401 and 403 to a GET mean that it does not have something, and only with the
//! body by which registries say so. Whatever else went wrong is an error of its own, and what is kept here is
//! served in spite of it.
//!
//! Nothing of a client's request goes upstream but the repository, the reference and a listing's `n` and
//! `last`: no header, and above all no `Authorization`. Credentials for the upstream come from the
//! environment only (`MIRROR_UPSTREAM_USERNAME`, `MIRROR_UPSTREAM_PASSWORD`).

mod answer;
mod auth;
mod client;
mod download;
mod error;
mod flight;
mod health;
mod link;
mod listing;
mod live;
mod options;
mod places;
mod pull;
mod reach;
mod report;
#[path = "../../../src/util/seldom.rs"]
mod seldom;
mod tag_walk;
mod transfer;

pub(crate) use client::Upstream;
pub(crate) use error::{UpstreamError, UpstreamSetupError};
pub(crate) use health::Condition;
pub(crate) use live::Live;
pub(crate) use options::{Host, Namespace, Patience, UpstreamOptions};
pub(crate) use pull::{PullOptions, PullThrough, Pulled};
pub(crate) use report::announce;
pub(crate) use tag_walk::{Tags, Walk};
