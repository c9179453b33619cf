//! Digests bound to repositories.
//!
//! Where a service finds content by its digest alone (a shared cache, Spegel), the repository in the
//! path proves nothing: who may pull `public/x` asks for a secret layer under that name and gets it.
//! [`BindingLayer`] stands inside of [`PolicyLayer`](super::PolicyLayer), watches the manifests and
//! indexes that pass, and remembers in a [`DigestBinding`] which repositories lead to which blobs
//! and child manifests. It gives a digest only by a repository that leads to it; of anything else it
//! says that it is not there, and that it has no referrers. A mount of such a digest is made an ordinary
//! upload. What is known outlives a restart [in a
//! file](DigestBinding::kept_in).
//!
//! A manifest is learnt from if it has its digest and is of the kind that its `Content-Type` says, with
//! no list of another kind and no key that is there twice, or in another case. Lists of referrers are
//! learnt from [only where that is asked for](DigestBinding::with_referrers).
//!
//! What is deleted by a digest is forgotten, for all upstream registries, and no answer that was on its
//! way meanwhile brings it back. The layers of a deleted manifest are not, until they are
//! deleted themselves or not asked for in a long time: other manifests of the repository may lead to
//! them.
//!
//! ```
//! use portcullis::policy::{BindingLayer, DigestBinding, Policy, PolicyLayer};
//! use tower::ServiceBuilder;
//!
//! let binding = DigestBinding::new(1_000_000);
//! let layers = ServiceBuilder::new()
//!     .layer(PolicyLayer::new(Policy::new([])?))
//!     .layer(BindingLayer::new(binding));
//! # let _ = layers;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod deletions;
mod file;
mod format;
mod keeper;
mod layer;
mod lesson;
mod manifest;
mod no_referrers;
mod service;
mod store;
mod table;

pub use layer::BindingLayer;
pub use service::Bound;
pub use store::{DigestBinding, DigestOracle};
