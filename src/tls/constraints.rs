//! Why webpki finds a name outside the name constraints of a CA (RFC 5280 §4.2.1.10): it checks DNS
//! names and IP addresses, and refuses every name of another form that is constrained.

use std::net::IpAddr;

use x509_parser::extensions::{GeneralName, GeneralSubtree};
use x509_parser::prelude::X509Certificate;

use super::quoted::{clip, leaf};
use super::rejection::Rejection;
use crate::PeerIdentity;
use crate::identity::name_text;

pub(super) fn name_words(rejection: &Rejection) -> String {
    let read = rejection.chain.iter();
    let read: Vec<_> = read
        .filter_map(|der| PeerIdentity::parse(der).ok())
        .collect();
    let anchors = rejection.anchors.constrained();
    let anchors: Vec<_> = anchors
        .filter_map(|der| PeerIdentity::parse(der).ok())
        .collect();
    let found = outside(&read, &anchors);
    let of = |at: usize| {
        if at == 0 {
            return leaf(rejection);
        }
        let subject = read.get(at).map(|one| name_text(one.subject().as_raw()));
        let subject = subject.unwrap_or_default();
        format!("the intermediate CA's certificate `{}`", clip(&subject))
    };
    match found {
        Some(Outside::Name { of: at, name, ca }) => format!(
            "{} has the name `{}`, outside the name constraints of `{}` above it",
            of(at),
            clip(&name),
            clip(&ca)
        ),
        Some(Outside::Form { of: at, form, ca }) => format!(
            "`{}` above {} has name constraints on {form}, which are not supported: names of that form \
             are refused beneath it, whether they keep to the constraints or not",
            clip(&ca),
            of(at)
        ),
        None => format!(
            "{} has a name that the name constraints of a CA above it do not permit",
            leaf(rejection)
        ),
    }
}

enum Outside {
    /// A name that is not permitted, or excluded.
    Name { of: usize, name: String, ca: String },
    /// A name of a form that is constrained and not checked.
    Form {
        of: usize,
        form: &'static str,
        ca: String,
    },
}

/// The first name of a certificate, the client's first, that the constraints of one after it refuse, or of a
/// client CA that issued one of them.
fn outside(chain: &[X509Certificate<'_>], anchors: &[X509Certificate<'_>]) -> Option<Outside> {
    let sent = chain.iter().enumerate().skip(1).map(|(at, ca)| (ca, at));
    let anchors = chain.iter().enumerate().flat_map(|(at, one)| {
        let issued =
            move |ca: &&X509Certificate<'_>| ca.subject().as_raw() == one.issuer().as_raw();
        anchors.iter().filter(issued).map(move |ca| (ca, at + 1))
    });
    let mut form = None;
    for (ca, below) in sent.chain(anchors) {
        let Ok(Some(constraints)) = ca.name_constraints() else {
            continue;
        };
        let permitted = constraints
            .value
            .permitted_subtrees
            .as_deref()
            .unwrap_or_default();
        let excluded = constraints
            .value
            .excluded_subtrees
            .as_deref()
            .unwrap_or_default();
        let name = || name_text(ca.subject().as_raw());
        for (of, beneath) in chain.iter().take(below).enumerate() {
            let sans = beneath.subject_alternative_name().ok().flatten();
            let sans = sans.map_or(&[][..], |san| san.value.general_names.as_slice());
            for san in sans {
                match verdict(san, permitted, excluded) {
                    Verdict::Inside => {}
                    Verdict::Outside(name_of) => {
                        let ca = name();
                        return Some(Outside::Name {
                            of,
                            name: name_of,
                            ca,
                        });
                    }
                    Verdict::NotChecked(kind) => {
                        form.get_or_insert_with(|| Outside::Form {
                            of,
                            form: kind,
                            ca: name(),
                        });
                    }
                }
            }
            let mut all = permitted.iter().chain(excluded);
            // webpki takes every subject for a constrained directory name.
            if all.any(|one| matches!(one.base, GeneralName::DirectoryName(_))) {
                let kind = "directory names";
                form.get_or_insert_with(|| Outside::Form {
                    of,
                    form: kind,
                    ca: name(),
                });
            }
        }
    }
    form
}

enum Verdict {
    Inside,
    Outside(String),
    NotChecked(&'static str),
}

fn verdict(
    name: &GeneralName<'_>,
    permitted: &[GeneralSubtree<'_>],
    excluded: &[GeneralSubtree<'_>],
) -> Verdict {
    let same_form = |subtree: &&GeneralSubtree<'_>| {
        std::mem::discriminant(&subtree.base) == std::mem::discriminant(name)
    };
    let mut permitted = permitted.iter().filter(same_form).peekable();
    let mut excluded = excluded.iter().filter(same_form).peekable();
    if permitted.peek().is_none() && excluded.peek().is_none() {
        return Verdict::Inside;
    }
    let text = match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => address(bytes),
        GeneralName::URI(_) => return Verdict::NotChecked("URIs"),
        GeneralName::RFC822Name(_) => return Verdict::NotChecked("e-mail addresses"),
        GeneralName::DirectoryName(_) => return Verdict::NotChecked("directory names"),
        _ => return Verdict::NotChecked("names of another form"),
    };
    let is_permitted = permitted.peek().is_none() || permitted.any(|one| within(name, &one.base));
    if is_permitted && !excluded.any(|one| within(name, &one.base)) {
        Verdict::Inside
    } else {
        Verdict::Outside(text)
    }
}

fn within(name: &GeneralName<'_>, base: &GeneralName<'_>) -> bool {
    match (name, base) {
        (GeneralName::DNSName(name), GeneralName::DNSName(base)) => {
            let (name, base) = (name.to_ascii_lowercase(), base.to_ascii_lowercase());
            let base = base.strip_prefix('.').unwrap_or(&base);
            let rest = name.strip_suffix(base);
            rest.is_some_and(|rest| base.is_empty() || rest.is_empty() || rest.ends_with('.'))
        }
        // The base is an address and its mask.
        (GeneralName::IPAddress(name), GeneralName::IPAddress(base)) => {
            let (base, mask) = base.split_at(base.len() / 2);
            let same = |((own, base), mask): ((&u8, &u8), &u8)| own & mask == base & mask;
            name.len() == base.len() && name.iter().zip(base).zip(mask).all(same)
        }
        _ => false,
    }
}

fn address(bytes: &[u8]) -> String {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    v4.or(v6)
        .map_or_else(|_| format!("{bytes:02x?}"), |address| address.to_string())
}
