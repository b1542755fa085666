//! LibreChat's `librechat.yaml`. Nothing in it is a setting of this service, but it may restrict who
//! may sign in.

use std::io;
use std::path::Path;

use serde::Deserialize;

use super::file;
use super::yaml::read_yaml;

const MAX_ALIASES: usize = 1000;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Yaml {
    registration: Option<Registration>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Registration {
    allowed_domains: Option<Vec<String>>,
}

/// What keeps the service from starting beside this file, if it is there.
pub(super) fn fault(path: &Path) -> Option<String> {
    match file::read_text(path) {
        Ok(text) => fault_of(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(format!("cannot be read: {error}")),
    }
}

fn fault_of(text: &str) -> Option<String> {
    let Ok(yaml) = read_yaml::<Yaml>(text, MAX_ALIASES) else {
        return Some(
            "cannot be parsed, so nobody knows whether it restricts registration".to_owned(),
        );
    };
    let domains = yaml
        .registration
        .and_then(|registration| registration.allowed_domains);
    domains.filter(|domains| !domains.is_empty()).map(|_| {
        "has registration.allowedDomains, which lets in only addresses of some domains, and this version cannot check that. Remove it if users of all domains may sign in; otherwise restrict the provider, and close registration".to_owned()
    })
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
            assert_eq!(fault_of(good), None, "{good}");
        }
        for bad in [
            "registration:\n  allowedDomains:\n    - 'canary.example'\n",
            "registration: [canary",
            "registration:\n  allowedDomains: 3\n",
        ] {
            let fault = fault_of(bad).expect(bad);
            assert!(!fault.contains("canary"), "{fault}");
        }
    }
}
