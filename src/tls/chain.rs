//! What a client may send as its chain, and in which order the search for a path tries it.

use std::borrow::Cow;

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

/// The most comparisons of a name with a name constraint that one path may need.
pub(super) const MOST_COMPARISONS: usize = 10_000;

/// `id-ce-nameConstraints` (RFC 5280 §4.2.1.10), as it is encoded.
const NAME_CONSTRAINTS: &[u8] = b"\x06\x03\x55\x1d\x1e";

/// The bounds of a client's chain, checked before anything of it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChainLimits {
    /// The most certificates besides the client's own.
    pub(super) intermediates: usize,
    /// The most bytes of all certificates together.
    pub(super) bytes: usize,
}

/// A chain beyond a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChainTooLarge {
    #[error(
        "the client sent {sent} intermediate certificates, and no more than {limit} are taken \
         (`tls.max_intermediates`)"
    )]
    Intermediates { sent: usize, limit: usize },
    #[error(
        "the client sent certificates of {sent} bytes, and no more than {limit} are taken \
         (`tls.max_chain_size`)"
    )]
    Bytes { sent: usize, limit: usize },
    #[error(
        "the client's chain has {names} names under {subtrees} name constraints, too many to compare"
    )]
    Names { names: usize, subtrees: usize },
}

impl Default for ChainLimits {
    fn default() -> Self {
        Self {
            intermediates: 5,
            bytes: 32 * 1024,
        }
    }
}

impl ChainLimits {
    pub(super) fn check(
        &self,
        end_entity: &[u8],
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), ChainTooLarge> {
        let sent = intermediates.len();
        if sent > self.intermediates {
            let limit = self.intermediates;
            return Err(ChainTooLarge::Intermediates { sent, limit });
        }
        let others = intermediates.iter().map(|der| der.len()).sum::<usize>();
        let sent = end_entity.len() + others;
        if sent > self.bytes {
            let limit = self.bytes;
            return Err(ChainTooLarge::Bytes { sent, limit });
        }
        Ok(())
    }
}

/// Bounds the comparisons of names with name constraints, which grow with the product of the two. The
/// client CA has `anchored` constraints at most.
pub(super) fn check_names(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    anchored: usize,
) -> Result<(), ChainTooLarge> {
    if anchored == 0 && !intermediates.iter().any(may_constrain) {
        return Ok(());
    }
    let (mut names, mut subtrees) = (0, anchored);
    for der in std::iter::once(end_entity).chain(intermediates) {
        // What cannot be read here is on no path either.
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            continue;
        };
        // webpki takes the subject for one name more.
        names += 1;
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(san) => names += san.general_names.len(),
                ParsedExtension::NameConstraints(constraints) => {
                    let count = |list: Option<&Vec<_>>| list.map_or(0, Vec::len);
                    subtrees += count(constraints.permitted_subtrees.as_ref());
                    subtrees += count(constraints.excluded_subtrees.as_ref());
                }
                _ => {}
            }
        }
    }
    if names.saturating_mul(subtrees) > MOST_COMPARISONS {
        return Err(ChainTooLarge::Names { names, subtrees });
    }
    Ok(())
}

/// Whether it may have name constraints, without reading it: as mostly it has none.
fn may_constrain(der: &CertificateDer<'_>) -> bool {
    let mut windows = der.windows(NAME_CONSTRAINTS.len());
    windows.any(|window| window == NAME_CONSTRAINTS)
}

/// The intermediates as webpki should try them: it takes whichever comes first of those with the
/// issuer's name. Of several with one name the one whose key identifier is asked for comes first
/// (RFC 4158 §3.5.12), what leads nowhere is left out, and so are repetitions. Where each name is
/// there once there is nothing to choose.
pub(super) fn ordered<'a>(
    end_entity: &EndEntityCert<'_>,
    intermediates: &'a [CertificateDer<'a>],
) -> Cow<'a, [CertificateDer<'a>]> {
    let read = intermediates.iter().map(EndEntityCert::try_from);
    let read: Vec<_> = read.collect();
    let is_repeated = |(at, one): (usize, &Result<EndEntityCert<'_>, _>)| {
        let Ok(one) = one else { return false };
        let mut before = read[..at].iter().flatten();
        before.any(|other| other.subject() == one.subject())
    };
    if !read.iter().enumerate().any(is_repeated) {
        return Cow::Borrowed(intermediates);
    }

    let candidates: Vec<_> = intermediates
        .iter()
        .zip(&read)
        .map(|(der, one)| Candidate {
            der,
            names: one.as_ref().ok().map(|one| (one.subject(), one.issuer())),
            ids: KeyIds::of(der),
        })
        .collect();
    let own = end_entity.der();
    let mut order: Vec<usize> = Vec::with_capacity(candidates.len());
    let mut heads = vec![(end_entity.issuer(), KeyIds::of(&own).authority)];
    let mut at = 0;
    while let Some((issuer, key)) = heads.get(at).cloned() {
        at += 1;
        let mut next: Vec<usize> = Vec::new();
        for (number, candidate) in candidates.iter().enumerate() {
            let is_named = candidate.names.is_some_and(|(name, _)| name == issuer);
            let is_same = |other: &usize| candidates[*other].der == candidate.der;
            if is_named && !order.iter().chain(&next).any(is_same) {
                next.push(number);
            }
        }
        next.sort_by_key(|number| candidates[*number].ids.fit(key.as_deref()));
        for number in next {
            order.push(number);
            if let Some((_, issuer)) = candidates[number].names {
                heads.push((issuer, candidates[number].ids.authority.clone()));
            }
        }
    }
    // Kept for webpki's error about it.
    let unreadable = candidates.iter().enumerate();
    let unreadable = unreadable.filter(|(_, one)| one.names.is_none());
    order.extend(unreadable.map(|(number, _)| number));
    let ordered = order.iter().map(|number| intermediates[*number].clone());
    Cow::Owned(ordered.collect())
}

struct Candidate<'a> {
    der: &'a CertificateDer<'a>,
    /// The subject and the issuer; `None` if it cannot be read.
    names: Option<(&'a [u8], &'a [u8])>,
    ids: KeyIds,
}

/// The key identifiers of a certificate (RFC 5280 §4.2.1.1 and §4.2.1.2).
#[derive(Default)]
struct KeyIds {
    own: Option<Box<[u8]>>,
    authority: Option<Box<[u8]>>,
}

impl KeyIds {
    fn of(der: &[u8]) -> Self {
        let mut ids = Self::default();
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            return ids;
        };
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => ids.own = Some(id.0.into()),
                ParsedExtension::AuthorityKeyIdentifier(authority) => {
                    let id = authority.key_identifier.as_ref();
                    ids.authority = id.map(|id| id.0.into());
                }
                _ => {}
            }
        }
        ids
    }

    /// How badly the own key fits the one that is asked for: 0 is best. Another identifier is no proof
    /// of another key, so it is tried last and not left out.
    fn fit(&self, asked: Option<&[u8]>) -> u8 {
        match (asked, self.own.as_deref()) {
            (Some(asked), Some(own)) if asked == own => 0,
            (Some(_), Some(_)) => 2,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, GeneralSubtree, IsCa, Issuer, KeyPair,
        NameConstraints, SanType,
    };

    use super::*;

    fn params(subject: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject);
        change(&mut params);
        params
    }

    fn ca(params: &mut CertificateParams) {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.use_authority_key_identifier_extension = true;
    }

    /// A certificate of this subject that the issuer signed, and what signs with its key.
    fn issued(
        by: &Issuer<'_, KeyPair>,
        subject: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (CertificateDer<'static>, Issuer<'static, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let params = params(subject, change);
        let der = params.signed_by(&key, by).unwrap().der().clone();
        (der, Issuer::new(params, key))
    }

    fn root() -> Issuer<'static, KeyPair> {
        Issuer::new(params("Top", ca), KeyPair::generate().unwrap())
    }

    #[test]
    fn a_chain_of_exactly_the_bounds_is_taken() {
        let limits = ChainLimits {
            intermediates: 2,
            bytes: 10,
        };
        let of = |sizes: &[usize]| -> Vec<_> {
            let ders = sizes.iter().map(|size| vec![0; *size]);
            ders.map(CertificateDer::from).collect()
        };
        for (own, sizes, checked) in [
            (10, &[][..], Ok(())),
            (5, &[2, 3], Ok(())),
            (
                6,
                &[2, 3],
                Err(ChainTooLarge::Bytes {
                    sent: 11,
                    limit: 10,
                }),
            ),
            (
                0,
                &[0, 0, 0],
                Err(ChainTooLarge::Intermediates { sent: 3, limit: 2 }),
            ),
        ] {
            assert_eq!(
                limits.check(&vec![0; own], &of(sizes)),
                checked,
                "{sizes:?}"
            );
        }
    }

    #[test]
    fn names_are_compared_with_constraints_up_to_the_bound_exactly() {
        let root = root();
        let names = |at| SanType::DnsName(format!("n{at}.example.org").try_into().unwrap());
        let (sub, issuer) = issued(&root, "Sub", |params| {
            ca(params);
            let subtrees = |count| (0..count).map(|at| format!("{at}.example.org"));
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: subtrees(60).map(GeneralSubtree::DnsName).collect(),
                excluded_subtrees: subtrees(20).map(GeneralSubtree::DnsName).collect(),
            });
        });
        let (plain, _) = issued(&root, "Plain", ca);
        let (leaf, _) = issued(&issuer, "x", |params| {
            params.subject_alt_names = (0..99).map(names).collect();
        });
        let too_many = |names, subtrees| Err(ChainTooLarge::Names { names, subtrees });
        for (intermediates, anchored, checked) in [
            // Each certificate has its subject for one name more.
            (vec![], 100, Ok(())),
            (vec![], 101, too_many(100, 101)),
            (vec![plain.clone()], 99, Ok(())),
            (vec![plain.clone()], 100, too_many(101, 100)),
            (vec![plain], 0, Ok(())),
            // 101 names, and 80 constraints beside those of the client CA.
            (vec![sub.clone()], 0, Ok(())),
            (vec![sub.clone()], 19, Ok(())),
            (vec![sub], 20, too_many(101, 100)),
            // What cannot be read has neither names nor constraints.
            (vec![vec![0x30].into()], 100, Ok(())),
        ] {
            let found = check_names(&leaf, &intermediates, anchored);
            assert_eq!(found, checked, "{} {anchored}", intermediates.len());
        }
    }

    #[test]
    fn of_several_with_one_name_the_one_that_is_asked_for_by_its_key_comes_first() {
        let top = root();
        let (upper, upper_signs) = issued(&top, "Upper", ca);
        let (other_upper, _) = issued(&top, "Upper", ca);
        let (asked_for, signs) = issued(&upper_signs, "Sub", ca);
        let (other, _) = issued(&upper_signs, "Sub", ca);
        // What is no CA has no key identifier here.
        let (nameless, _) = issued(&upper_signs, "Sub", |_| {});
        let (stranger, _) = issued(&top, "Stranger", ca);
        let unreadable = CertificateDer::from(vec![0x30, 1]);

        let leaf = |asks: bool| {
            let (leaf, _) = issued(&signs, "x", |params| {
                params.use_authority_key_identifier_extension = asks;
            });
            leaf
        };
        let sent = [
            &other_upper,
            &unreadable,
            &other,
            &nameless,
            &stranger,
            &asked_for,
            &upper,
            &asked_for,
        ]
        .map(Clone::clone);
        let asking = leaf(true);
        let asking = EndEntityCert::try_from(&asking).unwrap();
        let by_key = [
            &asked_for,
            &nameless,
            &other,
            &upper,
            &other_upper,
            &unreadable,
        ];
        let found = ordered(&asking, &sent);
        assert!(found.iter().eq(by_key));

        // Without an identifier they stay as they came.
        let silent = leaf(false);
        let silent = EndEntityCert::try_from(&silent).unwrap();
        let as_sent = [&other, &nameless, &asked_for];
        let found = ordered(&silent, &sent);
        assert!(found.iter().take(3).eq(as_sent));

        // Nothing is chosen where each name is there once, whatever else is sent.
        let once = [&stranger, &unreadable, &upper, &other, &unreadable].map(Clone::clone);
        assert!(matches!(ordered(&asking, &once), Cow::Borrowed(same) if same == once));
    }
}
