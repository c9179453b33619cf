//! Pull-through: what the store lacks comes from another registry, to the client and to the disk at
//! once.
//!
//! Nothing of a client's request goes upstream but the repository and the reference: no header, and
//! above all no `Authorization`. Credentials for the upstream come from the environment only
//! (`MIRROR_UPSTREAM_USERNAME`, `MIRROR_UPSTREAM_PASSWORD`).

mod auth;
mod client;
mod download;
mod error;
mod live;
mod pull;

pub(crate) use client::{Upstream, UpstreamOptions};
pub(crate) use error::{UpstreamError, UpstreamSetupError};
pub(crate) use live::Live;
pub(crate) use pull::{PullThrough, Pulled};
