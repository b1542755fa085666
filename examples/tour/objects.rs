//! LibreChat's objects as they are sent: `google.protobuf.Struct`.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::Value as Json;

/// Converts a JSON object to a message; anything else becomes an empty one.
pub fn to_wire(object: Json) -> Struct {
    match wire_value(object).kind {
        Some(Kind::StructValue(object)) => object,
        _ => Struct::default(),
    }
}

fn wire_value(value: Json) -> Value {
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(flag),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(items) => Kind::ListValue(ListValue {
            values: items.into_iter().map(wire_value).collect(),
        }),
        Json::Object(members) => Kind::StructValue(Struct {
            fields: members
                .into_iter()
                .map(|(name, value)| (name, wire_value(value)))
                .collect(),
        }),
    };
    Value { kind: Some(kind) }
}

/// Converts an answer to JSON.
pub fn to_json(object: Struct) -> Json {
    Json::Object(
        object
            .fields
            .into_iter()
            .map(|(name, value)| (name, json_value(value)))
            .collect(),
    )
}

fn json_value(value: Value) -> Json {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(flag)) => Json::Bool(flag),
        Some(Kind::NumberValue(number)) => number.into(),
        Some(Kind::StringValue(text)) => Json::String(text),
        Some(Kind::ListValue(list)) => {
            Json::Array(list.values.into_iter().map(json_value).collect())
        }
        Some(Kind::StructValue(object)) => to_json(object),
    }
}
