use std::fmt;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use zeroize::Zeroizing;

use super::credentials::Candidates;
use super::digest::HashName;
use super::turns::{Claim, Full, Turns};
use super::verified_cache::VerifiedCache;
use crate::Refusal;
use crate::util::seldom::Seldom;

/// How passwords are verified.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PasswordOptions {
    /// How many are verified at a time, each on one thread beside the async workers: so much of the
    /// processors they take at most. Default: half of the processors, at least one.
    pub concurrent: NonZeroUsize,
    /// How many may wait for their turn; more are refused at once. Sources take turns. Where the queue is
    /// full, the source that has most in it gives up its newest for one that has fewer; of sources with as
    /// many, one at which passwords failed lately ([`ThrottleOptions`](super::ThrottleOptions)) does for one
    /// with fewer failures, or at which this user's was right within a day. Default 32.
    pub waiting: usize,
    /// How many right ones are remembered. Default 4096.
    pub remembered: usize,
    /// How long a right one is remembered. Default 5 min. A changed hash, a removed user or an
    /// expired credential takes hold at once all the same.
    pub remember_for: Duration,
}

/// Verifies passwords off the async workers, so many at a time and no more.
#[derive(Clone)]
pub(super) struct Passwords(Arc<Inner>);

struct Inner {
    turns: Turns,
    /// Which hash was proven.
    verified: Option<VerifiedCache<HashName>>,
}

impl From<Full> for Refusal {
    fn from(Full: Full) -> Self {
        Self::AuthThrottled { retry_after: 1 }
    }
}

impl Default for PasswordOptions {
    fn default() -> Self {
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            concurrent: NonZeroUsize::new(processors / 2).unwrap_or(NonZeroUsize::MIN),
            waiting: 32,
            remembered: 4096,
            remember_for: Duration::from_secs(5 * 60),
        }
    }
}

impl PasswordOptions {
    /// Sets [`PasswordOptions::concurrent`].
    pub fn with_concurrent(mut self, concurrent: NonZeroUsize) -> Self {
        self.concurrent = concurrent;
        self
    }

    /// Sets [`PasswordOptions::waiting`].
    pub fn with_waiting(mut self, waiting: usize) -> Self {
        self.waiting = waiting;
        self
    }

    /// Sets [`PasswordOptions::remembered`].
    pub fn with_remembered(mut self, remembered: usize) -> Self {
        self.remembered = remembered;
        self
    }

    /// Sets [`PasswordOptions::remember_for`].
    pub fn with_remember_for(mut self, time: Duration) -> Self {
        self.remember_for = time;
        self
    }
}

impl Passwords {
    pub(super) fn new(options: &PasswordOptions) -> Self {
        Self(Arc::new(Inner {
            turns: Turns::new(options.concurrent.get(), options.waiting),
            verified: VerifiedCache::new(options.remembered, options.remember_for),
        }))
    }

    /// The hash that this password was seen to have, lately.
    pub(super) fn recall(&self, user: &[u8], password: &[u8]) -> Option<HashName> {
        let verified = self.0.verified.as_ref()?;
        verified.recall(&verified.proof(user, password))
    }

    /// Refuses as [`Passwords::verify`] would at once, for less.
    pub(super) fn check_room(&self, claim: Claim) -> Result<(), Refusal> {
        Ok(self.0.turns.check_room(claim)?)
    }

    /// The hash that this password has, among these. `still` is asked when its turn has come.
    pub(super) async fn verify(
        &self,
        user: Zeroizing<Vec<u8>>,
        password: Zeroizing<Vec<u8>>,
        candidates: Candidates,
        claim: Claim,
        still: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<HashName, Refusal> {
        let turn = self.0.turns.take(claim).await?;
        still()?;
        let passwords = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            // Held here, so that a client who goes away does not make room for more.
            let _turn = turn;
            let found = candidates.verify(&password);
            // Here, so that it is not verified again if this client has gone away.
            if let Some((verified, found)) = passwords.0.verified.as_ref().zip(found) {
                verified.remember(verified.proof(&user, &password), found);
            }
            let is_too_long = || {
                candidates
                    .own
                    .iter()
                    .any(|hash| hash.is_too_short_for(&password))
            };
            found.ok_or_else(|| is_too_long().then_some(user))
        });
        let found = work.await.map_err(|_| Refusal::Unavailable)?;
        found.map_err(|too_long| {
            if let Some(user) = too_long {
                tell_of_length(&user);
            }
            Refusal::CredentialsUnknown
        })
    }
}

impl Candidates {
    /// The hash that this password has. Looks at every one, so that a right password takes as long as a
    /// wrong one.
    fn verify(&self, password: &[u8]) -> Option<HashName> {
        let mut found = None;
        for hash in &self.own {
            if hash.verify(password) {
                found = Some(hash.name);
            }
        }
        for hash in &self.decoys {
            black_box(hash.verify(password));
        }
        found
    }
}

/// A password that is never right for its length alone, which no answer tells.
fn tell_of_length(user: &[u8]) {
    static LOGGED: Seldom = Seldom::every(Duration::from_secs(60));
    if let Some(held_back) = LOGGED.allow() {
        tracing::warn!(
            user = %String::from_utf8_lossy(user),
            held_back,
            "a password has more than the 71 bytes that bcrypt takes, so that it is never right: give the user a hash \
             of Argon2id, as `portcullisctl hash` prints it"
        );
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").finish_non_exhaustive()
    }
}
