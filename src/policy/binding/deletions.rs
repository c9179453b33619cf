use std::sync::atomic::{AtomicU64, Ordering};

/// When digests were deleted, so that an answer which was on its way meanwhile does not bring them
/// back. A digest shares its cell with others: of one that was not deleted, something may be not learnt.
#[derive(Debug)]
pub(super) struct Deletions {
    latest: AtomicU64,
    cells: Box<[AtomicU64]>,
}

/// What had been deleted when a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DeletionCount(u64);

const CELLS: usize = 1024;

impl Default for Deletions {
    fn default() -> Self {
        Self {
            latest: AtomicU64::new(0),
            cells: (0..CELLS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Deletions {
    pub(super) fn now(&self) -> DeletionCount {
        DeletionCount(self.latest.load(Ordering::SeqCst))
    }

    /// Notes that what is called so was deleted. Call this before the removal: a caller that puts it back
    /// meanwhile finds the note afterwards.
    pub(super) fn note(&self, name: u64) {
        let now = self.latest.fetch_add(1, Ordering::SeqCst) + 1;
        self.cell(name).fetch_max(now, Ordering::SeqCst);
    }

    /// Whether what is called so may have been deleted since then.
    pub(super) fn since(&self, moment: DeletionCount, name: u64) -> bool {
        DeletionCount(self.cell(name).load(Ordering::SeqCst)) > moment
    }

    fn cell(&self, name: u64) -> &AtomicU64 {
        // Below `CELLS`, so in a `usize`.
        let at = usize::try_from(name % CELLS as u64).unwrap_or_default();
        &self.cells[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_deleted_before_may_come_back_and_what_was_deleted_since_may_not() {
        let deletions = Deletions::default();
        let before = deletions.now();
        assert!(!deletions.since(before, 7));
        deletions.note(7);
        assert!(deletions.since(before, 7));
        assert!(!deletions.since(before, 8));
        assert!(!deletions.since(deletions.now(), 7));
    }
}
