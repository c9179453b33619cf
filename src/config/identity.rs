use std::collections::BTreeMap;

use serde::Deserialize;

use crate::identity::{IdentityError, Mapping, Rule};

/// `[identity]`: who the holder of a client certificate is.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct IdentitySection {
    /// Calls owners whose certificate no rule matches by the certificate's common name, where it has exactly
    /// one and no SPIFFE ID. Default false.
    #[serde(default)]
    pub(crate) common_name: bool,
    /// The rules, of which the first that matches wins.
    #[serde(default, rename = "map")]
    pub(crate) rules: Vec<MapEntry>,
}

/// `[[identity.map]]`: one rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Entry")]
pub(crate) struct MapEntry(Rule);

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Entry {
    /// The caller's id; `{name}` stands for what a condition captured.
    id: String,
    /// The caller's groups, with `{name}` as in the id.
    #[serde(default)]
    groups: Vec<String>,
    /// What all must hold: by field (`"subject.CN"`, `"subject.O"`, `issuer`, `anchor`, `"anchor.key"`,
    /// `spiffe`, `dns`, `ip`, `email`, `uri`, `serial`, `fingerprint`…) a pattern, or several.
    when: BTreeMap<String, Patterns>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(
    untagged,
    expecting = "a pattern or a list of patterns; a field with a dot is quoted"
)]
enum Patterns {
    One(String),
    All(Vec<String>),
}

#[cfg(feature = "schema")]
crate::document::schema::is_read_as!(MapEntry, Entry);

impl TryFrom<Entry> for MapEntry {
    type Error = IdentityError;

    fn try_from(entry: Entry) -> Result<Self, IdentityError> {
        let mut rule = Rule::new(&entry.id)?;
        for (field, patterns) in &entry.when {
            let patterns = match patterns {
                Patterns::One(pattern) => std::slice::from_ref(pattern),
                Patterns::All(patterns) => patterns,
            };
            for pattern in patterns {
                rule = rule.when(field, pattern)?;
            }
        }
        for group in &entry.groups {
            rule = rule.in_group(group)?;
        }
        // So that an error in it is reported with its place in the file.
        Mapping::new([rule.clone()])?;
        Ok(Self(rule))
    }
}

impl IdentitySection {
    pub(crate) fn mapping(&self) -> Result<Mapping, IdentityError> {
        let rules = self.rules.iter().map(|MapEntry(rule)| rule.clone());
        Ok(Mapping::new(rules)?.with_common_name(self.common_name))
    }
}
