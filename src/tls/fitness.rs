//! Whether a certificate is fit to be a trust anchor (RFC 5280 §6.1.1): webpki trusts any certificate
//! that it is given as one.

use std::time::SystemTime;

use x509_parser::oid_registry::Oid;
use x509_parser::prelude::{X509Certificate, X509Version};

use super::time;

/// The extensions that an anchor may have as critical ones: those that are checked here or by webpki,
/// and those on policies that change nothing where no policy is required. `policyConstraints` requires
/// one, which is not checked, and so it is not among them.
const UNDERSTOOD: [&str; 11] = [
    "2.5.29.14", // subjectKeyIdentifier
    "2.5.29.15", // keyUsage
    "2.5.29.17", // subjectAltName
    "2.5.29.19", // basicConstraints
    "2.5.29.30", // nameConstraints
    "2.5.29.31", // cRLDistributionPoints
    "2.5.29.32", // certificatePolicies
    "2.5.29.33", // policyMappings
    "2.5.29.35", // authorityKeyIdentifier
    "2.5.29.37", // extKeyUsage
    "2.5.29.54", // inhibitAnyPolicy
];

/// How a certificate was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// In a file that the operator named.
    ByName,
    /// In a file of a folder that the operator named.
    InFolder,
}

/// Why a certificate is no trust anchor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("its extensions cannot be read: {0}")]
    Unreadable(String),
    #[error(
        "it is of X.509 version 1, which does not say whether it is a CA: name its file itself if it \
         is to be trusted"
    )]
    Version1,
    #[error("it is no CA certificate: its basic constraints do not say CA:TRUE")]
    NotACa,
    #[error("its key usage does not allow it to sign certificates (keyCertSign)")]
    MayNotSign,
    #[error("its extended key usage does not allow client certificates (clientAuth)")]
    WrongPurpose,
    #[error("it has the critical extension {0}, which is not understood")]
    CriticalExtension(String),
    #[error("it is never valid: its validity ends before it begins")]
    NeverValid,
    #[error("it is not valid yet")]
    NotYetValid,
    #[error("it is not valid any more")]
    Expired,
}

/// Whether this certificate may be a trust anchor for client certificates.
pub(super) fn check(
    certificate: &X509Certificate<'_>,
    given: Given,
    now: SystemTime,
) -> Result<(), Unfit> {
    let unreadable = |error: x509_parser::error::X509Error| Unfit::Unreadable(error.to_string());
    if certificate.version() == X509Version::V3 {
        let constraints = certificate.basic_constraints().map_err(unreadable)?;
        // RFC 5280 §6.1.4 (k).
        if !constraints.is_some_and(|constraints| constraints.value.ca) {
            return Err(Unfit::NotACa);
        }
        // RFC 5280 §6.1.4 (n).
        let usage = certificate.key_usage().map_err(unreadable)?;
        if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
            return Err(Unfit::MayNotSign);
        }
        let purposes = certificate.extended_key_usage().map_err(unreadable)?;
        if purposes.is_some_and(|purposes| !purposes.value.client_auth && !purposes.value.any) {
            return Err(Unfit::WrongPurpose);
        }
        if let Some(oid) = unknown_critical(certificate) {
            return Err(Unfit::CriticalExtension(oid));
        }
    } else if given == Given::InFolder {
        return Err(Unfit::Version1);
    }
    let now = i64::try_from(time::seconds(now)).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    let (begin, end) = (
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    );
    if end < begin {
        return Err(Unfit::NeverValid);
    }
    if now < begin {
        return Err(Unfit::NotYetValid);
    }
    if now > end {
        return Err(Unfit::Expired);
    }
    Ok(())
}

/// RFC 5280 §6.1.4 (o).
fn unknown_critical(certificate: &X509Certificate<'_>) -> Option<String> {
    let is_understood = |oid: &Oid<'_>| UNDERSTOOD.contains(&oid.to_id_string().as_str());
    let mut extensions = certificate.extensions().iter();
    let unknown = extensions.find(|one| one.critical && !is_understood(&one.oid))?;
    Some(unknown.oid.to_id_string())
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa,
        KeyPair, KeyUsagePurpose,
    };
    use x509_parser::prelude::FromDer;

    use super::*;

    fn fitness(change: impl FnOnce(&mut CertificateParams)) -> Result<(), Unfit> {
        fitness_at(SystemTime::now(), change)
    }

    fn fitness_at(
        now: SystemTime,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Result<(), Unfit> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        change(&mut params);
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let (_, certificate) = X509Certificate::from_der(der.der()).unwrap();
        check(&certificate, Given::ByName, now)
    }

    fn critical(oid: &[u64], value: &[u8]) -> CustomExtension {
        let mut extension = CustomExtension::from_oid_content(oid, value.to_vec());
        extension.set_criticality(true);
        extension
    }

    #[test]
    fn only_a_ca_that_may_sign_for_clients_now_and_is_understood_is_fit() {
        let day = |days| ::time::OffsetDateTime::now_utc() + ::time::Duration::days(days);
        assert_eq!(fitness(|_| {}), Ok(()));
        assert_eq!(fitness(|ca| ca.key_usages = vec![]), Ok(()));
        assert_eq!(fitness(|ca| ca.is_ca = IsCa::NoCa), Err(Unfit::NotACa));
        assert_eq!(
            fitness(|ca| ca.is_ca = IsCa::ExplicitNoCa),
            Err(Unfit::NotACa)
        );
        assert_eq!(
            fitness(|ca| ca.key_usages = vec![KeyUsagePurpose::CrlSign]),
            Err(Unfit::MayNotSign)
        );
        for (purposes, is_fit) in [
            (vec![ExtendedKeyUsagePurpose::ServerAuth], false),
            (vec![ExtendedKeyUsagePurpose::ClientAuth], true),
            (vec![ExtendedKeyUsagePurpose::Any], true),
        ] {
            let found = fitness(|ca| ca.extended_key_usages = purposes);
            assert_eq!(found.is_ok(), is_fit);
            assert!(is_fit || found == Err(Unfit::WrongPurpose));
        }
        assert_eq!(
            fitness(|ca| ca.custom_extensions = vec![critical(&[1, 2, 3, 4], b"\x05\0")]),
            Err(Unfit::CriticalExtension("1.2.3.4".into()))
        );
        // `anyPolicy` changes nothing, but that a policy is required is not checked.
        let policies = critical(&[2, 5, 29, 32], b"\x30\x08\x30\x06\x06\x04\x55\x1d\x20\0");
        assert_eq!(fitness(|ca| ca.custom_extensions = vec![policies]), Ok(()));
        let required = critical(&[2, 5, 29, 36], b"\x30\x03\x80\x01\0");
        assert_eq!(
            fitness(|ca| ca.custom_extensions = vec![required]),
            Err(Unfit::CriticalExtension("2.5.29.36".into()))
        );
        assert_eq!(
            fitness(|ca| ca.not_before = day(1)),
            Err(Unfit::NotYetValid)
        );
        assert_eq!(fitness(|ca| ca.not_after = day(-1)), Err(Unfit::Expired));
    }

    #[test]
    fn a_ca_is_valid_from_its_first_second_to_its_last() {
        let (first, last) = (1_700_000_000, 1_800_000_000);
        let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        for (now, fit) in [
            (first - 1, Err(Unfit::NotYetValid)),
            (first, Ok(())),
            (last, Ok(())),
            (last + 1, Err(Unfit::Expired)),
        ] {
            let found = fitness_at(at(now), |ca| {
                ca.not_before = at(first).into();
                ca.not_after = at(last).into();
            });
            assert_eq!(found, fit, "{now}");
        }
    }
}
