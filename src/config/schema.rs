use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Bytes, Span, Text};
use crate::auth::Binding;
use crate::auth::file::Moment;
use crate::policy::{Actions, Who};

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

/// For types whose schema is written here.
macro_rules! schemas {
    ($($type:ty, $name:literal => $schema:tt;)*) => {$(
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    )*};
}
pub(super) use schemas;

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
            `cert:NAME`, `jwt:SUBJECT`, `custom:ID`, `group:NAME`, `spiffe://DOMAIN/PATH`, `dns:NAME`, \
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
