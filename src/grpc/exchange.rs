//! The request and the answer of TokenService.ExchangeToken.

use std::time::Duration;

use super::api::Calling;
use super::convert::time;
use super::field_errors::FieldErrors;
use super::parse;
use super::proto;
use crate::auth::Exchange;
use crate::error::Result;
use crate::jose::Actor;
use crate::token::{Exchanged, Narrowed};

const MAX_SCOPES: usize = 20;
const MAX_AUDIENCE: usize = 255;
/// JWTs count in seconds.
const SHORTEST: Duration = Duration::from_secs(1);
/// RFC 8693 section 3.
const TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The exchange that a request asks for; `own` is the service's audience.
///
/// # Errors
/// [`crate::error::Error::Invalid`], and [`crate::error::Error::AudienceNotAllowed`] if the caller may
/// have no tokens of that audience.
pub(super) fn exchange(
    message: proto::ExchangeTokenRequest,
    caller: &Calling,
    own: &str,
) -> Result<Exchange> {
    let mut errors = FieldErrors::default();
    let audience = errors.check("audience", audience(message.audience, own));
    check_scopes(&message.scopes, caller, &mut errors);
    let ttl = parse::duration(message.ttl).and_then(|ttl| match ttl {
        Some(ttl) if ttl < SHORTEST => Err("must be at least a second"),
        ttl => Ok(ttl),
    });
    let ttl = errors.check("ttl", ttl);
    let exchange = errors.build(|| {
        Some(Exchange {
            access_token: message.access_token,
            scope: caller.permission.name(),
            narrowed: Narrowed {
                audience: audience?,
                scopes: message.scopes,
                ttl: ttl?,
            },
        })
    })?;
    caller.require_exchange(&exchange.narrowed.audience, own)?;
    Ok(exchange)
}

fn audience(named: String, own: &str) -> Result<String, &'static str> {
    if named.is_empty() {
        return Ok(own.to_owned());
    }
    let is_valid = named.len() <= MAX_AUDIENCE && named.bytes().all(|b| b.is_ascii_graphic());
    if is_valid {
        Ok(named)
    } else {
        Err("must be at most 255 visible ASCII characters")
    }
}

fn check_scopes(scopes: &[String], caller: &Calling, errors: &mut FieldErrors) {
    if !(1..=MAX_SCOPES).contains(&scopes.len()) {
        errors.add("scopes", "must be 1 to 20 names");
        return;
    }
    for (index, scope) in scopes.iter().enumerate() {
        let field = format!("scopes[{index}]");
        if scopes[..index].contains(scope) {
            errors.add(field, "is listed twice");
        } else if !caller.knows_scope(scope) {
            let what =
                "is neither a permission nor one of the caller's scopes in the callers' file";
            errors.add(field, what);
        }
    }
}

/// The answer.
pub(super) fn exchanged(exchanged: Exchanged) -> proto::ExchangeTokenResponse {
    proto::ExchangeTokenResponse {
        access_token: exchanged.access_token,
        expire_time: time(exchanged.expire_time),
        token_type: "Bearer".to_owned(),
        issued_token_type: TOKEN_TYPE.to_owned(),
        scopes: exchanged.scopes,
    }
}

/// The backends that a token was exchanged by.
pub(super) fn actor(actor: &Actor) -> proto::Actor {
    let before = actor.act.as_deref();
    proto::Actor {
        caller: actor.sub.clone(),
        actor: before.map(|before| Box::new(self::actor(before))),
    }
}
