use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use super::key_limiter::KeyLimiter;
use super::key_limiters::KeyLimiters;
use super::lease::Lease;
use super::parameters::Parameters;
use super::tenants::Claim;
use super::wait_slot::WaitSlot;
use crate::telemetry::limit_meters::LimitMeters;

/// One limiter on a body's way, and what it has let pass that is not sent yet.
#[derive(Debug)]
pub(super) struct Handle {
    home: Option<(Arc<KeyLimiters>, u64)>,
    limiter: Arc<KeyLimiter>,
    parameters: Parameters,
    claim: Claim,
    slot: WaitSlot,
    holds: u64,
    lease: Option<Arc<Lease>>,
    meters: Arc<LimitMeters>,
}

impl Handle {
    /// A limiter among others of the same limit.
    pub(super) fn new(
        limiters: &Arc<KeyLimiters>,
        key: u64,
        parameters: Parameters,
        claim: Claim,
        meters: &Arc<LimitMeters>,
        now: Instant,
    ) -> Self {
        let limiter = limiters.limiter(key, Some(&parameters), parameters.schedule.position(now));
        Self {
            home: Some((Arc::clone(limiters), key)),
            limiter,
            parameters,
            claim,
            slot: WaitSlot::default(),
            holds: 0,
            lease: None,
            meters: Arc::clone(meters),
        }
    }

    /// A limiter that no other body passes.
    pub(super) fn alone(parameters: Parameters, meters: &Arc<LimitMeters>, now: Instant) -> Self {
        let word = parameters
            .schedule
            .position(now)
            .wrapping_sub(parameters.burst);
        Self {
            home: None,
            limiter: Arc::new(KeyLimiter::new(word)),
            parameters,
            claim: Claim::default(),
            slot: WaitSlot::default(),
            holds: 0,
            lease: None,
            meters: Arc::clone(meters),
        }
    }

    /// With a rate that changes by itself.
    pub(super) fn with_lease(mut self, lease: Option<Arc<Lease>>) -> Self {
        self.lease = lease;
        self
    }

    pub(super) fn quantum(&self, now: Instant) -> u64 {
        let spare = self.limiter.spare(&self.parameters, now);
        self.limiter.quantum(&self.parameters).max(spare)
    }

    /// Makes sure of `quantum` bytes.
    ///
    /// # Errors
    /// How long it may take at most, if it has to wait.
    pub(super) fn take(
        &mut self,
        cx: &mut Context<'_>,
        quantum: u64,
        now: Instant,
    ) -> Result<(), Duration> {
        if self.holds >= quantum && !self.slot.is_asking() {
            return Ok(());
        }
        if let Some(lease) = &self.lease {
            self.parameters = lease.parameters();
        }
        let missing = quantum.saturating_sub(self.holds).max(1);
        if !self.slot.is_asking() && self.limiter.pass(missing, &self.parameters, now) {
            self.holds += missing;
            return Ok(());
        }
        let (slot, parameters) = (&mut self.slot, &self.parameters);
        self.holds += self
            .limiter
            .ask(cx, slot, missing, parameters, self.claim, now)?;
        Ok(())
    }

    /// Where it is counted that a body waits here.
    pub(super) fn meters(&self) -> &Arc<LimitMeters> {
        &self.meters
    }

    /// What was taken and not sent.
    pub(super) fn holds(&self) -> u64 {
        self.holds
    }

    /// What may be sent together of what was taken.
    pub(super) fn sendable(&self) -> u64 {
        self.holds.min(self.parameters.burst)
    }

    /// Notes bytes as sent.
    ///
    /// # Errors
    /// When they may be: they were held for too long.
    #[inline]
    pub(super) fn send(&mut self, bytes: u64, now: Instant) -> Result<(), Instant> {
        if let Some(lease) = &self.lease {
            self.parameters = lease.parameters();
        }
        self.limiter.send(bytes, &self.parameters, now)?;
        self.holds -= bytes;
        if let Some(lease) = &self.lease {
            lease.sent(bytes);
        }
        Ok(())
    }

    /// Notes bytes as not sent after all.
    pub(super) fn unsend(&mut self, bytes: u64) {
        self.limiter.unsend(bytes);
        self.holds += bytes;
        if let Some(lease) = &self.lease {
            lease.unsent(bytes);
        }
    }

    /// How long one more body would wait here for its first quantum.
    pub(super) fn predicted_wait(&self, now: Instant) -> Duration {
        self.limiter
            .predicted_wait(&self.parameters, self.claim, now)
    }

    /// How long `bytes` of one more body would take here.
    pub(super) fn predicted_transfer(&self, bytes: u64, now: Instant) -> Duration {
        let (parameters, claim) = (&self.parameters, self.claim);
        self.limiter
            .predicted_transfer(bytes, parameters, claim, now)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.limiter.give_back(self.holds);
        self.limiter.leave(&mut self.slot);
        if let Some((limiters, key)) = &self.home {
            limiters.release(*key, &self.limiter);
        }
    }
}
