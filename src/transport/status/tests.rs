//! What errors become on the wire.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::clock::Timestamp;

fn invalid(field: &str) -> Error {
    Error::Invalid(vec![FieldError {
        field: field.to_owned(),
        description: "an address".to_owned(),
    }])
}

fn unresolved(count: usize) -> Error {
    unresolved_for(Reason::NotFederated, count)
}

fn unresolved_for(reason: Reason, count: usize) -> Error {
    let one = |n| Unresolved {
        entry: format!("header-{n}"),
        placeholder: "{{A}}".into(),
        reason,
    };
    Error::Unresolved((0..count).map(one).collect())
}

/// Errors that have something in the metadata, each with all of it.
fn with_metadata() -> Vec<Error> {
    let field = FieldError {
        field: "a_field".to_owned(),
        description: "is wrong".to_owned(),
    };
    let mut errors = vec![
        Error::CallerNotAllowed("token.mint"),
        Error::AudienceNotAllowed("tools".to_owned()),
        Error::ScopeInsufficient("token.read".to_owned()),
        Error::DestinationNotAllowed("server.url".to_owned()),
        Error::CallerTooFast {
            retry_after: Duration::ZERO,
        },
        Error::CallerTooBusy {
            retry_after: Duration::ZERO,
        },
        Error::IdTokenInvalid("nonce"),
        Error::ProviderRefused("access_denied".to_owned()),
        Error::Banned {
            until: Some(Timestamp::from_secs(1)),
        },
        Error::Invalid(vec![field; 1000]),
    ];
    let others = [Reason::StoreRolledBack, Reason::SigningKeysUnused];
    let placeholders = Reason::ALL
        .iter()
        .filter(|reason| reason.kind() == Kind::FailedPrecondition && !others.contains(*reason));
    errors.extend(placeholders.map(|reason| unresolved_for(*reason, 1000)));
    errors
}

/// The metadata keys that the comments of error_reason.proto list for each reason.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let proto = include_str!("../../../proto/countersign/v1/error_reason.proto");
    let mut documented = BTreeMap::new();
    let mut comment = String::new();
    for line in proto.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("//") {
            comment += text;
        } else if let Some((name, _)) = line.split_once(" = ") {
            let metadata = comment.split_once("Metadata:").map_or("", |(_, keys)| keys);
            let keys: BTreeSet<_> = outside_parentheses(metadata)
                .split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect();
            let name = name.trim_start_matches("ERROR_REASON_");
            documented.insert(name.to_owned(), keys);
            comment.clear();
        } else {
            comment.clear();
        }
    }
    documented.retain(|_, keys| !keys.is_empty());
    documented
}

fn outside_parentheses(text: &str) -> String {
    let mut depth = 0;
    let mut outside = String::new();
    for letter in text.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 => outside.push(letter),
            _ => {}
        }
    }
    outside
}

fn info(status: &Status) -> tonic_types::ErrorInfo {
    status.get_details_error_info().expect("ErrorInfo")
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
fn the_proto_lists_the_metadata_of_each_reason_and_no_other() {
    let mut sent = BTreeMap::<_, BTreeSet<_>>::new();
    for error in with_metadata() {
        let info = info(&status(error));
        sent.entry(info.reason)
            .or_default()
            .extend(info.metadata.into_keys());
    }
    assert_eq!(sent, documented());
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
    let invalid = status(invalid("client.ip_address"))
        .get_details_bad_request()
        .expect("BadRequest");
    assert_eq!(invalid.field_violations[0].field, "client.ip_address");
}

#[test]
fn the_message_names_the_first_mistake_and_the_number_of_the_others() {
    let message = |error| status(error).message().to_owned();
    assert_eq!(
        message(invalid("client.ip_address")),
        "invalid field client.ip_address: an address"
    );
    assert_eq!(
        message(unresolved(3)),
        "{{A}} in header-0 does not resolve: NOT_FEDERATED \
         (no provider that the user signed in at has it), and 2 more"
    );
    let whole = Unresolved {
        entry: "headers.X-Name".to_owned(),
        placeholder: String::new(),
        reason: Reason::ValueUnsafe,
    };
    assert_eq!(
        message(Error::Unresolved(vec![whole])),
        "the value of headers.X-Name cannot be used: VALUE_UNSAFE \
         (the value is not safe in this place)"
    );
    let long = message(invalid(&"x".repeat(4096)));
    assert!(long.len() < 200 && long.ends_with(": an address"), "{long}");
    assert!(message(Error::CallerUnknown).contains("`authorization: Bearer <token>`"));
}

#[test]
fn a_thousand_failing_entries_fit_the_trailers() {
    let (status, _) = complete(&status(unresolved(1000)), &"x".repeat(128));
    assert!(
        status.details().len() < 6 * 1024,
        "{}",
        status.details().len()
    );
    assert_eq!(info(&status).metadata["violations"], "1000");
}

#[test]
fn a_status_of_tonic_gets_reason_and_request_id() {
    let (status, _) = complete(&Status::internal("failed to decode"), "id-1");
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
