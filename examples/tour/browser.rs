//! Bea's browser: it follows the redirect of the provider and returns the parameters of the callback.

use std::collections::HashMap;

use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use url::Url;

use crate::story::{Outcome, ensure, present};

/// The parameters of the callback that the provider redirects to.
pub async fn visit(authorization_url: &str) -> Outcome<HashMap<String, String>> {
    let browser = reqwest::Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .build()?;
    let answer = browser.get(authorization_url).send().await?;
    ensure(
        answer.status().as_u16() == 302,
        "the provider redirects the browser",
    )?;
    let location = present(answer.headers().get(LOCATION), "location")?.to_str()?;
    ensure(
        location.starts_with("http://localhost:3080/oauth/openid/callback?"),
        "the redirect goes to the callback",
    )?;
    Ok(Url::parse(location)?.query_pairs().into_owned().collect())
}
