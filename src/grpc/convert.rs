//! From the wire to the service's types and back.

use std::time::Duration;

use prost_types::value::Kind;
use serde_json::{Map, Number, Value as Json};

use super::proto;
use crate::auth::SignedIn;
use crate::clock::Timestamp;
use crate::moderation::{Address, Ban, BanTarget, check_request_id};
use crate::store::sessions::{Client, SessionSummary};
use crate::store::users::User;
use crate::token::TokenPair;

const MAX_USER_AGENT: usize = 512;
const MAX_DEVICE_NAME: usize = 128;

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

/// A duration, where one was given.
pub(super) fn duration(
    duration: Option<prost_types::Duration>,
) -> Result<Option<Duration>, &'static str> {
    duration
        .map(Duration::try_from)
        .transpose()
        .map_err(|_| "must not be negative")
}

/// A caller's name for its request, where it gave one.
pub(super) fn request_id(text: String) -> Result<Option<String>, &'static str> {
    check_request_id(&text)?;
    Ok((!text.is_empty()).then_some(text))
}

/// The end user's address, or what is wrong with it.
pub(super) fn address(client: Option<&proto::ClientContext>) -> Result<Address, &'static str> {
    match client.map_or("", |client| &client.ip_address) {
        "" => Err("is required"),
        text => Address::parse(text),
    }
}

/// The end user's address where it was given; a bad one is an error all the same.
pub(super) fn optional_address(
    client: Option<&proto::ClientContext>,
) -> Result<Option<Address>, &'static str> {
    if client.is_none_or(|client| client.ip_address.is_empty()) {
        Ok(None)
    } else {
        address(client).map(Some)
    }
}

/// The end user's connection, as far as it is kept.
pub(super) fn connection(client: Option<proto::ClientContext>) -> Client {
    let address = address(client.as_ref()).ok();
    let client = client.unwrap_or_default();
    Client {
        ip_address: address.map(Address::ip),
        user_agent: kept(&client.user_agent, MAX_USER_AGENT),
        device_name: kept(&client.device_name, MAX_DEVICE_NAME),
    }
}

/// At most so many bytes, without control characters.
fn kept(text: &str, max: usize) -> String {
    let mut kept: String = text.chars().filter(|c| !c.is_control()).collect();
    kept.truncate(kept.floor_char_boundary(max));
    kept
}

pub(super) fn user(user: User) -> proto::User {
    proto::User {
        id: user.id.to_string(),
        email: user.email.unwrap_or_default(),
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

pub(super) fn session(session: SessionSummary) -> proto::Session {
    proto::Session {
        id: session.id.to_string(),
        user_id: session.user_id,
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

/// A `google.protobuf.Struct` as JSON; whole numbers stay whole.
pub(super) fn json_object(object: prost_types::Struct) -> Map<String, Json> {
    object
        .fields
        .into_iter()
        .map(|(name, value)| (name, json(value)))
        .collect()
}

fn json(value: prost_types::Value) -> Json {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(flag)) => Json::Bool(flag),
        Some(Kind::NumberValue(number)) => {
            Number::from_f64(number).map_or(Json::Null, Json::Number)
        }
        Some(Kind::StringValue(text)) => Json::String(text),
        Some(Kind::ListValue(list)) => Json::Array(list.values.into_iter().map(json).collect()),
        Some(Kind::StructValue(object)) => Json::Object(json_object(object)),
    }
}

/// JSON as a `google.protobuf.Struct`.
pub(super) fn proto_struct(object: Map<String, Json>) -> prost_types::Struct {
    prost_types::Struct {
        fields: object
            .into_iter()
            .map(|(name, value)| (name, proto_value(value)))
            .collect(),
    }
}

fn proto_value(value: Json) -> prost_types::Value {
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(flag),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(items) => Kind::ListValue(prost_types::ListValue {
            values: items.into_iter().map(proto_value).collect(),
        }),
        Json::Object(object) => Kind::StructValue(proto_struct(object)),
    };
    prost_types::Value { kind: Some(kind) }
}
