use std::path::Path;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use zeroize::Zeroizing;

use super::credential::Validity;
use super::digest::SecretDigest;
use super::htpasswd::warn_if_blank;
use super::{Binding, Credential, CredentialError, Secret};
use crate::document::{self, ConfigError, Key, Text};
use crate::util::calendar;
use crate::util::file::{DOCUMENT, read_text};

/// A credentials file: `[[credential]]`, one table a credential.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    credential: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    #[serde(default)]
    groups: Vec<String>,
    networks: Option<Vec<IpNet>>,
    identity: Option<Text<Binding>>,
    comment: Option<String>,
    #[serde(default)]
    secret: Vec<SecretEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSecret {
    digest: Text<SecretDigest>,
    /// Whether it can be guessed.
    #[serde(default)]
    weak: bool,
    not_before: Option<Timestamp>,
    expires: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(try_from = "WrittenSecret")]
struct SecretEntry {
    digest: SecretDigest,
    weak: bool,
    validity: Validity,
}

/// A timestamp as TOML writes it, with its offset: `2027-01-01T00:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timestamp(pub(crate) SystemTime);

pub(super) fn read(file: &Path) -> Result<Vec<Credential>, CredentialError> {
    let unreadable = |error| ConfigError::Unreadable {
        file: file.to_owned(),
        error,
    };
    // Digests only, but an operator may have put a secret there by mistake.
    let text = Zeroizing::new(read_text(file, DOCUMENT).map_err(unreadable)?);
    warn_if_blank(file, text.as_bytes());
    let document: Document = document::parse(file, &text)?;
    document::Document::of_file(file, text.to_string()).check_names(&["id", "groups"])?;
    Ok(document
        .credential
        .into_iter()
        .map(Credential::from)
        .collect())
}

/// Refuses times between which there is none.
pub(crate) fn check_times(
    not_before: Option<Timestamp>,
    expires: Option<Timestamp>,
) -> Result<(), &'static str> {
    validity(not_before, expires).map(drop)
}

fn validity(
    not_before: Option<Timestamp>,
    expires: Option<Timestamp>,
) -> Result<Validity, &'static str> {
    let moment = |written: Option<Timestamp>| written.map(|Timestamp(moment)| moment);
    let validity = Validity {
        not_before: moment(not_before),
        expires: moment(expires),
    };
    if validity.is_never() {
        return Err("it is good at no time: `expires` must be later than `not_before`");
    }
    Ok(validity)
}

impl TryFrom<WrittenSecret> for SecretEntry {
    type Error = &'static str;

    fn try_from(written: WrittenSecret) -> Result<Self, Self::Error> {
        Ok(Self {
            digest: written.digest.0,
            weak: written.weak,
            validity: validity(written.not_before, written.expires)?,
        })
    }
}

/// Why a credential of a file is good for no caller.
pub(crate) enum Doubt {
    /// All of its secrets have expired.
    Expired,
    /// None of its secrets is good yet.
    NotYetGood,
    /// No network is listed.
    NoNetwork,
}

/// The credentials of a file that are good for no caller, with their place in it and their id.
pub(crate) fn doubts(
    document: &document::Document,
    now: SystemTime,
) -> Vec<(Key, Box<str>, Doubt)> {
    let read: Result<Document, _> = document::parse(document.name(), document.text());
    let entries = read.map(|document| document.credential).unwrap_or_default();
    let has_ended =
        |secret: &SecretEntry| secret.validity.expires.is_some_and(|until| until <= now);
    let is_ahead = |secret: &SecretEntry| secret.validity.not_before.is_some_and(|from| from > now);
    let mut found = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let key = Key::from("credential").at(index);
        let id: Box<str> = entry.id.into();
        let secrets = &entry.secret;
        if !secrets.is_empty() && secrets.iter().all(has_ended) {
            found.push((key.clone(), id.clone(), Doubt::Expired));
        } else if secrets.iter().all(|one| has_ended(one) || is_ahead(one))
            && let Some(ahead) = secrets.iter().position(is_ahead)
        {
            let key = key.clone().key("secret").at(ahead).key("not_before");
            found.push((key, id.clone(), Doubt::NotYetGood));
        }
        if entry.networks.is_some_and(|networks| networks.is_empty()) {
            found.push((key.key("networks"), id, Doubt::NoNetwork));
        }
    }
    found
}

impl From<Entry> for Credential {
    fn from(entry: Entry) -> Self {
        let mut credential = Self::new(entry.id).in_groups(entry.groups);
        if let Some(networks) = entry.networks {
            credential = credential.within(networks);
        }
        if let Some(Text(binding)) = entry.identity {
            credential = credential.with_binding(binding);
        }
        if let Some(comment) = entry.comment {
            credential = credential.with_comment(comment);
        }
        for entry in entry.secret {
            let mut secret = Secret::new(entry.digest);
            secret.guessable = entry.weak;
            secret.validity = entry.validity;
            credential = credential.with_secret(secret);
        }
        credential
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = toml::value::Datetime::deserialize(deserializer)?;
        moment(written).map(Self).ok_or_else(|| {
            D::Error::custom("a moment has a date, a time and an offset, like 2027-01-01T00:00:00Z")
        })
    }
}

fn moment(written: toml::value::Datetime) -> Option<SystemTime> {
    let minutes = match written.offset? {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes),
    };
    let (date, time) = written.date.zip(written.time)?;
    let date = [u32::from(date.year), date.month.into(), date.day.into()];
    // A leap second ends with the second before it.
    let second = time.second.unwrap_or(0).min(59);
    let of_day = [time.hour.into(), time.minute.into(), second.into()];
    let seconds = calendar::seconds(date, of_day)?.checked_sub(60 * minutes)?;
    let nanoseconds = Duration::from_nanos(time.nanosecond.unwrap_or(0).into());
    calendar::system_time(seconds).checked_add(nanoseconds)
}

#[cfg(feature = "schema")]
crate::document::schema::schemas! {
    Timestamp, "Moment" => {
        "description": "A moment with its offset from UTC, as TOML writes it.",
        "type": "string",
        "format": "date-time",
        "examples": ["2027-01-01T00:00:00Z"],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Credential>, ConfigError> {
        let document: Document = document::parse(Path::new("credentials.toml"), text)?;
        Ok(document
            .credential
            .into_iter()
            .map(Credential::from)
            .collect())
    }

    #[test]
    fn a_credential_is_read_with_all_it_may_have() {
        let text = r#"
            [[credential]]
            id = "ci"
            groups = ["pushers"]
            networks = ["10.0.0.0/8"]
            identity = "dns:node-7"
            comment = "the build farm"
            [[credential.secret]]
            digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
            weak = true
            not_before = 2026-01-01T00:00:00Z
            expires = 2027-01-01T01:00:00+01:00
            [[credential.secret]]
            digest = "$2y$05$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u"
        "#;
        let [ci] = parse(text).unwrap().try_into().unwrap();
        assert_eq!(&*ci.id, "ci");
        assert_eq!(ci.secrets.len(), 2);
        assert!(ci.secrets[0].guessable && !ci.secrets[1].guessable);
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(ci.secrets[0].validity.not_before, at(1_767_225_600));
        assert_eq!(ci.secrets[0].validity.expires, at(1_798_761_600));
        assert_eq!(ci.networks.unwrap().len(), 1);
        assert_eq!(ci.comment.as_deref(), Some("the build farm"));
    }

    #[test]
    fn an_error_has_its_place_and_no_secret() {
        for (line, words) in [
            ("digest = \"hunter2hunter2\"", "not a digest"),
            ("digest = \"$apr1$hunter2\"", "MD5"),
            ("digest = \"sha256:hunter2\"", "SHA-256"),
            ("expires = 2027-01-01", "an offset"),
            ("expires = 2027-01-01T00:00:00", "an offset"),
            ("expired = 2027-01-01T00:00:00Z", "unknown field"),
        ] {
            let text = format!("[[credential]]\nid = \"ci\"\n[[credential.secret]]\n{line}\n");
            let message = parse(&text).unwrap_err().to_string();
            assert!(message.starts_with("credentials.toml:4:"), "{message}");
            assert!(message.contains(words), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
