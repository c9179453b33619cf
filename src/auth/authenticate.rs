use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use http::Request;

use crate::{Principal, Refusal};

/// The answer of [`Authenticate::authenticate`] on its way.
pub type Authenticating = Pin<Box<dyn Future<Output = Result<Option<Principal>, Refusal>> + Send>>;

/// A program's own way to find out who asks: a session cookie, a header of its identity provider, a call to
/// another service. A function of the head of a request that returns a future is one.
///
/// It is asked before everything else that [`Authentication`](super::Authentication) names, sees `Authorization`, and
/// returns
///
/// - `Some(principal)`: that is the caller, and no credential is looked at. Give it the method
///   [`Method::Custom`](crate::identity::Method::Custom), so that it is no other caller of the same id; a policy names it
///   `custom:ID`;
/// - `None`: it has nothing to say, and the configured authentication decides;
/// - a [`Refusal`], with which the request is answered. Guesses are not throttled here: that is left to the program.
///
/// What the future needs of the head it takes before it is returned:
///
/// ```
/// use http::Request;
/// use portcullis::identity::Method;
/// use portcullis::{Guard, Principal, Refusal};
///
/// let guard = Guard::builder()
///     .authenticate_with(|head: &Request<()>| {
///         let session = head.headers().get("x-session").cloned();
///         async move {
///             match session.as_ref().map(|value| value.as_bytes()) {
///                 None => Ok(None),
///                 Some(b"42") => Ok(Some(Principal::new(Method::Custom, "alice"))),
///                 Some(_) => Err(Refusal::CredentialsUnknown),
///             }
///         }
///     })
///     .build();
/// # drop(guard);
/// ```
pub trait Authenticate: Send + Sync {
    /// Finds out who sent the request with this head.
    fn authenticate(&self, head: &Request<()>) -> Authenticating;
}

impl<F, A> Authenticate for F
where
    F: Fn(&Request<()>) -> A + Send + Sync,
    A: Future<Output = Result<Option<Principal>, Refusal>> + Send + 'static,
{
    fn authenticate(&self, head: &Request<()>) -> Authenticating {
        Box::pin(self(head))
    }
}

/// The one that a layer asks.
#[derive(Clone)]
pub(super) struct Authenticator(pub(super) Arc<dyn Authenticate>);

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authenticator")
    }
}
