//! The userinfo endpoint (OpenID Connect Core section 5.3).

use serde_json::{Map, Value};
use url::Url;

use super::super::fetch;
use super::super::requests::Requests;
use crate::config::providers::ClaimNames;
use crate::error::Cause;
use crate::jose;
use crate::metrics::Asked;
use crate::provider::claims::VerifiedClaims;
use crate::secret::SecretString;

/// The claims taken from userinfo, besides those that the configuration names.
const USERINFO_CLAIMS: [&str; 7] = [
    "email",
    "email_verified",
    "name",
    "given_name",
    "family_name",
    "preferred_username",
    "picture",
];

/// Fetches the claims of the user `subject`. A response about another user is an error (section
/// 5.3.2).
pub(super) async fn fetch_claims(
    requests: &Requests,
    url: &Url,
    access_token: &SecretString,
    subject: &str,
) -> Result<Map<String, Value>, Cause> {
    let body = fetch::json(requests, Asked::UserInfo, url, Some(access_token)).await?;
    let userinfo =
        jose::object(&body).ok_or("userinfo is not an object without repeated members")?;
    if userinfo.get("sub").is_none_or(|sub| sub != subject) {
        return Err("userinfo is about another user than the one who signed in".into());
    }
    Ok(userinfo)
}

/// Adds the profile claims that the ID token lacks; called only if it has no e-mail address.
pub(super) fn fill_gaps(
    claims: &mut VerifiedClaims,
    mut userinfo: Map<String, Value>,
    names: &ClaimNames,
) {
    let members = &mut claims.members;
    // The ID token has no address, so its `email_verified` must not count for userinfo's address.
    members.remove("email_verified");
    let configured = [&names.email, &names.name, &names.username];
    for name in USERINFO_CLAIMS
        .into_iter()
        .chain(configured.into_iter().flatten().map(String::as_str))
    {
        let is_missing = members
            .get(name)
            .is_none_or(|value| value.is_null() || value == "");
        if let Some(value) = userinfo.remove(name).filter(|_| is_missing) {
            members.insert(name.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn every_claim_from_userinfo_outlives_an_id_token_without_it() {
        let names = ClaimNames {
            email: Some("mail".into()),
            name: Some("displayname".into()),
            username: Some("uid".into()),
        };
        let supplied = USERINFO_CLAIMS
            .into_iter()
            .chain(["mail", "displayname", "uid"]);
        let supplied: Map<String, Value> = supplied
            .map(|name| (name.to_owned(), Value::from("x")))
            .collect();
        let lean = || VerifiedClaims {
            issuer: "https://idp.example".to_owned(),
            subject: "a".to_owned(),
            expire_time: Timestamp::from_millis(0),
            members: Map::new(),
        };
        let mut known = lean();
        fill_gaps(&mut known, supplied.clone(), &names);
        assert_eq!(known.members, supplied);
        assert_eq!(lean().after(&known.members, &names).members, supplied);
    }
}
