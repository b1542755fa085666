//! The list of all statements.

use super::{
    Store, bans, federated_logins, federated_tokens, limits, markers, open, sessions, signing_keys,
    users, violations,
};

impl Store {
    /// Every statement, so that a test can prepare each on both engines.
    #[must_use]
    pub fn statements() -> Vec<&'static str> {
        [
            bans::STATEMENTS,
            federated_logins::STATEMENTS,
            federated_tokens::STATEMENTS,
            limits::STATEMENTS,
            markers::STATEMENTS,
            open::STATEMENTS,
            sessions::STATEMENTS,
            sessions::ending::STATEMENTS,
            sessions::opening::STATEMENTS,
            signing_keys::STATEMENTS,
            users::STATEMENTS,
            violations::STATEMENTS,
        ]
        .concat()
    }
}
