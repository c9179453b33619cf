//! What is logged of client certificates, and what is read in them.

use portcullis::PeerIdentity;
use portcullis::identity::forwarded::{pem, rfc9440, xfcc};
use portcullis::identity::{Mapping, Rule};

use super::number;

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

/// An element as Envoy would write it.
fn written(element: &xfcc::Element) -> String {
    let mut pairs = Vec::new();
    let mut pair = |key: &str, value: &str| pairs.push(format!("{key}={}", quoted(value)));
    element.by.iter().for_each(|by| pair("By", by));
    element.uri.iter().for_each(|uri| pair("URI", uri));
    element.dns.iter().for_each(|dns| pair("DNS", dns));
    for (key, value) in [
        ("Hash", &element.hash),
        ("Cert", &element.cert),
        ("Chain", &element.chain),
        ("Subject", &element.subject),
    ] {
        if let Some(value) = value {
            pair(key, value);
        }
    }
    // One of which nothing is known to us.
    let nothing = pairs.is_empty();
    if nothing {
        "Key=x".to_owned()
    } else {
        pairs.join(";")
    }
}

/// An `X-Forwarded-Client-Cert`.
pub fn xfcc(input: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(input) else {
        return 0;
    };
    let elements = match xfcc::parse(text) {
        Ok(elements) => elements,
        Err(error) => return number(format!("{error:?}")),
    };
    let again: Vec<_> = elements.iter().map(written).collect();
    let again = again.join(",");
    assert_eq!(
        xfcc::parse(&again).as_ref(),
        Ok(&elements),
        "{text:?} {again:?}"
    );
    // Commas and semicolons outside quotes part, and nothing else does.
    let unquoted = text
        .split('"')
        .step_by(2)
        .map(|part| part.matches(',').count());
    if !text.contains('\\') {
        assert_eq!(elements.len(), unquoted.sum::<usize>() + 1, "{text:?}");
    }
    for element in &elements {
        for value in element.chain.iter().chain(&element.cert) {
            let _ = pem::unescape(value);
        }
    }
    let last = &elements[elements.len() - 1];
    number((
        elements.len().min(4),
        last.subject.is_some(),
        last.hash.is_some(),
        last.uri.len().min(3),
        last.dns.len().min(3),
    ))
}

/// A certificate, as RFC 9440 has it in a header, or its DER.
pub fn certificate(input: &[u8]) -> u64 {
    let text = std::str::from_utf8(input).unwrap_or_default();
    let der = rfc9440::item(text).unwrap_or_else(|_| input.to_vec());
    let identity = match PeerIdentity::from_der(&der) {
        Ok(identity) => identity,
        Err(error) => {
            let kind = format!("{error:?}");
            return number(kind.split(['(', '"']).next().map(str::to_owned));
        }
    };
    let name = identity.name();
    assert!(!name.is_empty());
    for text in [name, identity.subject(), identity.issuer()] {
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    let names = [identity.dns_names(), identity.emails(), identity.uris()];
    for name in names.into_iter().flatten() {
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic()), "{name:?}");
    }
    if name.starts_with("spiffe:") {
        assert_eq!(identity.spiffe_id(), Some(name));
        assert_eq!(identity.uris().len(), 1);
    }
    // By a common name no caller is called who could be another, and no rule matches what is not there.
    let rule = Rule::new("{name}").and_then(|rule| rule.when("subject.CN", "{name}"));
    let rules = rule.and_then(|rule| Mapping::new([rule])).unwrap();
    let principal = rules.principal(&identity);
    let common: Vec<_> = identity.subject_attribute("CN").collect();
    let known = principal.id() == name || common.contains(&principal.id());
    assert!(known, "{principal}");
    let by_name = Mapping::default().with_common_name(true);
    let principal = by_name.principal(&identity);
    let known = principal.id() == name || common == [principal.id()];
    assert!(known, "{principal}");
    number((
        identity.spiffe_id().is_some(),
        identity.x509_svid().err().map(|error| error.to_string()),
        identity.dns_names().len().min(2),
        identity.emails().len().min(2),
        common.len().min(2),
    ))
}
