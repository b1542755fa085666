//! LibreChat's `librechat.yaml`. Nothing in it is a setting of this service, but it may restrict who
//! may sign in.

use std::io;
use std::path::Path;

use serde::Deserialize;

use super::file;
use super::yaml::read_yaml;

const MAX_ALIASES: usize = 1000;
const DOMAINS: &str = "has registration.allowedDomains, which lets in only addresses of some domains, and this version cannot check that. Remove it if users of all domains may sign in; otherwise restrict the provider, and close registration";
const SOCIAL_LOGINS: &str = "has registration.socialLogins without openid, but the settings let users sign in at an OpenID provider. Add openid to the list, or set ALLOW_SOCIAL_LOGIN=false";

#[derive(Default, Deserialize)]
#[serde(default)]
struct Yaml {
    registration: Option<Registration>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Registration {
    allowed_domains: Option<Vec<String>>,
    social_logins: Option<Vec<String>>,
}

/// What keeps the service from starting beside this file, if it is there. `openid` says whether
/// the settings let users sign in at an OpenID provider.
pub(super) fn fault(path: &Path, openid: bool) -> Option<String> {
    match file::read_text(path) {
        Ok(text) => fault_of(&text, openid),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(format!("cannot be read: {error}")),
    }
}

fn fault_of(text: &str, openid: bool) -> Option<String> {
    let Ok(yaml) = read_yaml::<Yaml>(text, MAX_ALIASES) else {
        return Some(
            "cannot be parsed, so nobody knows whether it restricts registration".to_owned(),
        );
    };
    let registration = yaml.registration.unwrap_or_default();
    let domains = registration.allowed_domains.unwrap_or_default();
    let social_logins = registration.social_logins;
    if !domains.is_empty() {
        return Some(DOMAINS.to_owned());
    }
    let leaves_out = |listed: Vec<String>| listed.iter().all(|login| login != "openid");
    (openid && social_logins.is_some_and(leaves_out)).then(|| SOCIAL_LOGINS.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_list_of_domains_and_a_file_that_is_not_understood_are_faults() {
        for good in [
            "version: 1.2.1\n",
            "",
            "registration:\n  socialLogins: ['openid']\n",
            "registration:\n  allowedDomains: []\n",
            "registration:\nendpoints:\n  custom:\n    - name: 'a'\n      apiKey: '${A}'\n",
        ] {
            assert_eq!(fault_of(good, true), None, "{good}");
        }
        for bad in [
            "registration:\n  allowedDomains:\n    - 'canary.example'\n",
            "registration: [canary",
            "registration:\n  allowedDomains: 3\n",
        ] {
            let fault = fault_of(bad, false).expect(bad);
            assert!(!fault.contains("canary"), "{fault}");
        }
    }

    #[test]
    fn a_list_of_social_logins_without_openid_is_a_fault_beside_an_openid_provider() {
        for list in ["[]", "['google', 'github']"] {
            let text = format!("registration:\n  socialLogins: {list}\n");
            let fault = fault_of(&text, true).expect(list);
            assert!(fault.contains("socialLogins"), "{fault}");
            assert_eq!(fault_of(&text, false), None, "{list}");
        }
    }
}
