use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::Limits;
use super::key_limiter::KeyLimiter;
use super::key_limiters::KeyLimiters;
use super::rule::Rule;
use super::subject::Subject;
use crate::Refusal;

/// The seconds after which a client may try again when its key has too many transfers in flight.
const STREAMS_RETRY: u32 = 2;

/// A transfer in flight, counted in the caps on streams until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Permits(Vec<Permit>);

#[derive(Debug)]
struct Permit {
    limiters: Arc<KeyLimiters>,
    limiter: Arc<KeyLimiter>,
    key: u64,
}

impl Permits {
    pub(super) fn are_none(&self) -> bool {
        self.0.is_empty()
    }

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
            let before = permit.limiter.streams().fetch_add(1, Ordering::Relaxed);
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
        let parameters = rule.parameters_of_cells();
        let position =
            parameters.map_or(0, |parameters| parameters.schedule.position(Instant::now()));
        Self {
            limiter: rule.limiters.limiter(key, parameters.as_ref(), position),
            limiters: Arc::clone(&rule.limiters),
            key,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limiter.streams().fetch_sub(1, Ordering::Relaxed);
        self.limiters.release(self.key, &self.limiter);
    }
}
