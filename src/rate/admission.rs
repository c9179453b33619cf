use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::Instant;

use crate::oci::RouteError;
use crate::record::Record;
use crate::{Refusal, Responder};

use super::engine::{Compiled, Engine};
use super::handle::Handle;
use super::lease::Lease;
use super::meter::Meter;
use super::permits::Permits;
use super::quota_status::QuotaStatus;
use super::rule::Rule;
use super::subject::Subject;
use super::{Direction, Limits};

/// The longest `Retry-After` of a shed request: oras waits 3 s at most, containers/image 60 s.
const LONGEST_RETRY: u64 = 60;

/// A refused request, and what decided in an operator's words.
#[derive(Debug)]
pub(super) struct Denied {
    refusal: Refusal,
    detail: Box<str>,
}

/// Quotas of which only the fleet's server knows what is left.
#[derive(Debug, Default)]
pub(super) struct Questions(Vec<(Arc<Rule>, Meter)>);

impl Denied {
    fn by(rule: &Rule, refusal: Refusal) -> Self {
        rule.meters.refused(refusal);
        Self {
            refusal,
            detail: format!("limit {}", rule.limit.name).into(),
        }
    }

    /// It cannot be known what is asked for.
    pub(super) fn without_route(error: RouteError) -> Self {
        Self {
            refusal: error.into(),
            detail: error.to_string().into(),
        }
    }

    /// The answer to `request`, noted in its record.
    pub(super) fn answer<B>(
        self,
        responder: &Responder,
        request: &Request<B>,
    ) -> Response<Full<Bytes>> {
        if let Some(record) = Record::of(request.extensions()) {
            record.explained(self.detail);
        }
        responder.refuse(self.refusal, request)
    }
}

/// Decides whether a request may begin that is a pull or a push, by its `direction`. One with a body
/// always may: clients cannot send it again.
pub(super) fn admit(
    engine: &Engine,
    compiled: &Compiled,
    subject: &Subject,
    direction: Direction,
    replayable: bool,
) -> Result<(Permits, Questions), Denied> {
    begin(compiled, subject)?;
    let mut questions = Questions::default();
    if replayable {
        if compiled.asks {
            for rule in compiled.counting(subject, direction) {
                check_lease(rule)?;
                questions.check_quota(engine, rule, subject, &compiled.limits)?;
            }
        }
        if compiled.sheds && direction == Direction::Response {
            let now = Instant::now();
            for (rule, handle) in compiled.shedding(subject, now) {
                check_wait(rule, &handle, now)?;
            }
        }
    }
    let mut permits = Permits::default();
    if compiled.caps {
        for rule in compiled.counting(subject, direction) {
            permits
                .take(rule, subject, &compiled.limits, replayable)
                .map_err(|refusal| Denied::by(rule, refusal))?;
        }
    }
    Ok((permits, questions))
}

/// Decides whether a pull may begin that is admitted only once its answer is known to be none that
/// is exempt; what has to be asked then is asked now.
pub(super) fn admit_later(
    engine: &Engine,
    compiled: &Compiled,
    subject: &Subject,
) -> Result<Questions, Denied> {
    begin(compiled, subject)?;
    let mut questions = Questions::default();
    for rule in compiled.counting(subject, Direction::Response) {
        let meters = rule.meters(subject, &compiled.limits).into_iter();
        let unknown = meters.filter(|meter| meter.status(&engine.calendar) == QuotaStatus::Unknown);
        questions
            .0
            .extend(unknown.map(|meter| (Arc::clone(rule), meter)));
    }
    Ok(questions)
}

fn begin(compiled: &Compiled, subject: &Subject) -> Result<(), Denied> {
    // Fail closed: a misspelt class must not be no limit.
    if let Some(class) = subject.unlimited_class(&compiled.limits) {
        tracing::error!(
            class,
            "no limit is for the rate class that the policy names"
        );
        return Err(Denied {
            refusal: Refusal::Unavailable,
            detail: format!("no limit is for the rate class {class}").into(),
        });
    }
    let leases = compiled.rules.iter().filter_map(|rule| rule.lease.as_ref());
    leases.for_each(Lease::start);
    Ok(())
}

/// Decides whether a response of `length` bytes may begin.
pub(super) fn admit_transfer(
    compiled: &Compiled,
    subject: &Subject,
    length: u64,
) -> Result<(), Denied> {
    let now = Instant::now();
    for (rule, handle) in compiled.shedding(subject, now) {
        let bound = rule.limit.max_transfer;
        let time = handle.predicted_transfer(length, now);
        if bound.is_some_and(|bound| time > bound) {
            return Err(rate_exceeded(rule, time));
        }
    }
    Ok(())
}

impl Questions {
    fn check_quota(
        &mut self,
        engine: &Engine,
        rule: &Arc<Rule>,
        subject: &Subject,
        limits: &Limits,
    ) -> Result<(), Denied> {
        for meter in rule.meters(subject, limits) {
            match meter.status(&engine.calendar) {
                QuotaStatus::Unknown => self.0.push((Arc::clone(rule), meter)),
                known => judge(engine, rule, &meter, known)?,
            }
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits for the answers, whatever they are.
    pub(super) fn poll_known(&mut self, cx: &mut Context<'_>, engine: &Engine) -> Poll<()> {
        while let Some((_, meter)) = self.0.last() {
            ready!(meter.poll_status(cx, &engine.calendar));
            self.0.pop();
        }
        Poll::Ready(())
    }

    /// Waits for the answers, and says whether the request may begin by them.
    pub(super) fn poll_answers(
        &mut self,
        cx: &mut Context<'_>,
        engine: &Engine,
    ) -> Poll<Result<(), Denied>> {
        while let Some((rule, meter)) = self.0.last() {
            let status = ready!(meter.poll_status(cx, &engine.calendar));
            judge(engine, rule, meter, status)?;
            self.0.pop();
        }
        Poll::Ready(Ok(()))
    }
}

fn judge(engine: &Engine, rule: &Rule, meter: &Meter, status: QuotaStatus) -> Result<(), Denied> {
    match status {
        QuotaStatus::Open | QuotaStatus::Unknown => Ok(()),
        QuotaStatus::Exhausted => {
            let span = engine.calendar.span(meter.quota().window);
            let retry_after = span.remaining();
            Err(Denied::by(rule, Refusal::QuotaExceeded { retry_after }))
        }
        QuotaStatus::Unavailable => Err(Denied::by(rule, Refusal::Unavailable)),
    }
}

/// Fails closed, if the operator chose so: what is left of the fleet's rate is not known.
fn check_lease(rule: &Rule) -> Result<(), Denied> {
    let refusing = rule.lease.as_ref().is_some_and(|lease| lease.is_refusing());
    if refusing {
        return Err(Denied::by(rule, Refusal::Unavailable));
    }
    Ok(())
}

fn check_wait(rule: &Rule, handle: &Handle, now: Instant) -> Result<(), Denied> {
    let bound = rule.limit.max_wait;
    let wait = handle.predicted_wait(now);
    if bound.is_some_and(|bound| wait > bound) {
        return Err(rate_exceeded(rule, wait));
    }
    Ok(())
}

fn rate_exceeded(rule: &Rule, wait: Duration) -> Denied {
    let seconds = wait.as_secs().saturating_add(1).min(LONGEST_RETRY);
    let retry_after = u32::try_from(seconds).unwrap_or(u32::MAX);
    Denied::by(rule, Refusal::RateExceeded { retry_after })
}

impl Compiled {
    /// The limiters of the response whose limits refuse when the wait is too long.
    fn shedding<'a>(
        &'a self,
        subject: &'a Subject,
        now: Instant,
    ) -> impl Iterator<Item = (&'a Arc<Rule>, Handle)> {
        self.counting(subject, Direction::Response)
            .filter(|rule| rule.limit.sheds())
            .flat_map(move |rule| {
                let handles = self.handles_of(rule, subject, now);
                handles.into_iter().map(move |handle| (rule, handle))
            })
    }
}
