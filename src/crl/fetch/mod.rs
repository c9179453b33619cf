//! CRLs fetched from where a CA publishes them: the HTTP distribution points of RFC 5280 §4.2.1.13.
//!
//! [`Fetch`] names from where, and where they are kept; [`Builder::fetching`](super::Builder::fetching) begins.
//! Each list is fetched again at an interval and before its `nextUpdate`, with the `ETag` and `Last-Modified`
//! of the last answer, and after a failure with longer and longer waits. The answer is taken only if it is one
//! whole CRL, signed by a known CA, not older than the one before and of the same scope; or of another one
//! whose issuing distribution point is that very URL. It is then put into a directory, from which the active
//! lists are read as from any other file: so a restart without a network begins with the last good ones.
//!
//! # What is asked
//!
//! No client chooses an address: the URLs are the operator's, or in the operator's CA certificates. A redirect
//! leads only to their hosts and to those that are [allowed](Fetch::with_allowed_hosts). Addresses of hosts are
//! not judged, since most CAs are on private networks: the DNS server that answers for an allowed name chooses
//! what is connected to, and that host gets a `GET` without any credential. Proxies named in the environment
//! are not used. Lists are signed, so HTTP is as good as HTTPS for them, but for this: an attacker on the way
//! can hold a newer list back until the one before is over, and where none is kept yet, give an old one that is
//! not.
//!
//! ```no_run
//! use portcullis::crl::{Fetch, Revocation};
//! use portcullis::reload::WatchOptions;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let fetch = Fetch::into_directory("/var/cache/registry/crl")
//!     .with_urls(["http://crl.example.org/nodes.crl"])
//!     .with_allowed_hosts(["cdn.example.org"]);
//! let revocation = Revocation::builder()
//!     .with_authority_files(["/etc/registry/ca.crt"])
//!     .fetching(&fetch, ["/etc/registry/crls"], WatchOptions::default())?;
//! # Ok(()) }
//! ```

mod cache;
mod check;
mod options;
mod point;
mod points;
mod schedule;
mod worker;

pub use options::Fetch;
pub(super) use worker::{Fetched, Fetching};
