//! What of the configuration file takes a restart, so that a change of it does not pass for one that counts.

use std::collections::BTreeSet;
use std::path::PathBuf;

use toml::{Table, Value};

use crate::Watched;
use crate::config::{Config, ConfigError, Document};
use crate::document::parse;
use crate::reload::Load;

/// The sections that are followed where they were there at the start, and what of each is: all, or these keys.
const FOLLOWED: [(&str, &[&str]); 6] = [
    ("source", &[]),
    ("forwarded", &[]),
    ("identity", &[]),
    ("limits", &[]),
    ("policy", &["rules"]),
    (
        "auth",
        &["token", "credentials", "htpasswd", "secrets", "warn_before"],
    ),
];

/// Follows the configuration's file, and says what has changed in it that counts only from the next start on;
/// `None` where it has none.
pub(super) fn watch(config: &Config) -> Result<Option<Watched<Changes>>, ConfigError> {
    let document = &config.document;
    if document.file().is_none() {
        return Ok(None);
    }
    let started: Table = parse(document.name(), document.text())?;
    let parts = Parts {
        document: document.clone(),
        started,
    };
    Watched::watch(parts, document.watch.clone()).map(Some)
}

/// The keys that have changed since the start and do not count yet.
#[derive(Debug, Default)]
pub(super) struct Changes(BTreeSet<String>);

struct Parts {
    document: Document,
    started: Table,
}

impl Load for Parts {
    type Value = Changes;
    type Error = ConfigError;

    fn name(&self) -> &'static str {
        "config"
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.document
            .file()
            .map(PathBuf::from)
            .into_iter()
            .collect()
    }

    fn load(&mut self, previous: Option<&Changes>) -> Result<Changes, ConfigError> {
        if previous.is_none() {
            return Ok(Changes::default());
        }
        let now = Config::again(&self.document)?.document;
        let now: Table = parse(now.name(), now.text())?;
        let mut changed = BTreeSet::new();
        compare(
            &fixed(&self.started, &self.started),
            &fixed(&now, &self.started),
            "",
            &mut changed,
        );
        Ok(Changes(changed))
    }

    fn refused(&self, Changes(changed): &Changes) -> Option<String> {
        let changed: Vec<_> = changed.iter().map(String::as_str).collect();
        let changed = changed.join(", ");
        let file = self.document.name().display();
        (!changed.is_empty())
            .then(|| format!("{file}: changed, and without effect until a restart: {changed}"))
    }
}

/// What of a configuration is not followed by a server that started with `started`.
fn fixed(table: &Table, started: &Table) -> Table {
    let mut fixed = table.clone();
    for (section, keys) in FOLLOWED {
        let Some(at_start) = started.get(section) else {
            continue;
        };
        if keys.is_empty() {
            fixed.remove(section);
        }
        let Some(table) = fixed.get_mut(section).and_then(Value::as_table_mut) else {
            continue;
        };
        // Rules of the policy that are in a file of their own are read there until a restart.
        let keys = keys
            .iter()
            .filter(|key| section != "policy" || at_start.get(*key).is_some());
        for key in keys {
            table.remove(*key);
        }
    }
    fixed
}

/// Puts the keys at which the two differ into `changed`: of tables that both have, those inside.
fn compare(one: &Table, other: &Table, within: &str, changed: &mut BTreeSet<String>) {
    let keys: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    for key in keys {
        let name = format!("{within}{key}");
        match (one.get(key), other.get(key)) {
            (Some(Value::Table(one)), Some(Value::Table(other))) => {
                compare(one, other, &format!("{name}."), changed);
            }
            (one, other) if one != other => drop(changed.insert(name)),
            _ => {}
        }
    }
}
