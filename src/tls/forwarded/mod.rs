//! Client certificates that a proxy in front forwards in a header.

mod decide;
mod host;
mod layer;
mod service;

pub use layer::{ForwardedForm, ForwardedLayer};
pub use service::Forwarded;
