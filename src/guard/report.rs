use std::fmt;

use super::SecurityWarning;

/// A description in plain words of what a [`Guard`](super::Guard) enforces and what it leaves open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What is enforced, one sentence an entry.
    pub enforced: Vec<String>,
    /// What is left open, one sentence an entry.
    pub open: Vec<String>,
    /// What is dangerous in the configuration.
    pub warnings: Vec<SecurityWarning>,
}

impl Report {
    /// Writes the report to the log: one `info` event a line, and one `warn` event a warning.
    pub fn log(&self) {
        for line in &self.enforced {
            tracing::info!("enforced: {line}");
        }
        for line in &self.open {
            tracing::info!("left open: {line}");
        }
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
    }

    pub(super) fn enforces(&mut self, line: impl Into<String>) {
        self.enforced.push(line.into());
    }

    pub(super) fn is_open(&mut self, line: impl Into<String>) {
        self.open.push(line.into());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.enforced {
            writeln!(f, "enforced: {line}")?;
        }
        for line in &self.open {
            writeln!(f, "left open: {line}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}
