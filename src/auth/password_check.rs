use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use zeroize::Zeroizing;

use super::Authentication;
use super::authorization::UserPass;
use super::credentials::Candidates;
use super::digest::HashName;
use super::situation::{Client, Situation};
use super::throttle::Guess;
use super::turns::Claim;
use crate::{Principal, Refusal};

/// The verification of a password, off this worker. Boxed: it takes milliseconds anyway.
pub(super) struct PasswordCheck(Pin<Box<dyn Future<Output = Result<Principal, Refusal>> + Send>>);

impl PasswordCheck {
    /// `known` is why it is refused if it is no password.
    pub(super) fn new(
        authentication: &Authentication,
        user_pass: &UserPass<'_>,
        candidates: Candidates,
        claim: Claim,
        situation: &Situation<'_>,
        known: Refusal,
    ) -> Self {
        let password = Zeroizing::new(user_pass.password().to_vec());
        let peer = situation.peer.cloned();
        let write = situation.write;
        let mut attempt = Attempt {
            authentication: authentication.clone(),
            user: Zeroizing::new(user_pass.user().to_vec()),
            is_token: matches!(
                Guess::of(user_pass.user(), user_pass.password()),
                Guess::Token
            ),
            client: situation.client.ip(),
            open: true,
        };
        Self(Box::pin(async move {
            let hash = attempt.verify(password, candidates, claim).await;
            let hash = hash.map_err(|refusal| match refusal {
                Refusal::CredentialsUnknown => known,
                _ => refusal,
            });
            let situation = Situation {
                client: Client::At(attempt.client),
                peer: peer.as_ref(),
                write,
            };
            let authentication = &attempt.authentication;
            authentication.proven(&attempt.user, hash, attempt.guess(), &situation)
        }))
    }
}

/// A password that is shown. A client that hangs up before it is verified has failed: the work is done all
/// the same, and is counted.
struct Attempt {
    authentication: Authentication,
    user: Zeroizing<Vec<u8>>,
    /// Whether it has the form of a generated token.
    is_token: bool,
    client: Option<IpAddr>,
    open: bool,
}

impl Attempt {
    fn guess(&self) -> Guess<'_> {
        if self.is_token {
            Guess::Token
        } else {
            Guess::Password(&self.user)
        }
    }

    async fn verify(
        &mut self,
        password: Zeroizing<Vec<u8>>,
        candidates: Candidates,
        claim: Claim,
    ) -> Result<HashName, Refusal> {
        // Others of the same source or for the same id may have failed while this one waited.
        let situation = Situation {
            client: Client::At(self.client),
            peer: None,
            write: false,
        };
        let still = || self.authentication.check(self.guess(), &situation);
        let passwords = &self.authentication.passwords;
        let hash = passwords
            .verify(self.user.clone(), password, candidates, claim, still)
            .await;
        // What came of it is counted by the caller of this.
        self.open = false;
        hash
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.open {
            let throttle = self.authentication.throttle.as_ref();
            throttle.inspect(|throttle| throttle.failed(self.client, self.guess()));
        }
    }
}

impl Future for PasswordCheck {
    type Output = Result<Principal, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for PasswordCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordCheck").finish_non_exhaustive()
    }
}
