//! The JSON Schema agrees with the reader.

use agent_iac::config::{Types, json_schema};
use serde_json::{Map, Value, json};

use super::{
    SOUND,
    broken::{CASES, broken},
};

/// Whether a value has the form that a schema describes: as much of draft
/// 2020-12 as the schema of fleets uses, and no more, so that a keyword that
/// nobody checks here is noticed.
fn fits(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let rules = schema.as_object().expect("a schema is an object");
    for (keyword, rule) in rules {
        let sound = match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" | "default" => true,
            "$ref" => {
                let name = rule.as_str().and_then(|r| r.strip_prefix("#/$defs/")).expect("a name");
                fits(root, &root["$defs"][name], value)?;
                true
            }
            "type" => match rule.as_str().expect("one type") {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64(),
                other => panic!("the type {other} is not checked"),
            },
            "const" => rule == value,
            "enum" => rule.as_array().expect("words").contains(value),
            "required" => rule
                .as_array()
                .expect("names")
                .iter()
                .all(|name| value.get(name.as_str().expect("a name")).is_some()),
            "properties" => {
                let known = rule.as_object().expect("schemas");
                for (name, value) in value.as_object().into_iter().flatten() {
                    if let Some(schema) = known.get(name) {
                        fits(root, schema, value)?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let none = Map::new();
                let known = rules.get("properties").and_then(Value::as_object).unwrap_or(&none);
                for (name, value) in value.as_object().into_iter().flatten() {
                    match rule {
                        _ if known.contains_key(name) => {}
                        Value::Bool(true) => {}
                        Value::Bool(false) => return Err(format!("`{name}` is not known")),
                        schema => fits(root, schema, value)?,
                    }
                }
                true
            }
            "propertyNames" => value
                .as_object()
                .into_iter()
                .flatten()
                .all(|(name, _)| fits(root, rule, &json!(name)).is_ok()),
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    fits(root, rule, item)?;
                }
                true
            }
            "oneOf" | "anyOf" => {
                let schemas = rule.as_array().expect("schemas").iter();
                let fitting = schemas.filter(|schema| fits(root, schema, value).is_ok()).count();
                fitting == 1 || fitting > 1 && keyword == "anyOf"
            }
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= number(rule)),
            "minLength" => length(value).is_none_or(|length| length >= number(rule)),
            "maxLength" => length(value).is_none_or(|length| length <= number(rule)),
            "minimum" => value.as_i64().is_none_or(|n| n >= rule.as_i64().expect("a number")),
            "maximum" => value.as_i64().is_none_or(|n| n <= rule.as_i64().expect("a number")),
            "pattern" => {
                value.as_str().is_none_or(|text| matches(rule.as_str().expect("one"), text))
            }
            other => panic!("the keyword {other} is not checked"),
        };
        if !sound {
            return Err(format!("{value} against {keyword} {rule}"));
        }
    }
    Ok(())
}

fn number(rule: &Value) -> u64 {
    rule.as_u64().expect("a number")
}

fn length(value: &Value) -> Option<u64> {
    value.as_str().map(|text| text.chars().count() as u64)
}

/// The few patterns of the schema, by hand.
fn matches(pattern: &str, text: &str) -> bool {
    let word = |first: fn(char) -> bool, rest: fn(char) -> bool| {
        text.starts_with(first) && text.chars().skip(1).all(rest)
    };
    match pattern {
        "^[a-z][a-z0-9-]*$" => word(
            |c| c.is_ascii_lowercase(),
            |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-',
        ),
        "^[a-z_][a-z0-9_]*$" => word(
            |c| c.is_ascii_lowercase() || c == '_',
            |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_',
        ),
        "^[0-9]+[smhdw]$|\\$" => {
            let digits = text.strip_suffix(['s', 'm', 'h', 'd', 'w']);
            text.contains('$')
                || digits.is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))
        }
        "\\$" => text.contains('$'),
        other => panic!("the pattern {other} is not checked"),
    }
}

/// A text as the JSON that an editor makes of it: a date is text there.
fn as_json(text: &str) -> Option<Value> {
    fn convert(value: toml::Value) -> Value {
        match value {
            toml::Value::String(text) => json!(text),
            toml::Value::Integer(number) => json!(number),
            toml::Value::Float(number) => json!(number),
            toml::Value::Boolean(flag) => json!(flag),
            toml::Value::Datetime(time) => json!(time.to_string()),
            toml::Value::Array(items) => items.into_iter().map(convert).collect(),
            toml::Value::Table(table) => {
                Value::Object(table.into_iter().map(|(k, v)| (k, convert(v))).collect())
            }
        }
    }
    let table: toml::Table = text.parse().ok()?;
    Some(convert(toml::Value::Table(table)))
}

fn schema() -> Value {
    serde_json::from_str(&json_schema(&Types::builtin())).expect("it is JSON")
}

#[test]
fn what_is_sound_fits_the_schema() {
    let schema = schema();
    for text in [SOUND, include_str!("../../../examples/fleet.toml"), "fleet = 'bare'"] {
        let value = as_json(text).expect("it is TOML");
        assert_eq!(fits(&schema, &schema, &value), Ok(()), "{text}");
    }
}

#[test]
fn what_has_a_wrong_form_does_not_fit_the_schema() {
    let schema = schema();
    let mut wrong = Vec::new();
    let mut refused = 0;
    for case in CASES {
        // An unknown key and an unknown type are matters of form, always.
        let form = case.3.iter().any(|(code, _)| matches!(*code, "IAC0014" | "IAC0015"));
        let Some(value) = as_json(&broken(case)) else { continue };
        let fits = fits(&schema, &schema, &value).is_ok();
        refused += usize::from(!fits);
        if form && fits {
            wrong.push(case.0);
        }
    }
    assert!(wrong.is_empty(), "these fit: {wrong:?}");
    assert!(refused >= 40, "only {refused} are refused");
}
