//! One mechanism for everything that changes while the server runs.
//!
//! A [`Watched<T>`] is an atomically swapped snapshot with a generation number. Tokens, TLS
//! material, CRLs, policy and limits are all read through one; a hot path reads it with one atomic
//! load and never waits. [`Watched::watch`] keeps it fresh from files: the directory is watched (a
//! Kubernetes Secret changes by a swap of its `..data` symlink, so watching the file itself would
//! see nothing) and polled besides, since inotify watches can run out and network mounts have none.
//!
//! A bad reload changes nothing: the last good snapshot stays, an `error!` event names the files and the
//! reason, `portcullis_reloads_total{outcome="failed"}` counts it and [`Watched::health`] reports it to a
//! readiness probe. So does a reload of which only a part is bad ([`Load::refused`]). A bad first load is the
//! caller's error. Where what was withdrawn must not stay because of a file that cannot be read,
//! [`WatchOptions::stale_after`] ends the last good value.
//!
//! Only regular files are read, up to the size of a good one of their kind, and a file of which nothing
//! comes for [`WatchOptions::read_timeout`], on a network mount whose server is gone, counts as one that
//! cannot be read, while others are read on, those of the same folder too. For a process without a free descriptor
//! some are held.
//!
//! A file is best replaced by a rename. One that is written in its place is read once it has been quiet for
//! [`WatchOptions::settle`], and again if it changed while it was read. A writer that pauses for longer in the middle has
//! what is there taken for the file, unless its form shows that something is missing: a PEM section or a TOML table that
//! does not end does, the last line of a list does not.
//!
//! ```
//! use portcullis::Watched;
//!
//! let limit = Watched::fixed(10_u64);
//! let reader = limit.clone();
//! limit.publish(20);
//! assert_eq!(*reader.load(), 20);
//! assert_eq!(reader.generation(), 2);
//! ```

#[cfg(feature = "reload")]
mod failures;
#[cfg(feature = "reload")]
mod files;
#[cfg(feature = "reload")]
mod fingerprint;
#[cfg(feature = "reload")]
mod notifications;
#[cfg(feature = "reload")]
mod options;
#[cfg(feature = "reload")]
mod pinned;
mod watched;

#[cfg(feature = "reload")]
pub use files::Load;
#[cfg(any(feature = "config", feature = "crl"))]
pub(crate) use fingerprint::Fingerprint;
#[cfg(feature = "reload")]
pub use options::WatchOptions;
#[cfg(feature = "tls")]
pub(crate) use pinned::Given;
#[cfg(feature = "reload")]
pub use pinned::Pinned;
#[cfg(feature = "crl")]
pub(crate) use watched::Listener;
#[cfg(feature = "jwt-fetch")]
pub(crate) use watched::Publisher;
pub use watched::{Current, Health, Watched};
