//! RFC 9608: certificates for which their CA publishes no revocation information.

use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{
    OID_PKIX_AUTHORITY_INFO_ACCESS, OID_X509_EXT_CRL_DISTRIBUTION_POINTS,
};
use x509_parser::prelude::X509Certificate;

/// id-ce-noRevAvail, 2.5.29.56.
const NO_REV_AVAIL: &[u8] = &[0x55, 0x1d, 0x38];
/// id-ce-freshestCRL, 2.5.29.46.
const FRESHEST_CRL: &[u8] = &[0x55, 0x1d, 0x2e];
/// id-ad-ocsp, 1.3.6.1.5.5.7.48.1.
const OCSP: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01];
/// RFC 9608 §2: the value is NULL.
const NULL: &[u8] = &[0x05, 0x00];

/// What a certificate says of its revocation information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRevAvail {
    Absent,
    /// There is none, whether the extension is marked critical or not.
    Present,
    /// RFC 9608 §3: the certificate is to be considered invalid, for this reason.
    Contradicted(&'static str),
}

impl NoRevAvail {
    pub(super) fn of(certificate: &X509Certificate<'_>, is_ca: bool) -> Self {
        let extensions = certificate.extensions();
        let is_it = |oid: &[u8]| oid == NO_REV_AVAIL;
        let found = extensions.iter().find(|one| is_it(one.oid.as_bytes()));
        let Some(found) = found else {
            return Self::Absent;
        };
        if found.value != NULL {
            return Self::Contradicted("its value is not NULL");
        }
        if is_ca {
            return Self::Contradicted("it is a CA's");
        }
        for extension in extensions {
            match extension.parsed_extension() {
                _ if extension.oid == OID_X509_EXT_CRL_DISTRIBUTION_POINTS => {
                    return Self::Contradicted("it names CRL distribution points");
                }
                ParsedExtension::AuthorityInfoAccess(access) => {
                    let mut named = access.accessdescs.iter();
                    if named.any(|one| one.access_method.as_bytes() == OCSP) {
                        return Self::Contradicted("it names an OCSP responder");
                    }
                }
                _ if extension.oid == OID_PKIX_AUTHORITY_INFO_ACCESS => {
                    return Self::Contradicted("what it names for access to its CA cannot be read");
                }
                _ if extension.oid.as_bytes() == FRESHEST_CRL => {
                    return Self::Contradicted("it names delta CRLs");
                }
                _ => {}
            }
        }
        Self::Present
    }
}

/// The SPIFFE IDs and other URIs that a certificate names.
pub(super) fn uris(certificate: &X509Certificate<'_>) -> Box<[Box<str>]> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names
        .into_iter()
        .flat_map(|names| &names.value.general_names);
    let uris = names.filter_map(|name| match name {
        GeneralName::URI(uri) => Some(Box::from(*uri)),
        _ => None,
    });
    uris.collect()
}
