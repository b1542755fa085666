//! The gRPC services: requests parsed into typed commands, answers written. Nothing is decided
//! here.

mod api;
mod auth_service;
mod convert;
mod exchange;
mod federation_service;
mod field_errors;
mod json;
mod moderation_service;
mod on_drop;
mod page;
mod parse;
pub mod proto;
mod revocations;
mod signing_keys;
mod subject;
mod token_service;
mod verdict;

use crate::transport::{MAX_REQUEST, Route};
use proto::auth_service_server::{AuthService, AuthServiceServer};
use proto::federation_service_server::{FederationService, FederationServiceServer};
use proto::moderation_service_server::{ModerationService, ModerationServiceServer};
use proto::token_service_server::{TokenService, TokenServiceServer};

pub use api::{Api, Parts};

/// The largest request of the methods that take many tokens or templates at once.
const MAX_LARGE_REQUEST: usize = 2 * 1024 * 1024;
/// The largest answer.
const MAX_RESPONSE: usize = 4 * 1024 * 1024;

macro_rules! route {
    ($server:ident, $api:expr, $limit:expr) => {
        $server::new($api.clone())
            .max_decoding_message_size($limit)
            .max_encoding_message_size(MAX_RESPONSE)
    };
}

/// The four services with their limits. Tests give a probe instead of [`Api`], hence the type
/// parameter.
#[must_use]
pub fn routes<S>(api: &S) -> Vec<Route>
where
    S: AuthService + TokenService + ModerationService + FederationService + Clone,
{
    vec![
        Route::new(route!(AuthServiceServer, api, MAX_REQUEST)),
        Route::new(route!(TokenServiceServer, api, MAX_REQUEST))
            .with_large(
                &["BatchVerifyTokens"],
                route!(TokenServiceServer, api, MAX_LARGE_REQUEST),
            )
            .from_memory(),
        Route::new(route!(ModerationServiceServer, api, MAX_REQUEST)),
        Route::new(route!(FederationServiceServer, api, MAX_REQUEST)).with_large(
            &["ResolvePlaceholders", "ResolveEndpoint", "ResolveMcpServer"],
            route!(FederationServiceServer, api, MAX_LARGE_REQUEST),
        ),
    ]
}
