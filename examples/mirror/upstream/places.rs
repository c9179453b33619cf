use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{Extensions, StatusCode};
use portcullis::{ClientAddr, Principal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::UpstreamError;

/// Who causes work: a principal at an address. By the principal alone, all nodes of a cluster that have one
/// token would be one caller; by the address alone, all clients behind one proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Caller(Arc<str>);

impl Caller {
    pub(crate) fn of(extensions: &Extensions) -> Self {
        let principal = Principal::of(extensions);
        let principal = principal.map(|caller| format!("{:?} {}", caller.method(), caller.id()));
        let address = extensions
            .get::<ClientAddr>()
            .map(|found| match found.ip() {
                // One network has that many.
                IpAddr::V6(address) => (address.to_bits() >> 64).to_string(),
                IpAddr::V4(address) => address.to_string(),
            });
        let (principal, address) = (principal.unwrap_or_default(), address.unwrap_or_default());
        Self(format!("{principal} {address}").into())
    }
}

/// How much may be asked of the upstream at once: by one caller, and by all. `Clone` costs an `Arc`.
#[derive(Clone)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    each: usize,
    callers: Arc<Mutex<HashMap<Caller, Arc<Semaphore>>>>,
    patience: Duration,
}

/// A place, free again when this is dropped.
pub(super) struct Place {
    // In this order: the caller's is given back last, and with it what is known of the caller.
    _all: OwnedSemaphorePermit,
    _own: OwnPlace,
}

struct OwnPlace {
    places: Places,
    caller: Caller,
    permit: Option<OwnedSemaphorePermit>,
}

impl Places {
    /// `each` for a caller, `all` for all of them; a caller waits for one for as long as `patience`.
    pub(super) fn new(each: usize, all: usize, patience: Duration) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all)),
            each,
            callers: Arc::default(),
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
            let mut own = OwnPlace {
                places: self.clone(),
                caller: caller.clone(),
                permit: None,
            };
            own.permit = self.semaphore(caller).acquire_owned().await.ok();
            let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(Place {
                _all: all,
                _own: own,
            })
        });
        // The semaphores are never closed.
        taken.await.ok().flatten().ok_or(UpstreamError::Busy {
            status: StatusCode::SERVICE_UNAVAILABLE,
            retry_after: 5,
        })
    }

    fn semaphore(&self, caller: &Caller) -> Arc<Semaphore> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let semaphore = callers
            .entry(caller.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(self.each)));
        Arc::clone(semaphore)
    }
}

impl Drop for OwnPlace {
    fn drop(&mut self) {
        let callers = &self.places.callers;
        let mut callers = callers.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.permit.take());
        // One that waits or works holds another reference.
        if callers
            .get(&self.caller)
            .is_some_and(|semaphore| Arc::strong_count(semaphore) == 1)
        {
            callers.remove(&self.caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str) -> Caller {
        Caller(name.into())
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_takes_no_more_than_its_places_and_leaves_the_rest_to_others() {
        let places = Places::new(2, 3, Duration::from_secs(10));
        let first = places.take(&caller("a")).await.unwrap();
        let _second = places.take(&caller("a")).await.unwrap();
        assert!(matches!(
            places.take(&caller("a")).await,
            Err(UpstreamError::Busy { .. })
        ));
        let _other = places.take(&caller("b")).await.unwrap();
        assert!(places.take(&caller("c")).await.is_err());
        drop(first);
        let _third = places.take(&caller("c")).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_of_a_caller_who_left() {
        let places = Places::new(1, 1, Duration::from_secs(1));
        let place = places.take(&caller("a")).await.unwrap();
        // Gives up while it waits for its own place, and while it waits for one of all.
        assert!(places.take(&caller("a")).await.is_err());
        assert!(places.take(&caller("b")).await.is_err());
        drop(place);
        assert!(places.callers.lock().unwrap().is_empty());
        assert!(places.take(&caller("b")).await.is_ok());
    }
}
