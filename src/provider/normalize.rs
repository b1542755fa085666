//! Normalizes the responses of token endpoints to RFC 6749 section 5.1, from which many providers
//! deviate.

use std::time::Duration;

use serde_json::{Map, Value};

/// No token lives longer than ten years; a larger `expires_in` counts as missing.
const MAX_EXPIRES_IN: u64 = 10 * 365 * 24 * 60 * 60;

/// The members that are used, with the types of RFC 6749 section 5.1.
pub(super) fn normalize(mut members: Map<String, Value>) -> Result<Value, &'static str> {
    let mut take = |name| {
        members
            .remove(name)
            .filter(|value| !value.is_null() && value != "")
    };
    let text = |value: Option<Value>, what| match value {
        None | Some(Value::String(_)) => Ok(value),
        Some(_) => Err(what),
    };
    let token_type = take("token_type");
    if token_type.is_some_and(|name| {
        !name
            .as_str()
            .is_some_and(|name| name.eq_ignore_ascii_case("Bearer"))
    }) {
        return Err("the token is not a bearer token");
    }
    let parts = [
        (
            "access_token",
            Some(
                text(take("access_token"), "the access token is not a string")?
                    .ok_or("it has no access token")?,
            ),
        ),
        ("token_type", Some("Bearer".into())),
        (
            "expires_in",
            take("expires_in")
                .and_then(|value| lifetime(&value))
                .map(Value::from),
        ),
        (
            "refresh_token",
            text(take("refresh_token"), "the refresh token is not a string")?,
        ),
        (
            "id_token",
            text(take("id_token"), "the ID token is not a string")?,
        ),
        (
            "scope",
            take("scope")
                .and_then(|value| scope(&value))
                .map(Value::from),
        ),
    ];
    Ok(parts
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect::<Map<_, _>>()
        .into())
}

/// Whole seconds, from a number or a string. A negative lifetime is zero; an absurd one is unknown.
fn lifetime(value: &Value) -> Option<u64> {
    let seconds = match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64(),
    };
    let seconds = seconds.filter(|seconds| seconds.is_finite())?;
    let whole = Duration::try_from_secs_f64(seconds.max(0.0))
        .ok()?
        .as_secs();
    (whole <= MAX_EXPIRES_IN).then_some(whole)
}

/// Scopes separated by spaces, from a string or a list.
fn scope(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(
            items
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(" "),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn normalized(answer: &Value) -> Result<Value, &'static str> {
        normalize(answer.as_object().expect("an object").clone())
    }

    #[test]
    fn irregular_answers_are_normalized() {
        let answer = json!({"access_token": "a", "expires_in": "3600", "scope": ["openid", "email"], "id_token": "", "extra": {}});
        let expected = json!({"access_token": "a", "token_type": "Bearer", "expires_in": 3600, "scope": "openid email"});
        assert_eq!(normalized(&answer), Ok(expected));
    }

    #[test]
    fn a_lifetime_is_whole_seconds_or_zero_or_unknown() {
        let cases = [
            (json!(3600), Some(3600)),
            (json!("3600"), Some(3600)),
            (json!(3600.9), Some(3600)),
            (json!(-1), Some(0)),
            (json!("-1"), Some(0)),
            (json!(0), Some(0)),
            (json!(1e18), None),
            (json!("1e400"), None),
            (json!("NaN"), None),
            (json!("soon"), None),
            (json!([]), None),
        ];
        for (value, expected) in cases {
            assert_eq!(lifetime(&value), expected, "{value}");
        }
    }

    #[test]
    fn answers_that_cannot_be_used_are_refused() {
        for answer in [
            json!({}),
            json!({"access_token": ""}),
            json!({"access_token": 7}),
            json!({"access_token": "a", "token_type": "mac"}),
            json!({"access_token": "a", "token_type": "DPoP"}),
            json!({"access_token": "a", "token_type": ["Bearer"]}),
            json!({"access_token": "a", "id_token": {}}),
            json!({"access_token": "a", "refresh_token": 7}),
        ] {
            assert!(normalized(&answer).is_err(), "{answer}");
        }
    }
}
