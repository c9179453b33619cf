use reqwest::Url;
use x509_parser::extensions::{DistributionPointName, GeneralName};
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

use crate::fetch::address::parse;

/// The HTTP distribution points that a certificate names, whichever reasons their lists are about.
pub(super) fn named_in(certificate: &[u8]) -> Vec<Url> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let points = certificate
        .extensions()
        .iter()
        .filter_map(|one| match one.parsed_extension() {
            ParsedExtension::CRLDistributionPoints(points) => Some(&points.points),
            _ => None,
        });
    let names = points
        .flatten()
        .filter_map(|point| match &point.distribution_point {
            Some(DistributionPointName::FullName(names)) => Some(names),
            _ => None,
        });
    // Several names of one point are of the same list (RFC 5280 §4.2.1.13).
    let urls = names.filter_map(|names| {
        names.iter().find_map(|name| match name {
            GeneralName::URI(uri) => parse(uri).ok(),
            _ => None,
        })
    });
    urls.collect()
}
