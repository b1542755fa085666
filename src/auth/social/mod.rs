//! Sign-in at an identity provider: begun with a state and a binding token, completed with what the callback received.

use std::time::Duration;

use super::login::log_refused;
use super::{Auth, SignedIn};
use crate::auth::address::canonical_email;
use crate::clock::Timestamp;
use crate::error::{Error, Result, Violations};
use crate::federation::oidc::{Grant, OpenIdClient, VerifiedClaims, profile};
use crate::id::{IdentityId, UserId};
use crate::moderation::{Address, Limiter};
use crate::secret::{self, ExposeSecret as _, Purpose, SecretString};
use crate::store::StoreError;
use crate::store::federated_logins::{
    Committed, ConfirmedLogin, FederatedLogin, Identity, NewIdentity,
};
use crate::store::federated_tokens::FederatedTokens;
use crate::store::sessions::Client;
use crate::store::users::NewUser;
use crate::token::{OpenSession, TokenPair};

/// A login has to be complete after so long.
const LOGIN_TTL: Duration = Duration::from_mins(10);
/// A lost race is decided anew; one is enough, because the winner's identity stays.
const ROUNDS: usize = 3;
const MAX_RETURN_TO: usize = 2048;
/// What the log keeps of a provider's description, in characters.
const MAX_DESCRIPTION: usize = 256;

/// A login that was begun.
pub struct BegunLogin {
    /// Where to send the browser.
    pub authorization_url: String,
    /// `state` in that URL.
    pub state: String,
    /// Stays with the browser.
    pub binding_token: String,
    pub expire_time: Timestamp,
}

/// What the callback received, and who brought it.
pub struct FederatedAnswer {
    pub provider: String,
    pub state: String,
    pub code: String,
    pub iss: String,
    pub error: String,
    pub error_description: String,
    pub binding_token: String,
    /// The end user's address, or what is wrong with it.
    pub address: Result<Address, &'static str>,
    pub client: Client,
}

/// A login that is complete.
pub struct CompletedLogin {
    pub signed_in: SignedIn,
    /// Whether it made the account.
    pub new_user: bool,
    /// The path given at its beginning.
    pub return_to: String,
}

impl Auth {
    /// Begins a login at a provider.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::LoginClosed`], [`Error::ProviderNotFound`], [`Error::LimitExceeded`], [`Error::Banned`],
    /// [`Error::ProviderUnavailable`]; the store's.
    pub async fn begin_federated_login(
        &self,
        provider: &str,
        return_to: String,
        address: Result<Address, &'static str>,
        caller: &str,
        now: Timestamp,
    ) -> Result<BegunLogin> {
        let address = check_begin(&return_to, address)?;
        let client = self.sign_in_provider(provider)?;
        self.0
            .moderation
            .refuse_banned(None, Some(address), now)
            .await?;
        self.0
            .moderation
            .limit(Limiter::Login, address, now)
            .await?;
        let authorization = client.authorization().await?;
        let binding_token = secret::random_token();
        let state_hash = secret::sha256(authorization.state.as_bytes());
        let login = FederatedLogin {
            binding_hash: secret::sha256(binding_token.as_bytes()).to_vec(),
            provider: provider.to_owned(),
            caller: caller.to_owned(),
            secrets: self.seal_flow(
                &state_hash,
                &authorization.nonce,
                authorization.code_verifier.expose_secret(),
            ),
            return_to,
            expire_time: now.plus(LOGIN_TTL),
        };
        self.0
            .store
            .insert_federated_login(&state_hash, &login)
            .await?;
        Ok(BegunLogin {
            authorization_url: authorization.url,
            state: authorization.state,
            binding_token,
            expire_time: login.expire_time,
        })
    }

    /// Completes a login. Its state is used up whatever happens then.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::StateInvalid`], [`Error::BindingMismatch`], [`Error::ProviderRefused`], [`Error::IdTokenInvalid`],
    /// [`Error::RegistrationClosed`], [`Error::EmailInUse`], [`Error::Banned`], [`Error::ProviderUnavailable`]; the store's.
    pub async fn complete_federated_login(
        &self,
        answer: FederatedAnswer,
        caller: &str,
        now: Timestamp,
    ) -> Result<CompletedLogin> {
        let address = check_answer(&answer)?;
        self.complete(answer, address, caller, now)
            .await
            .inspect_err(|error| log_refused(error, caller, address))
    }

    async fn complete(
        &self,
        answer: FederatedAnswer,
        address: Address,
        caller: &str,
        now: Timestamp,
    ) -> Result<CompletedLogin> {
        let state_hash = secret::sha256(answer.state.as_bytes());
        let login = self
            .0
            .store
            .consume_federated_login(&state_hash)
            .await?
            .ok_or(Error::StateInvalid)?;
        if login.provider != answer.provider || login.caller != caller || now >= login.expire_time {
            return Err(Error::StateInvalid);
        }
        if !secret::equal(
            &secret::sha256(answer.binding_token.as_bytes()),
            &login.binding_hash,
        ) {
            return Err(Error::BindingMismatch);
        }
        let client = self.sign_in_provider(&answer.provider)?;
        client
            .check_callback_iss((!answer.iss.is_empty()).then_some(answer.iss.as_str()))
            .await?;
        if !answer.error.is_empty() {
            return Err(refused(&answer));
        }
        self.0
            .moderation
            .refuse_banned(None, Some(address), now)
            .await?;
        let (nonce, code_verifier) = self.open_flow(&state_hash, &login.secrets)?;
        let (grant, claims) = client
            .exchange(&answer.code, &code_verifier, &nonce, now)
            .await?;
        let arrival = Arrival {
            client,
            grant: &grant,
            claims: &claims,
            issuer: client.issuer().await?,
            connection: &answer.client,
            caller,
        };
        let (signed_in, new_user) = self.admit(&arrival, now).await?;
        Ok(CompletedLogin {
            signed_in,
            new_user,
            return_to: login.return_to,
        })
    }

    fn sign_in_provider(&self, provider: &str) -> Result<&OpenIdClient> {
        if !self.0.settings.allow_social_login {
            return Err(Error::LoginClosed);
        }
        self.0.federation.provider(provider)
    }

    /// Finds or makes the user who arrived, and opens their session with the provider's tokens.
    async fn admit(&self, arrival: &Arrival<'_>, now: Timestamp) -> Result<(SignedIn, bool)> {
        let provider = arrival.client.config();
        for _ in 0..ROUNDS {
            let known = self
                .0
                .store
                .find_identity(&arrival.issuer, arrival.claims.subject())
                .await?;
            let new_user = known.is_none();
            if new_user && !provider.allow_registration {
                return Err(Error::RegistrationClosed);
            }
            let identity = known.unwrap_or_else(|| Identity {
                id: IdentityId::new(),
                user_id: UserId::new(now),
            });
            let (login, tokens) = self.confirmed(arrival, identity, new_user, now);
            match self.0.store.commit_federated_login(login).await? {
                Committed::SignedIn(user) => {
                    tracing::info!(user = %user.id, session = %tokens.session_id, provider = provider.id, new_user, "a user signed in at a provider");
                    return Ok((
                        SignedIn {
                            user: *user,
                            tokens,
                        },
                        new_user,
                    ));
                }
                Committed::EmailInUse => return Err(Error::EmailInUse),
                Committed::Banned(ban) => return Err(Error::Banned { until: ban.until }),
                Committed::Changed => {}
            }
        }
        Err(Error::Busy {
            retry_after: Duration::from_secs(1),
        })
    }

    /// The rows of a confirmed login, and the pair that its session begins with.
    fn confirmed(
        &self,
        arrival: &Arrival<'_>,
        identity: Identity,
        new_user: bool,
        now: Timestamp,
    ) -> (ConfirmedLogin, TokenPair) {
        let provider = &arrival.client.config().id;
        let open = OpenSession {
            user_id: identity.user_id.clone(),
            caller: arrival.caller.to_owned(),
            provider: provider.clone(),
            amr: "fed",
            client: arrival.connection.clone(),
            ttl: None,
            request_id: None,
        };
        let session = self.0.tokens.new_session(open, now);
        let pair = self.0.tokens.first_pair(&session, now);
        let tokens = FederatedTokens {
            session_id: session.id.clone(),
            identity_id: identity.id.clone(),
            provider: provider.clone(),
            content: self.0.federation.vault().seal_login(
                &session.id,
                &identity.id,
                &identity.user_id,
                arrival.grant,
                arrival.claims,
            ),
            update_time: now,
        };
        let new_identity = new_user.then(|| NewIdentity {
            id: identity.id,
            issuer: arrival.issuer.clone(),
            subject: arrival.claims.subject().to_owned(),
        });
        (
            ConfirmedLogin {
                user: arrival.account(identity.user_id, now),
                new_identity,
                session,
                tokens,
            },
            pair,
        )
    }

    fn seal_flow(&self, state_hash: &[u8; 32], nonce: &str, code_verifier: &str) -> Vec<u8> {
        self.0.keyring.seal(
            Purpose::LoginFlow,
            &["federated_logins", &hex::encode(state_hash)],
            format!("{nonce}\n{code_verifier}").as_bytes(),
        )
    }

    fn open_flow(&self, state_hash: &[u8; 32], sealed: &[u8]) -> Result<(String, SecretString)> {
        let key = hex::encode(state_hash);
        let opened = self
            .0
            .keyring
            .open(Purpose::LoginFlow, &["federated_logins", &key], sealed)
            .map_err(Error::internal)?;
        let text = std::str::from_utf8(&opened).map_err(Error::internal)?;
        let (nonce, code_verifier) = text
            .split_once('\n')
            .ok_or_else(|| StoreError::corrupt("federated_logins", "secrets", key))?;
        Ok((nonce.to_owned(), code_verifier.into()))
    }
}

/// A user whom the provider has confirmed.
struct Arrival<'a> {
    client: &'a OpenIdClient,
    grant: &'a Grant,
    claims: &'a VerifiedClaims,
    issuer: String,
    connection: &'a Client,
    caller: &'a str,
}

impl Arrival<'_> {
    /// The account as the provider describes it.
    fn account(&self, id: UserId, now: Timestamp) -> NewUser {
        let profile = profile(self.claims.members(), self.client.config());
        // An address that is none by our grammar is no address of ours.
        let email = profile.email.and_then(|email| canonical_email(&email).ok());
        NewUser {
            id,
            email_verified: profile.email_verified && email.is_some(),
            email,
            name: profile.name.unwrap_or_default(),
            username: profile.username.unwrap_or_default().to_lowercase(),
            provider: self.client.config().id.clone(),
            avatar_url: profile.picture.unwrap_or_default(),
            create_time: now,
        }
    }
}

fn check_begin(return_to: &str, address: Result<Address, &'static str>) -> Result<Address> {
    let mut violations = Violations::default();
    violations.check("return_to", check_return_to(return_to));
    finish(violations, address)
}

fn check_answer(answer: &FederatedAnswer) -> Result<Address> {
    let mut violations = Violations::default();
    if answer.code.is_empty() == answer.error.is_empty() {
        violations.add("code", "one of code and error must be set");
    }
    finish(violations, answer.address)
}

fn finish(mut violations: Violations, address: Result<Address, &'static str>) -> Result<Address> {
    match violations.check("client.ip_address", address) {
        Some(address) => violations.finish().map(|()| address),
        None => Err(violations.into_error()),
    }
}

/// A path of the application, never anything that a browser would read as another host.
fn check_return_to(path: &str) -> Result<(), &'static str> {
    const SHAPE: &str = "must be a path such as /c/new, not a URL";
    let plain =
        path.len() <= MAX_RETURN_TO && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let lower = path.to_ascii_lowercase();
    let local = path.starts_with('/')
        && !path.starts_with("//")
        && !lower.starts_with("/%2f")
        && !lower.starts_with("/%5c");
    if path.is_empty() || (plain && local) {
        Ok(())
    } else {
        Err(SHAPE)
    }
}

/// The provider's `error` is a short code (RFC 6749 section 4.1.2.1); its description is for the log.
fn refused(answer: &FederatedAnswer) -> Error {
    let code: String = answer
        .error
        .chars()
        .filter(char::is_ascii_graphic)
        .take(64)
        .collect();
    let description: String = answer
        .error_description
        .chars()
        .take(MAX_DESCRIPTION)
        .collect();
    tracing::info!(
        provider = answer.provider,
        error = code,
        ?description,
        "a login was refused at the provider"
    );
    Error::ProviderRefused(code)
}

#[cfg(test)]
mod tests;
