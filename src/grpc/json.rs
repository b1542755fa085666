//! `google.protobuf.Struct` from and to JSON.

use prost_types::value::Kind;
use serde_json::{Map, Number, Value as Json};

use super::field_errors::FieldErrors;

/// What JSON cannot hold.
struct Misfit {
    /// The path below the value being read, such as `.headers.X`.
    path: String,
    description: &'static str,
}

/// A `google.protobuf.Struct` as JSON. What JSON cannot hold is an error of its field, whose path
/// begins with that of the Struct.
pub(super) fn json_object(
    field: &str,
    object: prost_types::Struct,
    errors: &mut FieldErrors,
) -> Map<String, Json> {
    let mut misfits = Vec::new();
    let members = members(object, &mut misfits);
    for misfit in misfits {
        errors.add(format!("{field}{}", misfit.path), misfit.description);
    }
    members
}

fn members(object: prost_types::Struct, misfits: &mut Vec<Misfit>) -> Map<String, Json> {
    let member = |(name, value)| {
        let before = misfits.len();
        let value = json(value, misfits);
        extend_paths(&mut misfits[before..], || format!(".{name}"));
        (name, value)
    };
    object.fields.into_iter().map(member).collect()
}

fn items(list: prost_types::ListValue, misfits: &mut Vec<Misfit>) -> Vec<Json> {
    let item = |(index, value)| {
        let before = misfits.len();
        let value = json(value, misfits);
        extend_paths(&mut misfits[before..], || format!("[{index}]"));
        value
    };
    list.values.into_iter().enumerate().map(item).collect()
}

/// Paths are made only for misfits, because most objects have none.
fn extend_paths(misfits: &mut [Misfit], parent: impl Fn() -> String) {
    for misfit in misfits {
        misfit.path.insert_str(0, &parent());
    }
}

fn json(value: prost_types::Value, misfits: &mut Vec<Misfit>) -> Json {
    let mut misfit = |description| {
        misfits.push(Misfit {
            path: String::new(),
            description,
        });
        Json::Null
    };
    match value.kind {
        None => misfit("is a google.protobuf.Value without a value"),
        Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(flag)) => Json::Bool(flag),
        Some(Kind::NumberValue(number)) => Number::from_f64(number)
            .map_or_else(|| misfit("must not be NaN or infinite"), Json::Number),
        Some(Kind::StringValue(text)) => Json::String(text),
        Some(Kind::ListValue(list)) => Json::Array(items(list, misfits)),
        Some(Kind::StructValue(object)) => Json::Object(members(object, misfits)),
    }
}

/// JSON as a `google.protobuf.Struct`.
pub(super) fn proto_struct(object: Map<String, Json>) -> prost_types::Struct {
    prost_types::Struct {
        fields: object
            .into_iter()
            .map(|(name, value)| (name, proto_value(value)))
            .collect(),
    }
}

fn proto_value(value: Json) -> prost_types::Value {
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(flag),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(items) => Kind::ListValue(prost_types::ListValue {
            values: items.into_iter().map(proto_value).collect(),
        }),
        Json::Object(object) => Kind::StructValue(proto_struct(object)),
    };
    prost_types::Value { kind: Some(kind) }
}
