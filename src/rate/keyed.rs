use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

use super::clock::Line;
use super::gate::Terms;
use super::keys::Gates;
use super::{Limit, LimitsError};

/// A rate for each of many keys, for those who want to ask rather than to have a body paced.
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
    gates: Gates,
    terms: Terms,
}

impl Keyed {
    /// The rate and burst of `limit` for each of at most `keys` keys.
    ///
    /// # Errors
    /// What is wrong with the limit, or that it has no rate.
    pub fn new(limit: &Limit, keys: usize) -> Result<Self, LimitsError> {
        limit.check()?;
        let rate = limit.rate.ok_or_else(|| LimitsError::NeedsRate {
            limit: limit.name.clone(),
        })?;
        Ok(Self {
            gates: Gates::new(keys),
            terms: Terms {
                line: Line::new(rate, Instant::now()),
                burst: limit.burst(),
                shared: false,
            },
        })
    }

    /// Takes `bytes` for `key`, all or none.
    ///
    /// # Errors
    /// How long it takes until there is so much; never, if it is more than the burst.
    pub fn take(&self, key: impl Hash, bytes: u64) -> Result<(), Duration> {
        let now = Instant::now();
        let position = self.terms.line.position(now);
        let key = self.gates.key(key);
        match self.gates.take(key, bytes, position, self.terms.burst) {
            Ok(()) => Ok(()),
            Err(_) if bytes > self.terms.burst => Err(Duration::MAX),
            Err(position) => Err(self.terms.line.when(position, now) - now),
        }
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.gates.len()
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How much memory the keys take, in bytes.
    pub fn memory(&self) -> usize {
        self.gates.memory()
    }
}
