//! Certificates that the operator denies.

mod entry;
mod error;
mod index;
mod line;
mod load;

pub use entry::DenyEntry;
pub use error::DenyError;
pub use index::DenyList;
