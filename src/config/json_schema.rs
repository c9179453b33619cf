use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value;

use super::Config;

impl Config {
    /// Returns the JSON Schema (draft 7, which most editors know) of the file's values. It describes what
    /// [`Config::load`] takes key by key; loading alone finds what is wrong with several keys together.
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
