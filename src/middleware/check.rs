use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;

use super::{Answering, Parts, RefusalResponse};
use crate::{Refusal, Responder};

/// A request without its body: what a decision is made by.
pub(crate) type Head = Request<()>;

/// The body that the inner service of a layer gets for a request's body `B`: `B` itself, or a
/// [`Body`](super::Body) around it. The layers of this crate implement it.
pub trait Wraps<B> {
    /// The body of the requests that the inner service gets.
    type Body;
}

/// A layer's decision on requests with a body `B`.
pub(crate) trait Check<B>: Wraps<B> {
    /// Decides by the head of a request. Of the body it only asks whether there is one. What is to be
    /// done with the request's body and with the answer is left in `kept`.
    fn check(&self, head: &mut Head, body: &B, kept: &mut Kept) -> Outcome;

    /// Goes on after a wait that let the request pass.
    fn resume(&self, _head: &mut Head, _body: &B, _kept: &mut Kept) -> Outcome {
        Outcome::Pass
    }

    /// Makes the body that the inner service gets.
    fn wrap(body: B, parts: Parts) -> Self::Body;
}

/// What comes of a check.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The request goes on.
    Pass,
    /// The answer in place of the inner service's. Boxed, so that those which pass move no more.
    Refuse(RefusalResponse),
    /// It cannot be decided yet. Rare, so boxed.
    Wait(Box<dyn Wait>),
}

/// What a decision waits for.
pub(crate) trait Wait: std::fmt::Debug + Send {
    /// Polls for the decision.
    fn poll(&mut self, cx: &mut Context<'_>, head: &mut Head, kept: &mut Kept) -> Poll<Outcome>;
}

/// What the checks of a request leave to be done.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// With the body of the request.
    pub(crate) request: Parts,
    /// With the answer.
    pub(crate) answering: Answering,
    /// The place of the check to go on with after a wait, where there are several.
    pub(crate) next: usize,
}

impl Outcome {
    pub(crate) fn refuse(response: Response<Full<Bytes>>) -> Self {
        Self::Refuse(Box::new(response))
    }

    /// Answers a refusal by this responder.
    #[inline]
    pub(crate) fn of(decided: Result<(), Refusal>, responder: &Responder, head: &Head) -> Self {
        match decided {
            Ok(()) => Self::Pass,
            Err(refusal) => Self::refuse(responder.refuse(refusal, head)),
        }
    }
}
