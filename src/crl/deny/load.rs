use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use super::DenyList;
use super::error::DenyError;
use crate::Watched;
use crate::reload::{Load, Pinned, WatchOptions};
use crate::telemetry::metrics;
use crate::util::clock;
use crate::util::file::CERTIFICATES;
use crate::util::text::is_blank;

/// No more errors are reported at once.
const MOST: usize = 5;

/// A deny list in files.
#[derive(Debug)]
struct DenyFiles {
    paths: Vec<PathBuf>,
}

impl DenyList {
    /// Reads the files now and whenever they change. Each has a line at least, if only a comment. At the start
    /// every line must be an entry; later a line
    /// that is none is an error, and takes nothing back: all that was denied before stays denied, and the other
    /// lines count already.
    ///
    /// # Errors
    /// A file that cannot be read, or the first line that is no entry.
    pub fn watch<P: Into<PathBuf>>(
        files: impl IntoIterator<Item = P>,
        options: WatchOptions,
    ) -> Result<Watched<Self>, DenyError> {
        let paths = files.into_iter().map(Into::into).collect();
        Watched::watch(DenyFiles { paths }, options)
    }
}

impl Load for DenyFiles {
    type Value = DenyList;
    type Error = DenyError;

    fn name(&self) -> &'static str {
        "deny"
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.paths.clone()
    }

    fn load(&mut self, previous: Option<&DenyList>) -> Result<DenyList, DenyError> {
        let (mut list, mut errors) = (DenyList::default(), Vec::new());
        let mut pinned = Pinned::new();
        for path in &self.paths {
            match pinned.read_at_most(path, CERTIFICATES) {
                Ok(content) if is_blank(&content) => {
                    errors.push(DenyError::Empty { path: path.clone() });
                }
                Ok(content) => errors.append(&mut list.read(path, &content)),
                Err(error) => errors.push(DenyError::Unreadable {
                    path: path.clone(),
                    error,
                }),
            }
        }
        match previous {
            None if !errors.is_empty() => return Err(errors.swap_remove(0)),
            Some(previous) if !errors.is_empty() => list.extend(previous),
            _ => {}
        }
        list.refused = errors.into_iter().map(Arc::new).collect();
        Ok(list)
    }

    fn refused(&self, list: &DenyList) -> Option<String> {
        let first = list.refused.iter().take(MOST);
        let mut told = first
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        if let Some(more @ 1..) = list.refused.len().checked_sub(MOST) {
            // Writing to a string cannot fail.
            let _ = write!(told, "; and {more} more");
        }
        (!list.refused.is_empty()).then_some(told)
    }

    /// What was denied since is not known, so each client certificate is refused.
    fn lapsed(&mut self, current: &DenyList) -> Option<DenyList> {
        let mut lapsed = current.clone();
        lapsed.has_lapsed = true;
        Some(lapsed)
    }

    fn look(&mut self, current: &DenyList) {
        metrics::deny_entries(current.active(clock::now()));
    }
}
