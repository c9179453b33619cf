use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::bounds::{Bounds, Full};

/// What a source and its network may have in flight: as many requests as connections, however many streams each
/// connection has.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(super) host: Arc<AtomicUsize>,
    pub(super) network: Arc<AtomicUsize>,
    pub(super) bounds: Bounds,
}

/// One request in flight, until it is dropped.
#[derive(Debug)]
pub(crate) struct Request {
    host: Counted,
    network: Counted,
}

#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Share {
    /// Counts one more request, if there may be one.
    pub(crate) fn begin(&self) -> Result<Request, Full> {
        let request = Request {
            host: Counted::one_of(&self.host),
            network: Counted::one_of(&self.network),
        };
        if request.host.all() > self.bounds.source {
            return Err(Full::Source);
        }
        if request.network.all() > self.bounds.network {
            return Err(Full::Network);
        }
        Ok(request)
    }
}

impl Counted {
    fn one_of(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }

    fn all(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
