//! Conversion of JSON to `google.protobuf.Struct` and back.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as ProtoValue};
use serde_json::Value;

pub fn struct_of(value: &Value) -> Struct {
    let members = value.as_object().expect("an object");
    Struct {
        fields: members
            .iter()
            .map(|(name, value)| (name.clone(), proto_of(value)))
            .collect(),
    }
}

fn proto_of(value: &Value) -> ProtoValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().expect("a number")),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => Kind::ListValue(ListValue {
            values: items.iter().map(proto_of).collect(),
        }),
        Value::Object(_) => Kind::StructValue(struct_of(value)),
    };
    ProtoValue { kind: Some(kind) }
}

pub fn json_of(object: Struct) -> Value {
    Value::Object(
        object
            .fields
            .into_iter()
            .map(|(name, value)| (name, json_of_value(value)))
            .collect(),
    )
}

fn json_of_value(value: ProtoValue) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => flag.into(),
        Some(Kind::NumberValue(number)) => number.into(),
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json_of_value).collect(),
        Some(Kind::StructValue(object)) => json_of(object),
    }
}
