use std::fmt;

use super::access::{Access, Mismatch, Target, accesses};
use super::{Caller, Policy, TagOracle, Verdict};
use crate::oci::Route;

/// Which rule decided, and why the others did not. `Display` is a text for an operator.
#[derive(Debug)]
pub struct Explanation<'a> {
    policy: &'a Policy,
    caller: Caller<'a>,
    verdict: Verdict,
    parts: Vec<Part<'a>>,
}

/// One thing that the request needs.
#[derive(Debug)]
struct Part<'a> {
    access: Access<'a>,
    verdict: Verdict,
    mismatches: Vec<(usize, Option<Mismatch>)>,
}

/// The one line of a refusal in the log.
#[derive(Debug)]
pub(super) struct Reason<'a> {
    pub(super) policy: &'a Policy,
    pub(super) verdict: Verdict,
    pub(super) caller: Caller<'a>,
    pub(super) route: &'a Route,
}

impl Policy {
    /// Decides as [`Policy::decide`] does, with the reasons. Looks at every rule, so it is for an operator's
    /// question and not for the way of a request.
    pub fn explain<'a>(
        &'a self,
        caller: Caller<'a>,
        route: &'a Route,
        tags: Option<&'a dyn TagOracle>,
    ) -> Explanation<'a> {
        let parts = accesses(route, tags).map(|access| {
            let mismatch = |rule: &super::Rule| rule.mismatch(&access, &caller);
            Part {
                access,
                verdict: self.judge(&caller, &access),
                mismatches: self.rules().iter().map(mismatch).enumerate().collect(),
            }
        });
        Explanation {
            policy: self,
            caller,
            verdict: self.decide(&caller, route, tags),
            parts: parts.collect(),
        }
    }
}

impl Explanation<'_> {
    /// Returns the decision.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Returns each rule's name, in the order of the rules, and what it is about instead of the request's first
    /// part, such as `other callers`; `None` for a rule that is about it.
    pub fn mismatches(&self) -> impl Iterator<Item = (&str, Option<&'static str>)> {
        let parts = self.parts.iter().take(1);
        parts.flat_map(|part| {
            part.mismatches.iter().filter_map(|(rule, mismatch)| {
                Some((
                    self.policy.rules().get(*rule)?.name(),
                    mismatch.map(Mismatch::label),
                ))
            })
        })
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}",
            if self.verdict.declines_mount() {
                "allowed as an ordinary upload, without the mount"
            } else if self.verdict.is_allowed() {
                "allowed"
            } else {
                "refused"
            }
        )?;
        for part in &self.parts {
            writeln!(
                f,
                "{} to {}: {}",
                CallerName(self.caller),
                part.access,
                Outcome(self.policy, part.verdict)
            )?;
            for (number, mismatch) in &part.mismatches {
                let Some(rule) = self.policy.rules().get(*number) else {
                    continue;
                };
                let effect = if rule.denies() { "deny" } else { "allow" };
                write!(f, "  {effect} {} ", RuleName(rule))?;
                match mismatch {
                    Some(mismatch) => writeln!(f, "is about {}", mismatch.label())?,
                    None => writeln!(f, "matches")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let caller = CallerName(self.caller);
        let action = self.verdict.action();
        match self.policy.rule_of(&self.verdict) {
            Some(rule) if self.verdict.is_allowed() => write!(f, "{} allows it", RuleName(rule)),
            Some(rule) => write!(f, "{} denies {caller} to {action}", RuleName(rule)),
            None => {
                write!(f, "no rule allows {caller} to {action}")?;
                // All that an upload pulls is what it mounts.
                let mounts = self.route.asks_for_mount() && action == super::Actions::PULL;
                match (mounts, self.route.mount_from(), self.route.repository()) {
                    (true, Some(repository), _) | (false, _, Some(repository)) => {
                        write!(f, " {repository}")
                    }
                    (true, None, _) => f.write_str(" any repository"),
                    (false, _, None) => Ok(()),
                }
            }
        }
    }
}

struct Outcome<'a>(&'a Policy, Verdict);

impl fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(policy, verdict) = self;
        match (policy.rule_of(verdict), verdict.is_allowed()) {
            (Some(rule), true) => write!(f, "allowed by {}", RuleName(rule)),
            (Some(rule), false) => write!(f, "denied by {}", RuleName(rule)),
            (None, _) => match verdict.refusal() {
                Some(crate::Refusal::PolicyNeedsCredentials) => {
                    f.write_str("no rule allows it without credentials")
                }
                _ => f.write_str("no rule allows it"),
            },
        }
    }
}

struct RuleName<'a>(&'a super::Rule);

impl fmt::Display for RuleName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {:?}", self.0.name())?;
        match self.0.line() {
            Some(line) => write!(f, " (line {line})"),
            None => Ok(()),
        }
    }
}

struct CallerName<'a>(Caller<'a>);

impl fmt::Display for CallerName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.principal {
            Some(principal) => principal.fmt(f),
            None => f.write_str("anonymous"),
        }
    }
}

impl fmt::Display for Access<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.action)?;
        match self.target {
            Target::Repository(name) => write!(f, " {name}")?,
            Target::AnyRepository => write!(f, " any repository")?,
            Target::Registry if self.action.on_paths().is_empty() => {}
            Target::Registry => write!(f, " {}", self.path)?,
        }
        if let Some(tag) = self.tag {
            write!(f, ":{tag}")?;
        }
        match self.registry {
            Some(registry) => write!(f, " of {registry}"),
            None => Ok(()),
        }
    }
}
