//! What an ID token says about the authentication itself (OpenID Connect Core section 2).

use serde_json::{Map, Value};

use crate::jose::numeric_date;
use crate::model::session::Authentication;

/// More methods and longer names than providers use; an access token must stay small.
const MAX_METHODS: usize = 10;
const MAX_NAME: usize = 64;
const MAX_CLASS: usize = 255;

/// Reads `auth_time`, `amr` and `acr`. What the provider does not say, or says in another form, is
/// left out.
pub(super) fn authentication(members: &Map<String, Value>) -> Authentication {
    let said = members.get("amr").and_then(Value::as_array);
    let mut methods = vec!["fed"];
    for name in said.into_iter().flatten().filter_map(Value::as_str) {
        if is_plain(name, MAX_NAME) && !methods.contains(&name) && methods.len() <= MAX_METHODS {
            methods.push(name);
        }
    }
    let acr = members.get("acr").and_then(Value::as_str);
    Authentication {
        time: numeric_date(members.get("auth_time")),
        amr: methods.join(" "),
        acr: acr
            .filter(|acr| is_plain(acr, MAX_CLASS))
            .unwrap_or_default()
            .to_owned(),
    }
}

fn is_plain(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::Timestamp;

    fn of(members: &Value) -> Authentication {
        authentication(members.as_object().expect("an object"))
    }

    #[test]
    fn what_the_provider_says_is_kept_beside_our_own_method() {
        let said = of(
            &json!({"auth_time": 1_800_000_000.5, "amr": ["pwd", "otp"], "acr": "urn:x:silver"}),
        );
        let expected = Authentication {
            time: Some(Timestamp::from_secs(1_800_000_000)),
            amr: "fed pwd otp".to_owned(),
            acr: "urn:x:silver".to_owned(),
        };
        assert_eq!(said, expected);
        assert_eq!(of(&json!({})), Authentication::by("fed"));
    }

    #[test]
    fn what_is_not_a_plain_name_is_left_out_and_there_is_a_limit() {
        let odd = json!({
            "auth_time": "now", "acr": "a b",
            "amr": ["", "fed", "a b", "pwd", "pwd", 7, "ä", "x".repeat(65)],
        });
        let expected = Authentication {
            amr: "fed pwd".to_owned(),
            ..Authentication::by("fed")
        };
        assert_eq!(of(&odd), expected);
        let many: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let amr = of(&json!({ "amr": many })).amr;
        assert_eq!(amr, "fed 0 1 2 3 4 5 6 7 8 9");
    }
}
