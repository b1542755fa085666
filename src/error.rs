//! The one error of the service. Variants are named after facts; the table of reasons says what
//! callers are told of each.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;

/// A result with the service's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure a reason is; `transport/status/mod.rs` maps each kind to its gRPC code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Unauthenticated,
    PermissionDenied,
    InvalidArgument,
    AlreadyExists,
    NotFound,
    Aborted,
    FailedPrecondition,
    OutOfRange,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
    DeadlineExceeded,
    Internal,
}

macro_rules! reasons {
    ($($variant:ident = $name:literal $kind:ident,)*) => {
        /// Why a call failed, as `google.rpc.ErrorInfo.reason` says it: `ErrorReason` without its
        /// prefix.
        ///
        /// `error_reason.proto` says what each one means; a test compares the two lists.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason {
            $($variant,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The reason with this name on the wire.
            #[must_use]
            pub fn find(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.name() == name)
            }

            /// The kind of failure.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self {
                    $(Self::$variant => Kind::$kind,)*
                }
            }
        }
    };
}

reasons! {
    CallerUnknown = "CALLER_UNKNOWN" Unauthenticated,
    CredentialsWrong = "CREDENTIALS_WRONG" Unauthenticated,
    AccessTokenInvalid = "ACCESS_TOKEN_INVALID" Unauthenticated,
    RefreshTokenInvalid = "REFRESH_TOKEN_INVALID" Unauthenticated,
    RefreshTokenExpired = "REFRESH_TOKEN_EXPIRED" Unauthenticated,
    RefreshTokenReused = "REFRESH_TOKEN_REUSED" Unauthenticated,
    SessionRevoked = "SESSION_REVOKED" Unauthenticated,
    StateInvalid = "STATE_INVALID" Unauthenticated,
    BindingMismatch = "BINDING_MISMATCH" Unauthenticated,
    IdTokenInvalid = "ID_TOKEN_INVALID" Unauthenticated,
    ProviderRefused = "PROVIDER_REFUSED" Unauthenticated,
    CallerNotAllowed = "CALLER_NOT_ALLOWED" PermissionDenied,
    Banned = "BANNED" PermissionDenied,
    RegistrationClosed = "REGISTRATION_CLOSED" PermissionDenied,
    DestinationNotAllowed = "DESTINATION_NOT_ALLOWED" PermissionDenied,
    LoginClosed = "LOGIN_CLOSED" PermissionDenied,
    ScopeInsufficient = "SCOPE_INSUFFICIENT" PermissionDenied,
    EmailInUse = "EMAIL_IN_USE" AlreadyExists,
    RequestIdUsed = "REQUEST_ID_USED" Aborted,
    NotFederated = "NOT_FEDERATED" FailedPrecondition,
    ValueMissing = "VALUE_MISSING" FailedPrecondition,
    TokenExpired = "TOKEN_EXPIRED" FailedPrecondition,
    ReconnectRequired = "RECONNECT_REQUIRED" FailedPrecondition,
    PlaceholderNotAllowed = "PLACEHOLDER_NOT_ALLOWED" FailedPrecondition,
    PlaceholderUnknown = "PLACEHOLDER_UNKNOWN" FailedPrecondition,
    ValueUnsafe = "VALUE_UNSAFE" FailedPrecondition,
    StoreRolledBack = "STORE_ROLLED_BACK" FailedPrecondition,
    CursorExpired = "CURSOR_EXPIRED" OutOfRange,
    SigningKeysUnused = "SIGNING_KEYS_UNUSED" FailedPrecondition,
    LimitExceeded = "LIMIT_EXCEEDED" ResourceExhausted,
    Busy = "BUSY" ResourceExhausted,
    MessageTooLarge = "MESSAGE_TOO_LARGE" ResourceExhausted,
    StoreUnavailable = "STORE_UNAVAILABLE" Unavailable,
    ProviderUnavailable = "PROVIDER_UNAVAILABLE" Unavailable,
    ShuttingDown = "SHUTTING_DOWN" Unavailable,
    CallerKeysUnavailable = "CALLER_KEYS_UNAVAILABLE" Unavailable,
    FieldsInvalid = "FIELDS_INVALID" InvalidArgument,
    MessageMalformed = "MESSAGE_MALFORMED" InvalidArgument,
    UserNotFound = "USER_NOT_FOUND" NotFound,
    ProviderNotFound = "PROVIDER_NOT_FOUND" NotFound,
    BanNotFound = "BAN_NOT_FOUND" NotFound,
    SessionNotFound = "SESSION_NOT_FOUND" NotFound,
    ServiceUnknown = "SERVICE_UNKNOWN" NotFound,
    SigningKeyNotFound = "SIGNING_KEY_NOT_FOUND" NotFound,
    MethodUnknown = "METHOD_UNKNOWN" Unimplemented,
    DeadlineExceeded = "DEADLINE_EXCEEDED" DeadlineExceeded,
    Internal = "INTERNAL" Internal,
}

/// Why a call failed. Calls that waited for the same work share its failure, so it can be cloned.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no known caller's credential: the metadata `authorization: Bearer <token>` is expected, with \
         a token or a JWT of a configured caller, or a client certificate that names one"
    )]
    CallerUnknown,
    #[error("the keys that verify the caller's token cannot be fetched from its issuer now")]
    CallerKeysUnavailable(#[source] Cause),
    #[error("the caller lacks the permission {0}")]
    CallerNotAllowed(&'static str),
    #[error("the caller may not have tokens of the audience {0}")]
    AudienceNotAllowed(String),
    #[error("no such method")]
    MethodUnknown,
    #[error("e-mail address or password is wrong")]
    CredentialsWrong,
    #[error("the password is too easily guessed")]
    PasswordGuessable,
    #[error("the access token is not a live one")]
    AccessTokenInvalid,
    #[error("the access token may not be used for this: it lacks the scope {0}")]
    ScopeInsufficient(String),
    #[error("the access token was exchanged as often as it may be")]
    ExchangedTooOften,
    #[error("the refresh token is not a live one")]
    RefreshTokenInvalid,
    #[error("the session has reached its end")]
    RefreshTokenExpired,
    #[error("the refresh token was used before; its session has been ended")]
    RefreshTokenReused,
    #[error("the session was ended")]
    SessionRevoked,
    #[error("the request id was used for another request, whose answer is not this one's")]
    RequestIdUsed,
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
    #[error("the changes after the cursor are not known any more: watch again without a cursor")]
    CursorExpired,
    #[error("the service is stopping")]
    ShuttingDown,
    #[error("new accounts are not accepted this way")]
    RegistrationClosed,
    #[error("this way to sign in is switched off")]
    LoginClosed,
    #[error("another account holds the e-mail address")]
    EmailInUse,
    #[error("{}", first_of(.0))]
    Unresolved(Vec<Unresolved>),
    #[error(
        "no token may be sent to the URL in {0}: it is neither https, nor on this machine, nor a \
         host of COUNTERSIGN_HTTP_HOSTS"
    )]
    DestinationNotAllowed(String),
    #[error("the resolved values and their outcomes are larger than 4 MiB")]
    OutputTooLarge,
    #[error("the store is older than the credential; it was set back")]
    StoreRolledBack,
    #[error("too many attempts")]
    LimitExceeded { retry_after: Duration },
    #[error("the caller makes more calls a second than its limits allow")]
    CallerTooFast { retry_after: Duration },
    #[error("the caller has as many calls open as its limits allow")]
    CallerTooBusy { retry_after: Duration },
    #[error("too much work at once")]
    Busy { retry_after: Duration },
    #[error("the store does not answer")]
    StoreUnavailable(#[source] Cause),
    #[error("the identity provider does not answer as it should")]
    ProviderUnavailable(#[source] Cause),
    #[error("expired provider tokens could not be renewed now")]
    RenewalPostponed { retry_after: Duration },
    #[error("{}", first_of(.0))]
    Invalid(Vec<FieldError>),
    #[error("no such user")]
    UserNotFound,
    #[error("no such provider")]
    ProviderNotFound,
    #[error("no such ban in force")]
    BanNotFound,
    #[error("no such live session")]
    SessionNotFound,
    #[error("no such signing key")]
    SigningKeyNotFound,
    #[error("there are no signing keys: access tokens are signed with JWT_SECRET")]
    SigningKeysUnused,
    #[error("internal error")]
    Internal(#[source] Cause),
}

/// The underlying cause of an error; logged, never sent. Clones share it.
#[derive(Clone, Debug)]
pub struct Cause(Arc<dyn std::error::Error + Send + Sync>);

/// It is not an error itself, so that everything that can become one can become a cause.
impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for Cause {
    fn from(error: E) -> Self {
        Self(Arc::from(error.into()))
    }
}

impl Deref for Cause {
    type Target = dyn std::error::Error + Send + Sync;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One field of a request that is not as it should be. Only `grpc/` knows fields and makes these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
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
    pub reason: Reason,
}

// The names come from the request, so they are cut: the text travels in the trailers.
impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid field {:.80}: {}", self.field, self.description)
    }
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            entry, placeholder, ..
        } = self;
        if placeholder.is_empty() {
            write!(f, "the value of {entry:.80} cannot be used")?;
        } else {
            write!(f, "{placeholder:.80} in {entry:.80} does not resolve")?;
        }
        write!(f, ": {}", self.reason.name())?;
        match self.reason {
            Reason::NotFederated => f.write_str(" (no provider that the user signed in at has it)"),
            Reason::ValueMissing => f.write_str(" (there is no value for it)"),
            Reason::TokenExpired => f.write_str(" (the token could not be renewed)"),
            Reason::ReconnectRequired => f.write_str(" (the user must sign in there again)"),
            Reason::PlaceholderNotAllowed => f.write_str(" (it is not allowed in this place)"),
            Reason::PlaceholderUnknown => f.write_str(" (there is no placeholder of this name)"),
            Reason::ValueUnsafe => f.write_str(" (the value is not safe in this place)"),
            _ => Ok(()),
        }
    }
}

/// The first problem, for those who read no details, and how many there are beside it.
fn first_of<T: fmt::Display>(problems: &[T]) -> String {
    match problems {
        [] => String::new(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first}, and {} more", rest.len()),
    }
}

impl Error {
    /// An internal error with its underlying cause.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        Self::Internal(cause.into())
    }

    /// The underlying cause, for a log or for whoever runs the service; empty if there is none.
    #[must_use]
    pub fn cause_text(&self) -> String {
        match self {
            Self::CallerKeysUnavailable(cause)
            | Self::StoreUnavailable(cause)
            | Self::ProviderUnavailable(cause)
            | Self::Internal(cause) => format!(": {cause}"),
            _ => String::new(),
        }
    }

    /// What callers are told.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::CallerUnknown => Reason::CallerUnknown,
            Self::CallerKeysUnavailable(_) => Reason::CallerKeysUnavailable,
            Self::CallerNotAllowed(_) | Self::AudienceNotAllowed(_) => Reason::CallerNotAllowed,
            Self::MethodUnknown => Reason::MethodUnknown,
            Self::CredentialsWrong => Reason::CredentialsWrong,
            Self::AccessTokenInvalid => Reason::AccessTokenInvalid,
            Self::ScopeInsufficient(_) => Reason::ScopeInsufficient,
            Self::RefreshTokenInvalid => Reason::RefreshTokenInvalid,
            Self::RefreshTokenExpired => Reason::RefreshTokenExpired,
            Self::RefreshTokenReused => Reason::RefreshTokenReused,
            Self::SessionRevoked => Reason::SessionRevoked,
            Self::StateInvalid => Reason::StateInvalid,
            Self::BindingMismatch => Reason::BindingMismatch,
            Self::IdTokenInvalid(_) => Reason::IdTokenInvalid,
            Self::ProviderRefused(_) => Reason::ProviderRefused,
            Self::Banned { .. } => Reason::Banned,
            Self::RegistrationClosed => Reason::RegistrationClosed,
            Self::LoginClosed => Reason::LoginClosed,
            Self::EmailInUse => Reason::EmailInUse,
            Self::RequestIdUsed => Reason::RequestIdUsed,
            Self::Unresolved(failing) => failing
                .first()
                .map_or(Reason::Internal, |first| first.reason),
            Self::DestinationNotAllowed(_) => Reason::DestinationNotAllowed,
            Self::StoreRolledBack => Reason::StoreRolledBack,
            Self::CursorExpired => Reason::CursorExpired,
            Self::ShuttingDown => Reason::ShuttingDown,
            Self::LimitExceeded { .. } | Self::CallerTooFast { .. } => Reason::LimitExceeded,
            Self::Busy { .. } | Self::CallerTooBusy { .. } => Reason::Busy,
            Self::StoreUnavailable(_) => Reason::StoreUnavailable,
            Self::ProviderUnavailable(_) | Self::RenewalPostponed { .. } => {
                Reason::ProviderUnavailable
            }
            Self::Invalid(_)
            | Self::PasswordGuessable
            | Self::ExchangedTooOften
            | Self::OutputTooLarge => Reason::FieldsInvalid,
            Self::UserNotFound => Reason::UserNotFound,
            Self::ProviderNotFound => Reason::ProviderNotFound,
            Self::BanNotFound => Reason::BanNotFound,
            Self::SessionNotFound => Reason::SessionNotFound,
            Self::SigningKeyNotFound => Reason::SigningKeyNotFound,
            Self::SigningKeysUnused => Reason::SigningKeysUnused,
            Self::Internal(_) => Reason::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_readme_lists_every_reason_and_no_other() {
        let readme = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
        let rows = readme
            .lines()
            .skip_while(|line| !line.starts_with("| Code | Reasons |"))
            .skip(2)
            .take_while(|line| line.starts_with('|'));
        let listed: BTreeSet<_> = rows
            .flat_map(|row| row.split('|').nth(2).unwrap_or_default().split('`'))
            .filter(|text| {
                !text.is_empty() && text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
            })
            .collect();
        let known: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(listed, known);
    }
}
