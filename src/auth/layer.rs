use std::sync::Arc;

use super::Authentication;
use crate::{Preset, Responder};

/// Rejects requests whose caller cannot be authenticated. See the [module](super).
#[derive(Clone, Debug)]
pub struct TokenAuthLayer {
    pub(super) authentication: Arc<Authentication>,
    pub(super) responder: Responder,
    pub(super) pass_authorization: bool,
}

impl TokenAuthLayer {
    /// Wants this to be shown.
    pub fn new(authentication: Authentication) -> Self {
        Self {
            authentication: Arc::new(authentication),
            responder: Responder::new(Preset::default()),
            pass_authorization: false,
        }
    }

    pub(crate) fn authentication(&self) -> &Authentication {
        &self.authentication
    }

    /// Answers refused requests in this way. Default: [`Preset::Mirror`].
    pub fn with_responder(mut self, responder: Responder) -> Self {
        self.responder = responder;
        self
    }

    /// Leaves `Authorization` on the request for the inner service, marked sensitive. Default: it is
    /// taken off.
    pub fn with_authorization_passed_on(mut self, pass: bool) -> Self {
        self.pass_authorization = pass;
        self
    }
}
