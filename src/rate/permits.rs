use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::Limits;
use super::gate::Gate;
use super::keys::Gates;
use super::rule::Rule;
use super::subject::Subject;
use crate::Refusal;

/// After how many seconds a client may try again whose kind has too many transfers under way.
const STREAMS_RETRY: u32 = 2;

/// A transfer under way, counted in the caps on streams until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Permits(Vec<Permit>);

#[derive(Debug)]
struct Permit {
    gates: Arc<Gates>,
    gate: Arc<Gate>,
    key: u64,
}

impl Permits {
    /// Counts a transfer; refuses it, if it is `refusable`, where a cap is reached.
    pub(super) fn take(
        &mut self,
        rule: &Rule,
        subject: &Subject,
        limits: &Limits,
        refusable: bool,
    ) -> Result<(), Refusal> {
        let Some(most) = rule.limit.max_streams else {
            return Ok(());
        };
        for charged in subject.charged(rule.limit.key, limits) {
            let permit = Permit::new(rule, rule.key(&charged));
            let before = permit.gate.streams().fetch_add(1, Ordering::Relaxed);
            self.0.push(permit);
            if refusable && before >= most {
                let retry_after = STREAMS_RETRY;
                return Err(Refusal::StreamsExceeded { retry_after });
            }
        }
        Ok(())
    }
}

impl Permit {
    fn new(rule: &Rule, key: u64) -> Self {
        let terms = rule.terms_of_clocks();
        let position = terms.map_or(0, |terms| terms.line.position(Instant::now()));
        Self {
            gate: rule.gates.gate(key, terms.as_ref(), position),
            gates: Arc::clone(&rule.gates),
            key,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.streams().fetch_sub(1, Ordering::Relaxed);
        self.gates.release(self.key, &self.gate);
    }
}
