use super::Actions;
use crate::Refusal;

/// What a [`Policy`](super::Policy) says to one request. Its rule is a number in that policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    decision: Decision,
    rule: Option<u32>,
    action: Actions,
    /// Whether credentials could change it.
    credentials: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Allowed,
    /// All but the mount.
    WithoutMount,
    Refused,
}

impl Verdict {
    pub(super) fn allowed(rule: u32, action: Actions) -> Self {
        Self {
            decision: Decision::Allowed,
            rule: Some(rule),
            action,
            credentials: false,
        }
    }

    pub(super) fn denied(rule: u32, action: Actions, credentials: bool) -> Self {
        Self {
            decision: Decision::Refused,
            rule: Some(rule),
            action,
            credentials,
        }
    }

    pub(super) fn unallowed(action: Actions, credentials: bool) -> Self {
        Self {
            decision: Decision::Refused,
            rule: None,
            action,
            credentials,
        }
    }

    /// The verdict on the upload that is left of a mount.
    pub(super) fn without_mount(self) -> Self {
        Self {
            decision: Decision::WithoutMount,
            ..self
        }
    }

    pub(super) fn unmatched() -> Self {
        Self::unallowed(Actions::default(), false)
    }

    /// Returns whether the request may go on, maybe [without its mount](Self::declines_mount).
    pub fn is_allowed(&self) -> bool {
        self.decision != Decision::Refused
    }

    /// Returns whether the caller may push where the request does and not pull where the blob is that it
    /// wants to mount. Such a request goes on as an ordinary upload, without `mount` and `from` in its query:
    /// the distribution-spec has it so for a mount that cannot be done, and a refusal ends containerd's push.
    pub fn declines_mount(&self) -> bool {
        self.decision == Decision::WithoutMount
    }

    /// Returns the refusal of the request, if it is refused: anonymous callers are asked for credentials where
    /// an authenticated caller may do such a thing, and authenticated callers are denied.
    pub fn refusal(&self) -> Option<Refusal> {
        match (self.decision, self.credentials) {
            (Decision::Allowed | Decision::WithoutMount, _) => None,
            (Decision::Refused, true) => Some(Refusal::PolicyNeedsCredentials),
            (Decision::Refused, false) => Some(Refusal::PolicyDenied),
        }
    }

    /// Returns the number of the rule that decided, from 0; `None` where none was about the request.
    pub fn rule(&self) -> Option<usize> {
        self.rule.map(|rule| rule as usize)
    }

    /// Returns the action that the decision is about: the first one, or the one that was not allowed.
    pub fn action(&self) -> Actions {
        self.action
    }
}
