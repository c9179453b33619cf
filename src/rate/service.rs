use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tower::Layer;

use super::admission::{Denied, Questions, admit, admit_later};
use super::permits::Permits;
use super::plan::{Plan, Shedder};
use super::subject::Subject;
use super::{ByteRateLayer, Direction, Limits};
use crate::Watched;
use crate::middleware::{Body, Check, Checked, Head, Kept, Outcome, Parts, Wait, Wraps};
use crate::oci::BasePath;
#[cfg(feature = "policy")]
use crate::record::RateClass;
use crate::record::{Notices, Record};

/// The service of [`ByteRateLayer`]. A rate holds back frames of bodies only, never an answer's head. Where
/// only a fleet's server knows whether a quota is used up, the inner service is called once the server has
/// answered.
pub type ByteRate<S> = Checked<S, ByteRateLayer>;

impl<S> ByteRate<S> {
    /// Puts `inner` behind [`ByteRateLayer::watching`].
    pub fn new(inner: S, limits: impl Into<Watched<Limits>>) -> Self {
        Self::with(inner, ByteRateLayer::watching(limits.into()))
    }
}

impl<S> Layer<S> for ByteRateLayer {
    type Service = ByteRate<S>;

    fn layer(&self, inner: S) -> ByteRate<S> {
        ByteRate::with(inner, self.clone())
    }
}

impl ByteRateLayer {
    /// What is to be done with a request; `None` if no limit concerns it. `bodiless`: it has no body.
    fn decide(&self, head: &mut Head, bodiless: bool) -> Result<Option<(Plan, Questions)>, Denied> {
        if self.is_empty && !names_a_class(head) {
            return Ok(None);
        }
        let compiled = self.engine.compiled();
        let subject = Subject::of(head, compiled.routed).map_err(Denied::without_route)?;
        if subject.is_exempt(head.uri().path(), &compiled.limits.exempt) {
            return Ok(None);
        }
        let direction = Direction::of(head.method());
        let is_pull = bodiless && direction == Direction::Response;
        let later = is_pull && subject.may_be_small(&compiled.limits.exempt);
        let (permits, questions) = if later {
            let questions = admit_later(&self.engine, &compiled, &subject)?;
            (Permits::default(), questions)
        } else {
            admit(&self.engine, &compiled, &subject, direction, bodiless)?
        };
        let plan = Plan {
            engine: Arc::clone(&self.engine),
            subject,
            asks: compiled.asks,
            permits,
            record: Record::of(head.extensions()).cloned(),
            method: head.method().clone(),
            bodiless,
            later,
            shedder: (is_pull && (compiled.sheds || later))
                .then(|| Box::new(Shedder::new(&self.responder, head))),
        };
        Ok(Some((plan, questions)))
    }
}

impl ByteRateLayer {
    /// Notes what the caller may be warned of.
    fn note(&self, plan: &Plan, head: &mut Head) {
        if self.notes_near_quota && plan.asks && plan.is_near_quota() {
            Notices::note(head.extensions_mut(), |notices| notices.near_quota = true);
        }
    }
}

/// Whether the policy gave the request a class, for which there must be a limit.
#[cfg(feature = "policy")]
fn names_a_class(head: &Head) -> bool {
    RateClass::of(head.extensions()).is_some()
}

#[cfg(not(feature = "policy"))]
fn names_a_class(_: &Head) -> bool {
    false
}

impl<B> Wraps<B> for ByteRateLayer {
    type Body = Body<B>;
}

impl<B: http_body::Body<Data = Bytes>> Check<B> for ByteRateLayer {
    fn check(&self, head: &mut Head, body: &B, kept: &mut Kept) -> Outcome {
        BasePath::apply(self.base_path.as_ref(), head);
        match self.decide(head, body.is_end_stream()) {
            Ok(None) => Outcome::Pass,
            Ok(Some((plan, questions))) if questions.is_empty() => {
                self.note(&plan, head);
                plan.begin(kept);
                Outcome::Pass
            }
            Ok(Some((plan, questions))) => Outcome::Wait(Box::new(Asking {
                plan: Some(plan),
                questions,
                layer: self.clone(),
            })),
            Err(denied) => Outcome::refuse(denied.answer(&self.responder, head)),
        }
    }

    fn wrap(body: B, parts: Parts) -> Body<B> {
        Body::with(body, parts)
    }
}

/// A request whose quota is asked for.
#[derive(Debug)]
struct Asking {
    plan: Option<Plan>,
    questions: Questions,
    layer: ByteRateLayer,
}

impl Wait for Asking {
    fn poll(&mut self, cx: &mut Context<'_>, head: &mut Head, kept: &mut Kept) -> Poll<Outcome> {
        let Some(plan) = &self.plan else {
            return Poll::Ready(Outcome::Pass);
        };
        let answers = if plan.later {
            self.questions.poll_known(cx, &plan.engine).map(Ok)
        } else {
            self.questions.poll_answers(cx, &plan.engine)
        };
        Poll::Ready(match ready!(answers) {
            Ok(()) => {
                if let Some(plan) = self.plan.take() {
                    self.layer.note(&plan, head);
                    plan.begin(kept);
                }
                Outcome::Pass
            }
            Err(denied) => Outcome::refuse(denied.answer(&self.layer.responder, head)),
        })
    }
}
