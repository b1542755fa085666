//! The claims of our own access tokens.

use serde::{Deserialize, Deserializer, Serialize};

use crate::clock::Timestamp;

/// How many backends a user's authority may be handed on to, one by another.
pub const MAX_ACTORS: usize = 5;

/// The claims of an access token. A token has each of them once at most, and no other.
///
/// A token with an unknown claim is refused, because the claim may restrict the token (`cnf`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessClaims {
    /// The issuer: this service.
    pub iss: String,
    /// The user.
    pub sub: String,
    /// The audience: always one, as text.
    pub aud: String,
    /// The session.
    pub sid: String,
    /// The token's id.
    pub jti: String,
    /// When it was signed; whole seconds.
    #[serde(with = "numeric_date")]
    pub iat: Timestamp,
    /// When it expires; whole seconds.
    #[serde(with = "numeric_date")]
    pub exp: Timestamp,
    /// When the user authenticated; whole seconds.
    #[serde(with = "numeric_date")]
    pub auth_time: Timestamp,
    /// How the user authenticated (RFC 8176).
    pub amr: Vec<String>,
    /// The caller that the session belongs to.
    pub client_id: String,
    /// LibreChat's name for `sub`. This claim and the following three are in tokens that are signed
    /// with LibreChat's secret, and in no others.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub id: Option<String>,
    /// The user's name; empty if there is none.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub username: Option<String>,
    /// The provider of the user's account.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub provider: Option<String>,
    /// The user's address; empty if there is none.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub email: Option<String>,
    /// What the token may be used for, separated by spaces (RFC 8693 section 4.2). It and `act` are in
    /// tokens that were exchanged, and in no others.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub scope: Option<String>,
    /// The backend that exchanged it (RFC 8693 section 4.1).
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub act: Option<Box<Actor>>,
}

/// A backend to which a user's authority was handed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The caller's name.
    pub sub: String,
    /// The backend that had it before.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub act: Option<Box<Self>>,
}

impl Actor {
    /// The backends, the latest first.
    pub fn chain(&self) -> impl Iterator<Item = &str> {
        let actors = std::iter::successors(Some(self), |actor| actor.act.as_deref());
        actors.map(|actor| actor.sub.as_str())
    }

    fn is_valid(&self) -> bool {
        self.chain().count() <= MAX_ACTORS
            && self.chain().all(|name| (1..=255).contains(&name.len()))
    }
}

impl AccessClaims {
    /// The bytes of its texts.
    pub fn text_bytes(&self) -> usize {
        let texts = [
            &self.iss,
            &self.sub,
            &self.aud,
            &self.sid,
            &self.jti,
            &self.client_id,
        ];
        let texts = texts.into_iter().chain(&self.amr);
        let texts = texts.chain(self.librechats().into_iter().flatten());
        let texts = texts.chain(&self.scope).map(String::as_str);
        let actors = self.act.iter().flat_map(|actor| actor.chain());
        texts.chain(actors).map(str::len).sum()
    }

    /// What the token may be used for; `None` if for everything.
    #[must_use]
    pub fn scopes(&self) -> Option<impl Iterator<Item = &str>> {
        self.scope.as_ref().map(|scope| scope.split(' '))
    }

    /// Whether the token may be used for this.
    #[must_use]
    pub fn is_good_for(&self, scope: &str) -> bool {
        self.scopes()
            .is_none_or(|mut held| held.any(|held| held == scope))
    }

    /// Whether it was exchanged in order, or not at all.
    pub(super) fn is_exchange_valid(&self) -> bool {
        match (self.scopes(), &self.act) {
            (None, None) => true,
            (Some(mut scopes), Some(actor)) => {
                scopes.all(|scope| !scope.is_empty()) && actor.is_valid()
            }
            _ => false,
        }
    }

    /// Whether it has LibreChat's claims, all or none of them, as the kind of its key says. `id` is
    /// `sub`, so that two verifiers cannot see two users.
    pub(super) fn fits(&self, librechat: bool) -> bool {
        if librechat {
            self.librechats().iter().all(Option::is_some) && self.id.as_ref() == Some(&self.sub)
        } else {
            self.librechats().iter().all(Option::is_none)
        }
    }

    fn librechats(&self) -> [Option<&String>; 4] {
        [&self.id, &self.username, &self.provider, &self.email].map(Option::as_ref)
    }

    #[expect(clippy::expect_used, reason = "text and numbers always become JSON")]
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("claims become JSON")
    }
}

/// Reads a member that may be left out, but is never null.
pub(super) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Whole seconds since the epoch, never a fraction or text (RFC 7519 section 2).
mod numeric_date {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::clock::Timestamp;

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    pub(super) fn serialize<S: Serializer>(
        time: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(time.secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp::from_secs)
    }
}
