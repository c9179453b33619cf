//! RFC 5280 §6.3.3: what the lists in force say of a certificate, and of a path.

use std::sync::Arc;

use super::entries::Entry;
use super::list::List;
use super::path::Facts;
use super::scope::{ALL_REASONS, Point};
use super::store::Lists;
use super::verdict::{hexadecimal, name};
use super::{
    CertPath, DecidingCrl, Depth, Finding, OnUnknown, Options, RevocationReason, Revoked, Unknown,
    UnknownCause, Verdict,
};

/// What the lists say, and until when they say it.
#[derive(Debug)]
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    /// Seconds after 1970 after which the same lists may say something else.
    pub(super) until: u64,
}

/// What they say of one certificate.
enum Status {
    Good { until: u64 },
    Revoked(Revoked),
    Unknown(UnknownCause),
}

/// One certificate of a path, and what is asked about it.
struct Question<'a> {
    lists: &'a Lists,
    path: &'a CertPath,
    certificate: &'a Facts,
    /// Where its issuer stands in the path; the anchor comes after the last certificate.
    issuer: usize,
    grace: u64,
    now: u64,
    /// Whether it is asked about the signer of a list.
    of_signer: bool,
}

impl Lists {
    pub(super) fn judge(&self, path: &CertPath, options: Options, now: u64) -> Judgement {
        let mut until = path.not_after();
        if until < now {
            return Judgement::lasting(Verdict::Expired);
        }
        let depth = match options.depth {
            Depth::Chain => usize::MAX,
            Depth::Leaf => 1,
        };
        let mut unknown = None;
        for (at, certificate) in path.certificates().iter().enumerate().take(depth) {
            let question = Question::new(self, path, at, options, now);
            match question.status(|_| {}) {
                Status::Good { until: end } => until = until.min(end),
                Status::Revoked(revoked) => return Judgement::lasting(Verdict::Revoked(revoked)),
                Status::Unknown(cause) => {
                    let serial = hexadecimal(&certificate.serial);
                    unknown.get_or_insert(Unknown { serial, cause });
                }
            }
        }
        let (verdict, until) = match unknown {
            // Time alone may change that, when a list begins; so it is asked again each time.
            Some(unknown) if options.unknown == OnUnknown::Refuse => (Verdict::Unknown(unknown), 0),
            Some(_) => (Verdict::Good, now),
            None => (Verdict::Good, until),
        };
        Judgement { verdict, until }
    }
}

impl Lists {
    /// What the lists say of each certificate of a path, whatever the options make of it.
    pub(super) fn findings(&self, path: &CertPath, options: Options, now: u64) -> Vec<Finding> {
        let certificates = path.certificates().iter().enumerate();
        let found = certificates.map(|(at, certificate)| {
            let question = Question::new(self, path, at, options, now);
            let serial = hexadecimal(&certificate.serial);
            let mut decided_by = Vec::new();
            let status = question.status(|list| decided_by.push(DecidingCrl::of(list)));
            if let Status::Revoked(_) = &status {
                // Whatever the others say.
                decided_by.drain(..decided_by.len().saturating_sub(1));
            }
            let verdict = match status {
                _ if certificate.not_after < now => Verdict::Expired,
                Status::Good { .. } => Verdict::Good,
                Status::Revoked(revoked) => Verdict::Revoked(revoked),
                Status::Unknown(cause) => Verdict::Unknown(Unknown {
                    serial: serial.clone(),
                    cause,
                }),
            };
            Finding {
                subject: name(&certificate.subject),
                issuer: name(&certificate.issuer),
                serial,
                verdict,
                decided_by,
            }
        });
        found.collect()
    }
}

impl Judgement {
    /// One that only other lists can change.
    fn lasting(verdict: Verdict) -> Self {
        Self {
            verdict,
            until: u64::MAX,
        }
    }
}

impl<'a> Question<'a> {
    /// About the certificate at this place of a path, of which the client's own is the first.
    fn new(lists: &'a Lists, path: &'a CertPath, at: usize, options: Options, now: u64) -> Self {
        Self {
            lists,
            path,
            certificate: &path.certificates()[at],
            issuer: at + 1,
            grace: options.grace.as_secs(),
            now,
            of_signer: false,
        }
    }
}

impl Question<'_> {
    /// Tells `decided` of each list that answered; of a revocation the last told of is the one.
    fn status(&self, mut decided: impl FnMut(&List)) -> Status {
        let mut reasons = 0;
        let mut until = u64::MAX;
        let mut cause = UnknownCause::NoCrl;
        for point in &self.certificate.points {
            for issuer in self.issuers(point) {
                let lists = self.lists.by(issuer).iter();
                for list in lists.filter(|list| list.base.is_none()) {
                    // (d). A list that adds no reason, which (e) passes over, is asked all the same:
                    // it may know of a revocation that another one of its scope does not.
                    let answers = list.scope.answers(self.certificate, point);
                    if answers == 0 {
                        continue;
                    }
                    match self.ask(list) {
                        Ok((Some(entry), deciding)) => {
                            decided(deciding);
                            return Status::Revoked(self.revoked(entry, deciding));
                        }
                        Ok((None, deciding)) => {
                            reasons |= answers;
                            decided(list);
                            if !std::ptr::eq(list.as_ref(), deciding) {
                                decided(deciding);
                            }
                            let signed = self.signed_until(list).min(self.signed_until(deciding));
                            let ends = self.end(list).max(self.end(deciding));
                            until = until.min(ends).min(signed.unwrap_or(0));
                        }
                        Err(why) => cause = cause.max(why),
                    }
                }
            }
        }
        if reasons == ALL_REASONS {
            Status::Good { until }
        } else if reasons == 0 {
            Status::Unknown(cause)
        } else {
            Status::Unknown(UnknownCause::SomeReasons)
        }
    }

    /// (b) (1): whose lists are meant at a point.
    fn issuers<'a>(&'a self, point: &'a Point) -> impl Iterator<Item = &'a [u8]> {
        let own = point
            .crl_issuers
            .is_empty()
            .then_some(&*self.certificate.issuer);
        own.into_iter()
            .chain(point.crl_issuers.iter().map(|issuer| &**issuer))
    }

    /// What a complete list, with its delta, says; and which of the two says it.
    fn ask<'a>(&'a self, list: &'a List) -> Result<(Option<Entry>, &'a List), UnknownCause> {
        if self.signed_until(list).is_none() {
            return Err(UnknownCause::NotSigned);
        }
        let find = |list: &List| list.find(&self.certificate.issuer, &self.certificate.serial);
        let delta = self.delta(list);
        let (entry, deciding) = match delta.and_then(|delta| find(delta).zip(Some(delta))) {
            // (k): taken back.
            Some((entry, delta)) if entry.reason == RevocationReason::RemoveFromCrl => {
                (None, delta)
            }
            Some((entry, delta)) => (Some(entry), delta),
            None => {
                let entry = find(list);
                let taken_back =
                    entry.is_some_and(|entry| entry.reason == RevocationReason::RemoveFromCrl);
                (entry.filter(|_| !taken_back), list)
            }
        };
        // What a list says is revoked stays so, even when the list is old.
        if entry.is_some() {
            return Ok((entry, deciding));
        }
        if list.this_update > self.now {
            return Err(UnknownCause::NotYetValid);
        }
        // (a): a current delta brings an old base up to date.
        if self.end(list) < self.now && delta.is_none() {
            return Err(UnknownCause::CrlExpired);
        }
        Ok((None, delta.map_or(list, |delta| delta)))
    }

    /// (c): the delta that brings a complete list up to date, if there is one.
    fn delta(&self, list: &List) -> Option<&List> {
        let number = list.number.as_ref()?;
        let of_issuer = self.lists.by(&list.issuer).iter().map(Arc::as_ref);
        of_issuer
            .filter(|delta| {
                delta.base.as_ref().is_some_and(|base| base <= number)
                && delta.number.as_ref().is_some_and(|delta| delta > number)
                && delta.scope == list.scope
                && delta.authority_key == list.authority_key
                && delta.this_update <= self.now
                && self.end(delta) >= self.now
                // (h): by the same key as the complete list.
                && self.signed_until(delta).is_some()
            })
            .max_by_key(|delta| delta.number.clone())
    }

    /// (f) and (g): until when its signature counts, if it is by a key that may sign CRLs in its
    /// issuer's name, under the anchor that the path has.
    fn signed_until(&self, list: &List) -> Option<u64> {
        let authorities = &self.lists.authorities;
        let anchor = self.path.anchor();
        let key_id = list.authority_key.as_deref();
        let certificates = self.path.certificates();
        let is_by = |key| list.is_by(key, authorities);
        // Whoever issued the certificate comes first: it is nearly always them.
        let above = &certificates[self.issuer.min(certificates.len())..];
        let mut on_path = above
            .iter()
            .filter(|one| one.subject == list.issuer && one.signs_crls && one.is_key(key_id));
        // The path itself ends no later.
        if on_path.any(|one| is_by(&one.key))
            || (anchor.subject == list.issuer && is_by(&anchor.key))
        {
            return Some(u64::MAX);
        }
        authorities
            .crl_signers(&list.issuer, key_id, anchor, self.now)
            .find(|(signer, _)| is_by(&signer.key) && !self.is_revoked(signer))
            .map(|(_, until)| until)
    }

    /// Whether a list revokes the certificate of a list's signer, one that is not on the path. Its
    /// own signers are not asked after in turn.
    fn is_revoked(&self, signer: &Facts) -> bool {
        let question = Question {
            certificate: signer,
            issuer: 0,
            of_signer: true,
            ..*self
        };
        !self.of_signer && matches!(question.status(|_| {}), Status::Revoked(_))
    }

    fn end(&self, list: &List) -> u64 {
        list.next_update.saturating_add(self.grace)
    }

    fn revoked(&self, entry: Entry, list: &List) -> Revoked {
        Revoked {
            serial: hexadecimal(&self.certificate.serial),
            date: entry.date,
            reason: entry.reason,
            crl_number: list
                .number
                .as_ref()
                .map(|number| hexadecimal(number.octets())),
        }
    }
}
