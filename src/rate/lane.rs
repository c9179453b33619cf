use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use super::gate::{Gate, Seat, Terms};
use super::keys::Gates;
use super::lease::Lease;
use super::tenants::Claim;
use crate::telemetry::limit_meters::LimitMeters;

/// One gate on a body's way, and what it has let pass that is not sent yet.
#[derive(Debug)]
pub(super) struct Lane {
    home: Option<(Arc<Gates>, u64)>,
    gate: Arc<Gate>,
    terms: Terms,
    claim: Claim,
    seat: Seat,
    holds: u64,
    lease: Option<Arc<Lease>>,
    meters: Arc<LimitMeters>,
}

impl Lane {
    /// A gate among others of the same limit.
    pub(super) fn new(
        gates: &Arc<Gates>,
        key: u64,
        terms: Terms,
        claim: Claim,
        meters: &Arc<LimitMeters>,
        now: Instant,
    ) -> Self {
        let gate = gates.gate(key, Some(&terms), terms.line.position(now));
        Self {
            home: Some((Arc::clone(gates), key)),
            gate,
            terms,
            claim,
            seat: Seat::default(),
            holds: 0,
            lease: None,
            meters: Arc::clone(meters),
        }
    }

    /// A gate that nobody else passes.
    pub(super) fn alone(terms: Terms, meters: &Arc<LimitMeters>, now: Instant) -> Self {
        let word = terms.line.position(now).wrapping_sub(terms.burst);
        Self {
            home: None,
            gate: Arc::new(Gate::new(word)),
            terms,
            claim: Claim::default(),
            seat: Seat::default(),
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

    pub(super) fn turn(&self, now: Instant) -> u64 {
        let spare = self.gate.spare(&self.terms, now);
        self.gate.turn(&self.terms).max(spare)
    }

    /// Makes sure of `turn` bytes.
    ///
    /// # Errors
    /// How long it may take at most, if it has to wait.
    pub(super) fn take(
        &mut self,
        cx: &mut Context<'_>,
        turn: u64,
        now: Instant,
    ) -> Result<(), Duration> {
        if self.holds >= turn && !self.seat.is_asking() {
            return Ok(());
        }
        if let Some(lease) = &self.lease {
            self.terms = lease.terms();
        }
        let missing = turn.saturating_sub(self.holds).max(1);
        if !self.seat.is_asking() && self.gate.pass(missing, &self.terms, now) {
            self.holds += missing;
            return Ok(());
        }
        let (seat, terms) = (&mut self.seat, &self.terms);
        self.holds += self.gate.ask(cx, seat, missing, terms, self.claim, now)?;
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
        self.holds.min(self.terms.burst)
    }

    /// Notes bytes as sent.
    ///
    /// # Errors
    /// When they may be: they were held for too long.
    #[inline]
    pub(super) fn send(&mut self, bytes: u64, now: Instant) -> Result<(), Instant> {
        if let Some(lease) = &self.lease {
            self.terms = lease.terms();
        }
        self.gate.send(bytes, &self.terms, now)?;
        self.holds -= bytes;
        if let Some(lease) = &self.lease {
            lease.sent(bytes);
        }
        Ok(())
    }

    /// Notes bytes as not sent after all.
    pub(super) fn unsend(&mut self, bytes: u64) {
        self.gate.unsend(bytes);
        self.holds += bytes;
        if let Some(lease) = &self.lease {
            lease.unsent(bytes);
        }
    }

    /// How long one more body would wait here for its first turn.
    pub(super) fn predicted_wait(&self, now: Instant) -> Duration {
        self.gate.predicted_wait(&self.terms, self.claim, now)
    }

    /// How long `bytes` of one more body would take here.
    pub(super) fn predicted_transfer(&self, bytes: u64, now: Instant) -> Duration {
        let (terms, claim) = (&self.terms, self.claim);
        self.gate.predicted_transfer(bytes, terms, claim, now)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.gate.give_back(self.holds);
        self.gate.leave(&mut self.seat);
        if let Some((gates, key)) = &self.home {
            gates.release(*key, &self.gate);
        }
    }
}
