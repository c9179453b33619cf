use std::sync::Arc;
use std::time::SystemTime;

use super::authority::Authorities;
use super::evaluation_time::EvaluationTime;
use super::followers::Followers;
use super::rules::Judgement;
use super::sources;
use super::store::CrlSet;
use super::{
    CertPath, DenyList, Finding, LoadError, Options, Requirements, Verdict, evaluation_time,
};
use crate::reload::{Current, Listener};
use crate::{PeerIdentity, Watched};

/// The active CRLs and how they are used. `Clone` costs an `Arc`; clones share the lists.
#[derive(Clone, Debug)]
pub struct Revocation {
    lists: Watched<CrlSet>,
    requirements: Requirements,
    followers: Arc<Followers>,
    #[cfg(feature = "crl-fetch")]
    fetching: Option<Arc<super::fetch::Fetching>>,
}

impl Revocation {
    pub(crate) fn new(lists: Watched<CrlSet>, requirements: Requirements) -> Self {
        let followers = Arc::<Followers>::default();
        let listener: Arc<dyn Listener> = Arc::clone(&followers) as _;
        lists.tell(&listener);
        if let Some(denied) = &requirements.denied {
            denied.tell(&listener);
        }
        Self {
            lists,
            requirements,
            followers,
            #[cfg(feature = "crl-fetch")]
            fetching: None,
        }
    }

    /// Asks no CRL, and denies what is on a list.
    pub fn denying(denied: impl Into<Watched<DenyList>>) -> Self {
        let provider = crate::crypto::provider();
        let algorithms = provider.signature_verification_algorithms;
        let lists = CrlSet::new(Arc::new(Authorities::none(algorithms)));
        let requirements = Requirements {
            without_crls: true,
            denied: Some(denied.into()),
            ..Requirements::default()
        };
        Self::new(Watched::fixed(lists), requirements)
    }

    /// Goes on fetching for as long as it lives.
    #[cfg(feature = "crl-fetch")]
    pub(super) fn with_fetching(mut self, fetching: super::fetch::Fetching) -> Self {
        self.fetching = Some(Arc::new(fetching));
        self
    }

    /// From how many URLs CRLs are fetched.
    #[cfg_attr(
        not(feature = "crl-fetch"),
        expect(clippy::unused_self, reason = "without the feature from none")
    )]
    pub(crate) fn fetched_from(&self) -> usize {
        #[cfg(feature = "crl-fetch")]
        return self.fetching.as_ref().map_or(0, |fetching| fetching.urls);
        #[cfg(not(feature = "crl-fetch"))]
        0
    }

    /// Activates other CRLs, but for those that are older than what they would replace. Whatever is activated
    /// meanwhile, no list gets older by it.
    ///
    /// This reads and hashes the lists, and may wait for another call that does: do not call it on an async
    /// worker with lists that are large.
    ///
    /// # Errors
    /// Returns what is no CRL or cannot be used; the active lists then stay. A list with an unknown critical
    /// extension beside others is passed over, as at the start, and those of its issuer stay.
    pub fn publish<'a>(
        &self,
        contents: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<u64, LoadError> {
        let previous = self.lists.load();
        let authorities = Arc::clone(&previous.authorities);
        let mut lists = sources::from_bytes(
            contents,
            authorities,
            Some(&previous),
            self.options().max_size,
            None,
        )?;
        drop(previous);
        let refusal = lists.refusal();
        let generation = self.lists.update(|current| {
            lists.authorities = Arc::clone(&current.authorities);
            sources::replacing(lists, current)
        });
        if let Some(reason) = refusal {
            self.lists.failed(reason);
        }
        Ok(generation)
    }

    /// Returns what the CRLs say of a path at a time.
    pub fn examine(&self, path: &CertPath, at: SystemTime) -> Verdict {
        self.judge(path, evaluation_time::seconds(at)).1.verdict
    }

    /// Returns what the CRLs say of each certificate of a path at a time, the client's own first: for an
    /// operator who asks why.
    pub fn explain(&self, path: &CertPath, at: SystemTime) -> Vec<Finding> {
        let required = self.requirements.of(&path.anchor().ca);
        let options = self.options();
        let at = evaluation_time::seconds(at);
        let mut findings = self.lists.load().findings(path, required, options, at);
        if let Some(denied) = self.denied() {
            let denied = denied.load();
            let time = EvaluationTime::new(at);
            let certificates = path.certificates().iter().zip(&mut findings);
            for (certificate, finding) in certificates {
                if let Some(verdict) = denied.verdict_of(certificate, &time) {
                    finding.verdict = verdict;
                    finding.decided_by.clear();
                }
            }
        }
        findings
    }

    /// What the deny list says of an identity of which there is no certificate, at a time.
    pub(crate) fn denied_identity(&self, one: &PeerIdentity, at: SystemTime) -> Option<Verdict> {
        let denied = self.denied()?.load();
        let time = EvaluationTime::new(evaluation_time::seconds(at));
        denied.verdict_on(one, &time)
    }

    /// Returns the deny list, if there is one.
    pub fn denied(&self) -> Option<&Watched<DenyList>> {
        self.requirements.denied.as_ref()
    }

    /// Grows whenever the CRLs or the deny list change: a verdict that was made in the same one still holds, as
    /// long as time allows.
    pub fn generation(&self) -> u64 {
        // Neither goes back, so that the sum is the same only while both are.
        let denied = self.denied().map_or(0, Watched::generation);
        self.lists.generation() + denied
    }

    pub(super) fn followers(&self) -> &Arc<Followers> {
        &self.followers
    }

    /// Returns the active lists.
    pub fn lists(&self) -> &Watched<CrlSet> {
        &self.lists
    }

    pub(crate) fn options(&self) -> Options {
        self.requirements.options
    }

    pub(crate) fn requirements(&self) -> &Requirements {
        &self.requirements
    }

    /// The judgement, and the generation of the lists that it was made with.
    pub(super) fn judge(&self, path: &CertPath, now: u64) -> (u64, Judgement) {
        let (lists, denied) = (self.lists.load(), self.denied().map(Watched::load));
        let time = EvaluationTime::new(now);
        let generation = denied.as_ref().map_or(0, Current::generation);
        let denied = denied.and_then(|denied| denied.verdict(path, &time));
        let verdict = denied.unwrap_or_else(|| {
            let required = self.requirements.of(&path.anchor().ca);
            lists.verdict(path, required, self.options(), &time)
        });
        let period = time.since()..=time.until();
        (
            lists.generation() + generation,
            Judgement { verdict, period },
        )
    }
}
