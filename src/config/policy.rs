use std::path::PathBuf;

use serde::Deserialize;

use crate::policy::Rule;

/// `[policy]`: who may do what, in a file of its own or here.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Section")]
#[non_exhaustive]
pub enum PolicySection {
    /// The policy file.
    File(PathBuf),
    /// The rules themselves.
    Rules(Vec<Rule>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    file: Option<PathBuf>,
    rules: Option<Vec<Rule>>,
}

impl TryFrom<Section> for PolicySection {
    type Error = &'static str;

    fn try_from(section: Section) -> Result<Self, Self::Error> {
        match (section.file, section.rules) {
            (Some(file), None) => Ok(Self::File(file)),
            (None, Some(rules)) => Ok(Self::Rules(rules)),
            _ => Err("a policy has either a `file` or `rules`"),
        }
    }
}
