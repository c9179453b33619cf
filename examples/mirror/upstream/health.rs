use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::UpstreamError;

/// What the last answers, or their lack, say of the upstream.
pub(super) struct Health {
    state: Mutex<State>,
    silence: Duration,
    logged: Rarely,
}

#[derive(Default)]
struct State {
    heard: Option<Instant>,
    silent_until: Option<Instant>,
    unreachable: bool,
    refuses_credentials: bool,
}

/// How the upstream is, for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It answers, or has not been asked.
    Good,
    /// It does not answer: what is kept here is served, and what is not is not.
    Silent,
    /// It does not accept this mirror's credentials.
    RefusesCredentials,
}

/// What is logged at most once a minute.
#[derive(Default)]
pub(super) struct Rarely(Mutex<Option<Instant>>);

impl Health {
    /// `silence`: for how long an upstream that did not answer is not asked again.
    pub(super) fn new(silence: Duration) -> Self {
        Self {
            state: Mutex::default(),
            silence,
            logged: Rarely::default(),
        }
    }

    /// # Errors
    /// It did not answer a moment ago, so waiting would most likely be in vain.
    pub(super) fn check(&self) -> Result<(), UpstreamError> {
        match self.state().silent_until {
            Some(until) if Instant::now() < until => Err(UpstreamError::Silent),
            _ => Ok(()),
        }
    }

    /// Notes how a question ended that was asked at `began`.
    pub(super) fn note<T>(&self, began: Instant, result: &Result<T, UpstreamError>) {
        #[cfg(feature = "metrics")]
        {
            let outcome = result
                .as_ref()
                .map_or_else(UpstreamError::outcome, |_| "answered");
            debug_assert!(super::report::OUTCOMES.contains(&outcome));
            metrics::counter!(super::report::QUESTIONS, "outcome" => outcome).increment(1);
        }
        let mut state = self.state();
        match result {
            Err(UpstreamError::Silent) => {
                // One slow answer is none while others come.
                if state.heard.is_none_or(|heard| heard < began) {
                    state.silent_until = Some(Instant::now() + self.silence);
                }
            }
            // That is found out at once, so it is asked again each time.
            Err(UpstreamError::Unreachable(_)) => state.unreachable = true,
            Err(error) => {
                state.heard = Some(Instant::now());
                state.silent_until = None;
                state.unreachable = false;
                state.refuses_credentials |= matches!(error, UpstreamError::Credentials);
            }
            Ok(_) => {
                *state = State {
                    heard: Some(Instant::now()),
                    ..State::default()
                };
            }
        }
        drop(state);
        if let Err(error @ (UpstreamError::Credentials | UpstreamError::NotPublic(_))) = result
            && self.logged.is_due()
        {
            tracing::error!(%error, "the upstream cannot be used as it is configured");
        }
    }

    pub(super) fn condition(&self) -> Condition {
        let silent = self.check().is_err();
        let state = self.state();
        match state.refuses_credentials {
            true => Condition::RefusesCredentials,
            false if silent || state.unreachable => Condition::Silent,
            false => Condition::Good,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rarely {
    pub(super) fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = last.is_none_or(|last| now - last >= Duration::from_secs(60));
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_upstream_is_silent_only_while_nothing_at_all_was_heard_of_it() {
        let health = Health::new(Duration::from_secs(10));
        let began = Instant::now();
        let silent = Err::<(), _>(UpstreamError::Silent);
        tokio::time::advance(Duration::from_secs(1)).await;
        health.note(Instant::now(), &Ok(()));
        health.note(began, &silent);
        assert!(health.check().is_ok(), "another was answered meanwhile");
        tokio::time::advance(Duration::from_secs(1)).await;
        health.note(Instant::now(), &silent);
        assert!(health.check().is_err());
        assert_eq!(health.condition(), Condition::Silent);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(health.check().is_ok());
        health.note(Instant::now(), &silent);
        health.note(Instant::now(), &Err::<(), _>(UpstreamError::Unknown));
        assert!(health.check().is_ok(), "a refusal is an answer");
    }

    #[tokio::test]
    async fn an_upstream_that_cannot_be_reached_is_asked_each_time_and_the_operator_knows() {
        let health = Health::new(Duration::from_secs(10));
        let unreachable = Err::<(), _>(UpstreamError::Unreachable("refused".into()));
        health.note(Instant::now(), &unreachable);
        assert!(health.check().is_ok());
        assert_eq!(health.condition(), Condition::Silent);
        health.note(Instant::now(), &Ok(()));
        assert_eq!(health.condition(), Condition::Good);
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_are_good_again_when_an_answer_has_come() {
        let health = Health::new(Duration::from_secs(10));
        health.note(Instant::now(), &Err::<(), _>(UpstreamError::Credentials));
        health.note(Instant::now(), &Err::<(), _>(UpstreamError::Unknown));
        assert_eq!(health.condition(), Condition::RefusesCredentials);
        health.note(Instant::now(), &Ok(()));
        assert_eq!(health.condition(), Condition::Good);
    }
}
