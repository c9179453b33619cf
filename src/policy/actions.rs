use std::fmt;
use std::ops::{BitOr, BitOrAssign};
use std::str::FromStr;

use super::PolicyError;

/// A set of what callers may do, finer than [`oci::Action`](crate::oci::Action): the effects of a push on a tag
/// are distinguished.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Actions(u16);

const WORDS: [(&str, Actions); 13] = [
    ("any", Actions::ANY),
    ("probe", Actions::PROBE),
    ("pull", Actions::PULL),
    ("push", Actions::PUSH),
    ("create", Actions::CREATE),
    ("replace", Actions::REPLACE),
    ("move", Actions::MOVE),
    ("delete", Actions::DELETE),
    ("untag", Actions::UNTAG),
    ("list", Actions::LIST),
    ("catalog", Actions::CATALOG),
    ("extension", Actions::EXTENSION),
    ("other", Actions::OTHER),
];

impl Actions {
    /// Asks for `/v2/` itself.
    pub const PROBE: Self = Self(1);
    /// Reads manifests, blobs and referrers.
    pub const PULL: Self = Self(1 << 1);
    /// Sends blobs, and manifests without a tag: what every push needs.
    pub const UPLOAD: Self = Self(1 << 2);
    /// Sets a tag that was not there. In a rule that allows, [`Actions::UPLOAD`] comes with it.
    pub const CREATE: Self = Self(1 << 3);
    /// Puts another manifest under a tag that is there (`PUT …/manifests/<tag>`).
    pub const REPLACE: Self = Self(1 << 4);
    /// Moves a tag that is there to the manifest that is pushed (`PUT …/manifests/<digest>?tag=…`).
    pub const MOVE: Self = Self(1 << 5);
    /// Every push.
    pub const PUSH: Self = Self(0b1111 << 2);
    /// Deletes manifests by digest, and blobs, whichever tags lead to them: a rule for some tags does
    /// not allow it.
    pub const ERASE: Self = Self(1 << 6);
    /// Deletes tags.
    pub const UNTAG: Self = Self(1 << 7);
    /// Every delete.
    pub const DELETE: Self = Self(0b11 << 6);
    /// Lists the tags of a repository.
    pub const LIST: Self = Self(1 << 8);
    /// Lists the repositories.
    pub const CATALOG: Self = Self(1 << 9);
    /// Uses an extension, at paths that the rule names.
    pub const EXTENSION: Self = Self(1 << 10);
    /// Uses what is outside `/v2/`, at paths that the rule names.
    pub const OTHER: Self = Self(1 << 11);
    /// Everything.
    pub const ANY: Self = Self((1 << 12) - 1);

    /// The words that a file may write.
    #[cfg(feature = "schema")]
    pub(crate) fn words() -> impl Iterator<Item = &'static str> {
        WORDS.iter().map(|(word, _)| *word)
    }

    /// Returns whether all of `other` is here.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns whether any of `other` is here.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The actions that are about a repository.
    pub(super) const fn on_repositories(self) -> Self {
        Self(self.0 & !(Self::PROBE.0 | Self::CATALOG.0 | Self::EXTENSION.0 | Self::OTHER.0))
    }

    /// The actions that are about a path of their own.
    pub(super) const fn on_paths(self) -> Self {
        Self(self.0 & (Self::EXTENSION.0 | Self::OTHER.0))
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Actions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Actions {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

impl FromIterator<Actions> for Actions {
    fn from_iter<I: IntoIterator<Item = Actions>>(actions: I) -> Self {
        actions.into_iter().fold(Self::default(), Self::bitor)
    }
}

impl FromStr for Actions {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let found = WORDS.iter().find(|(word, _)| *word == text);
        found
            .map(|(_, actions)| *actions)
            .ok_or_else(|| PolicyError::Text(unknown(text).into()))
    }
}

fn unknown(text: &str) -> String {
    format!(
        "{text:?} is no action: write \"any\", \"probe\", \"pull\", \"push\", \"create\", \"replace\", \
         \"move\", \"delete\", \"untag\", \"list\", \"catalog\", \"extension\" or \"other\""
    )
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = *self;
        let mut separator = "";
        let parts = [("upload", Self::UPLOAD), ("erase", Self::ERASE)];
        for (word, actions) in WORDS.iter().chain(&parts) {
            if left.contains(*actions) && !left.is_empty() {
                write!(f, "{separator}{word}")?;
                separator = ", ";
                left = left.without(*actions);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Actions({self})")
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Actions {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Action".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let words: Vec<&str> = Self::words().collect();
        schemars::json_schema!({
            "description": "What a caller may do.",
            "enum": words,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_there_beside_what_was() {
        let mut actions = Actions::PULL;
        actions |= Actions::LIST;
        assert_eq!(actions, Actions::PULL | Actions::LIST);
        assert!(actions.contains(Actions::PULL) && actions.contains(Actions::LIST));
        assert!(!actions.intersects(Actions::DELETE));
    }
}
