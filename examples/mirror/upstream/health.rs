use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::UpstreamError;
use super::seldom::Seldom;

/// How often in a row there is no connection before none is tried.
const UNCONNECTED: usize = 2;
/// How many questions without an answer are remembered.
const QUESTIONS: usize = 1024;

/// What the last answers, or their lack, say of the upstream.
pub(super) struct Health {
    state: Mutex<State>,
    silence: Duration,
    logged: Seldom,
}

#[derive(Default)]
struct State {
    heard: Option<Instant>,
    silent_until: Option<Instant>,
    /// The questions that got no answer, each until when it is not asked again.
    silent: HashMap<String, Instant>,
    /// Whether the registry itself is being asked, because a question got no answer.
    doubted: bool,
    /// The connections that were not made since something was heard.
    unconnected: usize,
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

impl Health {
    /// `silence`: for how long an upstream that did not answer is not asked again.
    pub(super) fn new(silence: Duration) -> Self {
        Self {
            state: Mutex::default(),
            silence,
            logged: Seldom::default(),
        }
    }

    /// # Errors
    /// It, or this question, got no answer a moment ago, so waiting would most likely be in vain.
    pub(super) fn check(&self, question: &str) -> Result<(), UpstreamError> {
        let now = Instant::now();
        let state = self.state.lock();
        let silent = state.silent.get(question).is_some_and(|until| now < *until);
        if silent || state.is_silent(now) {
            return Err(UpstreamError::Silent);
        }
        Ok(())
    }

    /// Notes that the upstream said something, whatever it was.
    pub(super) fn heard(&self) {
        self.state.lock().hear();
    }

    /// Whether the registry has to be asked for nothing in particular, after a question that was asked at `began`
    /// got no answer: one caller can name any number of repositories that hang, so no number of them is the
    /// upstream's silence. It is asked by one at a time, until [`Health::note`] hears of it.
    pub(super) fn is_doubtful(&self, began: Instant) -> bool {
        let mut state = self.state.lock();
        let doubtful = !state.was_heard_since(began) && !state.is_silent(Instant::now());
        doubtful && !std::mem::replace(&mut state.doubted, true)
    }

    /// Notes how a question ended that was asked at `began`. Of the upstream only the one for nothing in
    /// particular says that it is silent; any other that gets no answer is not asked again itself.
    pub(super) fn note<T>(
        &self,
        question: &str,
        began: Instant,
        result: &Result<T, UpstreamError>,
    ) {
        #[cfg(feature = "metrics")]
        {
            let outcome = result
                .as_ref()
                .map_or_else(UpstreamError::outcome, |_| "answered");
            debug_assert!(super::report::OUTCOMES.contains(&outcome));
            metrics::counter!(super::report::QUESTIONS, "outcome" => outcome).increment(1);
        }
        let mut state = self.state.lock();
        if question.is_empty() {
            state.doubted = false;
        }
        match result {
            // The one that leads elsewhere, or asks for a token, answers.
            Err(UpstreamError::NotConnected | UpstreamError::Unreachable(_))
                if state.was_heard_since(began) => {}
            Err(UpstreamError::Silent) => state.no_answer(question, began, self.silence),
            Err(UpstreamError::NotConnected) => {
                state.unconnected += 1;
                if state.unconnected >= UNCONNECTED {
                    state.silent_until = Some(Instant::now() + self.silence);
                }
            }
            // That is found out at once, so it is asked again each time.
            Err(UpstreamError::Unreachable(_)) => state.unreachable = true,
            // It said where to go, which was noted.
            Err(UpstreamError::Elsewhere(_)) => {}
            Err(error) => {
                state.hear();
                state.refuses_credentials |= is_of_credentials(error);
            }
            Ok(_) => {
                state.hear();
                state.silent.remove(question);
                state.refuses_credentials = false;
            }
        }
        drop(state);
        if let Err(error) = result
            && (is_of_credentials(error) || matches!(error, UpstreamError::NotPublic(_)))
            && self.logged.allow().is_some()
        {
            tracing::error!(%error, "the upstream cannot be used as it is configured");
        }
    }

    pub(super) fn condition(&self) -> Condition {
        let state = self.state.lock();
        let silent = state.is_silent(Instant::now());
        match state.refuses_credentials {
            true => Condition::RefusesCredentials,
            false if silent || state.unreachable => Condition::Silent,
            false => Condition::Good,
        }
    }
}

impl State {
    fn is_silent(&self, now: Instant) -> bool {
        self.silent_until.is_some_and(|until| now < until)
    }

    fn was_heard_since(&self, began: Instant) -> bool {
        self.heard.is_some_and(|heard| heard >= began)
    }

    fn hear(&mut self) {
        self.heard = Some(Instant::now());
        self.silent_until = None;
        self.unconnected = 0;
        self.unreachable = false;
    }

    fn no_answer(&mut self, question: &str, began: Instant, silence: Duration) {
        let now = Instant::now();
        if question.is_empty() {
            if !self.was_heard_since(began) {
                self.silent_until = Some(now + silence);
            }
            return;
        }
        if self.silent.len() >= QUESTIONS {
            self.silent.retain(|_, until| now < *until);
        }
        if self.silent.len() < QUESTIONS {
            self.silent.insert(question.to_owned(), now + silence);
        }
    }
}

fn is_of_credentials(error: &UpstreamError) -> bool {
    matches!(
        error,
        UpstreamError::Credentials | UpstreamError::Challenge(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent() -> Result<(), UpstreamError> {
        Err(UpstreamError::Silent)
    }

    #[tokio::test(start_paused = true)]
    async fn questions_without_an_answer_are_silent_themselves_and_the_upstream_is_asked_once_at_a_time()
     {
        let health = Health::new(Duration::from_secs(10));
        let began = Instant::now();
        let asked = (0..100).filter(|number| {
            health.note(&format!("hangs {number}"), began, &silent());
            health.is_doubtful(began)
        });
        assert_eq!(asked.count(), 1);
        assert!(health.check("hangs 7").is_err());
        assert!(health.check("other").is_ok());
        assert_eq!(health.condition(), Condition::Good);
        health.note("", began, &silent());
        assert!(health.check("other").is_err());
        assert_eq!(health.condition(), Condition::Silent);
        assert!(!health.is_doubtful(began), "it is known");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(health.check("other").is_ok());
        assert!(health.check("hangs 7").is_ok());
        assert!(health.is_doubtful(began));
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_is_silent_only_while_nothing_at_all_was_heard_of_it() {
        let health = Health::new(Duration::from_secs(10));
        let began = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        // A piece of a transfer, or that another was answered.
        health.heard();
        assert!(!health.is_doubtful(began));
        health.note("", began, &silent());
        assert!(health.check("other").is_ok());
        for what_was_heard in [Health::heard as fn(&Health), |health| {
            let refused = Err::<(), _>(UpstreamError::Unknown);
            health.note("another", Instant::now(), &refused);
        }] {
            tokio::time::advance(Duration::from_secs(1)).await;
            health.note("", Instant::now(), &silent());
            assert!(health.check("other").is_err());
            what_was_heard(&health);
            assert!(health.check("other").is_ok(), "it ends at once");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_does_not_connect_or_says_nothing_at_all_is_silent() {
        let health = Health::new(Duration::from_secs(10));
        let unconnected = Err::<(), _>(UpstreamError::NotConnected);
        health.note("a", Instant::now(), &unconnected);
        assert!(health.check("a").is_ok());
        health.note("a", Instant::now(), &unconnected);
        assert!(health.check("b").is_err());
        health.heard();
        assert!(health.check("b").is_ok());
        tokio::time::advance(Duration::from_millis(1)).await;
        // The probe.
        health.note("", Instant::now(), &silent());
        assert!(health.check("b").is_err());
    }

    #[tokio::test]
    async fn an_upstream_that_cannot_be_reached_is_asked_each_time_and_the_operator_knows() {
        let health = Health::new(Duration::from_secs(10));
        let unreachable = Err::<(), _>(UpstreamError::Unreachable("refused".into()));
        health.note("a", Instant::now(), &unreachable);
        assert!(health.check("a").is_ok());
        assert_eq!(health.condition(), Condition::Silent);
        health.note("a", Instant::now(), &Ok(()));
        assert_eq!(health.condition(), Condition::Good);
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_are_good_again_when_an_answer_has_come() {
        let health = Health::new(Duration::from_secs(10));
        for error in [UpstreamError::Credentials, UpstreamError::Challenge("x")] {
            health.note("a", Instant::now(), &Err::<(), _>(error));
            health.note("a", Instant::now(), &Err::<(), _>(UpstreamError::Unknown));
            assert_eq!(health.condition(), Condition::RefusesCredentials);
            health.note("a", Instant::now(), &Ok(()));
            assert_eq!(health.condition(), Condition::Good);
        }
    }
}
