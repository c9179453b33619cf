use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ConfigError, Document, Key};
use crate::identity::{IdentityError, Mapping, MappingError, Rule};

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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct MapEntry {
    /// The caller's id; `{name}` stands for what a condition captured.
    id: String,
    /// The caller's groups, with `{name}` as in the id.
    #[serde(default)]
    groups: Vec<String>,
    /// What all must hold: by field (`"subject.CN"`, `"subject.O"`, `issuer`, `anchor`, `"anchor.key"`,
    /// `spiffe`, `dns`, `ip`, `email`, `uri`, `serial`, `fingerprint`…) a pattern, or several.
    when: BTreeMap<String, Patterns>,
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(
    untagged,
    expecting = "a pattern or a list of patterns; a field with a dot is quoted"
)]
enum Patterns {
    One(String),
    All(Vec<String>),
}

impl MapEntry {
    /// The rule, or which of the keys is wrong.
    fn rule(&self) -> Result<Rule, (Key, IdentityError)> {
        let at = |key: &str| {
            let key = Key::default().key(key);
            move |error| (key, error)
        };
        let mut rule = Rule::new(&self.id).map_err(at("id"))?;
        for (field, patterns) in &self.when {
            let patterns = match patterns {
                Patterns::One(pattern) => std::slice::from_ref(pattern),
                Patterns::All(patterns) => patterns,
            };
            for pattern in patterns {
                let when = |error| (Key::default().key("when").key(field), error);
                rule = rule.when(field, pattern).map_err(when)?;
            }
        }
        for (index, group) in self.groups.iter().enumerate() {
            let at = |error| (Key::default().key("groups").at(index), error);
            rule = rule.in_group(group).map_err(at)?;
        }
        match rule.clone().checked() {
            Ok(rule) => Ok(rule),
            Err(error @ MappingError::Unconditional) => Err(at("when")(error.into())),
            Err(error) => {
                let uses = |text: &String| match &error {
                    MappingError::Template(name) => text.contains(&format!("{{{name}}}")),
                    _ => false,
                };
                let key = match self.groups.iter().position(uses) {
                    Some(group) if !uses(&self.id) => Key::default().key("groups").at(group),
                    _ => Key::default().key("id"),
                };
                Err((key, error.into()))
            }
        }
    }
}

impl IdentitySection {
    /// The rules, or the key that is wrong.
    pub(crate) fn mapping(&self, document: &Document) -> Result<Mapping, ConfigError> {
        let rules = self.rules.iter().enumerate().map(|(index, entry)| {
            entry.rule().map_err(|(key, error)| {
                let rule = Key::from("identity.map").at(index);
                document.invalid(rule.join(key), error)
            })
        });
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        let mapping = Mapping::new(rules);
        let mapping = mapping.map_err(|error| document.invalid("identity.map", error))?;
        Ok(mapping.with_common_name(self.common_name))
    }
}
