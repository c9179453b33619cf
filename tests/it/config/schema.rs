//! The JSON Schema of the configuration file.
#![cfg(feature = "schema")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use boon::{Compiler, SchemaIndex, Schemas};
use portcullis::config::Config;
use serde_json::Value;

fn repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

struct Validator(Schemas, SchemaIndex);

impl Validator {
    fn new() -> Self {
        let mut schemas = Schemas::new();
        let mut compiler = Compiler::new();
        compiler
            .add_resource("config.schema.json", Config::json_schema())
            .unwrap();
        let schema = compiler.compile("config.schema.json", &mut schemas);
        Self(schemas, schema.unwrap())
    }

    fn accepts(&self, text: &str) -> Result<(), String> {
        let value: toml::Table = text.parse().unwrap();
        let value = json(toml::Value::Table(value));
        let valid = self.0.validate(&value, self.1);
        valid.map_err(|error| error.to_string())
    }
}

/// As an editor hands TOML to a validator: moments are texts.
fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::Datetime(moment) => moment.to_string().into(),
        toml::Value::Array(values) => values.into_iter().map(json).collect(),
        toml::Value::Table(table) => {
            Value::Object(table.into_iter().map(|(k, v)| (k, json(v))).collect())
        }
        other => serde_json::to_value(other).unwrap(),
    }
}

fn loads(text: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gate.toml");
    std::fs::write(&file, text).unwrap();
    let loaded = Config::load(&file).map(drop);
    loaded.map_err(|error| error.to_string())
}

/// The file with its commented keys and sections as if they were not.
fn uncommented(text: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(rest) if rest.starts_with('[') => rest,
        Some(rest) if rest.split_once(" = ").is_some_and(|(key, _)| is_key(key)) => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn is_key(text: &str) -> bool {
    text.chars()
        .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

#[test]
fn the_committed_schema_is_that_of_the_code() {
    let committed = std::fs::read_to_string(repository("docs/config.schema.json"));
    let committed: Option<Value> = serde_json::from_str(&committed.unwrap_or_default()).ok();
    assert!(
        committed == Some(Config::json_schema()),
        "docs/config.schema.json is not current: cargo run --example portcullisctl --all-features \
         -- schema > docs/config.schema.json"
    );
}

#[test]
fn the_example_with_all_that_is_commented_out_fits_the_schema() {
    let text = std::fs::read_to_string(repository("examples/mirror.toml")).unwrap();
    let everything = uncommented(&text);
    assert!(everything.matches('=').count() > text.matches("\n[").count());
    let validator = Validator::new();
    for text in [text, everything] {
        assert_eq!(loads(&text), Ok(()), "{text}");
        assert_eq!(validator.accepts(&text), Ok(()), "{text}");
    }
}

#[test]
fn what_the_loader_refuses_key_by_key_does_not_fit_the_schema_either() {
    let validator = Validator::new();
    for text in [
        "preset = \"miror\"",
        "hiden = true",
        "hidden = \"yes\"",
        "[source]\nallow = [\"10.0.0.0\"]",
        "[source]\nallow = \"10.0.0.0/8\"",
        "[reload]\npoll_interval = 5",
        "[reload]\npoll_interval = \"soon\"",
        "[tls]\nkey = \"a\"",
        "[tls]\ncertificate = \"a\"\nkey = \"a\"\nmin_version = \"1.1\"",
        "[crl]\nfiles = []\ndepth = \"root\"",
        "[auth]\nrequire = \"password\"",
        "[auth]\nrequire = \"token\"\n[[auth.token]]\nid = \"ci\"\nfile = \"a\"\nidentity = \"ci\"",
        "[[limits.limit]]\nname = \"all\"\nkey = \"total\"\nrate = \"fast\"",
        "[[limits.limit]]\nname = \"all\"\nkey = \"all\"\nrate = 1",
        "[[limits.limit]]\nname = \"all\"\nkey = \"total\"\nrate = -1",
        "[[policy.rules]]\nname = \"ci\"\nwho = [\"anyone\"]\nactions = [\"read\"]",
        "[[policy.rules]]\nname = \"ci\"\nactions = [\"any\"]",
        "[policy]\nrule = []",
        "[policy.digest_binding]\ncapacity = -1",
        "[access_log]\nhealth_check_every = 0",
    ] {
        assert!(loads(text).is_err(), "{text}");
        assert!(validator.accepts(text).is_err(), "{text}");
    }
}

#[test]
fn a_moment_and_every_form_of_a_limit_fit_the_schema() {
    let validator = Validator::new();
    for text in [
        "[auth]\nrequire = \"token\"\n[[auth.token]]\nid = \"ci\"\nfile = \"a\"\n\
         expires = 2027-01-01T00:00:00Z\nidentity = \"dns:ci\"\nnetworks = [\"::1/128\"]",
        "[limits]\nexempt = [{ path = \"/healthz\" }, { blobs = { below = 10 } }]\n\
         limit = [{ name = \"a\", key = \"total\", rate = 1000, callers = { groups = [\"x\"] } }]",
    ] {
        assert_eq!(loads(text), Ok(()), "{text}");
        assert_eq!(validator.accepts(text), Ok(()), "{text}");
    }
}

/// Where a validator says that something is wrong, as far as it can tell.
fn blamed(error: &boon::ValidationError<'_, '_>, found: &mut Vec<String>) {
    if error.causes.is_empty() {
        found.push(error.instance_location.to_string());
    }
    for cause in &error.causes {
        blamed(cause, found);
    }
}

#[test]
fn a_bad_key_is_blamed_itself_and_not_the_section_around_it() {
    let validator = Validator::new();
    for (text, key) in [
        (
            "[tls]\ncertificate = \"a\"\nkey = \"b\"\nresumption = \"yes\"",
            "/tls/resumption",
        ),
        ("[crl]\nfiles = [1]", "/crl/files/0"),
        ("[source]\nallow = [\"10.0.0.0\"]", "/source/allow/0"),
        (
            "[auth]\nrequire = \"token\"\nanonymous = 1",
            "/auth/anonymous",
        ),
        (
            "[auth]\nrequire = \"token\"\nhtpasswd = [{ file = 1 }]",
            "/auth/htpasswd/0/file",
        ),
        (
            "[[limits.limit]]\nname = \"a\"\nkey = \"total\"\nrate = true",
            "/limits/limit/0/rate",
        ),
        (
            "[policy.digest_binding]\ncapacity = \"many\"",
            "/policy/digest_binding/capacity",
        ),
    ] {
        let value: toml::Table = text.parse().unwrap();
        let value = json(toml::Value::Table(value));
        let mut found = Vec::new();
        blamed(
            &validator.0.validate(&value, validator.1).unwrap_err(),
            &mut found,
        );
        assert_eq!(found, [key], "{text}");
    }
    let schema = serde_json::to_string(&Config::json_schema()).unwrap();
    assert!(!schema.contains("\"null\""), "TOML has no null");
}
