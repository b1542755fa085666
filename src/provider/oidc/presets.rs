//! What some providers need beyond the standard, chosen by the issuer's host.

use url::Url;

/// What a login must request to receive a refresh token, and whether the provider rotates those.
pub(super) struct Preset {
    pub(super) scope: Option<&'static str>,
    pub(super) params: &'static [(&'static str, &'static str)],
    /// Whether using a refresh token may invalidate it. If not, a refresh whose outcome is unknown
    /// may be repeated.
    pub(super) rotates: bool,
}

const STANDARD: Preset = Preset {
    scope: None,
    params: &[],
    rotates: true,
};
const OFFLINE_ACCESS: Preset = Preset {
    scope: Some("offline_access"),
    ..STANDARD
};
const ENTRA: Preset = Preset {
    rotates: false,
    ..OFFLINE_ACCESS
};
const GOOGLE: Preset = Preset {
    params: &[("access_type", "offline"), ("prompt", "consent")],
    rotates: false,
    ..STANDARD
};

pub(super) fn for_issuer(issuer: &Url) -> &'static Preset {
    match issuer.host_str().unwrap_or_default() {
        "accounts.google.com" => &GOOGLE,
        "login.microsoftonline.com"
        | "login.microsoftonline.us"
        | "login.partner.microsoftonline.cn" => &ENTRA,
        host if [
            ".okta.com",
            ".oktapreview.com",
            ".okta-emea.com",
            ".auth0.com",
        ]
        .iter()
        .any(|suffix| host.ends_with(suffix)) =>
        {
            &OFFLINE_ACCESS
        }
        _ => &STANDARD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(issuer: &str) -> Option<&'static str> {
        for_issuer(&Url::parse(issuer).expect("a URL")).scope
    }

    #[test]
    fn presets_are_chosen_by_the_whole_host() {
        assert_eq!(
            scope("https://login.microsoftonline.com/tenant/v2.0"),
            Some("offline_access")
        );
        assert_eq!(scope("https://acme.okta.com"), Some("offline_access"));
        assert_eq!(scope("https://acme.eu.auth0.com/"), Some("offline_access"));
        assert_eq!(scope("https://okta.com.evil.example"), None);
        assert_eq!(scope("https://sso.example/login.microsoftonline.com"), None);
        assert!(
            !for_issuer(&Url::parse("https://accounts.google.com").expect("a URL"))
                .params
                .is_empty()
        );
    }
}
