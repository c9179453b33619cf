#[cfg(feature = "digest-binding")]
use std::io;
#[cfg(feature = "digest-binding")]
use std::path::PathBuf;

/// Why a policy, a text of one, or the file of what is known of digests cannot be used.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// One rule makes no sense.
    #[error("rule {index} ({name:?}): {problem}")]
    Rule {
        /// The rule's place among the rules, from 1.
        index: usize,
        /// The rule's name.
        name: Box<str>,
        /// What is wrong with it.
        problem: Box<str>,
    },
    /// Two rules have one name, so that a log could not tell which of them decided.
    #[error("rules {first} and {second} are both named {name:?}")]
    DuplicateName {
        /// The place of the one, from 1.
        first: usize,
        /// The place of the other.
        second: usize,
        /// Their name.
        name: Box<str>,
    },
    /// There are more rules than can be numbered.
    #[error("{0} rules are too many")]
    TooMany(usize),
    /// A text is no pattern, or names no caller or no action.
    #[error("{0}")]
    Text(Box<str>),
    /// The file of what is known of digests is there and cannot be read.
    #[cfg(feature = "digest-binding")]
    #[error("{}: {error}", path.display())]
    DigestsUnreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The file of what is known of digests is not what was written.
    #[cfg(feature = "digest-binding")]
    #[error(
        "{}: {error}: put back what was there, or remove it, and everything is unknown again",
        path.display()
    )]
    DigestsDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: io::Error,
    },
    /// What is known of digests cannot be written into its file.
    #[cfg(feature = "digest-binding")]
    #[error("{} cannot be written: {error}", path.display())]
    DigestsUnwritable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// There is no thread to write what is known of digests with.
    #[cfg(feature = "digest-binding")]
    #[error("no thread to write {} with: {error}", path.display())]
    NoThread {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The text is not TOML, or a key in it is unknown, missing or has an impossible value.
    #[cfg(feature = "config")]
    #[error(transparent)]
    File(#[from] crate::document::ConfigError),
}

/// What is wrong with a rule by itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum RuleError {
    /// No name for logs.
    #[error("`name` is empty: it is what the log calls the rule")]
    NoName,
    /// The rule names no caller.
    #[error("`who` is empty: write [\"anyone\"] if everybody is meant")]
    NoWho,
    /// No action is named.
    #[error("`actions` is empty: write [\"any\"] if all are meant")]
    NoActions,
    /// No repository is named.
    #[error("`repositories` is missing: write [\"**\"] if all are meant")]
    NoRepositories,
    /// Repositories are named though none of the actions is about one.
    #[error("`repositories` is there, but none of the actions is about a repository")]
    UnusedRepositories,
    /// Some repositories are named for what is about all.
    #[error(
        "\"probe\" and \"catalog\" are about the whole registry: put them in a rule without \
         `repositories`, or with [\"**\"]"
    )]
    WholeRegistry,
    /// No path is named.
    #[error("`paths` is missing: \"extension\" and \"other\" are allowed path by path")]
    NoPaths,
    /// Paths are named though none of the actions is about one.
    #[error("`paths` is there, but neither \"extension\" nor \"other\" among the actions")]
    UnusedPaths,
    /// A list that would narrow the rule names nothing.
    #[error("`{0}` is empty, so that the rule is about nothing: leave it out if all are meant")]
    Empty(&'static str),
    /// A deny with a rate class.
    #[error("`rate_class` has no meaning where nothing is let through")]
    RateOfNothing,
    /// A deny, or a rule without repositories, that calls repositories deprecated.
    #[error("`deprecated` has no meaning where no repository is let through")]
    DeprecatesNothing,
    /// A repository is deprecated without a word of what to do.
    #[error("`deprecated` is empty: it says what to use instead")]
    NoDeprecation,
}
