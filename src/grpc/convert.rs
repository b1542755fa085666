//! Answers: from the service's types to the wire's.

use std::time::Duration;

use super::proto::{self, ErrorReason};
use crate::auth::SignedIn;
use crate::clock::Timestamp;
use crate::error::Reason;
use crate::model::account::User;
use crate::model::ban::{Ban, BanTarget};
use crate::model::email::Email;
use crate::model::session::Session;
use crate::provider::Provider;
use crate::token::TokenPair;

#[expect(
    clippy::unnecessary_wraps,
    reason = "message fields are optional on the wire"
)]
pub(super) fn time(time: Timestamp) -> Option<prost_types::Timestamp> {
    let millis = time.millis();
    let nanos = i32::try_from(millis.rem_euclid(1000)).unwrap_or(0) * 1_000_000;
    Some(prost_types::Timestamp {
        seconds: time.secs(),
        nanos,
    })
}

pub(super) fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

pub(super) fn error_reason(reason: Reason) -> ErrorReason {
    ErrorReason::from_str_name(&format!("ERROR_REASON_{}", reason.name()))
        .unwrap_or(ErrorReason::Unspecified)
}

pub(super) fn user(user: User) -> proto::User {
    proto::User {
        id: user.id.to_string(),
        email: user.email.map(Email::into_string).unwrap_or_default(),
        email_verified: user.email_verified,
        name: user.name,
        username: user.username,
        role: user.role,
        provider: user.provider,
        avatar_url: user.avatar_url,
        create_time: time(user.create_time),
        update_time: time(user.update_time),
    }
}

pub(super) fn provider(provider: &Provider) -> proto::Provider {
    proto::Provider {
        id: provider.id().to_owned(),
        kind: provider.kind().to_owned(),
        display_name: provider.display_name().to_owned(),
        icon_url: provider.icon_url().to_owned(),
    }
}

pub(super) fn tokens(pair: TokenPair) -> proto::TokenPair {
    proto::TokenPair {
        access_token: pair.access_token,
        refresh_token: pair.refresh_token,
        token_type: "Bearer".to_owned(),
        access_expire_time: time(pair.access_expire_time),
        refresh_expire_time: time(pair.refresh_expire_time),
        session_id: pair.session_id.to_string(),
    }
}

pub(super) fn signed_in(signed_in: SignedIn) -> proto::SignedIn {
    proto::SignedIn {
        user: Some(user(signed_in.user)),
        tokens: Some(tokens(signed_in.tokens)),
    }
}

pub(super) fn session(session: Session) -> proto::Session {
    let last_use = session.last_use();
    proto::Session {
        id: session.id.to_string(),
        user_id: session.user_id.to_string(),
        provider: session.provider,
        caller: session.caller,
        client: Some(proto::ClientContext {
            ip_address: session.ip_address,
            user_agent: session.user_agent,
            device_name: session.device_name,
        }),
        create_time: time(session.create_time),
        refresh_time: time(session.refresh_time),
        expire_time: time(session.expire_time),
        last_seen_time: time(last_use),
    }
}

pub(super) fn ban(ban: Ban) -> proto::Ban {
    proto::Ban {
        id: ban.id.to_string(),
        target: Some(proto::BanTarget {
            target: Some(ban_target(&ban.target)),
        }),
        reason: ban.reason,
        create_time: time(ban.create_time),
        expire_time: ban.expire_time.and_then(time),
        violation_type: ban.violation_type,
        caller: ban.caller,
    }
}

fn ban_target(target: &BanTarget) -> proto::ban_target::Target {
    use proto::ban_target::Target;
    match target {
        BanTarget::User(id) => Target::UserId(id.to_string()),
        BanTarget::Network(network) => network.single().map_or_else(
            || Target::Cidr(network.to_string()),
            |address| Target::IpAddress(address.to_string()),
        ),
    }
}
