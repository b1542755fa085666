//! Identities at providers, and sign-ins there from the beginning to the commit.

use super::account::{Profile, User};
use super::provider_tokens::NewTokens;
use super::session::{Session, SessionLimit, UserBan};
use crate::clock::Timestamp;
use crate::id::{IdentityId, UserId};

/// An account at a provider and the user that it belongs to.
#[derive(Clone, Debug)]
pub struct Identity {
    pub id: IdentityId,
    pub user_id: UserId,
}

/// An identity to be made together with its user.
#[derive(Debug)]
pub struct NewIdentity {
    pub id: IdentityId,
    pub issuer: String,
    pub subject: String,
}

/// A sign-in that was begun.
#[derive(Debug)]
pub struct FederatedLogin {
    /// SHA-256 of `state`.
    pub state_hash: Vec<u8>,
    /// SHA-256 of the binding token.
    pub binding_hash: Vec<u8>,
    pub provider: String,
    pub caller: String,
    /// Nonce and code verifier, sealed.
    pub secrets: Vec<u8>,
    pub return_to: String,
    pub expire_time: Timestamp,
}

/// A sign-in that the provider has confirmed, ready to be committed.
#[derive(Debug)]
pub struct ConfirmedLogin {
    pub account: ConfirmedAccount,
    pub session: Session,
    pub limit: SessionLimit,
    pub tokens: NewTokens,
}

/// The account that a confirmed sign-in is for.
#[derive(Debug)]
pub enum ConfirmedAccount {
    /// One to be made, with its identity.
    New { user: User, identity: NewIdentity },
    /// The account of a known identity, and what the provider says of the user now.
    Known(Profile),
}

/// What became of a confirmed sign-in.
#[derive(Debug)]
pub enum Committed {
    /// The session is open.
    SignedIn {
        user: Box<User>,
        /// When the session counts as opened.
        create_time: Timestamp,
        /// How many of the user's oldest sessions were ended, because there were too many.
        ended: u64,
    },
    /// Another account holds the e-mail address.
    EmailInUse,
    /// The user is banned.
    Banned(UserBan),
    /// The identity was made, or its user was deleted, after it was looked up: look it up again.
    Changed,
}
