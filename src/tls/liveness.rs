use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use super::material::Material;
use super::removed_ca::RemovedCa;
use super::verified::Verified;
use crate::util::good_until::GoodUntil;
use crate::{Refusal, Watched};

/// The longest sleep at once: the wall clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Whether the certificate of a connection still holds: its time, that of the CAs above it, and that a
/// client CA leads to it, whether or not there are CRLs. `Clone` costs an `Arc`.
#[derive(Clone, Debug)]
pub(super) struct Liveness(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    verified: Arc<Verified>,
    material: Watched<Material>,
    removed_ca: RemovedCa,
    clock: Arc<dyn TimeProvider>,
    holds: GoodUntil,
    /// That it does not hold: so that it is not verified again for each of the requests of a second.
    fails: GoodUntil,
}

impl Liveness {
    pub(super) fn new(
        verified: Arc<Verified>,
        material: &Watched<Material>,
        removed_ca: RemovedCa,
    ) -> Self {
        let clock = Arc::clone(&material.load().config.time_provider);
        Self(Arc::new(Inner {
            verified,
            material: material.clone(),
            removed_ca,
            clock,
            holds: GoodUntil::default(),
            fails: GoodUntil::default(),
        }))
    }

    /// The certificates as the client sent them, its own first.
    #[cfg(feature = "crl")]
    pub(super) fn chain(&self) -> &[rustls::pki_types::CertificateDer<'static>] {
        &self.0.verified.chain
    }

    /// Why the certificate holds no more. This is what to ask at each request: while neither the
    /// material nor the time has moved on it reads a clock and three words.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let inner = &*self.0;
        let Some(now) = inner.clock.current_time() else {
            return Some(Refusal::Unavailable);
        };
        let remembers = |word: &GoodUntil| word.is_good(inner.material.generation(), now.as_secs());
        if remembers(&inner.holds) {
            return None;
        }
        if !remembers(&inner.fails) {
            let material = inner.material.load();
            let period = inner.period(&material, now);
            let word = if period.is_some() {
                &inner.holds
            } else {
                &inner.fails
            };
            let is_held = period.is_some();
            let now = now.as_secs();
            word.set(material.generation(), period.unwrap_or(now..=now));
            if is_held {
                return None;
            }
        }
        Some(if inner.verified.holds_at(now) {
            Refusal::CertificateInvalid
        } else {
            Refusal::CertificateExpired
        })
    }

    /// Resolves once the certificate holds no more.
    pub(super) async fn ended(&self) {
        let mut changes = self.0.material.changes();
        loop {
            changes.mark_unchanged();
            if self.refusal().is_some() {
                return;
            }
            let sleep = tokio::time::sleep(self.left().min(LONGEST_SLEEP));
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep => {}
            }
        }
    }

    /// How long the certificate will hold, as far as is known.
    fn left(&self) -> Duration {
        let until = self.0.holds.until();
        let now = self
            .0
            .clock
            .current_time()
            .map_or(until, |now| now.as_secs());
        // It holds to the end of that second.
        Duration::from_secs(until.saturating_sub(now).saturating_add(1))
    }
}

impl Inner {
    /// The first and the last second at which the certificate holds under this material; `None` if it does not
    /// now.
    fn period(&self, material: &Material, now: UnixTime) -> Option<RangeInclusive<u64>> {
        let verified = &*self.verified;
        let of = |verified: &Verified| verified.not_before..=verified.not_after;
        let Some(checks) = &material.verifier else {
            // No client is asked for a certificate any more.
            return verified.holds_at(now).then(|| of(verified));
        };
        let keeps = self.removed_ca == RemovedCa::Keep;
        if verified.holds_at(now) && (keeps || checks.anchors().hold(&verified.anchor, now)) {
            return Some(of(verified));
        }
        // Another path may lead to it: of another CA, or of one that was renewed.
        let [end_entity, intermediates @ ..] = &*verified.chain else {
            return None;
        };
        let again = checks.verify(end_entity, intermediates, now);
        again.ok().map(|again| of(&again.verified))
    }
}
