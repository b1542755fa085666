//! Which claims of a login outlive an ID token that leaves them out.

use serde_json::{Map, Value};

use crate::config::providers::ClaimNames;

/// The claims that describe one thing together: if a new ID token has any of a group, the old ones
/// of that group are outdated. All that userinfo supplies is here or configured: a test beside
/// `USERINFO_CLAIMS` compares them.
const GROUPS: [&[&str]; 5] = [
    &["email", "email_verified"],
    &["name", "given_name", "family_name"],
    &["preferred_username", "username"],
    &["picture"],
    // A later ID token that has a nonce must repeat the login's.
    &["nonce"],
];

/// The claims after a refresh whose ID token has the claims `new`. It may be lean (OpenID Connect
/// Core section 12.2), so what describes the user is kept. Every other claim is as the new token
/// says, or gone: a group that the user left must not stay.
pub(super) fn carry_over(
    known: &Map<String, Value>,
    mut new: Map<String, Value>,
    names: &ClaimNames,
) -> Map<String, Value> {
    // Without an address, `email_verified` says nothing about the address from before.
    if is_absent(&new, "email") {
        new.remove("email_verified");
    }
    let configured = [&names.email, &names.name, &names.username];
    let configured = configured.into_iter().flatten().map(String::as_str);
    let mut kept = Vec::new();
    for group in GROUPS {
        if group.iter().all(|name| is_absent(&new, name)) {
            kept.extend(group);
        }
    }
    kept.extend(configured.filter(|name| is_absent(&new, name)));
    for name in kept {
        if let Some(value) = known.get(name) {
            new.insert(name.to_owned(), value.clone());
        }
    }
    new
}

fn is_absent(members: &Map<String, Value>, name: &str) -> bool {
    members
        .get(name)
        .is_none_or(|value| value.is_null() || value == "")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn after(known: &Value, new: &Value) -> Value {
        with(known, new, &ClaimNames::default())
    }

    fn with(known: &Value, new: &Value, names: &ClaimNames) -> Value {
        let object = |json: &Value| json.as_object().expect("an object").clone();
        carry_over(&object(known), object(new), names).into()
    }

    #[test]
    fn what_describes_the_user_is_kept_and_nothing_else_is() {
        let known = json!({
            "sub": "a", "exp": 1, "auth_time": 1, "amr": ["mfa"], "nonce": "n", "email": "a@x", "email_verified": true,
            "name": "Ann", "preferred_username": "ann", "picture": "https://x/a.png",
            "groups": ["admin"], "cognito:groups": ["admin"], "tenant": "t",
        });
        let kept = json!({
            "sub": "a", "exp": 2, "nonce": "n", "email": "a@x", "email_verified": true,
            "name": "Ann", "preferred_username": "ann", "picture": "https://x/a.png",
        });
        assert_eq!(after(&known, &json!({"sub": "a", "exp": 2})), kept);
        let new = json!({"sub": "a", "groups": [], "picture": "", "name": null});
        let after = after(&known, &new);
        assert_eq!(
            (&after["groups"], &after["name"]),
            (&json!([]), &json!("Ann"))
        );
        assert_eq!(after["picture"], "https://x/a.png");
    }

    #[test]
    fn a_new_address_is_not_verified_because_the_old_one_was() {
        let known = json!({"email": "a@x", "email_verified": true});
        assert_eq!(
            after(&known, &json!({"email": "b@x"})),
            json!({"email": "b@x"})
        );
        assert_eq!(
            after(&json!({"email": "a@x"}), &json!({"email_verified": true})),
            json!({"email": "a@x"})
        );
    }

    #[test]
    fn an_old_name_is_not_mixed_with_a_new_one() {
        let known = json!({"given_name": "Ann", "family_name": "Lee"});
        let new = json!({"name": "Ann Smith"});
        assert_eq!(after(&known, &new), new);
    }

    #[test]
    fn the_configured_claims_are_kept() {
        let names = ClaimNames {
            email: Some("mail".into()),
            name: Some("displayname".into()),
            username: Some("uid".into()),
        };
        let known = json!({"mail": "a@x", "displayname": "Ann", "uid": "ann", "groups": ["g"]});
        let kept = json!({"mail": "a@x", "displayname": "Ann", "uid": "ann2"});
        assert_eq!(with(&known, &json!({"uid": "ann2"}), &names), kept);
    }
}
