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
//! DATA/repositories/<name>/_upstream                     whether the upstream last said that it has the repository
//! ```
//!
//! A file appears under its final name only whole: it is written elsewhere, synced, renamed, and
//! the directory synced. What has its final name is never written to. A blob that was verified cannot be
//! written to: mode 0400 if a client pushed it, 0444 if it came from the upstream; one without that mark is
//! read before it is trusted, and a push of what is there already reads it in any case, so that an honest
//! push mends what a disk or another program damaged. A blob is read before or while it is given for the first time
//! since the process began (`check`), a manifest each time; what is damaged is taken away. What is no regular file, or
//! is empty where its digest is not that of nothing, counts as missing. A blob is served only under a repository that links it,
//! so that knowing a digest is not enough. The number of hard links is the reference count, and the time of
//! change is when content was last used.
//!
//! What is freed: blobs to which no manifest of their repository refers (`collect`), manifests that nothing
//! names, if the operator says so, and, to stay within a limit, what came from the upstream and was used
//! least lately (`evict`).
//!
//! All functions block; [`Store::run`] takes them off the runtime's threads.

mod adopt;
mod along;
mod blobs;
mod caller;
mod catalog;
mod check;
mod checked;
mod collect;
mod digest;
mod disk;
mod document;
mod durable;
mod error;
mod evict;
mod files;
mod incoming;
mod layout;
mod lease;
mod manifest;
mod manifests;
mod open;
mod own;
mod pin;
mod referrers;
mod scrub;
mod tags;
mod uploads;
mod walk;

pub(crate) use along::{Along, Reader};
pub(crate) use blobs::Blob;
pub(crate) use caller::{Caller, Callers, Memory, Part, Pool, Use, network, site};
pub(crate) use check::Check;
pub(crate) use collect::{Collection, Freed};
pub(crate) use digest::{Algorithm, Digest, DigestError};
pub(crate) use disk::Limits;
pub(crate) use document::AtMost;
pub(crate) use error::StoreError;
pub(crate) use incoming::{Incoming, Sink};
pub(crate) use layout::Store;
pub(crate) use lease::Lease;
pub(crate) use manifest::{Descriptor, MAX_MANIFEST, Manifest, ManifestError};
pub(crate) use manifests::Reference;
pub(crate) use referrers::Referrers;
#[cfg_attr(not(test), allow(unused_imports, reason = "only tests name it"))]
pub(crate) use scrub::Scrubbed;
pub(crate) use tags::{Origin, Tag};
pub(crate) use uploads::Uploads;
