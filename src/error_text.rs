//! What a `main` prints that returns an error: it asks for `Debug`.

use std::error::Error;
use std::fmt;

use crate::util::error_chain::chain;

/// Writes what `error` says and what caused it, each once.
fn write(error: &dyn Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&chain(error))
}

/// For `Result<(), Box<dyn Error>>` as the type of a `main`: its error is printed as `Debug` has it, which is
/// then a sentence for an operator and no Rust.
macro_rules! debug_is_text {
    ($($(#[$condition:meta])* $error:path;)*) => {$(
        $(#[$condition])*
        impl fmt::Debug for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write(self, f)
            }
        }
    )*};
}

debug_is_text! {
    crate::identity::IdentityError;
    crate::responder::ChallengeError;
    crate::source::NetworkPolicyError;
    #[cfg(feature = "auth")]
    crate::auth::CredentialError;
    #[cfg(feature = "config")]
    crate::document::ConfigError;
    #[cfg(feature = "crl")]
    crate::crl::CrlError;
    #[cfg(feature = "crl")]
    crate::crl::DenyError;
    #[cfg(feature = "crl")]
    crate::crl::LoadError;
    #[cfg(feature = "policy")]
    crate::policy::PolicyError;
    #[cfg(feature = "rate")]
    crate::rate::LimitsError;
    #[cfg(feature = "serve")]
    crate::serve::BindError;
    #[cfg(feature = "serve")]
    crate::serve::Unfinished;
    #[cfg(feature = "tls")]
    crate::tls::TlsError;
}
