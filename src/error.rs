//! The one error of the service. Variants are named after facts; `grpc/status.rs` says what each becomes on the wire.

use std::time::Duration;

use crate::clock::Timestamp;

/// A result with the service's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the caller gave no known credential")]
    CallerUnknown,
    #[error("the caller lacks the permission {0}")]
    CallerNotAllowed(&'static str),
    #[error("the caller may not have tokens of the audience {0}")]
    AudienceNotAllowed(String),
    #[error("e-mail address or password is wrong")]
    CredentialsWrong,
    #[error("the access token is not a live one")]
    AccessTokenInvalid,
    #[error("the refresh token is not a live one")]
    RefreshTokenInvalid,
    #[error("the session has reached its end")]
    RefreshTokenExpired,
    #[error("the refresh token was used before; its session has been ended")]
    RefreshTokenReused,
    #[error("the session was ended")]
    SessionRevoked,
    #[error("the login's state is unknown, used, too old or of another provider")]
    StateInvalid,
    #[error("the binding token is not the one that the login was begun with")]
    BindingMismatch,
    #[error("the provider's answer failed verification: {0}")]
    IdTokenInvalid(&'static str),
    #[error("the login was refused: {0}")]
    ProviderRefused(String),
    #[error("the user or the address is banned")]
    Banned { until: Option<Timestamp> },
    #[error("new accounts are not accepted this way")]
    RegistrationClosed,
    #[error("this way to sign in is switched off")]
    LoginClosed,
    #[error("another account holds the e-mail address")]
    EmailInUse,
    #[error("a placeholder did not resolve")]
    Unresolved(Vec<Unresolved>),
    #[error("the store is older than the credential; it was set back")]
    StoreRolledBack,
    #[error("too many attempts")]
    LimitExceeded { retry_after: Duration },
    #[error("too much work at once")]
    Busy { retry_after: Duration },
    #[error("the store does not answer")]
    StoreUnavailable(#[source] Cause),
    #[error("the identity provider does not answer as it should")]
    ProviderUnavailable(#[source] Cause),
    #[error("the request has invalid fields")]
    Invalid(Vec<FieldViolation>),
    #[error("no such user")]
    UserNotFound,
    #[error("no such provider")]
    ProviderNotFound,
    #[error("no such ban in force")]
    BanNotFound,
    #[error("no such live session")]
    SessionNotFound,
    #[error("internal error")]
    Internal(#[source] Cause),
}

/// What lies below an error; logged, never sent.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// One field of a request that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// The field's path, such as `client.ip_address`.
    pub field: String,
    /// What is expected instead. Never the value.
    pub description: String,
}

/// One placeholder that did not resolve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The entry's name or the field's path.
    pub entry: String,
    /// The placeholder as written.
    pub placeholder: String,
    /// Why.
    pub reason: UnresolvedReason,
}

/// Why a placeholder did not resolve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnresolvedReason {
    /// There is no value for it.
    Missing,
    /// The token ended and could not be renewed.
    Expired,
    /// The user did not sign in at a provider that could answer it.
    NotFederated,
    /// It may not be used there.
    NotAllowed,
    /// The user has to sign in at the provider again.
    ReconnectRequired,
    /// No such placeholder.
    UnknownName,
    /// The value cannot stand in that place.
    UnsafeValue,
}

impl Error {
    /// An internal error from what lies below.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        Self::Internal(cause.into())
    }

    /// One invalid field.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldViolation {
            field: field.into(),
            description: description.into(),
        }])
    }

    /// What lies below, for a log or whoever runs the service; empty where nothing does.
    #[must_use]
    pub fn cause_text(&self) -> String {
        match self {
            Self::StoreUnavailable(cause)
            | Self::ProviderUnavailable(cause)
            | Self::Internal(cause) => format!(": {cause}"),
            _ => String::new(),
        }
    }

    /// The name in `google.rpc.ErrorInfo.reason`: `ErrorReason` without its prefix.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::CallerUnknown => "CALLER_UNKNOWN",
            Self::CallerNotAllowed(_) | Self::AudienceNotAllowed(_) => "CALLER_NOT_ALLOWED",
            Self::CredentialsWrong => "CREDENTIALS_WRONG",
            Self::AccessTokenInvalid => "ACCESS_TOKEN_INVALID",
            Self::RefreshTokenInvalid => "REFRESH_TOKEN_INVALID",
            Self::RefreshTokenExpired => "REFRESH_TOKEN_EXPIRED",
            Self::RefreshTokenReused => "REFRESH_TOKEN_REUSED",
            Self::SessionRevoked => "SESSION_REVOKED",
            Self::StateInvalid => "STATE_INVALID",
            Self::BindingMismatch => "BINDING_MISMATCH",
            Self::IdTokenInvalid(_) => "ID_TOKEN_INVALID",
            Self::ProviderRefused(_) => "PROVIDER_REFUSED",
            Self::Banned { .. } => "BANNED",
            Self::RegistrationClosed => "REGISTRATION_CLOSED",
            Self::LoginClosed => "LOGIN_CLOSED",
            Self::EmailInUse => "EMAIL_IN_USE",
            Self::Unresolved(failing) => failing
                .first()
                .map_or("INTERNAL", |first| first.reason.name()),
            Self::StoreRolledBack => "STORE_ROLLED_BACK",
            Self::LimitExceeded { .. } => "LIMIT_EXCEEDED",
            Self::Busy { .. } => "BUSY",
            Self::StoreUnavailable(_) => "STORE_UNAVAILABLE",
            Self::ProviderUnavailable(_) => "PROVIDER_UNAVAILABLE",
            Self::Invalid(_) => "FIELDS_INVALID",
            Self::UserNotFound => "USER_NOT_FOUND",
            Self::ProviderNotFound => "PROVIDER_NOT_FOUND",
            Self::BanNotFound => "BAN_NOT_FOUND",
            Self::SessionNotFound => "SESSION_NOT_FOUND",
            Self::Internal(_) => "INTERNAL",
        }
    }
}

impl UnresolvedReason {
    /// The name in `ErrorReason`, without its prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "TOKEN_MISSING",
            Self::Expired => "TOKEN_EXPIRED",
            Self::NotFederated => "NOT_FEDERATED",
            Self::NotAllowed => "PLACEHOLDER_NOT_ALLOWED",
            Self::ReconnectRequired => "RECONNECT_REQUIRED",
            Self::UnknownName => "PLACEHOLDER_UNKNOWN",
            Self::UnsafeValue => "VALUE_UNSAFE",
        }
    }
}

/// Collects violations of several fields, so that one answer names them all.
#[derive(Debug, Default)]
pub struct Violations(Vec<FieldViolation>);

impl Violations {
    /// Adds one.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.0.push(FieldViolation {
            field: field.into(),
            description: description.into(),
        });
    }

    /// Keeps the value, or adds why there is none.
    pub fn check<T>(&mut self, field: &str, result: Result<T, impl Into<String>>) -> Option<T> {
        result
            .map_err(|description| self.add(field, description))
            .ok()
    }

    /// Fails where any was added.
    ///
    /// # Errors
    /// [`Error::Invalid`] with all of them.
    pub fn finish(self) -> Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.into_error())
        }
    }

    /// The value, unless there is none or any was added.
    ///
    /// # Errors
    /// [`Error::Invalid`] with all of them.
    pub fn finish_with<T>(self, value: Option<T>) -> Result<T> {
        match value {
            Some(value) => self.finish().map(|()| value),
            None => Err(self.into_error()),
        }
    }

    /// The error that names them all.
    #[must_use]
    pub fn into_error(self) -> Error {
        Error::Invalid(self.0)
    }
}
