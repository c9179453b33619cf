//! Certificate revocation lists (RFC 5280 §5 and §6.3): looked up when a connection is made, again on each of
//! its requests, and on its transfers in flight.
//!
//! A [`Revocation`] holds the active CRLs, read from files that may change. The TLS verifier has a client's
//! path [examined](Revocation::examine); the acceptor then keeps it as a [`Tracked`] with the connection, and
//! [`RevocationLayer`] reads its verdict on each request. While no CRL changes, that is two atomic loads and a
//! reading of the clock. When one does, requests are refused and bodies end with an error at their next frame,
//! or at once if they wait for it.
//!
//! What makes a verdict: a list counts only if its signature is by the key that issued the
//! certificate, if that key may sign CRLs, if the list's scope covers the certificate, and between its
//! `thisUpdate` and `nextUpdate`. A certificate for which no list counts is refused unless
//! [`Options`] allow it by name. A list never gets older: an old one put in the place of a newer one
//! is not taken. One whose time has not come displaces none: both are kept until it begins. A file that
//! cannot be used any more holds up no other, and no revocation that was in it is forgotten.
//!
//! Not every CA publishes lists. [`AuthorityRule`]s say of which client CAs a list must answer for each
//! certificate, and of which none is asked. A certificate needs no list if it says so itself (RFC 9608), or if
//! it is [short-lived](Options::short_lived); one that a list revokes is refused all the same.
//!
//! An operator can deny single certificates, keys and SPIFFE IDs by a [`DenyList`], with or without CRLs.
//! It counts wherever a CRL does, and first.
//!
//! What a list or a delta says is revoked stays so when it is past its end, and counts already when it is dated
//! ahead; what a delta takes back counts only between its `thisUpdate` and `nextUpdate`, and only if no fresher
//! one is active.
//!
//! Delta lists count wherever they come from: files, the program, or a URL that the operator names.
//! The address in a `freshestCRL` extension (RFC 5280 §5.2.6) is not followed.
//!
//! # Large lists
//!
//! A Kubernetes Secret or `ConfigMap` holds at most 1 MiB, some 25,000 revocations in DER and 20,000 in
//! PEM. For more, compress the file: gzip is recognised by its first bytes, whatever the name, and takes a
//! list of random serial numbers to a little over half. Or let the CA issue shards, several lists with
//! an issuing distribution point each (RFC 5280 §5.2.5), put each in a Secret of its own, mount them
//! into one directory with a `projected` volume, and name the directory. A million revocations are
//! 40 MB: too many for Secrets, to be mounted as files or fetched.
//!
//! ```no_run
//! use portcullis::crl::{Options, Revocation, RevocationLayer};
//! use portcullis::reload::WatchOptions;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let files = ["/etc/registry/crls"];
//! let revocation = Revocation::from_files(files, Options::default(), WatchOptions::default())?;
//! // Give it to `tls::Builder::with_revocation`, and stack the layer above the service.
//! let layer = RevocationLayer::new();
//! # Ok(()) }
//! ```

mod authority;
mod builder;
mod ca_info;
mod certificate;
mod constraints;
mod deny;
mod der;
mod entries;
mod error;
mod evaluation_time;
#[cfg(feature = "crl-fetch")]
pub(crate) mod fetch;
mod followers;
mod general_name;
mod gzip;
mod index;
mod indirect;
mod key;
mod layer;
mod list;
mod loader;
mod no_rev_avail;
mod number;
mod observe;
mod options;
mod path;
mod precedence;
mod reason;
mod renewal;
mod requirement;
mod revocation;
mod rules;
mod scope;
mod service;
mod signed;
mod signers;
mod sources;
mod store;
mod succession;
mod table;
mod table_builder;
mod tracked;
mod verdict;
mod watcher;

pub use builder::Builder;
pub(crate) use ca_info::CaInfo;
pub use deny::{DenyEntry, DenyError, DenyList};
#[cfg(feature = "crl-fetch")]
pub(crate) use error::FetchError;
pub use error::{CrlError, LoadError};
#[cfg(feature = "crl-fetch")]
pub use fetch::Fetch;
pub use layer::RevocationLayer;
pub(crate) use observe::observe;
pub use options::Options;
pub use path::CertPath;
pub(crate) use path::Issuers;
pub use reason::RevocationReason;
pub use requirement::AuthorityRule;
pub(crate) use requirement::{CrlRequirement, Required, Requirements};
pub use revocation::Revocation;
pub use service::Revoking;
pub(crate) use sources::{Files, replacing};
pub use store::CrlSet;
pub use tracked::Tracked;
pub use verdict::{DecidingCrl, Finding, UnknownCause, Verdict};
