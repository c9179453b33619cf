use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::expiry::Expiry;
use crate::Watched;
use crate::crl::{self, CrlSet, Files, LoadError, Revocation};
use crate::reload::{Fingerprint, Load, Pinned};

/// CRLs that are read with the certificates and client CAs, and take effect with them or not at all.
pub(super) struct Crls {
    files: Files,
    requirements: crl::Requirements,
    in_force: Option<InForce>,
    /// Good CRLs that are not active yet.
    waiting: Option<(CrlSet, Fingerprint)>,
}

struct InForce {
    revocation: Revocation,
    /// The files as they were read; `None` if they could not be read since.
    seen: Option<Fingerprint>,
    /// The files of which only some could be used.
    held: Option<Fingerprint>,
}

impl Crls {
    pub(super) fn new(builder: crl::Builder, paths: Vec<PathBuf>) -> Self {
        let (files, requirements) = builder.files(paths);
        Self {
            files,
            requirements,
            in_force: None,
            waiting: None,
        }
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.files.paths()
    }

    /// Reads the lists, unless their files were read already: a long list is not read anew because
    /// a certificate changed, or cannot be used.
    pub(super) fn read(&mut self, pinned: &mut Pinned) -> Result<(), LoadError> {
        // Before they are read, so that a change meanwhile is seen after it.
        let now = Fingerprint::of(&self.files.paths());
        if self.waiting.as_ref().is_some_and(|(_, seen)| *seen == now) {
            return Ok(());
        }
        self.waiting = None;
        let Some(InForce {
            revocation,
            seen,
            held,
        }) = &mut self.in_force
        else {
            self.waiting = Some((self.files.read(pinned, None)?, now));
            return Ok(());
        };
        if seen.as_ref() == Some(&now) {
            return Ok(());
        }
        let previous = revocation.lists().load();
        match self.files.read(pinned, Some(&previous)) {
            // Of the client CAs that wait for it one may be the broken list's. What the others revoke
            // does not wait.
            Ok(lists) if lists.is_broken() => {
                drop(previous);
                *seen = None;
                let reason = lists.refusal().unwrap_or_default();
                let told = revocation.lists().health().failure;
                if held.as_ref() != Some(&now) || told.as_ref() != Some(&reason) {
                    put_in_force(revocation, lists);
                    *held = Some(now);
                }
                Err(LoadError::Refused(reason))
            }
            Ok(lists) => {
                self.waiting = Some((lists, now));
                Ok(())
            }
            Err(error) => {
                // Even the very files that are active, if they come back, are to be logged as good again.
                *seen = None;
                let reason = Some(error.to_string());
                // The same failure is logged once, however often it is tried.
                if revocation.lists().health().failure != reason {
                    revocation.lists().failed(error.to_string());
                }
                Err(error)
            }
        }
    }

    /// Sees the CRLs after each poll: what depends on the time alone is reported here.
    pub(super) fn look(&mut self) {
        if let Some(InForce { revocation, .. }) = &self.in_force {
            self.files.look(&revocation.lists().load());
        }
    }

    /// Has the CRLs answer for nothing until [`Crls::put`] activates others.
    pub(super) fn lapse(&mut self) {
        if let Some(in_force) = &mut self.in_force {
            in_force.revocation.lists().update(CrlSet::lapsed);
            // Even those whose files are good are read again.
            (in_force.seen, in_force.held) = (None, None);
        }
    }

    /// Activates what was read, and returns where it is found from now on; `None` before anything was.
    pub(super) fn put(&mut self) -> Option<Revocation> {
        if let Some((lists, seen)) = self.waiting.take() {
            let revocation = if let Some(InForce { revocation, .. }) = &self.in_force {
                put_in_force(revocation, lists);
                revocation.clone()
            } else {
                crl::observe(&lists, None);
                let refusal = lists.refusal();
                let lists = Watched::named("crl", lists);
                if let Some(reason) = refusal {
                    lists.failed(reason);
                }
                Revocation::new(lists, self.requirements.clone())
            };
            self.in_force = Some(InForce {
                revocation,
                seen: Some(seen),
                held: None,
            });
        }
        let in_force = self.in_force.as_ref();
        in_force.map(|in_force| in_force.revocation.clone())
    }
}

fn put_in_force(revocation: &Revocation, lists: CrlSet) {
    let refusal = lists.refusal();
    let in_force = revocation.lists();
    in_force.update(|current| crl::replacing(lists, current));
    if let Some(reason) = refusal {
        in_force.failed(reason);
    }
}

/// Returns when each active CRL ends.
pub(super) fn ends(revocation: &Revocation) -> Vec<Expiry> {
    let time = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let terms = revocation.lists().load().terms();
    let terms = terms.into_iter().map(|term| Expiry {
        kind: "crl",
        subject: term.issuer.into(),
        not_before: time(term.this_update),
        not_after: time(term.next_update),
    });
    terms.collect()
}
