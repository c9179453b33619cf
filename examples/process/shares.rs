//! What one caller has of what all share: one value a caller, for as long as it is used.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The values in use, by the name of the caller. `Clone` costs an `Arc`.
pub(crate) struct Shares<T>(Arc<Mutex<Known<T>>>);

type Known<T> = HashMap<Arc<str>, Weak<Share<T>>>;

/// The value of one caller, the same one for all that it does at a time.
pub(crate) struct Share<T> {
    name: Arc<str>,
    value: T,
    all: Shares<T>,
}

impl<T> Shares<T> {
    /// The value of the caller of this name, which is made if it has none.
    pub(crate) fn of(&self, name: &str, make: impl FnOnce() -> T) -> Arc<Share<T>> {
        let mut known = self.lock();
        if let Some(share) = known.get(name).and_then(Weak::upgrade) {
            return share;
        }
        let name: Arc<str> = name.into();
        let share = Arc::new(Share {
            name: Arc::clone(&name),
            value: make(),
            all: self.clone(),
        });
        known.insert(name, Arc::downgrade(&share));
        share
    }

    /// How many callers are known.
    #[allow(dead_code, reason = "only tests ask")]
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Known<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Share<T> {
    #[allow(dead_code, reason = "one program asks")]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl<T> Default for Shares<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Shares<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Shares<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Share<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut share = f.debug_struct("Share");
        share.field("name", &self.name).finish_non_exhaustive()
    }
}

impl<T> Deref for Share<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Drop for Share<T> {
    fn drop(&mut self) {
        let mut known = self.all.lock();
        // The caller may be back already, with a new value.
        if known
            .get(&self.name)
            .is_some_and(|share| share.strong_count() == 0)
        {
            known.remove(&self.name);
        }
    }
}

/// By what callers are counted: an IPv4 address, or an IPv6 /64, which one host may have all of.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    of_prefix(address, 64)
}

/// By what callers without a name are counted together: an IPv4 address, or an IPv6 /48, which one site may have all of.
pub(crate) fn site(address: IpAddr) -> IpAddr {
    of_prefix(address, 48)
}

fn of_prefix(address: IpAddr, bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let rest = Ipv6Addr::BITS - bits;
            Ipv6Addr::from_bits(address.to_bits() >> rest << rest).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}
