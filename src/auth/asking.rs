use std::fmt;
use std::task::{Context, Poll, ready};

use super::TokenAuthLayer;
use super::authenticate::{Authenticating, Authenticator};
use crate::middleware::{Head, Kept, Outcome, Wait};

/// A request about which the program is asked.
pub(super) struct Asking {
    answer: Authenticating,
    layer: TokenAuthLayer,
}

impl Asking {
    pub(super) fn new(program: &Authenticator, head: &Head, layer: &TokenAuthLayer) -> Self {
        Self {
            answer: program.0.authenticate(head),
            layer: layer.clone(),
        }
    }
}

impl Wait for Asking {
    fn poll(&mut self, cx: &mut Context<'_>, head: &mut Head, _: &mut Kept) -> Poll<Outcome> {
        let answer = ready!(self.answer.as_mut().poll(cx));
        Poll::Ready(self.layer.answered(answer, head))
    }
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking").finish_non_exhaustive()
    }
}
