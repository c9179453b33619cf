//! What is required of the certificates under each client CA.

use std::sync::Arc;
use std::time::Duration;

use super::ca_info::CaInfo;
use super::{DenyList, LoadError, Options};
use crate::Watched;
use crate::identity::NameKey;
use crate::util::hex;

/// Whether a CRL must answer for the certificates under a client CA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum CrlRequirement {
    /// No CRL is asked: not even one that revokes the certificate counts.
    None,
    /// The CRLs that there are count. A certificate that no CRL is about passes, as by
    /// [`Options::unknown_allowed`](super::Options::unknown_allowed).
    IfListed,
    /// A CRL must say that the certificate is not revoked.
    #[default]
    Required,
}

/// A shorter key identifier, in octets, is a slip of the hand.
const SHORTEST_KEY_ID: usize = 8;

/// What is required of the certificates whose path leads to one client CA.
///
/// Of several rules for one client CA the strictest counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityRule {
    ca: CaName,
    requirement: CrlRequirement,
    short_lived: Option<Duration>,
}

/// What a rule names a client CA by.
#[derive(Clone, Debug, PartialEq, Eq)]
enum CaName {
    Subject(NameKey),
    Key(Box<[u8]>),
}

/// The options and the rules that a path is judged by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requirements {
    pub(crate) options: Options,
    pub(super) rules: Arc<[AuthorityRule]>,
    /// Whether there is nothing to be asked where no rule says otherwise.
    pub(crate) without_crls: bool,
    pub(super) denied: Option<Watched<DenyList>>,
}

/// What is required of the certificates under a CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Required {
    pub(crate) requirement: CrlRequirement,
    pub(crate) short_lived: Option<Duration>,
}

impl AuthorityRule {
    /// Requires that a CRL says of each certificate under the client CA that it is not revoked. `ca` is the CA's
    /// subject in RFC 4514 form, or in hexadecimal, with colons or without, the SHA-256 of its public key
    /// (`SubjectPublicKeyInfo`) or its key identifier. Subjects are compared by RFC 5280 §7.1.
    ///
    /// # Errors
    /// The text is neither.
    pub fn required(ca: &str) -> Result<Self, LoadError> {
        Self::new(ca, CrlRequirement::Required)
    }

    /// Counts the CRLs that there are. A certificate that no CRL is about passes, as by
    /// [`Options::unknown_allowed`]. `ca` is as of [`AuthorityRule::required`].
    ///
    /// # Errors
    /// As of [`AuthorityRule::required`].
    pub fn if_listed(ca: &str) -> Result<Self, LoadError> {
        Self::new(ca, CrlRequirement::IfListed)
    }

    /// Asks no CRL: not even one that revokes the certificate counts. `ca` is as of [`AuthorityRule::required`].
    ///
    /// # Errors
    /// As of [`AuthorityRule::required`].
    pub fn without_crl(ca: &str) -> Result<Self, LoadError> {
        Self::new(ca, CrlRequirement::None)
    }

    pub(crate) fn new(ca: &str, requirement: CrlRequirement) -> Result<Self, LoadError> {
        Ok(Self {
            ca: CaName::parse(ca)?,
            requirement,
            short_lived: None,
        })
    }

    /// Lets end-entity certificates pass without a CRL whose whole validity is no longer than this, in place
    /// of [`Options::short_lived`].
    #[must_use]
    pub fn with_short_lived(mut self, longest: Duration) -> Self {
        self.short_lived = Some(longest);
        self
    }

    /// Whether both name the CA in the same way.
    #[cfg(feature = "config")]
    pub(crate) fn is_for_ca_of(&self, other: &Self) -> bool {
        self.ca == other.ca
    }

    pub(crate) fn is_for(&self, ca: &CaInfo) -> bool {
        match &self.ca {
            CaName::Subject(name) => *name == ca.name,
            CaName::Key(key) => **key == ca.key || ca.key_ids.contains(key),
        }
    }
}

impl CaName {
    fn parse(text: &str) -> Result<Self, LoadError> {
        if text.contains('=') {
            let name = NameKey::written(text).ok_or(LoadError::CaName)?;
            return Ok(Self::Subject(name));
        }
        let key = hex::decode(&text.replace(':', "")).filter(|key| key.len() >= SHORTEST_KEY_ID);
        key.map(|key| Self::Key(key.into()))
            .ok_or(LoadError::CaName)
    }
}

impl Requirements {
    /// What is required of the certificates under this CA.
    pub(crate) fn of(&self, ca: &CaInfo) -> Required {
        let options = &self.options;
        let of_rules = self.rules.iter().filter(|rule| rule.is_for(ca));
        let of_rules = of_rules.map(|rule| Required {
            requirement: rule.requirement,
            short_lived: rule.short_lived.or(options.short_lived),
        });
        let strictest = of_rules.reduce(|one, other| Required {
            requirement: one.requirement.max(other.requirement),
            // None of both is the stricter.
            short_lived: one.short_lived.min(other.short_lived),
        });
        strictest.unwrap_or(Required {
            requirement: match options.unknown_allowed {
                _ if self.without_crls => CrlRequirement::None,
                false => CrlRequirement::Required,
                true => CrlRequirement::IfListed,
            },
            short_lived: options.short_lived,
        })
    }

    /// The rules that are for none of these CAs.
    #[cfg(feature = "config")]
    pub(crate) fn without_ca<'a>(&'a self, cas: &'a [&CaInfo]) -> impl Iterator<Item = usize> + 'a {
        let rules = self.rules.iter().enumerate();
        let idle = rules.filter(|(_, rule)| !cas.iter().any(|ca| rule.is_for(ca)));
        idle.map(|(at, _)| at)
    }
}

impl Required {
    /// The options by which the lists are asked.
    pub(super) fn options(self, options: Options) -> Options {
        let unknown_allowed = match self.requirement {
            CrlRequirement::Required => false,
            CrlRequirement::IfListed | CrlRequirement::None => true,
        };
        Options {
            unknown_allowed,
            short_lived: self.short_lived,
            ..options
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ca(subject: &str, key: u8, key_id: &[u8]) -> CaInfo {
        CaInfo {
            name: NameKey::written(subject).unwrap(),
            key: [key; 32],
            key_ids: vec![key_id.into()],
            signs_crls: true,
        }
    }

    #[test]
    fn a_ca_is_named_by_its_subject_its_key_or_its_key_identifier() {
        let nodes = ca("CN=Nodes 2026,O=Example", 0xab, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let key = "ab".repeat(32);
        for (text, expected) in [
            ("CN=Nodes 2026,O=Example", true),
            ("cn=nodes  2026,2.5.4.10=EXAMPLE", true),
            ("CN=Nodes 2026", false),
            ("O=Example,CN=Nodes 2026", false),
            (&key, true),
            (&key.to_ascii_uppercase(), true),
            ("01:02:03:04:05:06:07:08", true),
            ("0102030405060709", false),
        ] {
            let rule = AuthorityRule::new(text, CrlRequirement::None).unwrap();
            assert_eq!(rule.is_for(&nodes), expected, "{text}");
        }
        for text in [
            "",
            "Nodes",
            "CN=a, O=b",
            "unheardof=a",
            "0102",
            "01020304050607zz",
        ] {
            assert!(
                AuthorityRule::new(text, CrlRequirement::None).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn of_several_rules_for_a_ca_the_strictest_counts() {
        let nodes = ca("CN=Nodes", 1, &[1; 20]);
        let hour = Duration::from_secs(3_600);
        let rule = |requirement| AuthorityRule::new("CN=Nodes", requirement).unwrap();
        let required = |rules: &[AuthorityRule], options: Options| {
            let requirements = Requirements {
                options,
                rules: rules.into(),
                without_crls: false,
                denied: None,
            };
            let Required {
                requirement,
                short_lived,
            } = requirements.of(&nodes);
            (requirement, short_lived)
        };
        let strict = Options::default();
        let lenient = strict
            .with_unknown_allowed(true)
            .with_short_lived(Some(2 * hour));
        let none = rule(CrlRequirement::None);
        let listed = rule(CrlRequirement::IfListed).with_short_lived(hour);
        let all = rule(CrlRequirement::Required);
        assert_eq!(required(&[], strict), (CrlRequirement::Required, None));
        assert_eq!(
            required(&[], lenient),
            (CrlRequirement::IfListed, Some(2 * hour))
        );
        assert_eq!(
            required(std::slice::from_ref(&none), lenient),
            (CrlRequirement::None, Some(2 * hour))
        );
        assert_eq!(
            required(&[none.clone(), listed.clone()], lenient),
            (CrlRequirement::IfListed, Some(hour))
        );
        assert_eq!(
            required(&[none.clone(), listed], strict),
            (CrlRequirement::IfListed, None)
        );
        assert_eq!(
            required(&[none, all], strict),
            (CrlRequirement::Required, None)
        );
    }
}
