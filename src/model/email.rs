//! E-mail addresses: one strict grammar, one canonical form for looking up, comparing and sending.

/// RFC 5321 section 4.5.3.1.
const MAX_ADDRESS: usize = 254;
const MAX_LOCAL: usize = 64;
/// No longer text has a canonical form that fits; the conversion of a domain takes time that grows
/// with the square of its length.
const MAX_GIVEN: usize = 4 * MAX_ADDRESS;

/// An e-mail address in its canonical form: lower case, the domain in ASCII (UTS #46).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Reads an address. Only a dot-atom local part of ASCII is accepted (RFC 5322 section 3.2.3),
    /// and a domain of at least two labels.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn parse(address: &str) -> Result<Self, &'static str> {
        canonical(address).map(Self)
    }

    /// An address that the store holds in its canonical form.
    pub(crate) fn from_canonical(address: String) -> Self {
        Self(address)
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

fn canonical(address: &str) -> Result<String, &'static str> {
    const SHAPE: &str = "must be an e-mail address such as ann@example.com";
    if address.len() > MAX_GIVEN {
        return Err(SHAPE);
    }
    let (local, domain) = address.split_once('@').ok_or(SHAPE)?;
    if !is_dot_atom(local) || local.len() > MAX_LOCAL || domain.contains(['@', '。', '．', '｡'])
    {
        return Err(SHAPE);
    }
    let domain = idna::domain_to_ascii_strict(domain).map_err(|_| SHAPE)?;
    let canonical = format!("{}@{domain}", local.to_ascii_lowercase());
    if !is_host(&domain) || canonical.len() > MAX_ADDRESS {
        Err(SHAPE)
    } else {
        Ok(canonical)
    }
}

fn is_dot_atom(local: &str) -> bool {
    let is_atom = |atom: &str| {
        !atom.is_empty()
            && atom
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b))
    };
    local.split('.').all(is_atom)
}

fn is_host(domain: &str) -> bool {
    let labels: Vec<&str> = domain.split('.').collect();
    let named = labels
        .last()
        .is_some_and(|last| last.bytes().any(|b| b.is_ascii_alphabetic()));
    labels.len() >= 2 && named && labels.iter().all(|label| !label.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_address_has_one_form() {
        for same in ["ann@example.com", "Ann@Example.COM", "ANN@EXAMPLE.com"] {
            assert_eq!(canonical(same).as_deref(), Ok("ann@example.com"));
        }
        assert_eq!(
            canonical("a+b@münchen.de").as_deref(),
            Ok("a+b@xn--mnchen-3ya.de")
        );
    }

    #[test]
    fn what_could_reach_somebody_else_is_refused() {
        for bad in [
            "",
            "ann",
            "ann@",
            "@example.com",
            "ann@example",
            "ann@@example.com",
            "a@evil.com@example.com",
            "\"a@evil.com\"@example.com",
            "ann@example.com.",
            "ann@.example.com",
            "ann@exa mple.com",
            "ann @example.com",
            "ann@example.com\r\nBcc: b@evil.com",
            "a@x.com,b@y.com",
            "<ann@example.com>",
            "Ann <ann@example.com>",
            "ann\t@example.com",
            "ann\0@example.com",
            "ａ@example.com",
            "a＠example.com",
            "a@example。com",
            "a@[127.0.0.1]",
            "a@127.0.0.1",
            ".a@example.com",
            "a..b@example.com",
            "a@-example.com",
            "a@exam_ple.com",
        ] {
            assert!(canonical(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_canonical_address_is_its_own_form(text in "[a-zA-Z0-9.+@é。-]{0,40}") {
            if let Ok(form) = canonical(&text) {
                prop_assert_eq!(canonical(&form), Ok(form.clone()));
                prop_assert!(form.is_ascii());
            }
        }
    }
}
