//! Sign-in at an identity provider: begun with a state and a binding token, completed with what the
//! callback received.

use std::time::Duration;

use super::login::log_refused;
use super::{Auth, SignedIn};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{IdentityId, UserId};
use crate::metrics::Opened;
use crate::model::account::{Profile, User};
use crate::model::email::Email;
use crate::model::identity::{
    Committed, ConfirmedAccount, ConfirmedLogin, FederatedLogin, Identity, NewIdentity,
};
use crate::model::ip_address::IpAddress;
use crate::model::provider_tokens::TokensKey;
use crate::model::return_path::ReturnPath;
use crate::model::session::{Device, Session, SessionState};
use crate::moderation::Limiter;
use crate::provider::{Grant, Provider, VerifiedClaims};
use crate::secret::{self, ExposeSecret as _, Purpose, SecretString};
use crate::store::StoreError;
use crate::token::OpenSession;

/// How long a login may take from its beginning to its callback.
const LOGIN_TTL: Duration = Duration::from_mins(10);
/// How often a login is tried after a concurrent login changed the identity. A second round is
/// normally enough, because it finds the identity that the other login stored.
const ROUNDS: usize = 3;
/// How long a caller should wait if every round lost: by then the other logins have been stored.
const BUSY_RETRY: Duration = Duration::from_secs(1);
/// How many characters of a provider's error description are logged.
const MAX_DESCRIPTION: usize = 256;

/// A login to be begun at a provider.
pub struct BeginLogin {
    pub provider: String,
    pub return_to: ReturnPath,
    pub address: IpAddress,
}

/// A login that was begun.
pub struct BegunLogin {
    /// Where to send the browser.
    pub authorization_url: String,
    /// `state` in that URL.
    pub state: String,
    /// The secret that the browser keeps and the callback has to present.
    pub binding_token: String,
    pub expire_time: Timestamp,
}

/// What the callback received, and the end user's device that sent it.
pub struct Callback {
    pub provider: String,
    pub state: String,
    pub outcome: CallbackOutcome,
    pub iss: Option<String>,
    pub binding_token: String,
    pub address: IpAddress,
    pub device: Device,
}

/// What the provider answered.
pub enum CallbackOutcome {
    /// A code to be exchanged.
    Code(String),
    /// An error (RFC 6749 section 4.1.2.1).
    Refused { error: String, description: String },
}

/// A login that is complete.
pub struct CompletedLogin {
    pub signed_in: SignedIn,
    /// Whether the login made the account.
    pub new_user: bool,
    /// The path that was given when the login began.
    pub return_to: String,
}

impl Auth {
    /// Begins a login at a provider.
    ///
    /// # Errors
    /// [`Error::LoginClosed`], [`Error::ProviderNotFound`], [`Error::LimitExceeded`],
    /// [`Error::Banned`], [`Error::ProviderUnavailable`], and the store's errors.
    pub async fn begin_federated_login(
        &self,
        begin: BeginLogin,
        caller: &str,
        now: Timestamp,
    ) -> Result<BegunLogin> {
        let provider = self.sign_in_provider(&begin.provider)?;
        let (moderation, address) = (&self.0.moderation, begin.address);
        moderation.refuse_banned_stranger(address, now).await?;
        moderation.limit(Limiter::Login, address, now).await?;
        let authorization = provider.authorization().await?;
        let binding_token = secret::random_token();
        let state_hash = secret::sha256(authorization.state.as_bytes());
        let login = FederatedLogin {
            state_hash: state_hash.to_vec(),
            binding_hash: secret::sha256(binding_token.as_bytes()).to_vec(),
            provider: begin.provider,
            caller: caller.to_owned(),
            secrets: self.seal_flow(
                &state_hash,
                &authorization.nonce,
                authorization.code_verifier.expose_secret(),
            ),
            return_to: begin.return_to.into_string(),
            expire_time: now.plus(LOGIN_TTL),
        };
        self.0.store.insert_federated_login(&login).await?;
        Ok(BegunLogin {
            authorization_url: authorization.url,
            state: authorization.state,
            binding_token,
            expire_time: login.expire_time,
        })
    }

    /// Completes a login. Its state works once, even if the login then fails.
    ///
    /// # Errors
    /// [`Error::StateInvalid`], [`Error::BindingMismatch`], [`Error::ProviderRefused`],
    /// [`Error::IdTokenInvalid`], [`Error::RegistrationClosed`], [`Error::EmailInUse`],
    /// [`Error::Banned`], [`Error::ProviderUnavailable`], and the store's errors.
    pub async fn complete_federated_login(
        &self,
        callback: Callback,
        caller: &str,
        now: Timestamp,
    ) -> Result<CompletedLogin> {
        let address = callback.address;
        self.complete(callback, caller, now)
            .await
            .inspect_err(|error| log_refused(error, caller, address))
    }

    async fn complete(
        &self,
        callback: Callback,
        caller: &str,
        now: Timestamp,
    ) -> Result<CompletedLogin> {
        let state_hash = secret::sha256(callback.state.as_bytes());
        let login = self.0.store.consume_federated_login(&state_hash).await?;
        let login = login.ok_or(Error::StateInvalid)?;
        check_login(&login, &callback, caller, now)?;
        let provider = self.sign_in_provider(&callback.provider)?;
        provider.check_callback_iss(callback.iss.as_deref()).await?;
        let code = match callback.outcome {
            CallbackOutcome::Code(code) => code,
            CallbackOutcome::Refused { error, description } => {
                return Err(refused(&callback.provider, &error, &description));
            }
        };
        self.0
            .moderation
            .refuse_banned(None, Some(callback.address), now)
            .await?;
        let (nonce, code_verifier) = self.open_flow(&state_hash, &login.secrets)?;
        let (grant, claims) = provider
            .exchange(&code, &code_verifier, &nonce, now)
            .await?;
        let verified = VerifiedLogin {
            provider,
            grant: &grant,
            claims: &claims,
            issuer: provider.issuer().await?,
            device: &callback.device,
            caller,
        };
        let (signed_in, new_user) = self.admit(&verified, now).await?;
        Ok(CompletedLogin {
            signed_in,
            new_user,
            return_to: login.return_to,
        })
    }

    fn sign_in_provider(&self, provider: &str) -> Result<&Provider> {
        if !self.0.settings.allow_social_login {
            return Err(Error::LoginClosed);
        }
        Provider::find(self.0.federation.providers(), provider)
    }

    /// Finds or makes the user of a verified login, and opens their session with the provider's
    /// tokens.
    async fn admit(&self, login: &VerifiedLogin<'_>, now: Timestamp) -> Result<(SignedIn, bool)> {
        let store = &self.0.store;
        for _ in 0..ROUNDS {
            let known = store
                .find_identity(&login.issuer, login.claims.subject())
                .await?;
            let new_user = known.is_none();
            if new_user && !login.provider.allows_registration() {
                return Err(Error::RegistrationClosed);
            }
            let identity = known.unwrap_or_else(|| Identity {
                id: IdentityId::new(),
                user_id: UserId::new(now),
            });
            let (confirmed, session) = self.confirmed(login, identity, new_user, now);
            let began = self.0.tokens.moment();
            match store.commit_federated_login(confirmed).await? {
                Committed::SignedIn {
                    user,
                    create_time,
                    ended,
                } => {
                    let (user, provider) = (*user, login.provider.id());
                    self.0.tokens.note_opened(Opened::Federated, &user, ended);
                    let state = SessionState {
                        session: session.opened_at(create_time),
                        user: user.clone(),
                        ban: None,
                    };
                    let tokens = self.0.tokens.issue(state, began, now);
                    tracing::info!(user = %user.id, session = %tokens.session_id, provider, new_user, "a user signed in at a provider");
                    return Ok((SignedIn { user, tokens }, new_user));
                }
                Committed::EmailInUse => return Err(Error::EmailInUse),
                Committed::Banned(ban) => return Err(Error::Banned { until: ban.until }),
                Committed::Changed => {}
            }
        }
        Err(Error::Busy {
            retry_after: BUSY_RETRY,
        })
    }

    /// The rows of a confirmed login, and its session.
    fn confirmed(
        &self,
        login: &VerifiedLogin<'_>,
        identity: Identity,
        new_user: bool,
        now: Timestamp,
    ) -> (ConfirmedLogin, Session) {
        let provider = login.provider.id();
        let open = OpenSession {
            user_id: identity.user_id.clone(),
            way: Opened::Federated,
            caller: login.caller.to_owned(),
            provider: provider.to_owned(),
            authentication: login.claims.authentication(),
            device: login.device.clone(),
            ttl: None,
            request_id: None,
        };
        let session = self.0.tokens.new_session(open, now);
        let key = TokensKey {
            session_id: session.id.clone(),
            identity_id: identity.id.clone(),
        };
        let (user, vault) = (&identity.user_id, self.0.federation.vault());
        let tokens = vault.seal_login(key, user, login.grant, login.claims, now);
        let account = if new_user {
            let user = User::new(identity.user_id, provider.to_owned(), login.profile(), now);
            let (issuer, subject) = (login.issuer.clone(), login.claims.subject().to_owned());
            ConfirmedAccount::New {
                user,
                identity: NewIdentity {
                    id: identity.id,
                    issuer,
                    subject,
                },
            }
        } else {
            ConfirmedAccount::Known(login.profile())
        };
        let confirmed = ConfirmedLogin {
            account,
            session: session.clone(),
            limit: self.0.tokens.session_limit(now),
            tokens,
        };
        (confirmed, session)
    }

    fn seal_flow(&self, state_hash: &[u8; 32], nonce: &str, code_verifier: &str) -> Vec<u8> {
        self.0.keyring.seal(
            Purpose::LoginFlow,
            &flow_context(&hex::encode(state_hash)),
            format!("{nonce}\n{code_verifier}").as_bytes(),
        )
    }

    fn open_flow(&self, state_hash: &[u8; 32], sealed: &[u8]) -> Result<(String, SecretString)> {
        let key = hex::encode(state_hash);
        let opened = self
            .0
            .keyring
            .open(Purpose::LoginFlow, &flow_context(&key), sealed)
            .map_err(Error::internal)?;
        let text = std::str::from_utf8(&opened).map_err(Error::internal)?;
        let (nonce, code_verifier) = text
            .split_once('\n')
            .ok_or_else(|| StoreError::corrupt("federated_logins", "secrets", key))?;
        Ok((nonce.to_owned(), code_verifier.into()))
    }
}

/// What the secrets of a sign-in are bound to; the hash of its state is in hexadecimal.
pub(super) fn flow_context(state_hash: &str) -> [&str; 2] {
    ["federated_logins", state_hash]
}

/// A login that the provider has confirmed, with everything verified.
struct VerifiedLogin<'a> {
    provider: &'a Provider,
    grant: &'a Grant,
    claims: &'a VerifiedClaims,
    issuer: String,
    device: &'a Device,
    caller: &'a str,
}

impl VerifiedLogin<'_> {
    /// The user's profile as the provider states it, in our own formats. An address that it does
    /// not call verified would let a user reserve, and be taken for the owner of, any address; so it
    /// does not stand in for a missing name either.
    fn profile(&self) -> Profile {
        let mut claimed = self.provider.profile(self.claims.members());
        if !claimed.email_verified {
            let address = claimed.email.as_deref().unwrap_or_default();
            let is_address = |name: &mut String| name.eq_ignore_ascii_case(address);
            claimed.username.take_if(is_address);
            claimed.name.take_if(is_address);
        }
        // An address that we would refuse at a registration is left out.
        let stated = claimed.email.and_then(|email| Email::parse(&email).ok());
        let (email, unverified_email) = if claimed.email_verified {
            (stated, None)
        } else {
            (None, stated)
        };
        Profile {
            email_verified: email.is_some(),
            email,
            unverified_email,
            name: claimed.name.unwrap_or_default(),
            username: claimed.username.unwrap_or_default().to_lowercase(),
            avatar_url: claimed.picture.unwrap_or_default(),
        }
    }
}

/// Checks that the callback belongs to the login that was begun, and to the browser that began it.
fn check_login(
    login: &FederatedLogin,
    callback: &Callback,
    caller: &str,
    now: Timestamp,
) -> Result<()> {
    if login.provider != callback.provider || login.caller != caller || now >= login.expire_time {
        return Err(Error::StateInvalid);
    }
    let binding_hash = secret::sha256(callback.binding_token.as_bytes());
    if secret::equal(&binding_hash, &login.binding_hash) {
        Ok(())
    } else {
        Err(Error::BindingMismatch)
    }
}

/// The error for a login that the provider refused. The provider's `error` is a short code (RFC
/// 6749 section 4.1.2.1) and is passed on; its description is only logged.
fn refused(provider: &str, error: &str, description: &str) -> Error {
    let code: String = error
        .chars()
        .filter(char::is_ascii_graphic)
        .take(64)
        .collect();
    let description: String = description.chars().take(MAX_DESCRIPTION).collect();
    tracing::info!(
        provider,
        error = code,
        ?description,
        "the provider refused a login"
    );
    Error::ProviderRefused(code)
}
