//! Accounts and sign-in.

mod account;
mod exchange;
mod federated_login;
mod login;
mod password;
mod policy;
mod reauthentication;
mod resealing;
mod session;
mod subject;

use std::sync::Arc;

use crate::config::auth::Auth as Settings;
use crate::federation::Federation;
use crate::metrics::Metrics;
use crate::model::account::User;
use crate::moderation::Moderation;
use crate::secret::Keyring;
use crate::store::Store;
use crate::token::{TokenPair, Tokens};
use password::Passwords;

pub use account::NewAccount;
pub use exchange::Exchange;
pub use federated_login::{BeginLogin, Callback, CallbackOutcome};
pub use login::Credentials;
pub use reauthentication::Proof;
pub use resealing::reseal_logins;
pub use session::Mint;
pub use subject::Subject;

/// Signs users in. Clones share everything.
#[derive(Clone, Debug)]
pub struct Auth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    store: Store,
    keyring: Keyring,
    tokens: Tokens,
    moderation: Moderation,
    federation: Federation,
    passwords: Passwords,
}

/// A user who has signed in, and the new session's credentials.
pub struct SignedIn {
    /// The account.
    pub user: User,
    /// The session's credentials.
    pub tokens: TokenPair,
}

impl Auth {
    /// Joins the parts that a sign-in needs.
    pub fn new(
        settings: Settings,
        store: Store,
        keyring: Keyring,
        tokens: Tokens,
        moderation: Moderation,
        federation: Federation,
        metrics: &Metrics,
    ) -> Self {
        Self(Arc::new(Inner {
            settings,
            store,
            keyring,
            tokens,
            moderation,
            federation,
            passwords: Passwords::new(Arc::clone(&metrics.passwords)),
        }))
    }
}
