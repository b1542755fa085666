//! Who may make a call. An RPC that is not in the protos' table does not exist.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::context::CallerContext;
use super::credential::TOKEN_PREFIX;
use super::file::Callers;
use super::permission::permission_of;
use crate::error::{Error, Result};
use crate::secret::sha256;

const MAX_TOKEN: usize = 256;

/// Decides which callers may make which calls.
#[derive(Debug)]
pub struct Gate(Known);

#[derive(Debug)]
enum Known {
    Open(Arc<CallerContext>),
    /// By SHA-256 of the token, so that the time of a lookup tells only about the hash.
    Listed(HashMap<[u8; 32], Arc<CallerContext>>),
}

impl Gate {
    /// A gate for the configured callers.
    #[must_use]
    pub fn new(callers: &Callers) -> Self {
        let Callers::Listed(callers) = callers else {
            return Self(Known::Open(Arc::new(CallerContext::open())));
        };
        let mut known = HashMap::new();
        for caller in callers {
            let context = Arc::new(CallerContext::listed(caller));
            known.extend(
                caller
                    .token_sha256
                    .iter()
                    .map(|hash| (*hash, Arc::clone(&context))),
            );
        }
        Self(Known::Listed(known))
    }

    /// The caller, if it may make this call; `None` for health and reflection, which need no
    /// caller.
    ///
    /// # Errors
    /// [`Error::MethodUnknown`] for a path that is not in the protos, before anything else is
    /// looked at; then [`Error::CallerUnknown`] and [`Error::CallerNotAllowed`].
    pub fn admit(&self, path: &str, headers: &HeaderMap) -> Result<Option<Arc<CallerContext>>> {
        let Some(permission) = permission_of(path) else {
            return if is_public(path) {
                Ok(None)
            } else {
                Err(Error::MethodUnknown)
            };
        };
        let Some(caller) = self.find(headers) else {
            return Err(Error::CallerUnknown);
        };
        caller.require(permission)?;
        Ok(Some(Arc::clone(caller)))
    }

    fn find(&self, headers: &HeaderMap) -> Option<&Arc<CallerContext>> {
        match &self.0 {
            Known::Open(caller) => Some(caller),
            Known::Listed(callers) => callers.get(&sha256(token(headers)?)),
        }
    }
}

fn is_public(path: &str) -> bool {
    path.starts_with("/grpc.health.v1.") || path.starts_with("/grpc.reflection.")
}

/// The token of the only `authorization` value.
fn token(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let fits = scheme.eq_ignore_ascii_case("bearer")
        && token.starts_with(TOKEN_PREFIX)
        && token.len() <= MAX_TOKEN;
    (fits && values.next().is_none()).then_some(token.as_bytes())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::caller::file::{Caller, OPEN};
    use crate::caller::permission::Permission;
    use crate::error::Kind;

    const VERIFY: &str = "/countersign.v1.TokenService/VerifyToken";

    fn gate() -> Gate {
        Gate::new(&Callers::Listed(vec![Caller {
            name: "chat".into(),
            token_sha256: vec![sha256(b"csc_old"), sha256(b"csc_new")],
            permissions: [Permission::TokenVerify].into_iter().collect(),
            audiences: vec!["chat".into()],
        }]))
    }

    fn headers(values: &[&'static str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (AUTHORIZATION, HeaderValue::from_static(value)))
            .collect()
    }

    fn refused(path: &str, values: &[&'static str]) -> Kind {
        gate()
            .admit(path, &headers(values))
            .expect_err("refused")
            .reason()
            .kind()
    }

    #[test]
    fn both_tokens_of_a_caller_are_good() {
        for value in ["Bearer csc_old", "bearer csc_new"] {
            let caller = gate()
                .admit(VERIFY, &headers(&[value]))
                .expect("admitted")
                .expect("a caller");
            assert_eq!(&**caller.name(), "chat");
        }
    }

    #[test]
    fn anything_but_one_good_bearer_token_is_unknown() {
        let wrong: [&[&str]; 8] = [
            &[],
            &["csc_old"],
            &["Basic csc_old"],
            &["Bearer  csc_old"],
            &["Bearer csc_old "],
            &["Bearer csc_none"],
            &["Bearer csc_old", "Bearer csc_old"],
            &["Bearer csc_old", "Bearer csc_none"],
        ];
        for values in wrong {
            assert_eq!(refused(VERIFY, values), Kind::Unauthenticated, "{values:?}");
        }
    }

    #[test]
    fn a_permission_that_is_not_listed_is_denied() {
        assert_eq!(
            refused(
                "/countersign.v1.TokenService/MintSession",
                &["Bearer csc_old"]
            ),
            Kind::PermissionDenied
        );
    }

    #[test]
    fn paths_that_are_not_ours_tell_nothing_about_callers() {
        for path in [
            "/",
            "/countersign.v1.TokenService/VerifyToken/",
            "/countersign.v1.TokenService/Nope",
            "/x.Y/Z",
            "*",
        ] {
            assert_eq!(refused(path, &[]), Kind::Unimplemented);
            assert_eq!(refused(path, &["Bearer csc_old"]), Kind::Unimplemented);
        }
    }

    #[test]
    fn health_and_reflection_need_no_caller() {
        for path in [
            "/grpc.health.v1.Health/Check",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ] {
            assert!(
                gate()
                    .admit(path, &headers(&[]))
                    .expect("admitted")
                    .is_none()
            );
        }
    }

    #[test]
    fn the_open_caller_may_do_everything() {
        let caller = Gate::new(&Callers::Open)
            .admit(VERIFY, &headers(&[]))
            .expect("admitted")
            .expect("a caller");
        assert!(
            Permission::ALL
                .iter()
                .all(|permission| caller.require(*permission).is_ok())
                && caller.require_audience("any").is_ok()
        );
        assert_eq!(&**caller.name(), OPEN);
    }

    #[test]
    fn only_listed_audiences_are_allowed() {
        let caller = gate()
            .admit(VERIFY, &headers(&["Bearer csc_old"]))
            .expect("admitted")
            .expect("a caller");
        assert!(caller.require_audience("chat").is_ok());
        assert!(matches!(
            caller.require_audience("agents"),
            Err(Error::AudienceNotAllowed(_))
        ));
        assert!(matches!(
            caller.require(Permission::TokenMint),
            Err(Error::CallerNotAllowed("token.mint"))
        ));
    }
}
