//! Who may make a call. An RPC that is not in the protos' table does not exist.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::certificate::Certificate;
use super::context::CallerContext;
use super::credential::TOKEN_PREFIX;
use super::file::{Caller, Callers};
use super::permission::{Permission, permission_of};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::secret::sha256;

const MAX_TOKEN: usize = 256;

/// Finds who makes a call, and which permission it needs. Clones share everything.
#[derive(Clone, Debug)]
pub struct Gate {
    known: Arc<RwLock<Known>>,
    clock: Clock,
}

#[derive(Debug)]
enum Known {
    Open(Arc<CallerContext>),
    Listed(Listed),
}

#[derive(Debug, Default)]
struct Listed {
    /// By SHA-256 of the token, so that the time of a lookup tells only about the hash.
    tokens: HashMap<[u8; 32], Arc<CallerContext>>,
    spiffe_ids: HashMap<String, Arc<CallerContext>>,
    dns_sans: HashMap<String, Arc<CallerContext>>,
}

impl Gate {
    /// A gate for the configured callers.
    #[must_use]
    pub fn new(callers: &Callers, clock: Clock) -> Self {
        let known = Known::new(callers, &clock);
        Self {
            known: Arc::new(RwLock::new(known)),
            clock,
        }
    }

    /// Replaces the callers, from the next call on.
    pub fn replace(&self, callers: &Callers) {
        let known = Known::new(callers, &self.clock);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// The caller, and the permission that it needs for this call; `None` for health and reflection,
    /// which need no caller. `certificate` is what the connection's peer has proven to be.
    ///
    /// # Errors
    /// [`Error::MethodUnknown`] for a path that is not in the protos, before anything else is
    /// looked at; then [`Error::CallerUnknown`].
    pub fn identify(
        &self,
        path: &str,
        headers: &HeaderMap,
        certificate: Option<&Certificate>,
    ) -> Result<Option<(Arc<CallerContext>, Permission)>> {
        let Some(permission) = permission_of(path) else {
            return if is_public(path) {
                Ok(None)
            } else {
                Err(Error::MethodUnknown)
            };
        };
        let caller = self.find(headers, certificate);
        let caller = caller.ok_or(Error::CallerUnknown)?;
        Ok(Some((caller, permission)))
    }

    fn find(
        &self,
        headers: &HeaderMap,
        certificate: Option<&Certificate>,
    ) -> Option<Arc<CallerContext>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let caller = match &*known {
            Known::Open(caller) => Some(caller),
            // If a call names a credential, only that one counts: with a wrong token it would go on
            // as another caller otherwise.
            Known::Listed(callers) if headers.contains_key(AUTHORIZATION) => {
                callers.tokens.get(&sha256(token(headers)?))
            }
            Known::Listed(callers) => callers.of(certificate?),
        };
        caller.cloned()
    }
}

impl Known {
    fn new(callers: &Callers, clock: &Clock) -> Self {
        let Callers::Listed(callers) = callers else {
            return Self::Open(Arc::new(CallerContext::open(clock.clone())));
        };
        let mut known = Listed::default();
        for caller in callers {
            known.add(caller, clock.clone());
        }
        Self::Listed(known)
    }
}

impl Listed {
    fn add(&mut self, caller: &Caller, clock: Clock) {
        let context = Arc::new(CallerContext::listed(caller, clock));
        let hashes = caller.token_sha256.iter();
        self.tokens
            .extend(hashes.map(|hash| (*hash, Arc::clone(&context))));
        let spiffe_id = caller.spiffe_id.iter();
        self.spiffe_ids
            .extend(spiffe_id.map(|id| (id.clone(), Arc::clone(&context))));
        let dns_san = caller.dns_san.iter();
        self.dns_sans
            .extend(dns_san.map(|name| (name.clone(), Arc::clone(&context))));
    }

    /// The only caller that the certificate names. A SPIFFE ID counts if it is the certificate's
    /// only URI (X.509-SVID specification, section 2).
    fn of(&self, certificate: &Certificate) -> Option<&Arc<CallerContext>> {
        let spiffe_id = match &certificate.uris[..] {
            [uri] => self.spiffe_ids.get(uri),
            _ => None,
        };
        let dns_names = certificate.dns_names.iter();
        let named = dns_names.filter_map(|name| self.dns_sans.get(name));
        let mut named = spiffe_id.into_iter().chain(named);
        let caller = named.next()?;
        named
            .all(|other| Arc::ptr_eq(other, caller))
            .then_some(caller)
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
    use crate::caller::file::OPEN;
    use crate::error::Kind;

    const VERIFY: &str = "/countersign.v1.TokenService/VerifyToken";

    fn gate() -> Gate {
        Gate::new(
            &Callers::Listed(vec![Caller {
                name: "chat".into(),
                token_sha256: vec![sha256(b"csc_old"), sha256(b"csc_new")],
                permissions: [Permission::TokenVerify].into_iter().collect(),
                audiences: vec!["chat".into()],
                ..Caller::default()
            }]),
            clock(),
        )
    }

    fn headers(values: &[&'static str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (AUTHORIZATION, HeaderValue::from_static(value)))
            .collect()
    }

    fn clock() -> Clock {
        Clock::manual(crate::clock::Timestamp::from_secs(1_800_000_000))
    }

    /// The caller without a certificate, if it may make this call.
    fn admit(gate: &Gate, path: &str, headers: &HeaderMap) -> Result<Option<Arc<CallerContext>>> {
        let Some((caller, permission)) = gate.identify(path, headers, None)? else {
            return Ok(None);
        };
        caller.require(permission)?;
        Ok(Some(caller))
    }

    fn refused(path: &str, values: &[&'static str]) -> Kind {
        admit(&gate(), path, &headers(values))
            .expect_err("refused")
            .reason()
            .kind()
    }

    #[test]
    fn both_tokens_of_a_caller_are_good() {
        for value in ["Bearer csc_old", "bearer csc_new"] {
            let caller = admit(&gate(), VERIFY, &headers(&[value]))
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
            let admitted = admit(&gate(), path, &headers(&[]));
            assert!(admitted.expect("admitted").is_none());
        }
    }

    #[test]
    fn the_open_caller_may_do_everything() {
        let caller = admit(&Gate::new(&Callers::Open, clock()), VERIFY, &headers(&[]))
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
        let caller = admit(&gate(), VERIFY, &headers(&["Bearer csc_old"]))
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

    fn named(uris: &[&str], dns_names: &[&str]) -> Certificate {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Certificate {
            uris: owned(uris),
            dns_names: owned(dns_names),
        }
    }

    fn caller(name: &str, spiffe_id: Option<&str>, dns_san: Option<&str>) -> Caller {
        Caller {
            name: name.into(),
            token_sha256: vec![sha256(format!("csc_{name}").as_bytes())],
            spiffe_id: spiffe_id.map(str::to_owned),
            dns_san: dns_san.map(str::to_owned),
            permissions: [Permission::TokenVerify].into_iter().collect(),
            ..Caller::default()
        }
    }

    #[test]
    fn a_certificate_is_the_one_caller_that_it_names() {
        let callers = vec![
            caller("chat", Some("spiffe://a/chat"), Some("chat.example")),
            caller("agents", None, Some("agents.example")),
        ];
        let gate = Gate::new(&Callers::Listed(callers), clock());
        let found = |headers: &[&'static str], certificate: &Certificate| {
            let identified = gate.identify(VERIFY, &self::headers(headers), Some(certificate));
            let caller = identified.ok().flatten();
            caller.map(|(caller, _)| caller.name().to_string())
        };
        for (uris, dns_names, expected) in [
            (&["spiffe://a/chat"][..], &[][..], Some("chat")),
            (&[], &["other.example", "chat.example"], Some("chat")),
            (&["spiffe://a/chat"], &["chat.example"], Some("chat")),
            (&[], &["agents.example"], Some("agents")),
            (&["spiffe://a/chat"], &["agents.example"], None),
            (&[], &["chat.example", "agents.example"], None),
            (&["spiffe://a/chat", "spiffe://a/other"], &[], None),
            (&["spiffe://a/chat/"], &[], None),
            (&["chat.example"], &["spiffe://a/chat"], None),
            (&[], &["*.example"], None),
            (&[], &[], None),
        ] {
            let certificate = named(uris, dns_names);
            assert_eq!(
                found(&[], &certificate).as_deref(),
                expected,
                "{certificate:?}"
            );
        }
        let chat = named(&["spiffe://a/chat"], &[]);
        let by_token = found(&["Bearer csc_agents"], &chat);
        assert_eq!(by_token.as_deref(), Some("agents"), "the token counts");
        for wrong in ["Bearer csc_none", "Basic csc_agents", ""] {
            assert_eq!(found(&[wrong], &chat), None, "{wrong}");
        }
    }

    #[test]
    fn replaced_callers_count_from_the_next_call_on() {
        let gate = Gate::new(&Callers::Listed(vec![caller("chat", None, None)]), clock());
        let admits = |token| admit(&gate, VERIFY, &headers(&[token])).is_ok();
        assert!(admits("Bearer csc_chat") && !admits("Bearer csc_agents"));
        gate.clone()
            .replace(&Callers::Listed(vec![caller("agents", None, None)]));
        assert!(!admits("Bearer csc_chat") && admits("Bearer csc_agents"));
    }
}
