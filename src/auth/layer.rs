use std::sync::Arc;

use super::authenticate::Authenticator;
use super::{Authenticate, Authentication};
use crate::oci::BasePath;
use crate::{Preset, Responder};

/// Rejects requests whose caller cannot be authenticated. See the [module](super).
#[derive(Clone, Debug)]
pub struct TokenAuthLayer {
    pub(super) authentication: Arc<Authentication>,
    pub(super) responder: Responder,
    pub(super) pass_authorization: bool,
    pub(super) authenticator: Option<Authenticator>,
    pub(super) base_path: Option<BasePath>,
}

impl TokenAuthLayer {
    /// Wants this to be shown.
    pub fn new(authentication: Authentication) -> Self {
        Self {
            authentication: Arc::new(authentication),
            responder: Responder::new(Preset::default()),
            pass_authorization: false,
            authenticator: None,
            base_path: None,
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

    /// Asks the program itself first. See [`Authenticate`].
    pub fn with_authenticator(mut self, authenticator: impl Authenticate + 'static) -> Self {
        self.authenticator = Some(Authenticator(Arc::new(authenticator)));
        self
    }

    /// Reads paths as what is left of those under `base`. See [`BasePath`].
    pub fn with_base_path(mut self, base: impl Into<BasePath>) -> Self {
        self.base_path = Some(base.into());
        self
    }
}
