//! Globs over names, part by part.

mod covering;
mod glob;
mod matching;
mod segment;

pub use glob::Pattern;
