//! No number and no time of a configuration stops the server, keeps it busy or makes it panic: each that the
//! schema has is set to nothing, to less than nothing and to the most there is.
#![cfg(all(feature = "schema", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use portcullis::Guard;
use portcullis::config::{Config, ConfigError};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::pki;

/// A configuration with every section, all of which can be used.
fn scene() -> (TempDir, Value) {
    let folder = TempDir::new().unwrap();
    let ca = pki::Ca::new("clients");
    let server = ca.server(&["localhost"]);
    let crl = ca.crl(1, &[]).pem().unwrap();
    for (name, text) in [
        ("ca.crt", &*ca.pem),
        ("tls.crt", &*server.pem),
        ("tls.key", &*server.key_pem),
        ("crl.pem", &*crl),
        ("keys.json", "{\"keys\":[]}"),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let base = json!({
        "tls": { "certificate": "tls.crt", "key": "tls.key", "client_ca": ["ca.crt"] },
        "crl": { "files": ["crl.pem"] },
        "auth": {
            "require": "token-or-certificate",
            "token": [{ "id": "ci", "sha256": [digest] }],
        },
        "policy": {
            "rules": [{
                "name": "pull", "who": ["authenticated"], "actions": ["pull"], "repositories": ["**"],
            }],
        },
        "limits": { "limit": [{ "name": "line", "key": "total", "rate": "1MB" }] },
    });
    (folder, base)
}

enum Kind {
    Integer,
    Span,
    Bytes,
}

/// The way to a value: keys, and `None` for the first of a list.
type Way = Vec<Option<String>>;

/// Every number and time that the schema has.
fn numbers(
    root: &Value,
    schema: &Value,
    way: &[Option<String>],
    found: &mut Vec<(Way, Kind, Value)>,
    owner: &Value,
) {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let name = name.rsplit('/').next().unwrap();
        match name {
            "Span" => found.push((way.to_vec(), Kind::Span, owner.clone())),
            "Bytes" => found.push((way.to_vec(), Kind::Bytes, owner.clone())),
            _ => numbers(root, &root["definitions"][name], way, found, owner),
        }
        return;
    }
    if schema["type"] == "integer" {
        found.push((way.to_vec(), Kind::Integer, owner.clone()));
    }
    for several in ["allOf", "anyOf", "oneOf"] {
        for choice in schema
            .get(several)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            numbers(root, choice, way, found, owner);
        }
    }
    if let Some(items) = schema.get("items") {
        let mut way = way.to_vec();
        way.push(None);
        numbers(root, items, &way, found, owner);
    }
    if let Some(table) = schema.get("else") {
        numbers(root, table, way, found, owner);
    }
    for (name, property) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let mut way = way.to_vec();
        way.push(Some(name.clone()));
        numbers(root, property, &way, found, schema);
    }
    if let Some(values) = schema
        .get("additionalProperties")
        .filter(|values| values.is_object())
    {
        let mut way = way.to_vec();
        way.push(Some("acme".to_owned()));
        numbers(root, values, &way, found, owner);
    }
}

/// What a table needs besides.
fn needed(root: &Value, schema: &Value) -> Map<String, Value> {
    let mut table = Map::new();
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap();
        table.insert(name.to_owned(), least(root, &schema["properties"][name]));
    }
    table
}

fn least(root: &Value, schema: &Value) -> Value {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        return least(root, &root["definitions"][name.rsplit('/').next().unwrap()]);
    }
    for several in ["allOf", "anyOf", "oneOf"] {
        if let Some(first) = schema.get(several).and_then(|choices| choices.get(0)) {
            return least(root, first);
        }
    }
    if let Some(example) = schema.get("examples").and_then(|examples| examples.get(0)) {
        return example.clone();
    }
    if let Some(word) = schema.get("enum").and_then(|words| words.get(0)) {
        return word.clone();
    }
    if let Some(word) = schema.get("const") {
        return word.clone();
    }
    match schema["type"].as_str() {
        Some("object") => Value::Object(needed(root, schema)),
        Some("array") => json!([]),
        Some("integer") => json!(1),
        Some("boolean") => json!(true),
        _ => json!("keys.json"),
    }
}

/// Puts `value` there, with what the tables on the way need besides.
fn put(base: &mut Value, way: &[Option<String>], value: Value, needed: &Map<String, Value>) {
    match way {
        [] => *base = value,
        [step, rest @ ..] => {
            if rest.is_empty() {
                let fresh = base.as_object().is_none_or(Map::is_empty);
                if fresh && step.is_some() {
                    *base = Value::Object(needed.clone());
                }
            }
            let next = if let Some(name) = step {
                if !base.is_object() {
                    *base = json!({});
                }
                &mut base[name.as_str()]
            } else {
                if base.as_array().is_none_or(Vec::is_empty) {
                    *base = json!([null]);
                }
                &mut base[0]
            };
            put(next, rest, value, needed);
        }
    }
}

/// Loads it and builds its guard, within half a minute.
fn attempt(folder: &Path, text: &str) -> Result<(), ConfigError> {
    let (sender, outcome) = mpsc::channel();
    let (folder, owned) = (folder.to_owned(), text.to_owned());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        let built = catch_unwind(AssertUnwindSafe(|| {
            let config = Config::from_toml(&owned, folder)?;
            Guard::from_config(&config).map(drop)
        }));
        let _ = sender.send(built);
    });
    match outcome.recv_timeout(Duration::from_secs(30)) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => panic!("it panicked: {text}"),
        Err(error) => panic!("it hangs, {error}: {text}"),
    }
}

#[test]
fn no_number_and_no_time_makes_it_panic_or_hang() {
    let (folder, base) = scene();
    let schema = Config::json_schema();
    let mut found = Vec::new();
    numbers(&schema, &schema, &[], &mut found, &schema);
    assert!(found.len() > 40, "{}", found.len());
    for (way, kind, owner) in &found {
        let values = match kind {
            Kind::Integer => vec![json!(0), json!(-1), json!(i64::MAX), json!(u64::MAX)],
            Kind::Bytes => vec![
                json!(0),
                json!(-1),
                json!(i64::MAX),
                json!("18446744073709551615"),
            ],
            Kind::Span => vec![
                json!("0s"),
                json!("-1s"),
                json!("1ns"),
                json!("500000000000years"),
            ],
        };
        for value in values {
            let mut config = base.clone();
            put(&mut config, way, value.clone(), &needed(&schema, owner));
            // TOML has no integers beyond those of 64 bits with a sign in this writer; by hand it may.
            let placeholder = json!(7_777_777_777_u64);
            let beyond = value == json!(u64::MAX);
            if beyond {
                put(&mut config, way, placeholder, &Map::new());
            }
            let mut text = toml::to_string(&config).unwrap();
            if beyond {
                text = text.replace("7777777777", "18446744073709551615");
            }
            let outcome = attempt(folder.path(), &text);
            let negative = matches!(value.as_i64(), Some(-1)) || value == json!("-1s");
            if negative {
                assert!(outcome.is_err(), "{way:?} = {value} is taken:\n{text}");
            }
        }
    }
}

/// Counts how often its files are looked at.
struct Looked(std::sync::Arc<std::sync::atomic::AtomicU32>);

impl portcullis::reload::Load for Looked {
    type Value = ();
    type Error = std::convert::Infallible;

    fn name(&self) -> &'static str {
        "looked"
    }

    fn paths(&self) -> Vec<std::path::PathBuf> {
        Vec::new()
    }

    fn load(&mut self, _: Option<&()>) -> Result<(), Self::Error> {
        Ok(())
    }

    fn look(&mut self, (): &()) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn a_watcher_without_an_interval_rests_all_the_same() {
    let looked = std::sync::Arc::default();
    let options = portcullis::reload::WatchOptions::default().with_poll_interval(Duration::ZERO);
    let begun = std::time::Instant::now();
    let loader = Looked(std::sync::Arc::clone(&looked));
    let watched = portcullis::Watched::watch(loader, options).unwrap();
    while begun.elapsed() < Duration::from_millis(300) {
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(watched);
    let looks = looked.load(std::sync::atomic::Ordering::Relaxed);
    let most = begun.elapsed().as_millis() / 10 + 3;
    assert!(u128::from(looks) <= most, "{looks} looks, {most} at most");
}

#[test]
fn what_would_shut_everybody_out_or_never_rest_is_an_error_with_its_bounds() {
    let (folder, base) = scene();
    for (way, value) in [
        (["reload", "poll_interval"], json!("0s")),
        (["reload", "poll_interval"], json!("1us")),
        (["tls", "handshake_timeout"], json!("0s")),
        (["tls", "handshake_timeout"], json!("1year")),
        (["tls", "stall_timeout"], json!("0s")),
        (["crl", "max_size"], json!(0)),
        (["limits", "max_keys"], json!(0)),
    ] {
        let mut config = base.clone();
        let steps: Way = way.iter().map(|step| Some((*step).to_owned())).collect();
        put(&mut config, &steps, value, &Map::new());
        let error = attempt(folder.path(), &toml::to_string(&config).unwrap()).unwrap_err();
        let ConfigError::OutOfBounds { place, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(place.key, way.join("."), "{error}");
        assert!(error.to_string().contains(" is not from "), "{error}");
    }
    let mut config = base;
    let steps: Way = ["auth", "throttle", "capacity"]
        .map(|step| Some(step.to_owned()))
        .into();
    put(&mut config, &steps, json!(i64::MAX), &Map::new());
    let error = attempt(folder.path(), &toml::to_string(&config).unwrap()).unwrap_err();
    assert!(matches!(error, ConfigError::OutOfBounds { .. }), "{error}");
}
