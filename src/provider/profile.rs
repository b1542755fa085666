//! Who the claims say the user is, in LibreChat's order of claims.

use serde_json::{Map, Value};

use crate::config::providers::OpenIdProvider;

const MAX_TEXT: usize = 255;
const MAX_EMAIL: usize = 254;
const MAX_URL: usize = 2048;

/// What a provider says about a user, fit to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedProfile {
    /// The address, as the provider writes it.
    pub email: Option<String>,
    /// Whether the provider says that it verified that very address.
    pub email_verified: bool,
    /// The name to show.
    pub name: Option<String>,
    /// The user name.
    pub username: Option<String>,
    /// An https URL of a picture.
    pub picture: Option<String>,
}

/// Reads the profile from verified claims.
#[must_use]
pub fn profile(members: &Map<String, Value>, provider: &OpenIdProvider) -> ClaimedProfile {
    let email = email(members, provider);
    let username = username(members, provider).or_else(|| email.clone());
    ClaimedProfile {
        email_verified: email.is_some()
            && email == address(members, "email")
            && is_true(members.get("email_verified")),
        name: name(members, provider).or_else(|| username.clone()),
        username,
        picture: picture(members),
        email,
    }
}

/// Whether the claims lack an address of their own, so that userinfo is worth a call.
pub fn lacks_email(members: &Map<String, Value>, provider: &OpenIdProvider) -> bool {
    email(members, provider).is_none()
}

/// The configured claim's, or `email`. `LibreChat` goes on to `preferred_username` and `upn`, but a name that looks like an address is
/// nobody's word that mail arrives there.
fn email(members: &Map<String, Value>, provider: &OpenIdProvider) -> Option<String> {
    provider
        .email_claim
        .as_deref()
        .and_then(|name| address(members, name))
        .or_else(|| address(members, "email"))
}

fn username(members: &Map<String, Value>, provider: &OpenIdProvider) -> Option<String> {
    match &provider.username_claim {
        Some(name) => text(members, name),
        None => text(members, "preferred_username").or_else(|| text(members, "username")),
    }
}

/// LibreChat does not look at `name`; it is taken where the parts of a name are missing.
fn name(members: &Map<String, Value>, provider: &OpenIdProvider) -> Option<String> {
    if let Some(name) = &provider.name_claim {
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

/// `true`, or the text that Cognito sends for it.
fn is_true(value: Option<&Value>) -> bool {
    value.is_some_and(|value| value == true || value == "true")
}

/// A claim that looks like an address. One that would have to be changed to be harmless is none.
fn address(members: &Map<String, Value>, name: &str) -> Option<String> {
    let address = members.get(name)?.as_str()?.trim();
    let sound = address.len() <= MAX_EMAIL
        && address.contains('@')
        && !address.chars().any(|c| c.is_control() || c.is_whitespace());
    sound.then(|| address.to_owned())
}

/// A claim as one line of text; several values are joined by `_`.
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

fn bounded(text: &str) -> String {
    let line: String = text.chars().filter(|c| !c.is_control()).collect();
    let line = line.trim();
    line[..line.floor_char_boundary(MAX_TEXT)].to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::oidc::tests::provider_config;
    use super::*;

    fn of(members: &Value) -> ClaimedProfile {
        with(members, |_| {})
    }

    fn with(members: &Value, change: impl FnOnce(&mut OpenIdProvider)) -> ClaimedProfile {
        let mut provider = provider_config("https://idp.example");
        change(&mut provider);
        let members = members.as_object().expect("an object").clone();
        profile(&members, &provider)
    }

    #[test]
    fn the_address_is_the_configured_claims_or_the_email() {
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
                provider.email_claim = Some("mail".into());
            })
            .email
        };
        assert_eq!(
            own(json!({"mail": " m@x ", "email": "a@x"})).as_deref(),
            Some("m@x")
        );
        let upn = with(&json!({"upn": "c@x", "email": "a@x"}), |provider| {
            provider.email_claim = Some("upn".into());
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
            p.email_claim = Some("upn".into());
        });
        assert!(upn.email.is_some() && !upn.email_verified);
        let own = with(
            &json!({"mail": "victim@x", "email": "a@x", "email_verified": true}),
            |p| p.email_claim = Some("mail".into()),
        );
        assert!(!own.email_verified);
    }

    #[test]
    fn names_come_in_librechats_order() {
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
            with(&json!({"roles": ["a", "b"]}), |p| p.username_claim =
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
