use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use zeroize::Zeroizing;

use super::Authentication;
use super::authorization::Pair;
use super::credentials::Candidates;
use super::decision::Situation;
use crate::{PeerIdentity, Principal, Refusal};

/// A password that is being verified elsewhere. Boxed: it takes milliseconds anyway.
pub(super) struct Pending(Pin<Box<dyn Future<Output = Result<Principal, Refusal>> + Send>>);

impl Pending {
    /// `known` is why it is refused if it is no password.
    pub(super) fn new(
        authentication: Arc<Authentication>,
        pair: &Pair,
        candidates: Candidates,
        situation: &Situation<&PeerIdentity>,
        known: Option<Refusal>,
    ) -> Self {
        let user = Zeroizing::new(pair.user().to_vec());
        let password = Zeroizing::new(pair.password().to_vec());
        let situation = Situation {
            client: situation.client,
            peer: situation.peer.cloned(),
            write: situation.write,
        };
        Self(Box::pin(async move {
            let client = situation.client;
            // Others of the same source or for the same id may have failed while this one waited.
            let still = || {
                authentication.check_source(client)?;
                authentication.check_id(&user, client)
            };
            let passwords = &authentication.passwords;
            let hash = passwords
                .verify(&user, password, candidates.hashes, still)
                .await;
            let situation = Situation {
                client,
                peer: situation.peer.as_ref(),
                write: situation.write,
            };
            let hash = hash.map_err(|refusal| match (refusal, known) {
                (Refusal::CredentialsUnknown, Some(known)) => known,
                _ => refusal,
            });
            authentication.proven(&user, hash, &situation)
        }))
    }
}

impl Future for Pending {
    type Output = Result<Principal, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}
