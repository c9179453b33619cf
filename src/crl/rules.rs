//! RFC 5280 §6.3.3: the status of a certificate, and of a path, by the active lists.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::certificate::CertificateInfo;
use super::entries::Entry;
use super::evaluation_time::EvaluationTime;
use super::list::Crl;
use super::no_rev_avail::NoRevAvail;
use super::path::Anchor;
use super::requirement::Required;
use super::scope::{ALL_REASONS, DistributionPoint};
use super::signers::Signers;
use super::store::CrlSet;
use super::succession::Standing;
use super::{
    CertPath, CrlRequirement, DecidingCrl, Finding, Options, RevocationReason, UnknownCause,
    Verdict,
};
use crate::identity::DistinguishedName;
use crate::util::hex;

/// What the lists say, and when they say it.
#[derive(Debug)]
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    /// The seconds after 1970 at which the same lists say the same.
    pub(super) period: RangeInclusive<u64>,
}

/// What they say of one certificate.
pub(super) enum Status {
    Good,
    /// The verdict [`Verdict::Revoked`].
    Revoked(Verdict),
    Unknown(UnknownCause),
}

/// What a complete list says, together with the deltas that are newer.
enum Answer<'a> {
    /// It is revoked, by this list.
    Revoked(Entry, &'a Crl),
    /// It is not, if it is in no other list; this delta has brought the list up to date.
    Good(Option<&'a Crl>),
}

/// One certificate of a path, and what is asked about it.
pub(super) struct Question<'a> {
    pub(super) lists: &'a CrlSet,
    pub(super) options: Options,
    pub(super) time: &'a EvaluationTime,
    pub(super) certificate: &'a CertificateInfo,
    /// The CAs between it and the anchor, its issuer first.
    pub(super) above: &'a [Arc<CertificateInfo>],
    pub(super) anchor: &'a Anchor,
    /// The signers of lists because of which it is asked.
    pub(super) signers: Option<&'a Signers<'a>>,
    /// Those that were asked after, by their number, and whether their lists count.
    pub(super) asked: &'a RefCell<Vec<(usize, bool)>>,
}

impl CrlSet {
    pub(super) fn verdict(
        &self,
        path: &CertPath,
        required: Required,
        options: Options,
        time: &EvaluationTime,
    ) -> Verdict {
        if !time.has_come(path.not_before()) || time.is_past(path.not_after()) {
            return Verdict::Expired;
        }
        if required.requirement == CrlRequirement::None {
            return Verdict::NotAsked;
        }
        let options = required.options(options);
        let depth = if options.leaf_only { 1 } else { usize::MAX };
        let (mut refused, mut allowed, mut exempt) = (None, None, None);
        let asked = RefCell::default();
        for (at, certificate) in path.certificates().iter().enumerate().take(depth) {
            let question = Question::new(self, path, at, options, time, &asked);
            let cause = match self.unless_lapsed(question.status(|_| {})) {
                Status::Revoked(verdict) => return verdict,
                Status::Good => continue,
                Status::Unknown(cause) => cause,
            };
            if let Some(verdict) = question.exemption() {
                exempt.get_or_insert(verdict);
                continue;
            }
            let serial = hex::with_colons(&certificate.serial);
            let slot = if options.allow(cause) {
                &mut allowed
            } else {
                &mut refused
            };
            slot.get_or_insert((serial, cause));
        }
        match (refused, allowed, exempt) {
            (Some((serial, cause)), ..) => Verdict::Unknown { serial, cause },
            (None, Some((serial, cause)), _) => Verdict::UnknownAllowed { serial, cause },
            (None, None, Some(exempt)) => exempt,
            (None, None, None) => Verdict::Good,
        }
    }

    /// What the lists say of each certificate of a path, whatever the options make of it.
    pub(super) fn findings(
        &self,
        path: &CertPath,
        required: Required,
        options: Options,
        now: u64,
    ) -> Vec<Finding> {
        let (time, asked) = (EvaluationTime::new(now), RefCell::default());
        let options = required.options(options);
        let certificates = path.certificates().iter().enumerate();
        let found = certificates.map(|(at, certificate)| {
            let question = Question::new(self, path, at, options, &time, &asked);
            let serial = hex::with_colons(&certificate.serial);
            let mut decided_by = Vec::new();
            let status = question.status(|list| {
                // One that is meant at two points answers at both.
                decided_by.retain(|known| *known != DecidingCrl::of(list));
                decided_by.push(DecidingCrl::of(list));
            });
            if let Status::Revoked(_) = &status {
                // Whatever the others say.
                decided_by.drain(..decided_by.len().saturating_sub(1));
            }
            let verdict = match self.unless_lapsed(status) {
                _ if !time.has_come(certificate.not_before)
                    || time.is_past(certificate.not_after) =>
                {
                    Verdict::Expired
                }
                _ if required.requirement == CrlRequirement::None => {
                    decided_by.clear();
                    Verdict::NotAsked
                }
                Status::Good => Verdict::Good,
                Status::Revoked(verdict) => verdict,
                Status::Unknown(cause) => match question.exemption() {
                    Some(exempt) => exempt,
                    None => Verdict::Unknown {
                        serial: serial.clone(),
                        cause,
                    },
                },
            };
            Finding {
                subject: certificate.subject.to_string(),
                issuer: certificate.issuer.to_string(),
                serial,
                verdict,
                decided_by,
            }
        });
        found.collect()
    }

    /// What lists that have lapsed say: who was revoked since is not known.
    fn unless_lapsed(&self, status: Status) -> Status {
        match status {
            Status::Good | Status::Unknown(_) if self.have_lapsed => {
                Status::Unknown(UnknownCause::Lapsed)
            }
            known => known,
        }
    }
}

impl<'a> Question<'a> {
    /// About the certificate at this place of a path, of which the client's own is the first.
    fn new(
        lists: &'a CrlSet,
        path: &'a CertPath,
        at: usize,
        options: Options,
        time: &'a EvaluationTime,
        asked: &'a RefCell<Vec<(usize, bool)>>,
    ) -> Self {
        Self {
            lists,
            options,
            time,
            certificate: &path.certificates()[at],
            above: &path.certificates()[at + 1..],
            anchor: path.anchor(),
            signers: None,
            asked,
        }
    }

    /// Why no list has to answer for the certificate, if none has. CAs have no such word: RFC 9608 §3 forbids
    /// it to them, and what they issue lives on.
    pub(super) fn exemption(&self) -> Option<Verdict> {
        let one = self.certificate;
        let lives = one.not_after.saturating_sub(one.not_before);
        let is_short = |longest: Duration| lives <= longest.as_secs();
        if one.is_ca {
            None
        } else if one.no_rev_avail == NoRevAvail::Present {
            Some(Verdict::NoRevAvail)
        } else {
            let short = self.options.short_lived.is_some_and(is_short);
            short.then_some(Verdict::ShortLived)
        }
    }

    /// Calls `decided` with each list that answered; the last one is the list that revokes, if one does.
    pub(super) fn status(&self, mut decided: impl FnMut(&Crl)) -> Status {
        let mut reasons = 0;
        let mut lapsed = 0;
        let mut cause = UnknownCause::NoCrl;
        for point in &self.certificate.points {
            for issuer in self.issuers(point) {
                for list in self.lists.by(issuer) {
                    let standing = self.lists.standing(list, self.time);
                    if standing == Standing::Replaced {
                        continue;
                    }
                    // (d). A list that adds no reason, which (e) passes over, is asked all the same:
                    // it may know of a revocation that another one of its scope does not.
                    let answers = list.scope.answers(self.certificate.is_ca, point);
                    if answers == 0 {
                        cause = cause.max(UnknownCause::OtherScope);
                        continue;
                    }
                    let alone = match (standing, &list.base) {
                        (Standing::Waiting, _) => self.beside(list),
                        (_, Some(_)) => self.alone(list),
                        (_, None) => None,
                    };
                    if let Some(entry) = alone {
                        decided(list);
                        return Status::Revoked(list.revoked(entry, &self.certificate.serial));
                    }
                    if standing == Standing::Waiting {
                        continue;
                    }
                    if list.base.is_some() {
                        cause = cause.max(UnknownCause::NoBase);
                        continue;
                    }
                    match self.ask(list) {
                        Ok(Answer::Revoked(entry, by)) => {
                            decided(by);
                            return Status::Revoked(by.revoked(entry, &self.certificate.serial));
                        }
                        Ok(Answer::Good(delta)) => {
                            reasons |= answers;
                            decided(list);
                            delta.into_iter().for_each(&mut decided);
                        }
                        Err(why) => {
                            cause = cause.max(why);
                            if !why.is_without_answer() {
                                lapsed |= answers;
                            }
                        }
                    }
                }
            }
        }
        if reasons == ALL_REASONS {
            Status::Good
        } else if reasons == 0 || lapsed & !reasons != 0 {
            Status::Unknown(cause)
        } else {
            Status::Unknown(UnknownCause::SomeReasons)
        }
    }

    /// (b) (1): whose lists are meant at a point.
    fn issuers(&self, point: &'a DistributionPoint) -> impl Iterator<Item = &'a DistinguishedName> {
        let own = point
            .crl_issuers
            .is_empty()
            .then_some(&self.certificate.issuer);
        own.into_iter().chain(&point.crl_issuers)
    }

    fn ask(&self, list: &'a Crl) -> Result<Answer<'a>, UnknownCause> {
        if !self.is_signed(list) {
            return Err(self.why_not_signed(list));
        }
        let delta = self.delta(list);
        let in_delta = delta.and_then(|delta| Some((self.find(delta)?, delta)));
        // What a list says is revoked stays so, even when the list is old or dated ahead.
        let revoked = match in_delta {
            Some((entry, delta)) if revokes(&entry) => Some((entry, delta)),
            // (k): taken back.
            Some(_) => self.newer(list, delta),
            None => {
                let in_list = self.find(list).filter(revokes);
                let in_list = in_list.map(|entry| (entry, list));
                in_list.or_else(|| self.newer(list, delta))
            }
        };
        if let Some((entry, by)) = revoked {
            return Ok(Answer::Revoked(entry, by));
        }
        if !self.time.has_come(list.this_update) {
            return Err(UnknownCause::NotYetValid);
        }
        let forgotten = self.lists.of(&list.issuer).and_then(|of| of.forgotten);
        if forgotten.is_some_and(|delta| list.this_update < delta) {
            return Err(UnknownCause::NoBase);
        }
        // (a): a current delta brings an old base up to date.
        if self.is_past(list) && delta.is_none() {
            return Err(UnknownCause::CrlExpired);
        }
        Ok(Answer::Good(delta))
    }

    fn find(&self, list: &Crl) -> Option<Entry> {
        list.find(&self.certificate.issuer, &self.certificate.serial)
    }

    /// (c): the delta that brings a complete list up to date, if there is one.
    fn delta(&self, list: &Crl) -> Option<&'a Crl> {
        let number = list.number.as_ref()?;
        let current = self.deltas(list).filter(|delta| {
            delta.fits(list)
                && delta.number.as_ref().is_some_and(|delta| delta > number)
                && delta.authority_key == list.authority_key
                && self.time.has_come(delta.this_update)
                && !self.is_past(delta)
                // (h): by the same key as the complete list.
                && self.is_signed(delta)
                && delta.signer() == list.signer()
        });
        current.max_by_key(|delta| delta.number.clone())
    }

    /// A revocation in a delta that is newer than a complete list and than the active delta over it. Such a
    /// delta, past its end, dated ahead or over another base, takes nothing back and brings nothing up to date;
    /// but it is the issuer's word that the certificate was revoked.
    fn newer(&self, list: &Crl, in_force: Option<&Crl>) -> Option<(Entry, &'a Crl)> {
        let newest = in_force.unwrap_or(list);
        let mut newer = self
            .deltas(list)
            .filter(|delta| newest.comes_before(delta) && self.is_signed(delta));
        newer.find_map(|delta| Some((self.find(delta).filter(revokes)?, delta)))
    }

    /// A revocation in a list that is not active: it is the issuer's word all the same.
    fn beside(&self, list: &Crl) -> Option<Entry> {
        let revoked = self.find(list).filter(revokes)?;
        self.is_signed(list).then_some(revoked)
    }

    /// A revocation in a delta of which there is no complete list.
    fn alone(&self, delta: &Crl) -> Option<Entry> {
        let of_issuer = self.lists.by(&delta.issuer);
        let is_base =
            |list: &Crl| list.base.is_none() && list.scope == delta.scope && self.is_signed(list);
        let revoked = self.find(delta).filter(revokes)?;
        let is_alone = !of_issuer.iter().any(|list| is_base(list));
        (is_alone && self.is_signed(delta)).then_some(revoked)
    }

    /// The deltas of a complete list's scope, whatever their signer.
    fn deltas(&self, list: &Crl) -> impl Iterator<Item = &'a Crl> {
        let of_issuer = self.lists.by(&list.issuer).iter();
        let deltas = of_issuer.filter(|delta| delta.base.is_some() && delta.scope == list.scope);
        let in_force =
            deltas.filter(|delta| self.lists.standing(delta, self.time) == Standing::InForce);
        in_force.map(Arc::as_ref)
    }

    fn is_past(&self, list: &Crl) -> bool {
        let grace = self.options.grace.as_secs();
        self.time.is_past(list.next_update.saturating_add(grace))
    }
}

/// Whether an entry revokes its certificate, and does not take a revocation back.
fn revokes(entry: &Entry) -> bool {
    entry.reason != RevocationReason::RemoveFromCrl
}
