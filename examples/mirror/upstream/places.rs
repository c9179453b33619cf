use std::time::Duration;

use axum::http::StatusCode;
use futures_util::FutureExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::UpstreamError;
use crate::store::{Caller, Part, Pool, Use};

/// How much may be asked of the upstream at once: by one caller, and by all. `Clone` costs an `Arc`.
#[derive(Clone)]
pub(super) struct Places {
    of: Use,
    all: Pool,
    patience: Duration,
}

/// A place of a caller's, free again when this is dropped.
pub(super) struct Place {
    _own: OwnedSemaphorePermit,
    // While it is known, its other requests have the same places.
    _caller: Caller,
}

/// A place among those of all, which work has that others may join.
pub(super) type Turn = Part;

impl Places {
    /// `all` for all callers; a caller waits for one for as long as `patience`.
    pub(super) fn new(of: Use, all: usize, patience: Duration) -> Self {
        Self {
            of,
            all: Pool::new(all),
            patience,
        }
    }

    /// Waits for a place of the caller's own: before it joins the work of others, so that it waits for its
    /// other requests alone, and others never for them.
    ///
    /// # Errors
    /// None was free for so long that the client does better to come again.
    pub(super) async fn own(&self, caller: &Caller) -> Result<Place, UpstreamError> {
        let own = timeout(self.patience, caller.place(self.of)).await;
        let own = own.ok().flatten().ok_or_else(busy)?;
        Ok(Place::of(own, caller))
    }

    /// The same without waiting.
    pub(super) fn own_now(&self, caller: &Caller) -> Option<Place> {
        let own = caller.place(self.of).now_or_never().flatten()?;
        Some(Place::of(own, caller))
    }

    /// Waits for a place among all, as one of this caller's.
    ///
    /// # Errors
    /// As [`Places::own`].
    pub(super) async fn turn(&self, caller: &Caller) -> Result<Turn, UpstreamError> {
        let turn = caller.share_of(&self.all, 1, self.patience).await;
        turn.ok_or_else(busy)
    }

    /// Both, for what one caller wants alone.
    ///
    /// # Errors
    /// As [`Places::own`].
    pub(super) async fn take(&self, caller: &Caller) -> Result<(Place, Turn), UpstreamError> {
        // The caller's own first, so that one who has too many waits in no other's way.
        let own = self.own(caller).await?;
        Ok((own, self.turn(caller).await?))
    }
}

impl Place {
    fn of(own: OwnedSemaphorePermit, caller: &Caller) -> Self {
        Self {
            _own: own,
            _caller: caller.clone(),
        }
    }
}

/// None was free.
pub(super) fn busy() -> UpstreamError {
    UpstreamError::Busy {
        status: StatusCode::SERVICE_UNAVAILABLE,
        retry_after: 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Callers;

    async fn take(
        places: &Places,
        callers: &Callers,
        name: &str,
        count: usize,
    ) -> Vec<(Place, Turn)> {
        let mut taken = Vec::new();
        while taken.len() < count {
            taken.push(places.take(&callers.caller(name, name)).await.unwrap());
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_takes_no_more_than_its_places_and_leaves_the_rest_to_others() {
        let callers = Callers::default();
        let places = Places::new(Use::Listing, 16, Duration::from_secs(10));
        let mut own = take(&places, &callers, "a", 4).await;
        assert!(matches!(
            places.take(&callers.caller("a", "a")).await,
            Err(UpstreamError::Busy { .. })
        ));
        let _other = take(&places, &callers, "b", 2).await;
        own.clear();
        take(&places, &callers, "a", 2).await;
    }

    /// Before: one with a credential and eight addresses had all 256.
    #[tokio::test(start_paused = true)]
    async fn the_addresses_of_one_principal_leave_turns_to_others() {
        let callers = Callers::default();
        let places = Places::new(Use::Transfer, 256, Duration::from_secs(1));
        let mut held = Vec::new();
        for address in 0..64 {
            let caller = callers.caller(&format!("token:a 10.0.0.{address}"), "token:a");
            while let Ok(taken) = places.take(&caller).await {
                held.push(taken);
            }
        }
        assert_eq!(held.len(), 192);
        take(&places, &callers, "b", 4).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_left_has_its_places_as_long_as_its_work_goes_on_and_no_longer() {
        let callers = Callers::default();
        let places = Places::new(Use::Listing, 16, Duration::from_secs(1));
        let held = take(&places, &callers, "a", 4).await;
        assert!(places.take(&callers.caller("a", "a")).await.is_err());
        drop(held);
        assert_eq!(callers.count(), 0);
        take(&places, &callers, "a", 4).await;
    }
}
