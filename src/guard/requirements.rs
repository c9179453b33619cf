//! Which client CA is held to which revocation.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Report;
use crate::crl::{CrlRequirement, Required, Revocation};
use crate::tls::Material;

/// No more names are written to a line.
const NAMES: usize = 10;

/// Whether the CRLs are asked for certificates of any client CA.
pub(super) fn asks_lists(material: &Material, revocation: &Revocation) -> bool {
    let requirements = revocation.requirements();
    let mut cas = material.ca_infos().peekable();
    cas.peek().is_none()
        || cas.any(|(_, ca)| requirements.of(ca).requirement != CrlRequirement::None)
}

/// Writes what is required of the certificates of each client CA.
pub(super) fn tell(material: &Material, revocation: &Revocation, report: &mut Report) {
    let requirements = revocation.requirements();
    let mut held: BTreeMap<Required, Vec<&str>> = BTreeMap::new();
    for (subject, ca) in material.ca_infos() {
        let subjects = held.entry(requirements.of(ca)).or_default();
        // A CA that was renewed has two certificates.
        if !subjects.contains(&subject) {
            subjects.push(subject);
        }
    }
    for (required, subjects) in held.into_iter().rev() {
        let cas = named(&subjects);
        match required.requirement {
            CrlRequirement::Required => {
                report.enforces(format!("a CRL must answer for each certificate of {cas}"));
            }
            CrlRequirement::IfListed => {
                report.is_open(format!(
                    "certificates of {cas} pass if no CRL is about them"
                ));
            }
            CrlRequirement::None => {
                report.is_open(format!("no CRL is asked for certificates of {cas}"));
                continue;
            }
        }
        if let Some(longest) = required.short_lived {
            let longest = span(longest);
            report.is_open(format!(
                "certificates of {cas} that are valid for no longer than {longest} need no CRL"
            ));
        }
    }
}

fn span(span: Duration) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let seconds = span.as_secs();
    let units = UNITS.into_iter();
    let mut whole = units.filter(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
    let (unit, noun) = whole.next().unwrap_or((1, "second"));
    let count = seconds / unit;
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn named(subjects: &[&str]) -> String {
    let first = subjects.iter().take(NAMES);
    let first: Vec<_> = first.map(|subject| format!("{subject:?}")).collect();
    let first = first.join(", ");
    match subjects.len().checked_sub(NAMES) {
        Some(more @ 1..) => format!("{first} and {more} more"),
        _ => first,
    }
}
