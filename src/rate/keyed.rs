use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

use super::key_limiters::KeyLimiters;
use super::parameters::Parameters;
use super::schedule::Schedule;
use super::{Limit, LimitsError};

/// A rate for each of many keys, for code that asks a limit itself rather than having a body paced: the
/// benchmarks and tests of what [`ByteRateLayer`](super::ByteRateLayer) keeps for each key.
///
/// ```
/// use portcullis::rate::{Key, Keyed, Limit};
///
/// # fn main() -> Result<(), portcullis::rate::LimitsError> {
/// let keyed = Keyed::new(&Limit::rate("logins", Key::Source, 10).with_burst(20), 10_000)?;
/// assert!(keyed.take("10.0.0.1", 20).is_ok());
/// assert!(keyed.take("10.0.0.1", 1).is_err());
/// assert!(keyed.take("10.0.0.2", 1).is_ok());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Keyed {
    limiters: KeyLimiters,
    parameters: Parameters,
}

impl Keyed {
    /// Makes limiters with the rate and burst of `limit` for at most `keys` keys.
    ///
    /// # Errors
    /// Returns what is wrong with the limit, or that it has no rate.
    pub fn new(limit: &Limit, keys: usize) -> Result<Self, LimitsError> {
        limit.check()?;
        let rate = limit.rate.ok_or_else(|| LimitsError::NeedsRate {
            limit: limit.name.clone(),
        })?;
        Ok(Self {
            limiters: KeyLimiters::new(keys),
            parameters: Parameters {
                schedule: Schedule::new(rate, Instant::now()),
                burst: limit.burst(),
                shared: false,
            },
        })
    }

    /// Takes `bytes` for `key`, all or none.
    ///
    /// # Errors
    /// Returns how long it takes until that many bytes can be taken; [`Duration::MAX`] if they are more than
    /// the burst.
    pub fn take(&self, key: impl Hash, bytes: u64) -> Result<(), Duration> {
        let now = Instant::now();
        let position = self.parameters.schedule.position(now);
        let key = self.limiters.key(key);
        match self
            .limiters
            .take(key, bytes, position, self.parameters.burst)
        {
            Ok(()) => Ok(()),
            Err(_) if bytes > self.parameters.burst => Err(Duration::MAX),
            Err(position) => Err(self.parameters.schedule.when(position, now) - now),
        }
    }

    /// Returns how many keys are remembered.
    pub fn len(&self) -> usize {
        self.limiters.len()
    }

    /// Returns whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how much memory the keys take, in bytes.
    pub fn memory(&self) -> usize {
        self.limiters.memory()
    }
}
