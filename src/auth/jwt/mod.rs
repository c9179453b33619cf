//! Signed tokens of issuers that the operator trusts: registry tokens by the distribution token
//! specification and Kubernetes service-account tokens.
//!
//! An [`Issuer`] is a name, the audiences that are this server, and a [`KeySet`] (RFC 7517). A token
//! must be signed by a key of the set, by the one algorithm that this key is for (`EdDSA`, ES256 or
//! RS256; never `none`, never HMAC), name the issuer and an audience, and not be expired (RFC 7519).
//! What its header says of keys (`jwk`, `jku`, `x5c`) is not looked at.
//!
//! Of a registry token the `access` claims bound what the principal
//! [may do](crate::Principal::is_granted), and a request that they do not cover is refused; a policy may refuse
//! more. Of a service account the namespace becomes a group, and the policy decides.
//!
//! Signatures are verified by `jsonwebtoken`, whose cryptography is the process's: the first
//! [`Authentication::with_issuers`](super::Authentication::with_issuers) installs aws-lc-rs with the feature
//! `aws-lc-rs`, `RustCrypto` with `ring` alone, unless the program has installed another. A program that signs tokens
//! by `jsonwebtoken` itself before that, with both features compiled, installs one of them first.

mod claims;
#[cfg(feature = "jwt-fetch")]
mod failing;
#[cfg(feature = "jwt-fetch")]
mod fetch;
mod issuer;
mod key;
mod keys;
mod public_key;
mod verifier;

#[cfg(feature = "jwt-fetch")]
pub use fetch::KeySetFetch;
pub use issuer::Issuer;
pub use keys::KeySet;
pub(super) use verifier::Verifier;
