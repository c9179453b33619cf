//! Warnings that reach the caller: `Warning: 299 - "…"` headers of the distribution-spec, which clients pass on
//! to the person or the log behind them.
//!
//! A caller is warned of what is its own: that its credential or client certificate ends soon, that a shadow policy
//! would refuse the request, that nine tenths of a quota of its own or of its group are used, that a rule calls the
//! repository deprecated. Only a caller that is authenticated is warned, and only in the answer to a request that was
//! allowed: others learn nothing. One answer has at most 4,096 bytes of warnings, those of the service behind it
//! included, and each text is sent to a caller once a connection.
//!
//! A [`Guard`](crate::Guard) has a [`ClientWarningLayer`] unless it is
//! [turned off](crate::guard::Builder::client_warnings). Alone it stands inside of authentication and knows of the
//! credential and the certificate; the rest it reads from the layers around it.

mod header;
mod layer;
mod said;
mod service;

pub use layer::ClientWarningLayer;
pub use service::WarnClient;
