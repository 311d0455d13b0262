//! The form of a text fleet as a JSON Schema, for editors.

use serde_json::{Value, json};

use super::{
    Types,
    agents::{AGENT_KEYS, FOR},
    resources::{ENGINE_KEYS, ON_DRIFT},
    top::REACHES,
};
use crate::{
    address::{MAX_KEY, MAX_NAME},
    fleet::Unattended,
    schema::{Kind, ResourceType, Type},
    value::MAX_INT,
};

/// The JSON Schema (draft 2020-12) of text fleets with these types.
///
/// Editors check and complete a `fleet.toml` by it, when its first line is
/// `#:schema ./fleet.schema.json`. It describes the form; the rules that need
/// more than one value at once (references, places, circles) are checked by
/// [`crate::build::check`] only.
///
/// ```
/// use agent_iac::config::{Types, json_schema};
///
/// let schema = json_schema(&Types::builtin());
/// assert!(schema.contains("authority.account"));
/// ```
pub fn json_schema(types: &Types) -> String {
    let mut definitions = serde_json::Map::new();
    for ty in types.iter() {
        definitions.insert(ty.name.to_owned(), resource(ty));
    }
    let each = types.iter().map(|ty| json!({ "$ref": format!("#/$defs/{}", ty.name) }));
    definitions.insert("resource".to_owned(), json!({ "oneOf": each.collect::<Vec<_>>() }));
    definitions.insert("agent".to_owned(), agent());
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A fleet of software agents",
        "type": "object",
        "required": ["fleet"],
        "additionalProperties": false,
        "properties": {
            "fleet": name("The fleet's name."),
            "stores": strings("The names of the secret stores."),
            "providers": {
                "description": "The providers, by name.",
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": { "reach": {
                        "description": "How far enumeration reaches in its system.",
                        "enum": REACHES,
                        "default": "declared",
                    } },
                },
            },
            "rules": {
                "description": "Guard rules: what a plan may never do.",
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "max_leaving": {
                        "description": "How many agents may begin to leave in one plan.",
                        "type": "integer",
                        "minimum": 0,
                        "maximum": u32::MAX,
                    },
                    "max_age": period("How old the observations of a plan may be."),
                    "standing": {
                        "description": "What may happen while nobody watches; nothing, unless said.",
                        "type": "array",
                        "items": { "enum": Unattended::ALL },
                    },
                    "standing_until": text("The last day on which it may, as `2027-06-30`."),
                    "rotation": {
                        "description": "What holds for the rotations of all credentials.",
                        "type": "object",
                        "additionalProperties": false,
                        "properties": {
                            "zone": text("The time zone of all that says no other; UTC unless said."),
                            "window": text("When any may be rotated, as `mon-fri 02:00-06:00`."),
                            "blackouts": strings(BLACKOUTS),
                            "rates": {
                                "description": "How many rotations a provider takes, as `30/m`.",
                                "type": "object",
                                "additionalProperties": {
                                    "type": "string",
                                    "pattern": "^[0-9]+/[0-9]*[smhdw]$",
                                },
                            },
                        },
                    },
                },
            },
            "agents": {
                "description": "The agents, by name.",
                "type": "object",
                "propertyNames": { "pattern": "^[a-z][a-z0-9-]*$", "maxLength": MAX_NAME },
                "additionalProperties": { "$ref": "#/$defs/agent" },
            },
            "moved": pairs("Resources that have another address now.", "from", "to"),
            "removed": strings("Addresses that are no longer managed and stay as they are."),
            "import": pairs("Existing objects to take under management.", "address", "id"),
        },
        "$defs": definitions,
    });
    // A tree of maps and text always has a JSON form.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

const BLACKOUTS: &str = "When none may be rotated: `2026-12-20..2027-01-03`, `12-20..01-03` for \
                         every year, or `mon-fri 09:00-17:00`.";

fn text(description: &str) -> Value {
    json!({ "description": description, "type": "string" })
}

fn name(description: &str) -> Value {
    json!({
        "description": description,
        "type": "string",
        "pattern": "^[a-z][a-z0-9-]*$",
        "maxLength": MAX_NAME,
    })
}

fn strings(description: &str) -> Value {
    json!({ "description": description, "type": "array", "items": { "type": "string" } })
}

fn period(description: &str) -> Value {
    json!({
        "description": format!("{description} A whole number and s, m, h, d or w, as `7d`."),
        "type": "string",
        // A value of `for` may stand in for it.
        "pattern": "^[0-9]+[smhdw]$|\\$",
    })
}

fn pairs(description: &str, first: &str, second: &str) -> Value {
    json!({
        "description": description,
        "type": "array",
        "items": {
            "type": "object",
            "required": [first, second],
            "additionalProperties": false,
            "properties": { first: { "type": "string" }, second: { "type": "string" } },
        },
    })
}

fn agent() -> Value {
    let mut properties = serde_json::Map::new();
    for key in AGENT_KEYS {
        let shape = match key {
            "purpose" => text("What the agent is for."),
            "owner" => text("Who answers for it."),
            "expires" => text("The last day on which it may act, as `2027-06-30`."),
            "grace" => period("How long it is kept suspended before it is deleted."),
            _ => json!({
                "description": "One instance for each value, or for each combination.",
                "type": "object",
                "additionalProperties": {
                    "type": "array",
                    "minItems": 1,
                    "items": { "anyOf": [
                        { "type": "string", "minLength": 1, "maxLength": MAX_KEY },
                        { "type": "integer" },
                    ] },
                },
            }),
        };
        properties.insert(key.to_owned(), shape);
    }
    let required: Vec<&str> =
        AGENT_KEYS.into_iter().filter(|key| !matches!(*key, "grace" | FOR)).collect();
    json!({
        "type": "object",
        "required": required,
        "properties": properties,
        "propertyNames": { "pattern": "^[a-z_][a-z0-9_]*$", "maxLength": MAX_NAME },
        "additionalProperties": { "$ref": "#/$defs/resource" },
    })
}

fn resource(ty: &ResourceType) -> Value {
    let mut properties = serde_json::Map::new();
    for key in ENGINE_KEYS {
        let shape = match key {
            "provider" => text("The provider's name, where it is not the type's own."),
            "depends_on" => json!({
                "description": "Resources that must exist first.",
                "anyOf": [
                    { "type": "string" },
                    { "type": "array", "items": { "type": "string" } },
                ],
            }),
            "protect" => json!({
                "description": "Whether deleting or replacing it is refused.",
                "type": "boolean",
                "default": false,
            }),
            "on_drift" => json!({
                "description": "What is done about drift without a plan.",
                "enum": ON_DRIFT,
                "default": "report",
            }),
            "ignore" => strings("Properties that others manage."),
            _ => json!({
                "description": "Why something unusual is wanted.",
                "type": "string",
                "minLength": 1,
            }),
        };
        properties.insert(key.to_owned(), shape);
    }
    if ty.kind == Kind::Credential {
        for (key, shape) in [
            (
                "rotate",
                text("When it is due: an age as `7d`, cron as `0 3 * * mon`, or `1000 uses`."),
            ),
            ("overlap", period("How long two generations are valid together.")),
            ("window", text("When it may be rotated, as `mon-fri 02:00-06:00`.")),
            ("blackouts", strings(BLACKOUTS)),
            ("zone", text("The time zone of these days and hours, as `Europe/Berlin`.")),
            ("jitter", period("Over how long the rotations of a fleet are spread.")),
            ("retry", text("How often a failed rotation is tried, as `8 times, 1m to 1h`.")),
            ("lease", period("How long the system accepts one generation.")),
            ("group", text("The redundancy group, of which one member changes at a time.")),
            ("deliver", text("Where it is delivered, as `store:path`.")),
            (
                "consumers",
                strings(
                    "Who uses it, as `billing-api`, `runtime:worker.process`, `file:/srv/app/key owner=app mode=0640`, `signal:HUP /run/app.pid`, `command:reload-app` or `webhook:https://host/path`.",
                ),
            ),
        ] {
            properties.insert(key.to_owned(), shape);
        }
    }
    let mut required = vec![ty.kind.name()];
    for field in ty.fields {
        let mut shape = shape(&field.ty);
        if let Some(entries) = shape.as_object_mut() {
            entries.insert("description".to_owned(), field.doc.trim().into());
            if let Some(default) = field.default {
                let default = serde_json::to_value(default()).unwrap_or_default();
                entries.insert("default".to_owned(), default);
            }
        }
        properties.insert(field.name.to_owned(), shape);
        if field.required {
            required.push(field.name);
        }
    }
    if ty.kind == Kind::Credential {
        required.push("deliver");
    }
    properties.insert(ty.kind.name().to_owned(), json!({ "const": ty.name }));
    json!({
        "description": ty.doc.trim(),
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": false,
    })
}

fn shape(ty: &Type) -> Value {
    match ty {
        Type::Bool => json!({ "type": "boolean" }),
        Type::Int => json!({ "type": "integer", "minimum": -MAX_INT, "maximum": MAX_INT }),
        Type::Text => json!({ "type": "string" }),
        // A value of `for` may stand in for the word.
        Type::Enum(words) => json!({ "anyOf": [
            { "enum": words },
            { "type": "string", "pattern": "\\$" },
        ] }),
        Type::List(item) | Type::Set(item) => json!({ "type": "array", "items": shape(item) }),
        Type::Map(item) => json!({ "type": "object", "additionalProperties": shape(item) }),
        Type::Struct(fields) => {
            let properties: serde_json::Map<String, Value> =
                fields.iter().map(|(name, ty)| ((*name).to_owned(), shape(ty))).collect();
            let required: Vec<&str> = fields
                .iter()
                .filter(|(_, ty)| !matches!(ty, Type::Option(_)))
                .map(|(name, _)| *name)
                .collect();
            json!({
                "type": "object",
                "required": required,
                "properties": properties,
                "additionalProperties": false,
            })
        }
        Type::Option(inner) => shape(inner),
        Type::Link(_) => json!({ "anyOf": [
            { "type": "string" },
            {
                "type": "object",
                "required": ["id"],
                "properties": { "id": { "type": "string" } },
                "additionalProperties": false,
            },
        ] }),
    }
}
