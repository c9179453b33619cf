//! The embedded store: content on disk, addressed and verified by digest.
//!
//! ```text
//! DATA/lock                                          held while a process uses the directory
//! DATA/tmp/                                          files being written; swept at start
//! DATA/uploads/<session>/{about,data}                uploads in progress; they survive a restart
//! DATA/blobs/<algorithm>/<2>/<hex>                   content, once for all repositories
//! DATA/repositories/<name>/_blobs/<algorithm>/<hex>      hard link to it: this repository has it
//! DATA/repositories/<name>/_manifests/<algorithm>/<hex>  a manifest; with `<hex>.pulled` beside it, the upstream's
//! DATA/repositories/<name>/_referrers/<subject>/<digest> a descriptor whose `subject` that is
//! DATA/repositories/<name>/_tags/<tag>                   the digest and where the tag came from
//! ```
//!
//! A file appears under its final name only whole: it is written elsewhere, synced, renamed, and
//! the directory synced. What has its final name is never written to: the one descriptor that could is
//! used up by the commit. A blob that was verified cannot be written to (mode 0444); one without that
//! mark is read before it is trusted, and a push of what is there already reads it in any case, so that
//! an honest push mends what a disk or another program damaged. A blob is served only under a repository that links it, so that knowing a
//! digest is not enough. The number of hard links is the reference count.
//!
//! All functions block; [`Store::run`] takes them off the runtime's threads.

mod blobs;
mod catalog;
mod digest;
mod durable;
mod error;
mod incoming;
mod layout;
mod lease;
mod manifest;
mod manifests;
mod own;
mod referrers;
mod tags;
mod uploads;

pub(crate) use blobs::Blob;
pub(crate) use digest::{Algorithm, Digest, DigestError};
pub(crate) use error::StoreError;
pub(crate) use incoming::{Incoming, Sink};
pub(crate) use layout::Store;
pub(crate) use lease::Lease;
pub(crate) use manifest::{Descriptor, MAX_MANIFEST, Manifest, ManifestError};
pub(crate) use tags::{Origin, Tag};
pub(crate) use uploads::Uploads;
