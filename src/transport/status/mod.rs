//! What each error becomes on the wire. `error_reason.proto` is the list for callers.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt};

use crate::error::{Error, FieldError, Kind, Reason, Unresolved};
use crate::metrics::{CallerLimit, Label as _};

/// The domain of every `google.rpc.ErrorInfo`.
const DOMAIN: &str = "countersign.v1";

/// How long a caller should wait before it tries again after UNAVAILABLE.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);

/// The limit on the listed violations in bytes, and on a message in characters: status and details
/// travel in the trailers, which many clients limit to 8 KiB.
const MAX_LISTED: usize = 3 * 1024;
const MAX_MESSAGE: usize = 512;

/// The status of an error, with its reason and details; the error itself stays its source, which is
/// logged and never sent.
#[must_use]
pub fn status(error: Error) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(error.reason().name(), DOMAIN, HashMap::new());
    describe(&error, &mut details);
    let code = code(error.reason().kind());
    let mut status = Status::with_error_details(code, shortened(&error.to_string()), details);
    status.set_source(Arc::new(error));
    status
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        status(error)
    }
}

/// The status as it is sent, and its reason: with the request's id, and with a reason if tonic or
/// [`super::CallService`] made it.
pub fn complete(status: &Status, request_id: &str) -> (Status, Reason) {
    let mut details = status.get_error_details();
    let (mut code, mut reason) = (status.code(), Reason::Internal);
    if let Some(info) = details.error_info() {
        reason = Reason::find(&info.reason).unwrap_or(reason);
    } else {
        (code, reason) = reason_of(code);
        details.set_error_info(reason.name(), DOMAIN, HashMap::new());
    }
    details.set_request_info(request_id, "");
    let message = if status.message().is_empty() {
        code.description()
    } else {
        status.message()
    };
    let metadata = status.metadata().clone();
    let status = Status::with_error_details_and_metadata(code, message, details, metadata);
    (status, reason)
}

/// Code and reason for a status without details. Handlers return only statuses with details, so
/// these come from tonic or from [`super::CallService`].
fn reason_of(code: Code) -> (Code, Reason) {
    match code {
        // tonic calls a request that it cannot decode INTERNAL.
        Code::Internal | Code::InvalidArgument => (Code::InvalidArgument, Reason::MessageMalformed),
        Code::OutOfRange | Code::ResourceExhausted => (code, Reason::MessageTooLarge),
        Code::Unimplemented => (code, Reason::MethodUnknown),
        Code::DeadlineExceeded | Code::Cancelled => (code, Reason::DeadlineExceeded),
        Code::Unavailable => (code, Reason::ShuttingDown),
        Code::NotFound => (code, Reason::ServiceUnknown),
        Code::Ok
        | Code::Unknown
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::DataLoss
        | Code::Unauthenticated => (Code::Internal, Reason::Internal),
    }
}

fn code(kind: Kind) -> Code {
    match kind {
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::PermissionDenied => Code::PermissionDenied,
        Kind::InvalidArgument => Code::InvalidArgument,
        Kind::AlreadyExists => Code::AlreadyExists,
        Kind::NotFound => Code::NotFound,
        Kind::Aborted => Code::Aborted,
        Kind::FailedPrecondition => Code::FailedPrecondition,
        Kind::OutOfRange => Code::OutOfRange,
        Kind::ResourceExhausted => Code::ResourceExhausted,
        Kind::Unavailable => Code::Unavailable,
        Kind::Unimplemented => Code::Unimplemented,
        Kind::DeadlineExceeded => Code::DeadlineExceeded,
        Kind::Internal => Code::Internal,
    }
}

/// Adds what programs need to know beyond the reason. Every error is listed, so that a new one
/// cannot be forgotten here.
fn describe(error: &Error, details: &mut ErrorDetails) {
    match error {
        Error::CallerNotAllowed(permission) => note(details, "permission", permission),
        Error::AudienceNotAllowed(audience) => note(details, "audience", &shortened(audience)),
        Error::DestinationNotAllowed(entry) => note(details, "entry", &shortened(entry)),
        Error::ScopeInsufficient(scope) => note(details, "scope", &shortened(scope)),
        Error::IdTokenInvalid(problem) => note(details, "problem", problem),
        Error::ProviderRefused(problem) => note(details, "problem", &shortened(problem)),
        Error::Banned { until } => {
            if let Some(until) = until {
                note(details, "until", &until.to_string());
            }
        }
        Error::CallerTooFast { retry_after } => {
            note(details, "limit", CallerLimit::PerSecond.value());
            details.set_retry_info(Some(*retry_after));
        }
        Error::CallerTooBusy { retry_after } => {
            note(details, "limit", CallerLimit::Concurrent.value());
            details.set_retry_info(Some(*retry_after));
        }
        Error::LimitExceeded { retry_after }
        | Error::Busy { retry_after }
        | Error::RenewalPostponed { retry_after } => {
            details.set_retry_info(Some(*retry_after));
        }
        Error::StoreUnavailable(_)
        | Error::ProviderUnavailable(_)
        | Error::CallerKeysUnavailable(_) => {
            details.set_retry_info(Some(UNAVAILABLE_RETRY));
        }
        Error::Invalid(fields) => add_fields(fields, details),
        Error::Unresolved(failing) => add_unresolved(failing, details),
        Error::CallerUnknown
        | Error::MethodUnknown
        | Error::CredentialsWrong
        | Error::PasswordGuessable
        | Error::ExchangedTooOften
        | Error::RequestIdUsed
        | Error::OutputTooLarge
        | Error::AccessTokenInvalid
        | Error::RefreshTokenInvalid
        | Error::RefreshTokenExpired
        | Error::RefreshTokenReused
        | Error::SessionRevoked
        | Error::StateInvalid
        | Error::BindingMismatch
        | Error::RegistrationClosed
        | Error::LoginClosed
        | Error::EmailInUse
        | Error::StoreRolledBack
        | Error::CursorExpired
        | Error::ShuttingDown
        | Error::UserNotFound
        | Error::ProviderNotFound
        | Error::BanNotFound
        | Error::SessionNotFound
        | Error::SigningKeyNotFound
        | Error::SigningKeysUnused
        | Error::Internal(_) => {}
    }
}

/// Adds a variable part of the message to the metadata, for programs.
fn note(details: &mut ErrorDetails, name: &str, value: &str) {
    if let Some(info) = details.error_info() {
        let (reason, domain) = (info.reason.clone(), info.domain.clone());
        let metadata = HashMap::from([(name.to_owned(), value.to_owned())]);
        details.set_error_info(reason, domain, metadata);
    }
}

fn add_fields(fields: &[FieldError], details: &mut ErrorDetails) {
    let size = |field: &FieldError| field.field.len() + field.description.len();
    let listed = fitting(fields, size);
    let violation = |field: &FieldError| FieldViolation::new(&field.field, &field.description);
    details.set_bad_request(listed.iter().map(violation).collect::<Vec<_>>());
    note_rest(listed.len(), fields.len(), details);
}

fn add_unresolved(failing: &[Unresolved], details: &mut ErrorDetails) {
    let size = |one: &Unresolved| one.reason.name().len() + one.entry.len() + one.placeholder.len();
    let listed = fitting(failing, size);
    let violation = |one: &Unresolved| {
        PreconditionViolation::new(one.reason.name(), &one.entry, &one.placeholder)
    };
    details.set_precondition_failure(listed.iter().map(violation).collect::<Vec<_>>());
    note_rest(listed.len(), failing.len(), details);
}

/// Adds the number of all violations if not all of them are listed.
fn note_rest(listed: usize, all: usize, details: &mut ErrorDetails) {
    if listed < all {
        note(details, "violations", &all.to_string());
    }
}

/// As many of the first items as fit into the trailers.
fn fitting<T>(items: &[T], size: impl Fn(&T) -> usize) -> &[T] {
    let mut total = 0;
    let count = items.iter().take_while(|item| {
        total += size(item);
        total <= MAX_LISTED
    });
    &items[..count.count()]
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_MESSAGE).collect()
}
