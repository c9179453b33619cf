use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

/// Which paths are asked by probes, and how many of their successes are logged.
#[derive(Clone, Debug, Default)]
pub(super) struct HealthChecks(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    paths: Box<[(Box<str>, AtomicU64)]>,
    every: NonZeroU64,
}

impl HealthChecks {
    pub(super) fn new(paths: Vec<Box<str>>, every: NonZeroU64) -> Self {
        let paths = paths
            .into_iter()
            .map(|path| (path, AtomicU64::new(0)))
            .collect();
        Self(Some(Arc::new(Inner { paths, every })))
    }

    /// Whether this answer is one of those that are left out.
    pub(super) fn skips(&self, path: &str, status: Option<StatusCode>) -> bool {
        let Some(inner) = &self.0 else { return false };
        if !status.is_some_and(|status| status.is_success()) {
            return false;
        }
        let probe = inner.paths.iter().find(|(probe, _)| **probe == *path);
        probe.is_some_and(|(_, count)| count.fetch_add(1, Ordering::Relaxed) % inner.every != 0)
    }
}
