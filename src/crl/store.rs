use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use rustls::crypto::WebPkiSupportedAlgorithms;

use super::der::Reader;
use super::list::List;
use super::path::{Facts, Signer};
use super::{CertPath, Depth, OnUnknown, Options, Revoked, Unknown, UnknownCause, Verdict};

/// All CRLs in force, by the names of their issuers.
#[derive(Debug, Default)]
pub struct Lists {
    by_issuer: HashMap<Box<[u8]>, Vec<List>>,
}

/// What the lists say, and until when they say it.
#[derive(Debug)]
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    /// Seconds after 1970 after which the same lists may say something else.
    pub(super) until: u64,
}

impl Lists {
    /// Adds a list. One that is older than another of the same issuer and scope is not taken: it
    /// may be an old one replayed, from before a revocation.
    pub(super) fn insert(&mut self, list: List) {
        let of_issuer = self.by_issuer.entry(list.issuer().into()).or_default();
        let same = |other: &&mut List| {
            other.scope == list.scope && other.authority_key == list.authority_key
        };
        match of_issuer.iter_mut().find(same) {
            Some(other) if is_older(&list, other) => tracing::warn!(
                this_update = list.this_update,
                in_force = other.this_update,
                "an older CRL for the same scope is not taken: the newer one stays in force"
            ),
            Some(other) => *other = list,
            None => of_issuer.push(list),
        }
    }

    /// Adds what `previous` has and this would lose or turn back: a list does not go away because
    /// its file does, and does not get older.
    pub(super) fn keep_newer_of(
        &mut self,
        previous: &Self,
        reparse: impl Fn(&List) -> Option<List>,
    ) {
        for list in previous.by_issuer.values().flatten() {
            let of_issuer = self.by_issuer.get(list.issuer());
            let turned_back = of_issuer.into_iter().flatten().any(|new| {
                new.scope == list.scope
                    && new.authority_key == list.authority_key
                    && is_older(new, list)
            });
            if turned_back && let Some(list) = reparse(list) {
                tracing::error!(
                    this_update = list.this_update,
                    "a CRL was replaced by an older one: the newer one stays in force"
                );
                self.insert(list);
            }
        }
    }

    /// How many lists there are.
    pub fn len(&self) -> usize {
        self.by_issuer.values().map(Vec::len).sum()
    }

    /// Whether there is no list.
    pub fn is_empty(&self) -> bool {
        self.by_issuer.is_empty()
    }

    /// How many certificates are revoked in all lists together.
    pub fn entries(&self) -> usize {
        self.by_issuer.values().flatten().map(List::len).sum()
    }

    pub(super) fn judge(
        &self,
        path: &CertPath,
        options: Options,
        algorithms: &WebPkiSupportedAlgorithms,
        now: u64,
    ) -> Judgement {
        let mut until = path.not_after();
        let ended = |verdict, until| Judgement { verdict, until };
        if until < now {
            return ended(Verdict::Expired, u64::MAX);
        }
        let depth = match options.depth {
            Depth::Chain => usize::MAX,
            Depth::Leaf => 1,
        };
        let mut unknown = None;
        for (certificate, issuer) in path.steps().take(depth) {
            match self.status(certificate, issuer, options, algorithms, now) {
                Status::Good { until: end } => until = until.min(end),
                Status::Revoked(revoked) => return ended(Verdict::Revoked(revoked), u64::MAX),
                Status::Unknown(cause) => {
                    let serial = hexadecimal(&certificate.serial);
                    unknown.get_or_insert(Unknown { serial, cause });
                }
            }
        }
        match unknown {
            // It may become known by the mere passing of time, when a list begins.
            Some(unknown) if options.unknown == OnUnknown::Refuse => {
                ended(Verdict::Unknown(unknown), now)
            }
            _ => ended(Verdict::Good, until),
        }
    }

    /// RFC 5280 §6.3.3 for complete CRLs.
    fn status(
        &self,
        certificate: &Facts,
        issuer: &Signer,
        options: Options,
        algorithms: &WebPkiSupportedAlgorithms,
        now: u64,
    ) -> Status {
        let of_issuer = self.by_issuer.get(&certificate.issuer);
        let mut cause = UnknownCause::NoCrl;
        let mut good = None;
        for list in of_issuer.into_iter().flatten() {
            if !list.scope.covers(certificate) {
                continue;
            }
            if !issuer.signed(list, algorithms) {
                cause = UnknownCause::NotSigned;
                continue;
            }
            // What a list says is revoked stays so, even if the list is old.
            if let Some(entry) = list.find(&certificate.serial) {
                return Status::Revoked(Revoked {
                    serial: hexadecimal(&certificate.serial),
                    date: entry.date,
                    reason: entry.reason,
                    crl_number: list.number.as_deref().map(hexadecimal),
                });
            }
            let end = list.next_update.saturating_add(seconds(options.grace));
            if list.this_update > now {
                cause = UnknownCause::NotYetValid;
            } else if end < now {
                cause = UnknownCause::CrlExpired;
            } else {
                good = Some(good.map_or(end, |good: u64| good.max(end)));
            }
        }
        match good {
            Some(until) => Status::Good { until },
            None => Status::Unknown(cause),
        }
    }
}

enum Status {
    Good { until: u64 },
    Revoked(Revoked),
    Unknown(UnknownCause),
}

impl Signer {
    /// Whether this key signed the list (RFC 5280 §6.3.3 (f) and (g)). Each key is tried once a list.
    fn signed(&self, list: &List, algorithms: &WebPkiSupportedAlgorithms) -> bool {
        if !self.signs_crls {
            return false;
        }
        if let (Some(named), Some(own)) = (&list.authority_key, &self.key_id)
            && named != own
        {
            return false;
        }
        let mut checked = list.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, signed)) = checked.iter().find(|(key, _)| *key == self.key) {
            return *signed;
        }
        let signed = self.verify(list, algorithms).is_some();
        checked.push((self.key.clone(), signed));
        signed
    }

    fn verify(&self, list: &List, algorithms: &WebPkiSupportedAlgorithms) -> Option<()> {
        let mut key = Reader::new(&self.key);
        let key_algorithm = key.any().ok()?.content;
        let key = key.any().ok()?.octets().ok()?;
        let algorithm = Reader::new(list.algorithm()).any().ok()?.content;
        let fits = algorithms.all.iter().filter(|one| {
            *one.signature_alg_id() == *algorithm && *one.public_key_alg_id() == *key_algorithm
        });
        let mut verified =
            fits.map(|one| one.verify_signature(key, list.signed(), list.signature()));
        verified.find_map(Result::ok)
    }
}

/// Whether `list` is older than `other` of the same scope.
fn is_older(list: &List, other: &List) -> bool {
    if list.this_update != other.this_update {
        return list.this_update < other.this_update;
    }
    match (&list.number, &other.number) {
        (Some(number), Some(other)) => {
            (number.len(), number.as_ref()) < (other.len(), other.as_ref())
        }
        _ => false,
    }
}

fn seconds(span: Duration) -> u64 {
    span.as_secs()
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
