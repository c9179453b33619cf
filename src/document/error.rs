use std::io;
use std::path::PathBuf;

/// A TOML document (a configuration, a policy or a credentials file) that cannot be used, with the place.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The file cannot be read.
    #[error("{}: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The file is not TOML, or a key in it is unknown, missing or has an impossible value.
    #[error("{}:{line}:{column}: {}{message}", file.display(), prefix(key))]
    Invalid {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// The key, as `table.key[index]`; empty at the top level.
        key: String,
        /// What is wrong and what would be right.
        message: String,
    },
}

fn prefix(key: &str) -> String {
    if key.is_empty() {
        String::new()
    } else {
        format!("{key}: ")
    }
}
