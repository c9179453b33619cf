use std::sync::Arc;

#[cfg(feature = "config")]
use super::Certificate;
use super::authenticate::Authenticator;
use super::{Authenticate, Authentication};
use crate::oci::BasePath;
use crate::{Preset, Responder};

/// Rejects requests whose caller cannot be authenticated. See the [module](super).
///
/// ```
/// use portcullis::reload::WatchOptions;
/// use portcullis::auth::{
///     Authentication, CredentialSource, Credentials, TokenAuthLayer,
/// };
/// use portcullis::{Preset, Responder};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
/// let ci = CredentialSource::sha256("ci", [digest])?;
/// let credentials = Credentials::watch([ci], WatchOptions::default())?;
/// // Docker logs in only where it is challenged.
/// let responder = Responder::new(Preset::Registry).with_basic_challenge("registry.example.org")?;
/// let authentication = Authentication::token(credentials).or_anonymous();
/// let layer = TokenAuthLayer::new(authentication).with_responder(responder);
/// # Ok(()) }
/// ```
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

    /// Requires other credentials, of every caller, and shares everything else with the clones of before.
    #[cfg(feature = "config")]
    pub(crate) fn requiring(mut self, certificate: Certificate) -> Self {
        let authentication = Arc::make_mut(&mut self.authentication);
        authentication.certificate = certificate;
        authentication.anonymous = false;
        self
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

    /// Reads paths as what is left of those under `base`, as
    /// [`guard::Builder::base_path`](crate::guard::Builder::base_path) does.
    pub fn with_base_path(mut self, base: &str) -> Self {
        self.base_path = Some(BasePath::new(base));
        self
    }
}
