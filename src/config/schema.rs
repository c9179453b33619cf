use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::fleet::{PlainUrl, Prefix};
use super::{Bytes, Config, Span, Text};
use crate::auth::Binding;
use crate::auth::file::Moment;
use crate::policy::{Actions, Who};

impl Config {
    /// The JSON Schema (draft 7, which most editors know) of the file's values. It tells what
    /// [`Config::load`] takes key by key; what depends on several keys is told by loading alone.
    pub fn json_schema() -> Value {
        let settings = SchemaSettings::draft07().with_transform(RecursiveTransform(without_null));
        let generator = settings.into_generator();
        let mut schema = generator.into_root_schema_for::<super::file::Written>();
        schema.insert("title".to_owned(), "portcullis".into());
        schema.to_value()
    }
}

/// TOML has no null, so what need not be there is of its own type alone. With a null beside it an editor could
/// not say which key of a section is wrong, only that the whole of it fits neither.
fn without_null(schema: &mut Schema) {
    let is_null = |value: &Value| value.get("type").is_some_and(|kind| kind == "null");
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(Value::Array(kinds)) = object.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = kinds.as_slice() {
            let kind = kind.clone();
            object.insert("type".to_owned(), kind);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    let Some(Value::Array(choices)) = object.get_mut("anyOf") else {
        return;
    };
    choices.retain(|choice| !is_null(choice));
    if choices.len() == 1
        && let Some(only) = object.remove("anyOf")
    {
        // Not in its place: draft 7 ignores what stands beside a `$ref`, such as the description.
        object.insert("allOf".to_owned(), only);
    }
}

/// An IP network as a file names it.
pub(crate) struct Network;

/// For a type that is read as another one and then checked.
macro_rules! is_read_as {
    ($type:ty, $read:ty) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                <$read>::json_schema(generator)
            }
        }
    };
}
pub(crate) use is_read_as;

macro_rules! schemas {
    ($($type:ty, $name:literal => $schema:tt;)*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

schemas! {
    Network, "Network" => {
        "description": "An IP network in CIDR notation.",
        "type": "string",
        "pattern": "^[0-9a-fA-F.:]+/[0-9]{1,3}$",
        "examples": ["10.0.0.0/8", "2001:db8::/32"],
    };
    Span, "Span" => {
        "description": "A time span.",
        "type": "string",
        "pattern": "^\\s*[0-9]",
        "examples": ["10s", "1h 30m", "7days"],
    };
    Bytes, "Bytes" => {
        "description": "A number of bytes. KB, MB and GB are powers of 1000; KiB, MiB and GiB are \
            powers of 1024. A rate is a number of bytes a second.",
        "type": ["string", "integer"],
        "minimum": 0,
        "pattern": "^\\s*[0-9]",
        "examples": ["64KiB", "10MB", 4096],
    };
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
    Moment, "Moment" => {
        "description": "A moment with its offset from UTC, as TOML writes it.",
        "type": "string",
        "format": "date-time",
        "examples": ["2027-01-01T00:00:00Z"],
    };
    Binding, "Certificate" => {
        "description": "The client certificate that a token is good with: `spiffe://DOMAIN/PATH`, \
            `dns:NAME`, `email:ADDRESS`, `uri:URI`, `subject:DN` or `fingerprint:HEX`.",
        "type": "string",
        "pattern": "^(spiffe://|dns:|email:|uri:|subject:|fingerprint:).",
    };
    Who, "Who" => {
        "description": "Whom a rule is about: `anyone`, `anonymous`, `authenticated`, `token:ID`, \
            `cert:NAME`, `jwt:SUBJECT`, `group:NAME`, `spiffe://DOMAIN/PATH`, `dns:NAME`, \
            `email:ADDRESS`, `uri:URI`, `subject:DN`, `issuer:DN` or `fingerprint:HEX`.",
        "type": "string",
        "minLength": 1,
    };
}

impl JsonSchema for Actions {
    fn schema_name() -> Cow<'static, str> {
        "Action".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = Self::words().collect();
        json_schema!({
            "description": "What a caller may do.",
            "enum": words,
        })
    }
}

impl<T: JsonSchema> JsonSchema for Text<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
