//! The fields of LibreChat's objects, so that a misspelt one is not ignored.

use std::borrow::Cow;

use serde_json::{Map, Value as Json};

use super::shape::ShapeError;
use crate::template::batch::Place;
use crate::template::vocabulary::folded;

/// The fields of an endpoint that are read.
pub(super) const ENDPOINT: &[&str] = &["baseURL", "apiKey", "headers"];
/// The fields of an MCP server that say what it is and how it is reached.
pub(super) const SERVER: &[&str] = &[
    "type",
    "url",
    "command",
    "args",
    "env",
    "headers",
    "oauth",
    "oauth_headers",
    "apiKey",
    "proxy",
    "customUserVars",
    "obo",
];
/// The fields of an MCP server's `apiKey`.
pub(super) const API_KEY: &[&str] = &["source", "key", "authorization_type", "custom_header"];

/// The error of an object without any of the fields.
pub(super) fn none_known(object: &Map<String, Json>, known: &[&str]) -> Option<ShapeError> {
    let has = |field: &&str| object.get(*field).is_some_and(|value| !value.is_null());
    (!known.iter().any(has)).then(|| ShapeError {
        field: String::new(),
        description: Cow::Owned(format!(
            "has none of the fields {}{}",
            known.join(", "),
            struct_hint(object)
        )),
    })
}

/// How a client probably built a google.protobuf.Struct wrongly.
fn struct_hint(object: &Map<String, Json>) -> &'static str {
    if object.is_empty() {
        ": it is empty. With @grpc/proto-loader, the members go into the field `fields` of the \
         google.protobuf.Struct"
    } else if object.len() == 1 && object.contains_key("fields") {
        ": give the members themselves, without `fields`"
    } else {
        ""
    }
}

/// The errors of fields that differ from a known one only by case, `_` or `-`.
pub(super) fn misspelt(path: &str, object: &Map<String, Json>, known: &[&str]) -> Vec<ShapeError> {
    let names = object.keys().filter(|name| !known.contains(&name.as_str()));
    names
        .filter_map(|name| {
            let meant = known
                .iter()
                .find(|known| folded(known, joins).eq(folded(name, joins)))?;
            Some(ShapeError {
                field: format!("{path}{name}"),
                description: Cow::Owned(format!("is not a field: {meant} is meant")),
            })
        })
        .collect()
}

/// The place of a member of `oauth` and whether it is a URL, by its name or its text.
pub(super) fn oauth_member(name: &str, text: &str) -> (Place, bool) {
    let name: String = folded(name, joins).collect();
    let is_url = ["url", "uri", "endpoint", "issuer"]
        .iter()
        .any(|end| name.ends_with(end))
        || text.contains("://");
    match name.as_str() {
        "clientsecret" => (Place::Credential, false),
        // Nothing is sent to it: the user's browser comes back to it.
        "redirecturi" => (Place::Ordinary, true),
        _ if is_url => (Place::Destination, true),
        _ => (Place::Ordinary, false),
    }
}

/// Whether a character only joins the words of a name.
fn joins(c: char) -> bool {
    matches!(c, '_' | '-')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(json: &Json, known: &[&str]) -> Vec<(String, String)> {
        let errors = misspelt("", json.as_object().expect("an object"), known);
        errors
            .into_iter()
            .map(|error| (error.field, error.description.into_owned()))
            .collect()
    }

    #[test]
    fn how_to_build_a_struct_is_told_to_those_who_did_not() {
        let told = |json: Json| {
            let object = json.as_object().expect("an object").clone();
            let error = none_known(&object, ENDPOINT).map(|error| error.description.into_owned());
            error.and_then(|text| {
                text.strip_prefix("has none of the fields baseURL, apiKey, headers")
                    .map(str::to_owned)
            })
        };
        let of_empty = told(json!({})).expect("an error");
        assert!(
            of_empty.contains("go into the field `fields`"),
            "{of_empty}"
        );
        let nested = told(json!({ "fields": { "baseURL": { "stringValue": "https://x" } } }));
        let nested = nested.expect("an error");
        assert!(nested.contains("the members themselves"), "{nested}");
        assert_eq!(told(json!({ "name": "x" })).as_deref(), Some(""));
        assert_eq!(
            told(json!({ "fields": 1, "name": "x" })).as_deref(),
            Some("")
        );
        assert_eq!(told(json!({ "headers": {} })), None);
    }

    #[test]
    fn no_field_is_taken_for_a_misspelt_one() {
        for known in [ENDPOINT, SERVER, API_KEY] {
            for field in known {
                assert_eq!(named(&json!({ *field: 1 }), known), []);
            }
        }
        let others = json!({ "name": 1, "models": 1, "title": 1, "timeout": 1, "baseURLs": 1 });
        assert_eq!(named(&others, ENDPOINT), []);
    }

    #[test]
    fn the_field_that_is_meant_is_named() {
        for (name, meant) in [
            ("base_url", "baseURL"),
            ("baseUrl", "baseURL"),
            ("BASE-URL", "baseURL"),
            ("Headers", "headers"),
            ("api_key", "apiKey"),
        ] {
            let expected = format!("is not a field: {meant} is meant");
            assert_eq!(
                named(&json!({ name: 1 }), ENDPOINT),
                [(name.to_owned(), expected)]
            );
        }
    }
}
