use std::fmt;

use super::der::{self, Malformed, Reader, Value};
use crate::identity::DistinguishedName;
use crate::util::hex;

const URI: u8 = der::context(6, false);
const DIRECTORY_NAME: u8 = der::context(4, true);

/// A `GeneralName` of a distribution point (RFC 5280 §4.2.1.6), compared by RFC 5280 §7.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum GeneralName {
    Directory(DistinguishedName),
    /// A URI whose scheme and host are in lower case (RFC 5280 §7.4).
    Uri(Box<str>),
    /// Any other, DER.
    Other(Box<[u8]>),
}

impl GeneralName {
    pub(super) fn of(value: &Value<'_>) -> Self {
        match (value.tag, str::from_utf8(value.content)) {
            (DIRECTORY_NAME, _) => Self::Directory(DistinguishedName::new(value.content)),
            (URI, Ok(uri)) => Self::Uri(normalized(uri)),
            _ => Self::Other(value.encoded.into()),
        }
    }

    /// All that a `GeneralNames` holds, of which this is the content.
    pub(super) fn all(mut names: Reader<'_>) -> Result<Vec<Self>, Malformed> {
        let mut all = Vec::new();
        while !names.is_empty() {
            all.push(Self::of(&names.any()?));
        }
        Ok(all)
    }
}

fn normalized(uri: &str) -> Box<str> {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return uri.into();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (format!("{user}@"), host),
        None => (String::new(), authority),
    };
    let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
    format!("{scheme}://{user}{host}{path}").into()
}

impl fmt::Display for GeneralName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(name) => name.fmt(f),
            Self::Uri(uri) => f.write_str(uri),
            Self::Other(der) => f.write_str(&hex::encode(der)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_case_of_a_scheme_and_a_host_does_not_count_and_that_of_a_path_does() {
        let uri = |text: &str| {
            let der = der::encode(URI, text.as_bytes());
            GeneralName::of(&Reader::new(&der).any().unwrap())
        };
        let one = uri("http://crl.example.org:8080/Nodes.crl");
        assert_eq!(one, uri("HTTP://CRL.Example.ORG:8080/Nodes.crl"));
        for other in [
            "http://crl.example.org:8080/nodes.crl",
            "http://crl.example.org/Nodes.crl",
            "https://crl.example.org:8080/Nodes.crl",
        ] {
            assert_ne!(one, uri(other), "{other}");
        }
        assert_ne!(uri("http://User@a/"), uri("http://user@a/"));
        assert_eq!(uri("http://User@A?Q"), uri("http://User@a?Q"));
        assert_ne!(uri("urn:A"), uri("urn:a"));
    }
}
