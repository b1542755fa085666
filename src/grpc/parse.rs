//! Fields that several requests have.

use std::time::Duration;

use super::field_errors::FieldErrors;
use super::proto;
use crate::model::ip_address::IpAddress;
use crate::model::session::Device;

const MAX_USER_AGENT: usize = 512;
const MAX_DEVICE_NAME: usize = 128;
const IP_ADDRESS: &str = "client.ip_address";

/// The end user's address, which is required, and what is kept of their device.
pub(super) fn client(
    client: Option<proto::ClientContext>,
    errors: &mut FieldErrors,
) -> (Option<IpAddress>, Device) {
    let given = client
        .as_ref()
        .is_some_and(|client| !client.ip_address.is_empty());
    if !given {
        errors.add(IP_ADDRESS, "is required");
    }
    optional_client(client, errors)
}

/// The end user's address if it was given, and what is kept of their device.
pub(super) fn optional_client(
    client: Option<proto::ClientContext>,
    errors: &mut FieldErrors,
) -> (Option<IpAddress>, Device) {
    let client = client.unwrap_or_default();
    let address = (!client.ip_address.is_empty())
        .then(|| errors.check(IP_ADDRESS, IpAddress::parse(&client.ip_address)))
        .flatten();
    let device = Device {
        ip_address: address.map_or_else(String::new, |address| address.ip().to_string()),
        user_agent: bounded(&client.user_agent, MAX_USER_AGENT),
        name: bounded(&client.device_name, MAX_DEVICE_NAME),
    };
    (address, device)
}

/// At most so many bytes, without control characters.
fn bounded(text: &str, max: usize) -> String {
    let mut kept: String = text.chars().filter(|c| !c.is_control()).collect();
    kept.truncate(kept.floor_char_boundary(max));
    // What is kept stays in memory with the session, so it must not hold the room of the whole text.
    kept.shrink_to_fit();
    kept
}

/// An id as this service gives it.
pub(super) fn id<T>(text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, &'static str> {
    parse(text).ok_or("must be an id as this service gives it")
}

/// A duration, if one was given.
pub(super) fn duration(
    duration: Option<prost_types::Duration>,
) -> Result<Option<Duration>, &'static str> {
    duration
        .map(Duration::try_from)
        .transpose()
        .map_err(|_| "must not be negative")
}
