//! Few files are open, however many bodies are sent.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// How many files are open for bodies. Of more, those that were opened first are closed, and opened again
/// when their client goes on.
const OPEN: usize = 64;

/// The files that are open. `Clone` costs an `Arc`.
#[derive(Clone, Default)]
pub(super) struct Files(Arc<Mutex<VecDeque<Weak<Place>>>>);

/// Where the file of one body is, while it is open.
#[derive(Default)]
pub(super) struct Place(Mutex<Option<Arc<File>>>);

impl Files {
    /// Keeps the file open in `place`.
    pub(super) fn keep(&self, place: &Arc<Place>, file: Arc<File>) {
        place.set(Some(file));
        let mut open = self.0.lock();
        open.push_back(Arc::downgrade(place));
        if open.len() > OPEN {
            open.retain(|place| place.strong_count() > 0);
        }
        while open.len() > OPEN {
            if let Some(first) = open.pop_front().and_then(|place| place.upgrade()) {
                first.set(None);
            }
        }
    }
}

impl Place {
    pub(super) fn file(&self) -> Option<Arc<File>> {
        self.0.lock().clone()
    }

    fn set(&self, file: Option<Arc<File>>) {
        *self.0.lock() = file;
    }
}
