//! Accounts and sign-in.

use crate::secret::SecretString;

/// Accounts and sign-in.
#[derive(Debug)]
pub struct Auth {
    /// ALLOW_REGISTRATION, default true.
    pub allow_registration: bool,
    /// ALLOW_EMAIL_LOGIN, default true.
    pub allow_email_login: bool,
    /// ALLOW_SOCIAL_LOGIN, default false.
    pub allow_social_login: bool,
    /// ALLOW_SOCIAL_REGISTRATION, default false; for providers other than OpenID.
    pub allow_social_registration: bool,
    /// MIN_PASSWORD_LENGTH in characters, default 8.
    pub min_password_length: usize,
    /// COUNTERSIGN_BOOTSTRAP_TOKEN: what the first administrator has to show, where set.
    pub bootstrap_token: Option<SecretString>,
}
