//! The user's profile, read from the claims in LibreChat's order.

use serde_json::{Map, Value};

use crate::config::providers::ClaimNames;

const MAX_TEXT: usize = 255;
/// The longest address that fits into a path of RFC 5321 section 4.5.3.1.3.
const MAX_EMAIL: usize = 254;
const MAX_URL: usize = 2048;

/// What a provider says about a user, checked and cut so that it can be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedProfile {
    /// The e-mail address as the provider writes it.
    pub email: Option<String>,
    /// Whether the provider says that it verified this address, and not another one of the user, or
    /// is trusted with all addresses.
    pub email_verified: bool,
    /// The display name.
    pub name: Option<String>,
    /// The user name.
    pub username: Option<String>,
    /// An https URL of a picture.
    pub picture: Option<String>,
}

/// Reads the profile from verified claims.
pub fn profile(members: &Map<String, Value>, names: &ClaimNames) -> ClaimedProfile {
    let email = email(members, names);
    let username = username(members, names).or_else(|| email.clone());
    ClaimedProfile {
        email_verified: email.is_some()
            && email == address(members, "email")
            && is_true(members.get("email_verified")),
        name: name(members, names).or_else(|| username.clone()),
        username,
        picture: picture(members),
        email,
    }
}

/// Whether the claims lack an e-mail address, so that userinfo should be fetched.
pub fn lacks_email(members: &Map<String, Value>, names: &ClaimNames) -> bool {
    email(members, names).is_none()
}

/// The address in the configured claim, otherwise the one in `email`. `LibreChat` would also try
/// `preferred_username` and `upn`, but a user name that looks like an address need not receive
/// mail.
fn email(members: &Map<String, Value>, names: &ClaimNames) -> Option<String> {
    names
        .email
        .as_deref()
        .and_then(|name| address(members, name))
        .or_else(|| address(members, "email"))
}

fn username(members: &Map<String, Value>, names: &ClaimNames) -> Option<String> {
    match &names.username {
        Some(name) => text(members, name),
        None => text(members, "preferred_username").or_else(|| text(members, "username")),
    }
}

/// The configured claim, or the given and family names. LibreChat ignores `name`; here it is used
/// if both parts are missing.
fn name(members: &Map<String, Value>, names: &ClaimNames) -> Option<String> {
    if let Some(name) = &names.name {
        return text(members, name);
    }
    match (text(members, "given_name"), text(members, "family_name")) {
        (Some(given), Some(family)) => Some(bounded(&format!("{given} {family}"))),
        (given, family) => given.or(family).or_else(|| text(members, "name")),
    }
}

fn picture(members: &Map<String, Value>) -> Option<String> {
    let url = url::Url::parse(members.get("picture")?.as_str()?).ok()?;
    (url.scheme() == "https" && url.as_str().len() <= MAX_URL).then(|| url.into())
}

/// `true`, or the string `"true"`, which Cognito sends.
fn is_true(value: Option<&Value>) -> bool {
    value.is_some_and(|value| value == true || value == "true")
}

/// A claim that looks like an e-mail address. One with control characters or white space inside is
/// ignored rather than cleaned, because it would become another address.
fn address(members: &Map<String, Value>, name: &str) -> Option<String> {
    let address = members.get(name)?.as_str()?.trim();
    let acceptable = address.len() <= MAX_EMAIL
        && address.contains('@')
        && !address.chars().any(|c| c.is_control() || c.is_whitespace());
    acceptable.then(|| address.to_owned())
}

/// A claim as one line of text; the values of a list are joined by `_`.
fn text(members: &Map<String, Value>, name: &str) -> Option<String> {
    let whole = match members.get(name)? {
        Value::String(text) => text.clone(),
        Value::Array(items) => items
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join("_"),
        _ => return None,
    };
    Some(bounded(&whole)).filter(|text| !text.is_empty())
}

/// Removes control characters and cuts the text to the longest that is stored.
fn bounded(text: &str) -> String {
    let line: String = text.chars().filter(|c| !c.is_control()).collect();
    let line = line.trim();
    line[..line.floor_char_boundary(MAX_TEXT)].to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(members: &Value) -> ClaimedProfile {
        with(members, |_| {})
    }

    fn with(members: &Value, change: impl FnOnce(&mut ClaimNames)) -> ClaimedProfile {
        let mut names = ClaimNames::default();
        change(&mut names);
        let members = members.as_object().expect("an object").clone();
        profile(&members, &names)
    }

    #[test]
    fn the_address_comes_from_the_configured_claim_or_from_email() {
        assert_eq!(
            of(&json!({"email": "a@x", "preferred_username": "b@x"}))
                .email
                .as_deref(),
            Some("a@x")
        );
        assert_eq!(
            of(&json!({"preferred_username": "ann", "upn": "c@x"})).email,
            None
        );
        let own = |members| {
            with(&members, |provider| {
                provider.email = Some("mail".into());
            })
            .email
        };
        assert_eq!(
            own(json!({"mail": " m@x ", "email": "a@x"})).as_deref(),
            Some("m@x")
        );
        let upn = with(&json!({"upn": "c@x", "email": "a@x"}), |provider| {
            provider.email = Some("upn".into());
        });
        assert_eq!(upn.email.as_deref(), Some("c@x"));
        assert_eq!(
            own(json!({"mail": ["m@x"], "email": "a@x"})).as_deref(),
            Some("a@x")
        );
    }

    #[test]
    fn a_user_name_that_looks_like_an_address_is_a_user_name() {
        let profile = of(&json!({"email": "", "preferred_username": "b@x", "upn": "c@x"}));
        assert_eq!(
            (
                profile.email,
                profile.username.as_deref(),
                profile.name.as_deref()
            ),
            (None, Some("b@x"), Some("b@x"))
        );
    }

    #[test]
    fn only_the_address_that_the_provider_verified_is_verified() {
        for (verified, expected) in [
            (json!(true), true),
            (json!("true"), true),
            (json!("True"), false),
            (json!("false"), false),
            (json!(1), false),
        ] {
            assert_eq!(
                of(&json!({"email": "a@x", "email_verified": verified})).email_verified,
                expected
            );
        }
        assert!(!of(&json!({"email": "a@x"})).email_verified);
        let upn = with(&json!({"upn": "c@x", "email_verified": true}), |p| {
            p.email = Some("upn".into());
        });
        assert!(upn.email.is_some() && !upn.email_verified);
        let own = with(
            &json!({"mail": "victim@x", "email": "a@x", "email_verified": true}),
            |p| p.email = Some("mail".into()),
        );
        assert!(!own.email_verified);
    }

    #[test]
    fn names_are_read_in_librechats_order() {
        let profile = of(
            &json!({"given_name": "Ann", "family_name": "Lee", "name": "X", "preferred_username": "ann"}),
        );
        assert_eq!(
            (profile.name.as_deref(), profile.username.as_deref()),
            (Some("Ann Lee"), Some("ann"))
        );
        assert_eq!(
            of(&json!({"family_name": "Lee"})).name.as_deref(),
            Some("Lee")
        );
        assert_eq!(
            of(&json!({"username": "ann2"})).name.as_deref(),
            Some("ann2")
        );
        assert_eq!(
            of(&json!({"email": "a@x"})).username.as_deref(),
            Some("a@x")
        );
        assert_eq!(
            with(&json!({"roles": ["a", "b"]}), |p| p.username =
                Some("roles".into()))
            .username
            .as_deref(),
            Some("a_b")
        );
    }

    #[test]
    fn claims_are_made_harmless() {
        assert_eq!(of(&json!({"email": "a@x\r\nBcc: b@x"})).email, None);
        assert_eq!(
            of(&json!({"name": " A\u{0}\r\nnn "})).name.as_deref(),
            Some("Ann")
        );
        assert_eq!(
            of(&json!({"name": "ä".repeat(300)}))
                .name
                .map(|name| name.len()),
            Some(254)
        );
        assert_eq!(of(&json!({"picture": "javascript:alert(1)"})).picture, None);
        assert_eq!(
            of(&json!({"picture": "https://x/p.png"}))
                .picture
                .as_deref(),
            Some("https://x/p.png")
        );
        assert_eq!(of(&json!({"name": 7, "email": null})).name, None);
    }
}
