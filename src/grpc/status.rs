//! What each error becomes on the wire. `error_reason.proto` is the list for callers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt};

use crate::clock::Timestamp;
use crate::error::{Error, Unresolved};

/// The domain of every `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "countersign.v1";

/// How long to wait before asking again for what did not answer.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);

/// Status and details travel in the trailers, which clients bound, many at 8 KiB.
const MAX_LISTED: usize = 3 * 1024;
const MAX_MESSAGE: usize = 512;

/// The status of an error, with its reason and details; the error itself stays its source, which is logged and never sent.
#[must_use]
pub fn status(error: Error) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(error.reason(), DOMAIN, metadata(&error));
    add_details(&error, &mut details);
    let mut status = Status::with_error_details(code(&error), message(&error), details);
    status.set_source(Arc::new(error));
    status
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        status(error)
    }
}

/// The status as it is sent: with the request's id, and with a reason where tonic or the frame made it.
#[must_use]
pub fn complete(status: &Status, request_id: &str) -> Status {
    let mut details = status.get_error_details();
    let mut code = status.code();
    if details.error_info().is_none() {
        let reason;
        (code, reason) = name(code);
        details.set_error_info(reason, DOMAIN, HashMap::new());
    }
    details.set_request_info(request_id, "");
    let message = if status.message().is_empty() {
        code.description()
    } else {
        status.message()
    };
    Status::with_error_details_and_metadata(code, message, details, status.metadata().clone())
}

/// Code and reason for a status without details. Handlers give only statuses with details, so these are tonic's and the frame's own.
fn name(code: Code) -> (Code, &'static str) {
    match code {
        // tonic calls a request that it cannot decode INTERNAL.
        Code::Internal | Code::InvalidArgument => (Code::InvalidArgument, "MESSAGE_MALFORMED"),
        Code::OutOfRange | Code::ResourceExhausted => (code, "MESSAGE_TOO_LARGE"),
        Code::Unimplemented => (code, "METHOD_UNKNOWN"),
        Code::DeadlineExceeded | Code::Cancelled => (code, "DEADLINE_EXCEEDED"),
        Code::Unavailable => (code, "SHUTTING_DOWN"),
        Code::NotFound => (code, "SERVICE_UNKNOWN"),
        _ => (Code::Internal, "INTERNAL"),
    }
}

fn code(error: &Error) -> Code {
    match error {
        Error::CallerUnknown
        | Error::CredentialsWrong
        | Error::AccessTokenInvalid
        | Error::RefreshTokenInvalid
        | Error::RefreshTokenExpired
        | Error::RefreshTokenReused
        | Error::SessionRevoked
        | Error::StateInvalid
        | Error::BindingMismatch
        | Error::IdTokenInvalid(_)
        | Error::ProviderRefused(_) => Code::Unauthenticated,
        Error::CallerNotAllowed(_)
        | Error::AudienceNotAllowed(_)
        | Error::Banned { .. }
        | Error::RegistrationClosed
        | Error::LoginClosed => Code::PermissionDenied,
        Error::EmailInUse => Code::AlreadyExists,
        Error::Unresolved(_) | Error::StoreRolledBack => Code::FailedPrecondition,
        Error::LimitExceeded { .. } | Error::Busy { .. } => Code::ResourceExhausted,
        Error::StoreUnavailable(_) | Error::ProviderUnavailable(_) => Code::Unavailable,
        Error::Invalid(_) => Code::InvalidArgument,
        Error::UserNotFound
        | Error::ProviderNotFound
        | Error::BanNotFound
        | Error::SessionNotFound => Code::NotFound,
        Error::Internal(_) => Code::Internal,
    }
}

fn message(error: &Error) -> String {
    error.to_string().chars().take(MAX_MESSAGE).collect()
}

/// What the message says beside fixed words, for programs.
fn metadata(error: &Error) -> HashMap<String, String> {
    let entry = match error {
        Error::CallerNotAllowed(permission) => ("permission", (*permission).to_owned()),
        Error::AudienceNotAllowed(audience) => {
            ("audience", audience.chars().take(MAX_MESSAGE).collect())
        }
        Error::IdTokenInvalid(problem) => ("problem", (*problem).to_owned()),
        Error::ProviderRefused(problem) => ("problem", problem.chars().take(MAX_MESSAGE).collect()),
        Error::Banned { until: Some(until) } => ("until", rfc3339(*until)),
        Error::Invalid(violations) if listed(violations, violation_size) < violations.len() => {
            ("violations", violations.len().to_string())
        }
        Error::Unresolved(failing) if listed(failing, unresolved_size) < failing.len() => {
            ("violations", failing.len().to_string())
        }
        _ => return HashMap::new(),
    };
    HashMap::from([(entry.0.to_owned(), entry.1)])
}

fn add_details(error: &Error, details: &mut ErrorDetails) {
    match error {
        Error::LimitExceeded { retry_after } | Error::Busy { retry_after } => {
            details.set_retry_info(Some(*retry_after))
        }
        Error::StoreUnavailable(_) | Error::ProviderUnavailable(_) => {
            details.set_retry_info(Some(UNAVAILABLE_RETRY))
        }
        Error::Invalid(violations) => {
            let named = &violations[..listed(violations, violation_size)];
            details.set_bad_request(
                named
                    .iter()
                    .map(|one| FieldViolation::new(&one.field, &one.description))
                    .collect::<Vec<_>>(),
            )
        }
        Error::Unresolved(failing) => {
            let named = &failing[..listed(failing, unresolved_size)];
            details.set_precondition_failure(named.iter().map(precondition).collect::<Vec<_>>())
        }
        _ => details,
    };
}

fn precondition(failing: &Unresolved) -> PreconditionViolation {
    PreconditionViolation::new(failing.reason.name(), &failing.entry, &failing.placeholder)
}

fn violation_size(violation: &crate::error::FieldViolation) -> usize {
    violation.field.len() + violation.description.len()
}

fn unresolved_size(failing: &Unresolved) -> usize {
    failing.reason.name().len() + failing.entry.len() + failing.placeholder.len()
}

/// How many of the items fit the trailers; the metadata's `violations` says how many there are where not all do.
fn listed<T>(items: &[T], size: fn(&T) -> usize) -> usize {
    let mut total = 0;
    items
        .iter()
        .take_while(|item| {
            total += size(item);
            total <= MAX_LISTED
        })
        .count()
}

fn rfc3339(time: Timestamp) -> String {
    prost_types::Timestamp {
        seconds: time.secs(),
        nanos: 0,
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::UnresolvedReason;
    use crate::grpc::proto::ErrorReason;

    fn every_error() -> Vec<Error> {
        let wait = Duration::from_secs(7);
        vec![
            Error::CallerUnknown,
            Error::CallerNotAllowed("token.verify"),
            Error::AudienceNotAllowed("https://chat.example".into()),
            Error::CredentialsWrong,
            Error::AccessTokenInvalid,
            Error::RefreshTokenInvalid,
            Error::RefreshTokenExpired,
            Error::RefreshTokenReused,
            Error::SessionRevoked,
            Error::StateInvalid,
            Error::BindingMismatch,
            Error::IdTokenInvalid("azp"),
            Error::ProviderRefused("access_denied".into()),
            Error::Banned {
                until: Some(Timestamp::from_secs(0)),
            },
            Error::RegistrationClosed,
            Error::LoginClosed,
            Error::EmailInUse,
            unresolved(1),
            Error::StoreRolledBack,
            Error::LimitExceeded { retry_after: wait },
            Error::Busy { retry_after: wait },
            Error::StoreUnavailable("gone".into()),
            Error::ProviderUnavailable("gone".into()),
            Error::invalid("email", "an address"),
            Error::UserNotFound,
            Error::ProviderNotFound,
            Error::BanNotFound,
            Error::SessionNotFound,
            Error::internal("canary"),
        ]
    }

    fn unresolved(count: usize) -> Error {
        let one = |n| Unresolved {
            entry: format!("header-{n}"),
            placeholder: "{{A}}".into(),
            reason: UnresolvedReason::NotFederated,
        };
        Error::Unresolved((0..count).map(one).collect())
    }

    fn info(status: &Status) -> tonic_types::ErrorInfo {
        status.get_details_error_info().expect("ErrorInfo")
    }

    #[test]
    fn every_reason_is_in_the_proto() {
        let codes = (0..17).map(|code| name(Code::from_i32(code)).1.to_owned());
        for reason in every_error()
            .into_iter()
            .map(|error| info(&status(error)).reason)
            .chain(codes)
        {
            assert!(
                ErrorReason::from_str_name(&format!("ERROR_REASON_{reason}")).is_some(),
                "{reason}"
            );
        }
    }

    #[test]
    fn causes_stay_here() {
        let status = status(Error::internal("canary"));
        assert!(
            !String::from_utf8_lossy(status.details()).contains("canary")
                && !status.message().contains("canary")
        );
        assert!(std::error::Error::source(&status).is_some());
    }

    #[test]
    fn what_varies_is_in_the_metadata() {
        let banned = info(&status(Error::Banned {
            until: Some(Timestamp::from_secs(86_400)),
        }));
        assert_eq!(banned.metadata["until"], "1970-01-02T00:00:00Z");
        assert_eq!(
            info(&status(Error::CallerNotAllowed("token.mint"))).metadata["permission"],
            "token.mint"
        );
    }

    #[test]
    fn waits_carry_retry_info() {
        let delay = |error| {
            status(error)
                .get_details_retry_info()
                .and_then(|info| info.retry_delay)
        };
        assert_eq!(
            delay(Error::Busy {
                retry_after: Duration::from_secs(7)
            }),
            Some(Duration::from_secs(7))
        );
        assert_eq!(
            delay(Error::StoreUnavailable("gone".into())),
            Some(UNAVAILABLE_RETRY)
        );
    }

    #[test]
    fn failing_entries_and_fields_are_named() {
        let failure = status(unresolved(3))
            .get_details_precondition_failure()
            .expect("PreconditionFailure");
        assert_eq!(failure.violations.len(), 3);
        assert_eq!(
            (
                &*failure.violations[2].subject,
                &*failure.violations[2].r#type
            ),
            ("header-2", "NOT_FEDERATED")
        );
        let invalid = status(Error::invalid("client.ip_address", "an address"))
            .get_details_bad_request()
            .expect("BadRequest");
        assert_eq!(invalid.field_violations[0].field, "client.ip_address");
    }

    #[test]
    fn a_thousand_failing_entries_fit_the_trailers() {
        let status = complete(&status(unresolved(1000)), &"x".repeat(128));
        assert!(
            status.details().len() < 6 * 1024,
            "{}",
            status.details().len()
        );
        assert_eq!(info(&status).metadata["violations"], "1000");
    }

    #[test]
    fn a_status_of_tonic_gets_reason_and_request_id() {
        let status = complete(&Status::internal("failed to decode"), "id-1");
        assert_eq!(
            (status.code(), info(&status).reason.as_str()),
            (Code::InvalidArgument, "MESSAGE_MALFORMED")
        );
        assert_eq!(
            status
                .get_details_request_info()
                .map(|info| info.request_id)
                .as_deref(),
            Some("id-1")
        );
    }
}
