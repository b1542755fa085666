//! The header for an operator's key of an MCP server.

use std::borrow::Cow;

use serde_json::{Map, Value as Json};

use super::shape::ShapeError;

/// The name and value of the header for an operator's key.
pub(super) fn admin_header(
    api_key: &Map<String, Json>,
    key: &str,
) -> Result<(String, String), ShapeError> {
    let error = |field: &str, description| {
        Err(ShapeError {
            field: field.to_owned(),
            description: Cow::Borrowed(description),
        })
    };
    let authorization = |scheme| Ok(("Authorization".to_owned(), format!("{scheme} {key}")));
    match api_key.get("authorization_type").and_then(Json::as_str) {
        Some("bearer") => authorization("Bearer"),
        Some("basic") => authorization("Basic"),
        Some("custom") => match api_key.get("custom_header") {
            None | Some(Json::Null) => Ok(("X-Api-Key".to_owned(), key.to_owned())),
            Some(Json::String(name)) if name.is_empty() => {
                Ok(("X-Api-Key".to_owned(), key.to_owned()))
            }
            Some(Json::String(name)) => Ok((name.clone(), key.to_owned())),
            Some(_) => error("apiKey.custom_header", "must be a string"),
        },
        _ => error(
            "apiKey.authorization_type",
            "must be bearer, basic or custom",
        ),
    }
}
