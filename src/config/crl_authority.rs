use serde::Deserialize;

use super::bounds::{Bounds, DAY, SECOND};
use super::{ConfigError, HumanDuration, Key};
use crate::crl::{AuthorityRule, CrlRequirement, LoadError};

/// The longest validity of a certificate that may do without a CRL.
const LONGEST: std::time::Duration = DAY.saturating_mul(31);

/// `[[crl.authority]]`: what is required of the certificates under one client CA.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct CrlAuthoritySection {
    /// The client CA: its subject in RFC 4514 form, or in hexadecimal the SHA-256 of its public key or its
    /// key identifier.
    pub(crate) ca: String,
    /// Whether a CRL must answer for each of its certificates: `"required"` (default), `"if-listed"` or
    /// `"none"`.
    #[serde(default)]
    pub(crate) revocation: CrlRevocation,
    /// In place of `crl.short_lived` for its certificates.
    pub(crate) short_lived: Option<HumanDuration>,
}

/// Whether a CRL must answer for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CrlRevocation {
    /// One must say that it is not revoked.
    #[default]
    Required,
    /// Those that there are count; a certificate that none is about passes.
    IfListed,
    /// None is asked.
    None,
}

impl CrlAuthoritySection {
    pub(crate) fn rule(&self) -> Result<AuthorityRule, LoadError> {
        let requirement = match self.revocation {
            CrlRevocation::Required => CrlRequirement::Required,
            CrlRevocation::IfListed => CrlRequirement::IfListed,
            CrlRevocation::None => CrlRequirement::None,
        };
        let rule = AuthorityRule::new(&self.ca, requirement)?;
        Ok(match self.short_lived {
            Some(HumanDuration(longest)) => rule.with_short_lived(longest),
            None => rule,
        })
    }
}

/// Checks that each names a CA, and no other names it in the same way.
pub(super) fn check(
    sections: &[CrlAuthoritySection],
    check: &Bounds<'_>,
) -> Result<(), ConfigError> {
    let mut known: Vec<AuthorityRule> = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        let key = |name| Key::from("crl.authority").at(index).key(name);
        short_lived(key("short_lived"), section.short_lived, check)?;
        let rule = section
            .rule()
            .map_err(|error| check.0.invalid(key("ca"), error))?;
        if known.iter().any(|other| other.is_for_ca_of(&rule)) {
            let twice = format!("{:?} has a rule already: write one for it", section.ca);
            return Err(check.0.invalid(key("ca"), twice));
        }
        known.push(rule);
    }
    Ok(())
}

pub(super) fn short_lived(
    key: impl Into<Key>,
    longest: Option<HumanDuration>,
    check: &Bounds<'_>,
) -> Result<(), ConfigError> {
    check.span(key, longest, SECOND..=LONGEST)
}
