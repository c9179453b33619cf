use std::time::SystemTime;

use portcullis::crl::{DecidingCrl, Finding, LoadError};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What is said of a certificate.
#[derive(Default)]
pub(super) struct Outcome<'a> {
    pub(super) good: bool,
    /// Why it is refused, as the gate's log and metrics call it.
    pub(super) reason: Option<&'static str>,
    /// `None` if no path leads to a client CA.
    pub(super) verdict: Option<&'static str>,
    pub(super) why: String,
    pub(super) path: Option<Path>,
    /// What the operator should know of the client CAs and the lists.
    pub(super) notes: Vec<String>,
    /// Lists that are not used.
    pub(super) refused: Vec<&'a LoadError>,
}

pub(super) struct Path {
    pub(super) findings: Vec<Finding>,
    /// The subject of the client CA.
    pub(super) anchor: String,
}

impl Outcome<'_> {
    /// On standard output; what was left out on standard error too.
    pub(super) fn print(&self, as_json: bool) {
        for note in &self.notes {
            eprintln!("portcullisctl: {note}");
        }
        for error in &self.refused {
            eprintln!("portcullisctl: not used: {error}");
        }
        if as_json {
            println!("{}", self.json());
        } else {
            self.print_text();
        }
    }

    fn print_text(&self) {
        let word = if self.good { "good" } else { "refused" };
        println!("{word}: {}", self.why);
        let Some(path) = &self.path else {
            return;
        };
        for one in &path.findings {
            println!("{} by {}: {}", one.subject, one.issuer, one.verdict);
            for list in &one.decided_by {
                println!("  {}", crl_line(list));
            }
        }
        println!("{}: the client CA", path.anchor);
    }

    fn json(&self) -> Value {
        let path = self.path.iter().flat_map(|path| &path.findings);
        let path: Vec<_> = path
            .map(|one| {
                json!({
                    "subject": one.subject,
                    "issuer": one.issuer,
                    "serial": one.serial,
                    "verdict": one.verdict.to_string(),
                    "decided_by": one.decided_by.iter().map(described).collect::<Vec<_>>(),
                })
            })
            .collect();
        let refused = self.refused.iter().map(|error| match error {
            LoadError::List {
                origin,
                number,
                error,
            } => json!({ "file": origin, "number": number, "why": error.to_string() }),
            other => json!({ "why": other.to_string() }),
        });
        json!({
            "good": self.good,
            "reason": self.reason,
            "verdict": self.verdict,
            "why": self.why,
            "path": path,
            "anchor": self.path.as_ref().map(|path| &path.anchor),
            "unused_crls": refused.collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

fn described(list: &DecidingCrl) -> Value {
    json!({
        "issuer": list.issuer,
        "scope": list.scope,
        "number": list.number,
        "this_update": rfc3339(list.this_update),
        "next_update": rfc3339(list.next_update),
    })
}

fn crl_line(list: &DecidingCrl) -> String {
    let number = list.number.as_deref().unwrap_or("none");
    format!(
        "CRL of {} ({}), number {number}, from {} to {}",
        list.issuer,
        list.scope,
        rfc3339(list.this_update),
        rfc3339(list.next_update)
    )
}

pub(super) fn rfc3339(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    time.format(&Rfc3339).unwrap_or_else(|_| time.to_string())
}
