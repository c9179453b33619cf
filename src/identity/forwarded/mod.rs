//! Client certificates that a proxy forwards in headers: three forms, which are read here and believed nowhere.
//! [`tls::ForwardedLayer`](crate::tls::ForwardedLayer) decides which peers may send them and what is done with
//! them.
//!
//! ```
//! use portcullis::identity::forwarded::{rfc9440, xfcc};
//!
//! let elements = xfcc::parse("By=spiffe://a/proxy;Subject=\"CN=node-7,O=x\";URI=spiffe://a/b")?;
//! assert_eq!(elements[0].subject.as_deref(), Some("CN=node-7,O=x"));
//! assert!(rfc9440::item(":bm90IERFUg==:").is_ok());
//! # Ok::<_, portcullis::identity::IdentityError>(())
//! ```

mod error;
pub mod pem;
pub mod rfc9440;
pub mod xfcc;

pub(crate) use error::ForwardedError;
