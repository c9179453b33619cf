#[cfg(unix)]
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::{Document, Text};
use crate::auth::file::{Timestamp, check_times};
use crate::auth::{Binding, CredentialError, CredentialSource};
#[cfg(feature = "schema")]
use crate::document::schema::Network;

/// `[[auth.token]]`: one caller's token, from exactly one of `env`, `file` and `sha256`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Entry")]
pub(crate) struct TokenEntry {
    entry: Entry,
    origin: Origin,
}

/// `[[auth.htpasswd]]`: an htpasswd file and what holds for its users, or its path alone.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "PathOr<Htpasswd>")]
pub(crate) struct HtpasswdEntry(Htpasswd);

/// `[[auth.secrets]]`: the directory of a Kubernetes Secret of the type `kubernetes.io/basic-auth` and what
/// holds for its user, or its path alone.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "PathOr<Secret>")]
pub(crate) struct SecretEntry(Secret);

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Htpasswd {
    /// The file.
    file: PathBuf,
    /// The groups that its users are in.
    #[serde(default)]
    groups: Vec<String>,
    /// The networks that they are good from. Default: all.
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<Network>>"))]
    networks: Option<Vec<IpNet>>,
    /// The client certificate that they are good with.
    identity: Option<Text<Binding>>,
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Secret {
    /// The directory.
    directory: PathBuf,
    /// The groups that its user is in.
    #[serde(default)]
    groups: Vec<String>,
    /// The networks that it is good from. Default: all.
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<Network>>"))]
    networks: Option<Vec<IpNet>>,
    /// The client certificate that it is good with.
    identity: Option<Text<Binding>>,
    /// Takes a password that can be guessed, and throttles failures for it.
    #[serde(default)]
    weak: bool,
}

/// A table, or the path alone that it would have.
enum PathOr<T> {
    Path(PathBuf),
    Table(T),
}

#[cfg(feature = "schema")]
impl<T: schemars::JsonSchema> schemars::JsonSchema for PathOr<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("PathOr{}", T::schema_name()).into()
    }

    // Not as `anyOf`, so that an editor says what is wrong in the table.
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let table = generator.subschema_for::<T>();
        schemars::json_schema!({
            "if": { "type": "string" },
            "then": true,
            "else": table,
        })
    }
}

#[cfg(feature = "schema")]
crate::document::schema::is_read_as!(HtpasswdEntry, PathOr<Htpasswd>);
#[cfg(feature = "schema")]
crate::document::schema::is_read_as!(SecretEntry, PathOr<Secret>);

#[derive(Clone, Debug)]
enum Origin {
    Variable(String),
    File(PathBuf),
    Sha256(Vec<String>),
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Entry {
    /// The caller's id, and the user with Basic.
    id: String,
    /// The groups that the caller is in.
    #[serde(default)]
    groups: Vec<String>,
    /// The environment variable that has the token, or whose name with `_FILE` has the file's.
    env: Option<String>,
    /// The file that has the token.
    file: Option<PathBuf>,
    /// SHA-256 digests of tokens, in hexadecimal.
    sha256: Option<Vec<String>>,
    /// The networks that it is good from. Default: all.
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<Network>>"))]
    networks: Option<Vec<IpNet>>,
    /// The client certificate that the token is good with.
    identity: Option<Text<Binding>>,
    /// When the token begins to be good.
    not_before: Option<Timestamp>,
    /// When it ends to be.
    expires: Option<Timestamp>,
    /// What it is for, in the operator's words; logged when it is about to expire.
    comment: Option<String>,
    /// Takes a token that can be guessed, and throttles failures for it as for passwords.
    #[serde(default)]
    weak: bool,
}

#[cfg(feature = "schema")]
crate::document::schema::is_read_as!(TokenEntry, Entry);

impl TryFrom<Entry> for TokenEntry {
    type Error = &'static str;

    fn try_from(mut entry: Entry) -> Result<Self, Self::Error> {
        let origin = match (entry.env.take(), entry.file.take(), entry.sha256.take()) {
            (Some(name), None, None) => Origin::Variable(name),
            (None, Some(file), None) => Origin::File(file),
            (None, None, Some(digests)) => Origin::Sha256(digests),
            _ => return Err("a token has exactly one of `env`, `file` and `sha256`"),
        };
        check_times(entry.not_before, entry.expires)?;
        Ok(Self { entry, origin })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for PathOr<T> {
    // By hand: of an untagged enum an error would not say what is wrong in the table.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = PathOr<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a path or a table")
            }

            fn visit_str<E: Error>(self, path: &str) -> Result<Self::Value, E> {
                Ok(PathOr::Path(path.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(PathOr::Table)
            }
        }

        deserializer.deserialize_any(Either(std::marker::PhantomData))
    }
}

impl From<PathOr<Htpasswd>> for HtpasswdEntry {
    fn from(written: PathOr<Htpasswd>) -> Self {
        Self(match written {
            PathOr::Table(table) => table,
            PathOr::Path(file) => Htpasswd {
                file,
                groups: Vec::new(),
                networks: None,
                identity: None,
            },
        })
    }
}

impl From<PathOr<Secret>> for SecretEntry {
    fn from(written: PathOr<Secret>) -> Self {
        Self(match written {
            PathOr::Table(table) => table,
            PathOr::Path(directory) => Secret {
                directory,
                groups: Vec::new(),
                networks: None,
                identity: None,
                weak: false,
            },
        })
    }
}

impl HtpasswdEntry {
    pub(crate) fn is_good_nowhere(&self) -> bool {
        self.0.networks.as_ref().is_some_and(Vec::is_empty)
    }

    /// The file.
    #[cfg(unix)]
    pub(super) fn file(&self) -> &Path {
        &self.0.file
    }

    pub(super) fn source(&self, document: &Document) -> CredentialSource {
        let Self(entry) = self;
        let source = CredentialSource::htpasswd(document.resolve(&entry.file))
            .in_groups(entry.groups.iter().cloned());
        limited(source, entry.networks.as_deref(), entry.identity.as_ref())
    }
}

impl SecretEntry {
    pub(crate) fn is_good_nowhere(&self) -> bool {
        self.0.networks.as_ref().is_some_and(Vec::is_empty)
    }

    /// The file that has its password.
    pub(super) fn file(&self) -> PathBuf {
        self.0.directory.join("password")
    }

    pub(super) fn source(&self, document: &Document) -> CredentialSource {
        let Self(entry) = self;
        let source = CredentialSource::secret_directory(document.resolve(&entry.directory))
            .in_groups(entry.groups.iter().cloned())
            .with_weak_allowed(entry.weak);
        limited(source, entry.networks.as_deref(), entry.identity.as_ref())
    }
}

impl TokenEntry {
    pub(crate) fn id(&self) -> &str {
        &self.entry.id
    }

    /// From when it is good, and until before when.
    pub(crate) fn validity(&self) -> (Option<SystemTime>, Option<SystemTime>) {
        let Entry {
            not_before,
            expires,
            ..
        } = &self.entry;
        let moment = |moment: &Option<Timestamp>| moment.map(|Timestamp(moment)| moment);
        (moment(not_before), moment(expires))
    }

    pub(crate) fn is_good_nowhere(&self) -> bool {
        self.entry.networks.as_ref().is_some_and(Vec::is_empty)
    }

    /// The file that has its token, which its environment variable may name.
    pub(super) fn file(&self, document: &Document) -> Option<PathBuf> {
        self.source(document).ok()?.path()
    }

    /// The key that says where its token is.
    pub(super) fn origin_key(&self) -> &'static str {
        match self.origin {
            Origin::Variable(_) => "env",
            Origin::File(_) => "file",
            Origin::Sha256(_) => "sha256",
        }
    }

    pub(super) fn source(&self, document: &Document) -> Result<CredentialSource, CredentialError> {
        let entry = &self.entry;
        let id = entry.id.as_str();
        let mut source = match &self.origin {
            Origin::Variable(name) => CredentialSource::variable(id, name),
            Origin::File(file) => CredentialSource::file(id, document.resolve(file)),
            Origin::Sha256(digests) => CredentialSource::sha256(id, digests)?,
        };
        source = source
            .in_groups(entry.groups.iter().cloned())
            .with_weak_allowed(entry.weak);
        source = limited(source, entry.networks.as_deref(), entry.identity.as_ref());
        if let Some(comment) = &entry.comment {
            source = source.with_comment(comment.as_str());
        }
        if let Some(Timestamp(moment)) = entry.not_before {
            source = source.not_before(moment);
        }
        if let Some(Timestamp(moment)) = entry.expires {
            source = source.expires(moment);
        }
        Ok(source)
    }
}

fn limited(
    mut source: CredentialSource,
    networks: Option<&[IpNet]>,
    identity: Option<&Text<Binding>>,
) -> CredentialSource {
    if let Some(networks) = networks {
        source = source.within(networks.iter().copied());
    }
    if let Some(Text(binding)) = identity {
        source = source.with_binding(binding.clone());
    }
    source
}
