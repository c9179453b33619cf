use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::entry::{DenyEntry, Subject};
use super::error::{DenyError, DenyLineError, DenyProblem};
use super::line;
use crate::PeerIdentity;
use crate::crl::certificate::CertificateInfo;
use crate::crl::evaluation_time::EvaluationTime;
use crate::crl::verdict::time;
use crate::crl::{CertPath, UnknownCause, Verdict};
use crate::identity::{Fingerprints, NameKey};
use crate::util::text::unmarked;
use crate::util::{der, hex};

/// The certificates that an operator denies, whether or not their CA publishes CRLs.
///
/// An entry is one line, so that one can be appended by hand and an error has its place:
///
/// ```text
/// # what                                            since       until (if it ends)  why
/// fingerprint:9f86d081…0f00a08                      2026-11-30  laptop of node-7 stolen
/// key:6b86b273…75b4b                                2026-11-30T08:15:00Z until=2027-01-31 key in a build log
/// serial:4f:a1:22 issuer:"CN=Nodes 2026,O=Example"  2026-11-30  replaced
/// spiffe://example.org/ns/web/sa/front              2026-11-30  workload compromised
/// ```
///
/// `fingerprint` is the SHA-256 of a certificate, `key` that of a public key (`SubjectPublicKeyInfo`), in
/// hexadecimal with colons or without; an issuer is compared by RFC 5280 §7.1. A client is denied for every
/// certificate on its path, and for the key of its client CA.
#[derive(Clone, Debug, Default)]
pub struct DenyList {
    fingerprints: HashMap<[u8; 32], Arc<Located>>,
    keys: HashMap<[u8; 32], Arc<Located>>,
    serials: HashMap<(NameKey, Box<[u8]>), Arc<Located>>,
    spiffe_ids: HashMap<Box<str>, Arc<Located>>,
    entries: Vec<Arc<Located>>,
    /// What could not be read beside them.
    pub(super) refused: Vec<Arc<DenyError>>,
    /// Whether its files could not be read for so long that what they deny now is unknown.
    pub(super) has_lapsed: bool,
}

/// An entry with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Located {
    entry: DenyEntry,
    file: Arc<Path>,
    /// From 1.
    line: usize,
}

impl DenyList {
    /// Reads the content of a file.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(file: impl AsRef<Path>, content: &[u8]) -> Result<Self, DenyError> {
        let mut list = Self::default();
        match list.read(file.as_ref(), content).into_iter().next() {
            None => Ok(list),
            Some(error) => Err(error),
        }
    }

    /// Returns how many entries there are, those that have ended among them.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the entries, in the order of the files.
    pub fn entries(&self) -> impl Iterator<Item = &DenyEntry> {
        self.entries.iter().map(|one| &one.entry)
    }

    /// Returns how many entries count at a time: those that have not ended.
    pub fn active(&self, at: SystemTime) -> usize {
        let counts = |one: &&DenyEntry| one.until().is_none_or(|until| at <= until);
        self.entries().filter(counts).count()
    }

    /// Adds what is in a file, and returns what is wrong with its lines.
    pub(super) fn read(&mut self, file: &Path, content: &[u8]) -> Vec<DenyError> {
        let path: Arc<Path> = file.into();
        let (mut errors, mut number) = (Vec::new(), 0);
        let content = unmarked(content);
        for piece in content.split_inclusive(|byte| *byte == b'\n') {
            number += 1;
            let Ok(text) = std::str::from_utf8(piece) else {
                errors.push(DenyError::NotText {
                    path: PathBuf::from(file),
                    line: number,
                });
                continue;
            };
            let wrong = |error: DenyLineError| DenyError::Line {
                path: PathBuf::from(file),
                line: number,
                column: error.column,
                problem: error.problem.to_string().into(),
            };
            let bare = text.trim_end_matches(['\n', '\r']);
            let has_end = text.ends_with('\n');
            match line::read(bare) {
                Ok(None) => {}
                Ok(Some(_)) if !has_end => errors.push(wrong(DenyLineError {
                    column: bare.chars().count() + 1,
                    problem: DenyProblem::NoEnd,
                })),
                Ok(Some(entry)) => self.add(Located {
                    entry,
                    file: Arc::clone(&path),
                    line: number,
                }),
                Err(error) => errors.push(wrong(error)),
            }
        }
        errors
    }

    /// Adds the entries of another list.
    pub(super) fn extend(&mut self, other: &Self) {
        let known: HashSet<String> = self.entries().map(ToString::to_string).collect();
        for one in &other.entries {
            if !known.contains(&one.entry.to_string()) {
                self.add(Located::clone(one));
            }
        }
    }

    fn add(&mut self, located: Located) {
        let located = Arc::new(located);
        let one = || Arc::clone(&located);
        match &located.entry.subject {
            Subject::Fingerprint(digest) => put(&mut self.fingerprints, *digest, one()),
            Subject::Key(digest) => put(&mut self.keys, *digest, one()),
            Subject::Serial { number, issuer, .. } => {
                put(&mut self.serials, (*issuer, number.clone()), one());
            }
            Subject::SpiffeId(id) => put(&mut self.spiffe_ids, id.clone(), one()),
        }
        self.entries.push(located);
    }

    /// The entry that denies a certificate.
    fn find(&self, certificate: &CertificateInfo, time: &EvaluationTime) -> Option<&Located> {
        let by_serial = || {
            // A key is made only where there are serial numbers at all.
            let number = || der::magnitude(&certificate.serial).into();
            let key = (!self.serials.is_empty()).then(|| (certificate.issuer.key(), number()));
            key.and_then(|key| counting(self.serials.get(&key), time))
        };
        self.find_fingerprint(&certificate.fingerprints, time)
            .or_else(|| counting(self.keys.get(&certificate.key_digest), time))
            .or_else(by_serial)
            .or_else(|| self.find_uri(certificate.uris.iter().map(|uri| &**uri), time))
    }

    fn find_fingerprint(
        &self,
        fingerprints: &Fingerprints,
        time: &EvaluationTime,
    ) -> Option<&Located> {
        let mut fingerprints = fingerprints.iter();
        fingerprints.find_map(|digest| counting(self.fingerprints.get(digest), time))
    }

    fn find_uri<'a>(
        &self,
        mut uris: impl Iterator<Item = &'a str>,
        time: &EvaluationTime,
    ) -> Option<&Located> {
        uris.find_map(|uri| counting(self.spiffe_ids.get(uri), time))
    }

    /// What the list says of a path, if it denies it.
    pub(in crate::crl) fn verdict(
        &self,
        path: &CertPath,
        time: &EvaluationTime,
    ) -> Option<Verdict> {
        let mut certificates = path.certificates().iter();
        let own = certificates.find_map(|one| self.verdict_of(one, time));
        own.or_else(|| {
            let key = self.keys.get(&path.anchor().ca.key);
            counting(key, time).map(|found| found.denied(String::new()))
        })
    }

    /// What the list says of one certificate, if it denies it.
    pub(in crate::crl) fn verdict_of(
        &self,
        certificate: &CertificateInfo,
        time: &EvaluationTime,
    ) -> Option<Verdict> {
        let serial = || hex::with_colons(&certificate.serial);
        if self.has_lapsed {
            let cause = UnknownCause::DenyListLapsed;
            let serial = serial();
            return Some(Verdict::Unknown { serial, cause });
        }
        let found = self.find(certificate, time)?;
        Some(found.denied(serial()))
    }

    /// What the list says of an identity of which there is no certificate, if it denies it.
    pub(in crate::crl) fn verdict_on(
        &self,
        identity: &PeerIdentity,
        time: &EvaluationTime,
    ) -> Option<Verdict> {
        let serial = identity.serial().to_owned();
        if self.has_lapsed {
            let cause = UnknownCause::DenyListLapsed;
            return Some(Verdict::Unknown { serial, cause });
        }
        let own = self.find_fingerprint(identity.fingerprints(), time);
        let uris = identity.uris().iter().map(AsRef::as_ref);
        let found = own.or_else(|| self.find_uri(uris, time))?;
        Some(found.denied(serial))
    }
}

impl Located {
    fn denied(&self, serial: String) -> Verdict {
        Verdict::Denied {
            serial,
            subject: self.entry.subject(),
            since: time(self.entry.since),
            reason: self.entry.reason.to_string(),
            place: format!("{}:{}", self.file.display(), self.line),
        }
    }
}

/// The entry, unless it has ended.
fn counting<'a>(found: Option<&'a Arc<Located>>, time: &EvaluationTime) -> Option<&'a Located> {
    let found = found?;
    let has_ended = found.entry.until.is_some_and(|until| time.is_past(until));
    (!has_ended).then_some(&**found)
}

/// Of two entries for the same the one that ends later counts.
fn put<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Arc<Located>>, key: K, one: Arc<Located>) {
    let lasts = |one: &Located| one.entry.until.unwrap_or(u64::MAX);
    let known = map.entry(key).or_insert_with(|| Arc::clone(&one));
    if lasts(&one) > lasts(known) {
        *known = one;
    }
}
