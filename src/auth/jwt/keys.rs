use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

use super::key::{Key, unusable};
use crate::Watched;
use crate::auth::CredentialError;
use crate::reload::{Load, WatchOptions};
use crate::util::file::{self, KEY_SET};
use crate::util::text;

/// An issuer's public keys: a JWK Set (RFC 7517 §5).
pub struct KeySet {
    keys: Vec<Key>,
    left_out: Vec<Box<str>>,
    /// Notified when a token names a key that is not here.
    #[cfg(feature = "jwt-fetch")]
    wanted: Option<std::sync::Arc<tokio::sync::Notify>>,
}

/// How many keys of one id a token's signature is verified by, at most: each costs as much as the first.
const MOST_OF_ONE_ID: usize = 4;

/// What is wrong with the content of a key set.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("not a JWK Set (RFC 7517): {0}")]
    Malformed(#[from] serde_json::Error),
    #[error(
        "not a JWK Set (RFC 7517): it must be an object with the list \"keys\", as {{\"keys\": [..]}}, and is {found}"
    )]
    NotASet { found: &'static str },
    #[error("key {number} of the JWK Set {problem}")]
    Key {
        number: usize,
        problem: &'static str,
    },
    #[error(
        "the JWK Set has no Ed25519, P-256 or RSA key for signatures{}",
        listed(left_out)
    )]
    NoKey { left_out: Vec<Box<str>> },
}

fn listed(left_out: &[Box<str>]) -> String {
    const MOST: usize = 5;
    if left_out.is_empty() {
        return ": it is empty".to_owned();
    }
    let first = left_out.iter().take(MOST).map(AsRef::as_ref);
    let more = match left_out.len().saturating_sub(MOST) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!(": {}{more}", first.collect::<Vec<&str>>().join("; "))
}

/// The keys of a JWK Set (RFC 7517 §5).
fn members(json: &[u8]) -> Result<Vec<Value>, Unusable> {
    let found = match serde_json::from_slice(text::unmarked(json))? {
        Value::Object(mut members) => match members.remove("keys") {
            Some(Value::Array(keys)) => return Ok(keys),
            Some(_) => "an object whose \"keys\" is no list",
            None => "an object without \"keys\"",
        },
        Value::Array(_) => "a list",
        _ => "neither",
    };
    Err(Unusable::NotASet { found })
}

impl KeySet {
    /// Reads a JWK Set. Keys by which nothing can be verified are [left out](KeySet::left_out), as RFC 7517 §5
    /// wants: of another kind, curve or algorithm, too short, no point of their curve, or without an id beside
    /// others. One of a kind that is known and lacks something is an error.
    ///
    /// # Errors
    /// Returns what is wrong with the set.
    pub fn from_json(json: &[u8]) -> Result<Self, CredentialError> {
        Self::read(json).map_err(|problem| CredentialError::KeySet(problem.to_string().into()))
    }

    fn read(json: &[u8]) -> Result<Self, Unusable> {
        let (mut keys, mut left_out) = (Vec::new(), Vec::new());
        for (number, value) in (1..).zip(members(json)?) {
            let read = Key::read(number, &value);
            match read.map_err(|problem| Unusable::Key { number, problem })? {
                Ok(key) => keys.push((number, key)),
                Err(unusable) => left_out.push(unusable),
            }
        }
        if keys.len() > 1 {
            keys.retain(|(number, key)| {
                let is_named = key.id.is_some();
                if !is_named {
                    let why =
                        "has no \"kid\", by which tokens would name it, and is not the only one";
                    left_out.push(unusable(*number, None, why));
                }
                is_named
            });
        }
        let mut of_one_id: HashMap<Option<String>, usize> = HashMap::new();
        keys.retain(|(number, key)| {
            let before = of_one_id.entry(key.id.clone()).or_default();
            *before += 1;
            let is_tried = *before <= MOST_OF_ONE_ID;
            if !is_tried {
                let why = "has the kid of four keys before it, and no more are tried";
                left_out.push(unusable(*number, key.id.as_deref(), why));
            }
            is_tried
        });
        if keys.is_empty() {
            return Err(Unusable::NoKey { left_out });
        }
        Ok(Self {
            keys: keys.into_iter().map(|(_, key)| key).collect(),
            left_out,
            #[cfg(feature = "jwt-fetch")]
            wanted: None,
        })
    }

    /// Returns a text for each key of the set by which no token is verified: its number from 1, its `kid` and why.
    pub fn left_out(&self) -> &[Box<str>] {
        &self.left_out
    }

    /// Logs the keys that are left out of a set that was read.
    pub(super) fn warn(&self, from: &dyn fmt::Display) {
        if !self.left_out.is_empty() {
            let reasons = listed(&self.left_out);
            tracing::warn!(
                %from,
                "no token is verified by some keys of the JWK Set, the others are in force{reasons}"
            );
        }
    }

    #[cfg(feature = "jwt-fetch")]
    pub(super) fn wanting(mut self, wanted: std::sync::Arc<tokio::sync::Notify>) -> Self {
        self.wanted = Some(wanted);
        self
    }

    /// Reads a file with a JWK Set, and again whenever it changes.
    ///
    /// # Errors
    /// What is wrong with it now.
    pub fn watch(
        file: impl Into<PathBuf>,
        options: WatchOptions,
    ) -> Result<Watched<Self>, CredentialError> {
        Watched::watch(File(file.into()), options)
    }

    /// What stands in the place of keys that have ended: no token counts by it.
    pub(super) fn ended() -> Self {
        Self {
            keys: Vec::new(),
            left_out: Vec::new(),
            #[cfg(feature = "jwt-fetch")]
            wanted: None,
        }
    }

    /// The keys with this id, which are alternatives to each other (RFC 7517 §4.5); without one, the only key there
    /// is.
    pub(super) fn find(&self, id: Option<&str>) -> impl Iterator<Item = &Key> {
        let is_only = self.keys.len() == 1;
        let is_it = move |key: &&Key| match id {
            Some(id) => key.id.as_deref() == Some(id),
            None => is_only,
        };
        #[cfg(feature = "jwt-fetch")]
        if let Some(wanted) = &self.wanted
            && !self.keys.iter().any(|key| is_it(&key))
        {
            wanted.notify_one();
        }
        self.keys.iter().filter(is_it)
    }
}

struct File(PathBuf);

impl Load for File {
    type Value = KeySet;
    type Error = CredentialError;

    fn name(&self) -> &'static str {
        "jwt_keys"
    }

    fn paths(&self) -> Vec<PathBuf> {
        vec![self.0.clone()]
    }

    fn load(&mut self, _: Option<&KeySet>) -> Result<KeySet, CredentialError> {
        let json = file::read(&self.0, KEY_SET).map_err(|error| CredentialError::Unreadable {
            file: self.0.clone(),
            error,
        })?;
        let keys = KeySet::read(&json).map_err(|problem| CredentialError::KeySetFile {
            file: self.0.clone(),
            problem: problem.to_string().into(),
        })?;
        keys.warn(&self.0.display());
        Ok(keys)
    }

    fn lapsed(&mut self, _: &KeySet) -> Option<KeySet> {
        Some(KeySet::ended())
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.keys.iter().map(|key| key.id.as_deref());
        f.debug_list().entries(ids).finish()
    }
}
