//! What some providers need beyond the standard, by the issuer's host.

use url::Url;

/// What a login has to ask for so that it brings a refresh token.
pub(super) struct Preset {
    pub(super) scope: Option<&'static str>,
    pub(super) params: &'static [(&'static str, &'static str)],
    /// Whether a used refresh token may be dead; where not, an attempt without an outcome may be repeated.
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

pub(super) fn of(issuer: &Url) -> &'static Preset {
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
        of(&Url::parse(issuer).expect("a URL")).scope
    }

    #[test]
    fn presets_go_by_the_whole_host() {
        assert_eq!(
            scope("https://login.microsoftonline.com/tenant/v2.0"),
            Some("offline_access")
        );
        assert_eq!(scope("https://acme.okta.com"), Some("offline_access"));
        assert_eq!(scope("https://acme.eu.auth0.com/"), Some("offline_access"));
        assert_eq!(scope("https://okta.com.evil.example"), None);
        assert_eq!(scope("https://sso.example/login.microsoftonline.com"), None);
        assert!(
            !of(&Url::parse("https://accounts.google.com").expect("a URL"))
                .params
                .is_empty()
        );
    }
}
