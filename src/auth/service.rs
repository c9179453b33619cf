use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::AUTHORIZATION;
use tower::Layer;

use super::asking::Asking;
use super::authorization::AuthorizationField;
use super::decision::Decision;
use super::password_check::PasswordCheck;
use super::situation::peer;
use super::{Authentication, TokenAuthLayer};
use crate::identity::Method;
use crate::middleware::{Check, Checked, Head, Kept, Outcome, Parts, Wait, Wraps, mark_sensitive};
use crate::oci::BasePath;
use crate::record::Record;
use crate::{Principal, Refusal};

/// The service of [`TokenAuthLayer`].
pub type TokenAuth<S> = Checked<S, TokenAuthLayer>;

impl<S> TokenAuth<S> {
    /// Puts `inner` behind [`TokenAuthLayer::new`].
    pub fn new(inner: S, authentication: Authentication) -> Self {
        Self::with(inner, TokenAuthLayer::new(authentication))
    }
}

impl<S> Layer<S> for TokenAuthLayer {
    type Service = TokenAuth<S>;

    fn layer(&self, inner: S) -> TokenAuth<S> {
        TokenAuth::with(inner, self.clone())
    }
}

impl TokenAuthLayer {
    fn decide(&self, head: &mut Head) -> Decision {
        if self.pass_authorization {
            mark_sensitive(head.headers_mut(), &[AUTHORIZATION]);
            return self
                .authentication
                .decide(head, AuthorizationField::of(head.headers()));
        }
        let before = head.headers().len();
        let taken = head.headers_mut().remove(AUTHORIZATION);
        let shown = match &taken {
            None => AuthorizationField::Nothing,
            Some(value) if before - head.headers().len() == 1 => AuthorizationField::One(value),
            Some(_) => AuthorizationField::Several,
        };
        self.authentication.decide(head, shown)
    }

    /// Asks the configured authentication.
    fn ask(&self, head: &mut Head) -> Outcome {
        match self.decide(head) {
            Decision::Made(identified) => self.settle(identified, head),
            Decision::Pending(pending) => Outcome::Wait(Box::new(Verifying {
                pending,
                layer: self.clone(),
            })),
        }
    }

    /// Goes on with what the program itself found out.
    pub(super) fn answered(
        &self,
        answer: Result<Option<Principal>, Refusal>,
        head: &mut Head,
    ) -> Outcome {
        let Some(found) = answer.transpose() else {
            return self.ask(head);
        };
        if self.pass_authorization {
            mark_sensitive(head.headers_mut(), &[AUTHORIZATION]);
        } else {
            head.headers_mut().remove(AUTHORIZATION);
        }
        let peer = peer(head.extensions());
        let found = found.map(|principal| match peer {
            Some(peer) if principal.peer().is_none() => principal.on_peer(peer.clone()),
            _ => principal,
        });
        self.settle(found, head)
    }

    /// Puts the principal into the request's extensions, or refuses.
    fn settle(&self, identified: Result<Principal, Refusal>, head: &mut Head) -> Outcome {
        match identified {
            Ok(principal) => {
                // Who showed nothing here may have shown something to a layer of the program's own.
                let known = || Principal::of(head.extensions()).cloned();
                let principal = match principal.method() {
                    Method::Anonymous => known().unwrap_or(principal),
                    _ => principal,
                };
                if let Some(record) = Record::of(head.extensions()) {
                    record.identified(&principal);
                }
                #[cfg(feature = "jwt")]
                if let Some(grants) = principal.grants()
                    && let Err(refusal) = super::coverage::decline_uncovered_mount(grants, head)
                {
                    return Outcome::refuse(self.responder.refuse(refusal, head));
                }
                head.extensions_mut().insert(principal);
                Outcome::Pass
            }
            Err(refusal) => Outcome::refuse(self.responder.refuse(refusal, head)),
        }
    }
}

impl<B> Wraps<B> for TokenAuthLayer {
    type Body = B;
}

impl<B> Check<B> for TokenAuthLayer {
    fn check(&self, head: &mut Head, _: &B, _: &mut Kept) -> Outcome {
        BasePath::apply(self.base_path.as_ref(), head);
        match &self.authenticator {
            Some(authenticator) => Outcome::Wait(Box::new(Asking::new(authenticator, head, self))),
            None => self.ask(head),
        }
    }

    fn wrap(body: B, _: Parts) -> B {
        body
    }
}

/// A request whose password is being verified.
#[derive(Debug)]
struct Verifying {
    pending: PasswordCheck,
    layer: TokenAuthLayer,
}

impl Wait for Verifying {
    fn poll(&mut self, cx: &mut Context<'_>, head: &mut Head, _: &mut Kept) -> Poll<Outcome> {
        let identified = ready!(Pin::new(&mut self.pending).poll(cx));
        Poll::Ready(self.layer.settle(identified, head))
    }
}
