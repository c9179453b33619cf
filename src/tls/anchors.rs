use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::DistinguishedName;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime};
use webpki::anchor_from_trusted_cert;
use x509_parser::extensions::NameConstraints;
use x509_parser::prelude::X509Certificate;

use super::expiry::Expiry;
use super::files::GivenCa;
use super::fitness::{self, Given, Unfit};
use super::{ClientCas, TlsError, key_kind, time};
use crate::PeerIdentity;
use crate::identity::{Anchor, name_text};
use crate::reload::Pinned;
use crate::util::left_out::LeftOut;

/// The active client CAs.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    pub(super) trusted: Vec<TrustAnchor<'static>>,
    /// The same in the same order, for connections to keep.
    known: Vec<Arc<Known>>,
    /// The names that a server reports to clients as accepted (RFC 8446 §4.2.4).
    pub(super) hints: Vec<DistinguishedName>,
    /// The subjects in RFC 4514 form, for explanations.
    pub(super) subjects: Vec<Box<str>>,
    pub(super) expiries: Vec<Expiry>,
    /// Those with name constraints, for explanations.
    constrained: Vec<CertificateDer<'static>>,
    /// How many certificates of the bundle are not trusted.
    pub(super) left_out: usize,
    /// What else is in the files.
    pub(super) others: Vec<(PathBuf, Vec<LeftOut>)>,
    /// The most name constraints that one of them has.
    most_subtrees: usize,
}

/// A client CA with what webpki does not look at.
#[derive(Debug)]
pub(super) struct Known {
    trusted: TrustAnchor<'static>,
    pub(super) name: Arc<Anchor>,
    /// The last second, after 1970, at which it is valid.
    pub(super) not_after: u64,
    /// The most CAs that may be between it and a client (RFC 5280 §4.2.1.9).
    path_length: Option<u32>,
    /// What rules of revocation name it by, and whether it may sign CRLs.
    #[cfg(feature = "crl")]
    pub(super) ca: crate::crl::CaInfo,
}

impl Known {
    pub(super) fn has_ended(&self, now: UnixTime) -> bool {
        self.not_after < now.as_secs()
    }

    /// Whether so many CAs may be between it and a client.
    pub(super) fn allows(&self, cas: usize) -> bool {
        let cas = u32::try_from(cas).unwrap_or(u32::MAX);
        self.path_length.is_none_or(|longest| cas <= longest)
    }

    fn is(&self, anchor: &TrustAnchor<'_>) -> bool {
        self.trusted.subject == anchor.subject
            && self.trusted.subject_public_key_info == anchor.subject_public_key_info
            && self.trusted.name_constraints == anchor.name_constraints
    }
}

impl Anchors {
    /// Reads the bundle. A certificate that is not fit to be a trust anchor is an error in a file that
    /// the operator named, and left out with a warning in a folder. An expired CA is left out in a file
    /// too, because time must not keep a server from its next start, and so is one that is never valid. Without any CA there is none to
    /// trust, which is an error.
    pub(super) fn load(
        cas: &ClientCas,
        pinned: &mut Pinned,
        now: SystemTime,
    ) -> Result<Self, TlsError> {
        let mut anchors = Self::default();
        let mut known = HashSet::new();
        let mut first = None;
        let read = cas.read(pinned)?;
        anchors.others = read.others;
        for file in &read.left_out {
            tracing::debug!(file = %file.display(), "no client CA is in this file of a directory");
        }
        for one in read.certificates {
            let GivenCa {
                path,
                line,
                given,
                der,
            } = one;
            if !known.insert(der.clone()) {
                continue;
            }
            let unusable = |source| TlsError::Certificate {
                path: path.clone(),
                source,
            };
            let certificate = PeerIdentity::parse(&der).map_err(unusable)?;
            if let Err(unfit) = fitness::check(&certificate, given, now) {
                let error = unfit_anchor(&path, &certificate, &unfit, now);
                let is_over = matches!(unfit, Unfit::Expired | Unfit::NeverValid);
                if given == Given::ByName && !is_over {
                    return Err(error);
                }
                anchors.left_out += 1;
                tracing::warn!(
                    file = %path.display(),
                    line,
                    subject = subject(&certificate),
                    reason = %unfit,
                    "a certificate among the client CAs is not fit to be one and is not trusted"
                );
                first.get_or_insert(error);
                continue;
            }
            let identity = PeerIdentity::of(&der, &certificate, None).map_err(unusable)?;
            if let Some(key) = key_kind::unsupported(certificate.public_key()) {
                tracing::warn!(
                    file = %path.display(), subject = identity.subject(), key,
                    "no signature of this client CA can be verified: its clients will be refused"
                );
            }
            anchors.add(&path, &der, &certificate, &identity)?;
        }
        match (anchors.trusted.is_empty(), first) {
            (true, Some(error)) => Err(error),
            (true, None) => Err(TlsError::NoCertificate {
                path: cas.paths.first().cloned().unwrap_or_default(),
            }),
            (false, _) => Ok(anchors),
        }
    }

    fn add(
        &mut self,
        path: &Path,
        der: &CertificateDer<'_>,
        certificate: &X509Certificate<'_>,
        identity: &PeerIdentity,
    ) -> Result<(), TlsError> {
        let anchor = anchor_from_trusted_cert(der).map_err(|error| TlsError::Anchor {
            path: path.to_owned(),
            subject: identity.subject().to_owned(),
            reason: error.to_string(),
        })?;
        self.hints
            .push(DistinguishedName::in_sequence(&anchor.subject));
        self.trusted.push(anchor.to_owned());
        let basic = certificate.basic_constraints().ok().flatten();
        self.known.push(Arc::new(Known {
            trusted: anchor.to_owned(),
            name: Arc::new(Anchor::of(certificate, identity.subject())),
            not_after: time::seconds(identity.not_after()),
            path_length: basic.and_then(|basic| basic.value.path_len_constraint),
            #[cfg(feature = "crl")]
            ca: crate::crl::CaInfo::of(certificate),
        }));
        let subtrees = subtrees(certificate);
        self.most_subtrees = self.most_subtrees.max(subtrees);
        if subtrees > 0 {
            self.constrained.push(der.clone().into_owned());
        }
        self.subjects.push(identity.subject().into());
        self.expiries.push(Expiry::new("client_ca", identity));
        Ok(())
    }

    /// Those that are among `found` too; `None` if all are.
    pub(super) fn without_those_gone_from(&self, found: &Self) -> Option<Self> {
        let stays = |at: &usize| found.find(&self.trusted[*at]).is_some();
        let left: Vec<usize> = (0..self.trusted.len()).filter(stays).collect();
        if left.len() == self.trusted.len() {
            return None;
        }
        let at = || left.iter().copied();
        Some(Self {
            trusted: at().map(|at| self.trusted[at].clone()).collect(),
            known: at().map(|at| Arc::clone(&self.known[at])).collect(),
            hints: at().map(|at| self.hints[at].clone()).collect(),
            subjects: at().map(|at| self.subjects[at].clone()).collect(),
            expiries: at().map(|at| self.expiries[at].clone()).collect(),
            constrained: self.constrained.clone(),
            left_out: found.left_out,
            others: Vec::new(),
            most_subtrees: self.most_subtrees,
        })
    }

    /// What the lists of those below them are judged by.
    #[cfg(feature = "crl")]
    pub(super) fn issuers(&self) -> crate::crl::Issuers {
        let known = self.known.iter();
        crate::crl::Issuers::below(known.map(|known| (&known.trusted, &known.ca)))
    }

    /// Each trusted one with its subject in RFC 4514 form.
    #[cfg(feature = "crl")]
    pub(super) fn infos(&self) -> impl Iterator<Item = (&str, &crate::crl::CaInfo)> {
        let known = self.known.iter();
        known.map(|known| (known.name.subject(), &known.ca))
    }

    /// What is known of a trusted one. Of several certificates of one CA the last to end counts.
    pub(super) fn find(&self, anchor: &TrustAnchor<'_>) -> Option<&Arc<Known>> {
        let same = self.known.iter().filter(|known| known.is(anchor));
        same.max_by_key(|known| known.not_after)
    }

    /// The public keys, in DER, of the trusted ones with this subject.
    pub(super) fn keys<'a>(
        &'a self,
        subject: &str,
    ) -> impl Iterator<Item = SubjectPublicKeyInfoDer<'a>> {
        let named = self.known.iter().zip(&self.subjects);
        let named = named.filter(move |(_, name)| ***name == *subject);
        named.map(|(known, _)| webpki::spki_for_anchor(&known.trusted))
    }

    /// The trusted ones that have name constraints.
    pub(super) fn constrained(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.constrained.iter()
    }

    /// The most name constraints that one of them has.
    pub(super) fn most_subtrees(&self) -> usize {
        self.most_subtrees
    }

    /// Whether this one, of an earlier bundle perhaps, is trusted at this time.
    pub(super) fn hold(&self, known: &Known, now: UnixTime) -> bool {
        let same = self.find(&known.trusted);
        same.is_some_and(|same| !same.has_ended(now))
    }
}

/// How many name constraints a certificate has.
pub(super) fn subtrees(certificate: &X509Certificate<'_>) -> usize {
    let constraints = certificate.name_constraints().ok().flatten();
    constraints.map_or(0, |constraints| {
        let NameConstraints {
            permitted_subtrees,
            excluded_subtrees,
        } = constraints.value;
        let lists = [permitted_subtrees, excluded_subtrees];
        lists.iter().copied().flatten().map(Vec::len).sum()
    })
}

/// The subject in RFC 4514 form, of a certificate that may say nothing that is an identity.
fn subject(certificate: &X509Certificate<'_>) -> String {
    name_text(certificate.subject().as_raw())
}

fn unfit_anchor(
    path: &Path,
    certificate: &X509Certificate<'_>,
    unfit: &Unfit,
    now: SystemTime,
) -> TlsError {
    let (path, subject) = (path.to_owned(), subject(certificate));
    let validity = certificate.validity();
    let (begin, end) = (validity.not_before, validity.not_after);
    let now = i64::try_from(time::seconds(now)).unwrap_or(i64::MAX);
    let span = |from: i64, to: i64| {
        let seconds = u64::try_from(to.saturating_sub(from)).unwrap_or(0);
        time::words(Duration::from_secs(seconds))
    };
    match unfit {
        Unfit::NeverValid => TlsError::NeverValid { path, subject },
        Unfit::Expired => TlsError::Expired {
            path,
            subject,
            ago: span(end.timestamp(), now),
        },
        Unfit::NotYetValid => TlsError::NotYetValid {
            path,
            subject,
            until: span(now, begin.timestamp()),
        },
        unfit => TlsError::Anchor {
            path,
            subject,
            reason: unfit.to_string(),
        },
    }
}
