//! Accounts and sign-in.

use crate::secret::SecretString;

use super::reader::Reader;

/// Accounts and sign-in.
#[derive(Debug)]
pub struct Auth {
    /// ALLOW_REGISTRATION, default true.
    pub allow_registration: bool,
    /// ALLOW_EMAIL_LOGIN, default true.
    pub allow_email_login: bool,
    /// ALLOW_SOCIAL_LOGIN, default false.
    pub allow_social_login: bool,
    /// MIN_PASSWORD_LENGTH in characters, default 8.
    pub min_password_length: usize,
    /// COUNTERSIGN_BOOTSTRAP_TOKEN: if set, the first administrator must present it.
    pub bootstrap_token: Option<SecretString>,
}

const BOOTSTRAP_TOKEN: &str = "COUNTERSIGN_BOOTSTRAP_TOKEN";
/// Whoever guesses the token becomes an administrator.
const SHORTEST_BOOTSTRAP_TOKEN: usize = 16;
/// The longest password that LibreChat accepts.
const LONGEST_MINIMUM: u32 = 128;

impl Auth {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        Self {
            allow_registration: r.allowed("ALLOW_REGISTRATION", true),
            allow_email_login: r.allowed("ALLOW_EMAIL_LOGIN", true),
            allow_social_login: r.allowed("ALLOW_SOCIAL_LOGIN", false),
            min_password_length: min_password_length(r),
            bootstrap_token: bootstrap_token(r),
        }
    }
}

fn min_password_length(r: &mut Reader<'_>) -> usize {
    let length = r.number("MIN_PASSWORD_LENGTH", 8, 1, LONGEST_MINIMUM);
    if length < 8 {
        r.warn("MIN_PASSWORD_LENGTH is below 8: shorter passwords are easy to guess");
    }
    usize::try_from(length).unwrap_or(usize::MAX)
}

fn bootstrap_token(r: &mut Reader<'_>) -> Option<SecretString> {
    r.parse_secret(BOOTSTRAP_TOKEN, |text| {
        let is_long_enough = text.chars().count() >= SHORTEST_BOOTSTRAP_TOKEN;
        if is_long_enough {
            Ok(SecretString::from(text))
        } else {
            Err(format!(
                "must have at least {SHORTEST_BOOTSTRAP_TOKEN} characters"
            ))
        }
    })
}
