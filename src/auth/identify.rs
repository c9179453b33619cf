use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Request;

use super::Authentication;
use super::authorization::AuthorizationField;
use super::decision::Decision;
use crate::{Principal, Refusal};

impl Authentication {
    /// Finds out who sent a request, for servers that are no tower services.
    /// [`TokenAuthLayer`](super::TokenAuthLayer) does the same and more: here `Authorization` stays on the
    /// request, and is not to go anywhere else.
    ///
    /// Nor can a mount be taken off it, so one from a repository that the caller's token does not grant is
    /// refused.
    ///
    /// Everything is done before this returns, but the verification of a password; with a password poll the
    /// future in a Tokio runtime. Answer a refusal by [`Responder::refuse`](crate::Responder::refuse).
    ///
    /// ```
    /// use http::{Request, header::AUTHORIZATION};
    /// use portcullis::{ClientAddr, Refusal};
    /// use portcullis::auth::{Authentication, Credential, Credentials, Secret};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ci = Credential::new("ci").with_secret(Secret::of_token(b"test"));
    /// let authentication = Authentication::token(Credentials::new([ci])?.into());
    ///
    /// // By it failures are throttled. A `Connection` in its place does the same.
    /// let client = ClientAddr::new("192.0.2.1:4711".parse()?);
    /// let request = Request::builder().extension(client);
    /// let request = request.header(AUTHORIZATION, "Bearer test").body(())?;
    /// assert_eq!(authentication.identify(&request).await?.id(), "ci");
    /// let request = Request::builder().extension(client).body(())?;
    /// let refusal = authentication.identify(&request).await.unwrap_err();
    /// assert_eq!(refusal, Refusal::CredentialsMissing);
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// The future panics when it is polled after it was ready.
    pub fn identify<B>(
        &self,
        request: &Request<B>,
    ) -> impl Future<Output = Result<Principal, Refusal>> + Send + Unpin + use<B> {
        let decision = self.decide(request, AuthorizationField::of(request.headers()));
        #[cfg(feature = "jwt")]
        let decision = with_mount(decision, request);
        Identify(Some(decision))
    }
}

/// Refuses a mount that would have to be taken off the request.
#[cfg(feature = "jwt")]
fn with_mount<B>(decision: Decision, request: &Request<B>) -> Decision {
    let granted = |principal: &Principal| match principal.grants() {
        Some(grants) => super::coverage::cover_mount(grants, request),
        None => true,
    };
    match decision {
        Decision::Made(Ok(principal)) if !granted(&principal) => {
            Decision::Made(Err(Refusal::ScopeInsufficient))
        }
        decision => decision,
    }
}

struct Identify(Option<Decision>);

impl Future for Identify {
    type Output = Result<Principal, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(Decision::Pending(pending)) = &mut self.0 {
            return Pin::new(pending).poll(cx);
        }
        match self.0.take() {
            Some(Decision::Made(identified)) => Poll::Ready(identified),
            _ => panic!("`Identify` polled after completion"),
        }
    }
}

impl fmt::Debug for Identify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identify").finish_non_exhaustive()
    }
}
