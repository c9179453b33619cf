use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::{HumanDuration, Text};

/// `[limits.fleet]`: the server through which replicas share limits.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Entry")]
#[cfg_attr(
    not(feature = "redis"),
    allow(dead_code, reason = "only checked, without the feature")
)]
pub(crate) struct FleetSection {
    origin: Origin,
    prefix: Option<Arc<str>>,
    on_unreachable: OnUnreachable,
    period: Option<HumanDuration>,
}

/// Where the URL is. It may hold a password, so the file itself has it only without one.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(feature = "redis"),
    allow(dead_code, reason = "only checked, without the feature")
)]
enum Origin {
    Here(PlainUrl),
    Variable(String),
    File(PathBuf),
}

/// A URL without a password.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(feature = "redis"),
    allow(dead_code, reason = "only checked, without the feature")
)]
pub(crate) struct PlainUrl(String);

#[derive(Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// The server's URL, if it has no password: `"redis://host:6379/0"`.
    url: Option<Text<PlainUrl>>,
    /// The environment variable that has the URL, or whose name with `_FILE` has the file's.
    env: Option<String>,
    /// The file that has the URL.
    file: Option<PathBuf>,
    /// What the names of keys begin with: replicas with one prefix share their limits. Default
    /// `"portcullis"`.
    prefix: Option<Text<Prefix>>,
    /// What becomes of the shared limits while the server does not answer. Default `"local"`.
    #[serde(default)]
    on_unreachable: OnUnreachable,
    /// How often leases are renewed, from `"10ms"` to `"10s"`. Default `"100ms"`.
    #[cfg_attr(feature = "schema", schemars(with = "Option<HumanDuration>"))]
    period: Option<Text<Period>>,
}

/// The beginning of keys' names.
#[derive(Clone, Debug)]
pub(crate) struct Prefix(String);

/// A span that leases can be renewed in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Period(HumanDuration);

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
enum OnUnreachable {
    /// Each replica goes on with its last share.
    #[default]
    Local,
    /// There is no limit.
    Open,
    /// Requests are refused.
    Refuse,
}

#[cfg(feature = "schema")]
crate::document::schema::is_read_as!(FleetSection, Entry);

#[cfg(feature = "schema")]
crate::document::schema::schemas! {
    PlainUrl, "FleetUrl" => {
        "description": "The URL of a Redis or Valkey server, without a user and password.",
        "type": "string",
        "pattern": "^(redis|valkey)://[^@]+$",
        "examples": ["redis://host:6379/0"],
    };
    Prefix, "FleetPrefix" => {
        "description": "The beginning of the names of keys.",
        "type": "string",
        "pattern": "^[-A-Za-z0-9_.:/]{1,64}$",
    };
}

impl TryFrom<Entry> for FleetSection {
    type Error = &'static str;

    fn try_from(entry: Entry) -> Result<Self, Self::Error> {
        let origin = match (entry.url, entry.env, entry.file) {
            (Some(Text(url)), None, None) => Origin::Here(url),
            (None, Some(name), None) => Origin::Variable(name),
            (None, None, Some(file)) => Origin::File(file),
            _ => return Err("a fleet has exactly one of `env`, `file` and `url`"),
        };
        Ok(Self {
            origin,
            prefix: entry.prefix.map(|Text(Prefix(prefix))| prefix.into()),
            on_unreachable: entry.on_unreachable,
            period: entry.period.map(|Text(Period(period))| period),
        })
    }
}

impl FromStr for PlainUrl {
    type Err = &'static str;

    // The errors do not quote the URL: what is wrong in it may be a password.
    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let rest = url
            .strip_prefix("redis://")
            .or_else(|| url.strip_prefix("valkey://"));
        let Some(rest) = rest else {
            return Err("the URL of a fleet's server is like \"redis://host:6379/0\"");
        };
        if rest.contains('@') {
            return Err(
                "a URL with a user or password stands in a variable (`env`) or a file (`file`), \
                 not here",
            );
        }
        #[cfg(feature = "redis")]
        if crate::rate::Fleet::new(url).is_err() {
            return Err("the URL of a fleet's server is like \"redis://host:6379/0\"");
        }
        Ok(Self(url.to_owned()))
    }
}

impl FromStr for Prefix {
    type Err = &'static str;

    fn from_str(prefix: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(plain) {
            return Err("a fleet's prefix is 1 to 64 letters, digits, '-', '_', '.', ':' or '/'");
        }
        Ok(Self(prefix.to_owned()))
    }
}

impl FromStr for Period {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bounds = Duration::from_millis(10)..=Duration::from_secs(10);
        let period = humantime::parse_duration(text).ok();
        let period = period.filter(|period| bounds.contains(period));
        let wrong = "a fleet's period is a time like \"100ms\", from 10 ms to 10 s";
        period
            .map(|period| Self(HumanDuration(period)))
            .ok_or(wrong)
    }
}

#[cfg(feature = "redis")]
mod opened {
    use std::io;
    use std::path::{Path, PathBuf};

    use zeroize::Zeroizing;

    use super::{FleetSection, OnUnreachable, Origin};
    use crate::config::{Document, Key};
    use crate::rate::{Fleet, LimitsError, Unreachable};
    use crate::reload::Pinned;
    use crate::util::file::SECRET;
    use crate::util::text;

    /// Why the URL of a fleet's server cannot be had. Never holds it.
    #[derive(Debug, thiserror::Error)]
    pub(crate) enum FleetUrlError {
        #[error("neither ${name} nor ${name}_FILE is set: set one of them")]
        NoVariable { name: String },
        #[error("{}: {error}", file.display())]
        Unreadable {
            file: PathBuf,
            #[source]
            error: io::Error,
        },
        #[error(transparent)]
        Fleet(#[from] LimitsError),
    }

    impl FleetSection {
        /// The file that has the URL.
        pub(crate) fn file(&self, document: &Document) -> Option<PathBuf> {
            match &self.origin {
                Origin::File(file) => Some(document.resolve(file)),
                Origin::Variable(name) if std::env::var_os(name).is_none() => {
                    std::env::var_os(format!("{name}_FILE")).map(PathBuf::from)
                }
                _ => None,
            }
        }

        /// The key that says where the URL is.
        pub(crate) fn key(&self) -> Key {
            let name = match self.origin {
                Origin::Here(_) => "url",
                Origin::Variable(_) => "env",
                Origin::File(_) => "file",
            };
            Key::from("limits.fleet").key(name)
        }

        pub(crate) fn fleet(&self, document: &Document) -> Result<Fleet, FleetUrlError> {
            let url = match (&self.origin, self.file(document)) {
                (Origin::Here(url), _) => Zeroizing::new(url.0.clone()),
                (_, Some(file)) => read(&file)?,
                (Origin::Variable(name), None) => variable(name)?,
                (Origin::File(file), None) => read(file)?,
            };
            let mut fleet = Fleet::new(url.trim())?.with_unreachable(match self.on_unreachable {
                OnUnreachable::Local => Unreachable::Local,
                OnUnreachable::Open => Unreachable::Open,
                OnUnreachable::Refuse => Unreachable::Refuse,
            });
            if let Some(prefix) = &self.prefix {
                fleet = fleet.with_prefix(prefix.clone());
            }
            if let Some(period) = self.period {
                fleet = fleet.with_period(period.0)?;
            }
            Ok(fleet)
        }
    }

    fn variable(name: &str) -> Result<Zeroizing<String>, FleetUrlError> {
        let value = std::env::var(name).map_err(|_| FleetUrlError::NoVariable {
            name: name.to_owned(),
        })?;
        Ok(Zeroizing::new(value))
    }

    fn read(file: &Path) -> Result<Zeroizing<String>, FleetUrlError> {
        let text = Pinned::new().read_at_most(file, SECRET);
        let text = text.map_err(|error| FleetUrlError::Unreadable {
            file: file.to_owned(),
            error,
        })?;
        let text = Zeroizing::new(text);
        let text = str::from_utf8(text::unmarked(&text)).map_err(|_| LimitsError::FleetUrl)?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}
