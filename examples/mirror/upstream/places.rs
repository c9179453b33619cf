use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::UpstreamError;
use crate::store::{Caller, Use};

/// How much may be asked of the upstream at once: by one caller, and by all. `Clone` costs an `Arc`.
#[derive(Clone)]
pub(super) struct Places {
    of: Use,
    all: Arc<Semaphore>,
    patience: Duration,
}

/// A place, free again when this is dropped.
pub(super) struct Place {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
    // While it is known, its other requests have the same places.
    _caller: Caller,
}

impl Places {
    /// `all` for all callers; a caller waits for one for as long as `patience`.
    pub(super) fn new(of: Use, all: usize, patience: Duration) -> Self {
        Self {
            of,
            all: Arc::new(Semaphore::new(all)),
            patience,
        }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// None was free for so long that the client does better to come again.
    pub(super) async fn take(&self, caller: &Caller) -> Result<Place, UpstreamError> {
        let taken = tokio::time::timeout(self.patience, async {
            // The caller's own first, so that one who has too many waits in no other's way.
            let own = caller.place(self.of).await?;
            let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(Place {
                _all: all,
                _own: own,
                _caller: caller.clone(),
            })
        });
        // The semaphores are never closed.
        taken.await.ok().flatten().ok_or(UpstreamError::Busy {
            status: StatusCode::SERVICE_UNAVAILABLE,
            retry_after: 5,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Callers;

    async fn take(places: &Places, callers: &Callers, name: &str, count: usize) -> Vec<Place> {
        let mut taken = Vec::new();
        while taken.len() < count {
            taken.push(places.take(&callers.caller(name)).await.unwrap());
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_takes_no_more_than_its_places_and_leaves_the_rest_to_others() {
        let callers = Callers::default();
        let places = Places::new(Use::Listing, 5, Duration::from_secs(10));
        let mut own = take(&places, &callers, "a", 4).await;
        assert!(matches!(
            places.take(&callers.caller("a")).await,
            Err(UpstreamError::Busy { .. })
        ));
        let _other = take(&places, &callers, "b", 1).await;
        assert!(places.take(&callers.caller("c")).await.is_err());
        own.pop();
        take(&places, &callers, "c", 1).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_left_has_its_places_as_long_as_its_work_goes_on_and_no_longer() {
        let callers = Callers::default();
        let places = Places::new(Use::Listing, 9, Duration::from_secs(1));
        let held = take(&places, &callers, "a", 4).await;
        assert!(places.take(&callers.caller("a")).await.is_err());
        drop(held);
        assert_eq!(callers.count(), 0);
        take(&places, &callers, "a", 4).await;
    }
}
