use std::fmt;
use std::path::PathBuf;

/// A place in a configuration: `gate.toml:3:8: auth.token[0].file`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The key, as `table.key[index]`; empty at the top level.
    pub key: String,
}

/// A key with the tables that it is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Key(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Name(String),
    Index(usize),
}

impl Key {
    /// The key of this name in the table that this key names.
    pub(crate) fn key(mut self, name: &str) -> Self {
        self.push(Step::Name(name.to_owned()));
        self
    }

    /// The value at this place, from 0, in the list that this key names.
    pub(crate) fn at(mut self, index: usize) -> Self {
        self.push(Step::Index(index));
        self
    }

    /// What stands under this key as `rest`.
    pub(crate) fn join(mut self, rest: Self) -> Self {
        self.0.extend(rest.0);
        self
    }

    pub(crate) fn push(&mut self, step: Step) {
        self.0.push(step);
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The last name in it.
    pub(crate) fn name(&self) -> Option<&str> {
        self.0.iter().rev().find_map(|step| match step {
            Step::Name(name) => Some(&**name),
            Step::Index(_) => None,
        })
    }
}

/// Names between dots, each with the indices of what is meant in its lists: `auth.token[0].file`.
impl From<&str> for Key {
    fn from(dotted: &str) -> Self {
        let mut key = Self::default();
        for part in dotted.split('.').filter(|part| !part.is_empty()) {
            let mut pieces = part.split('[');
            key.push(Step::Name(pieces.next().unwrap_or(part).to_owned()));
            let indices = pieces.filter_map(|piece| piece.strip_suffix(']')?.parse().ok());
            key.0.extend(indices.map(Step::Index));
        }
        key
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Name(name) => {
                    if index > 0 {
                        f.write_str(".")?;
                    }
                    let bare = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
                    if !name.is_empty() && name.chars().all(bare) {
                        f.write_str(name)?;
                    } else {
                        write!(f, "{name:?}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        Ok(())
    }
}
