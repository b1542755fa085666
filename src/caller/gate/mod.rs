//! Who may make a call. An RPC that is not in the protos' table does not exist.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::certificate::Certificate;
use super::context::{CallerContext, History};
use super::credential::TOKEN_PREFIX;
use super::file::{Caller, Callers};
use super::jwt::{Found, JwtCallers};
use super::keys::Wait;
use super::permission::{Permission, permission_of};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::metrics;
use crate::secret::sha256;

const MAX_TOKEN: usize = 256;

/// Finds who makes a call, and which permission it needs. Clones share everything.
#[derive(Clone, Debug)]
pub struct Gate {
    known: Arc<RwLock<Known>>,
    clock: Clock,
    metrics: Arc<metrics::Callers>,
}

/// Who makes a call.
#[derive(Debug)]
pub enum Identified {
    /// Nobody needs to be known for it: it is to health or reflection.
    Public,
    /// A known caller, and the permission that it needs for the call.
    Caller(Arc<CallerContext>, Permission),
    /// The keys that verify the caller's token have to be fetched first; then the gate is asked again.
    Undecided(Wait),
}

#[derive(Debug)]
enum Known {
    Open(Arc<CallerContext>),
    Listed(Box<Listed>),
}

#[derive(Debug)]
struct Listed {
    /// By SHA-256 of the token, so that the time of a lookup tells only about the hash.
    tokens: HashMap<[u8; 32], Arc<CallerContext>>,
    spiffe_ids: HashMap<String, Arc<CallerContext>>,
    dns_sans: HashMap<String, Arc<CallerContext>>,
    jwts: JwtCallers,
    names: HashMap<Arc<str>, Arc<CallerContext>>,
}

impl Gate {
    /// A gate for the configured callers.
    #[must_use]
    pub fn new(callers: &Callers, clock: Clock, metrics: Arc<metrics::Callers>) -> Self {
        let known = Known::new(callers, None, &clock, &metrics);
        Self {
            known: Arc::new(RwLock::new(known)),
            clock,
            metrics,
        }
    }

    /// Replaces the callers, from the next call on. What callers use of their limits is kept, by
    /// their names, and so are the keys of the same URLs.
    pub fn replace(&self, callers: &Callers) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = match &*known {
            Known::Open(_) => None,
            Known::Listed(before) => Some(&**before),
        };
        let replaced = Known::new(callers, before, &self.clock, &self.metrics);
        *known = replaced;
    }

    /// Who makes a call, and what it needs for it. `certificate` is what the connection's peer has
    /// proven to be.
    ///
    /// # Errors
    /// [`Error::MethodUnknown`] for a path that is not in the protos, before anything else is
    /// looked at; then [`Error::CallerUnknown`], and [`Error::CallerKeysUnavailable`] if that cannot
    /// be decided.
    pub fn identify(
        &self,
        path: &str,
        headers: &HeaderMap,
        certificate: Option<&Certificate>,
    ) -> Result<Identified> {
        let Some(permission) = permission_of(path) else {
            return if is_public(path) {
                Ok(Identified::Public)
            } else {
                Err(Error::MethodUnknown)
            };
        };
        match self.find(headers, certificate) {
            Found::Caller(caller) => Ok(Identified::Caller(caller, permission)),
            Found::Undecided(wait) => Ok(Identified::Undecided(wait)),
            Found::Unknown => Err(Error::CallerUnknown),
            Found::NoKeys => Err(Error::CallerKeysUnavailable(
                "the keys of the token's issuer could not be fetched".into(),
            )),
        }
    }

    fn find(&self, headers: &HeaderMap, certificate: Option<&Certificate>) -> Found {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let caller = match &*known {
            Known::Open(caller) => Some(caller),
            // If a call names a credential, only that one counts: with a wrong token it would go on
            // as another caller otherwise.
            Known::Listed(callers) if headers.contains_key(AUTHORIZATION) => {
                match bearer(headers) {
                    Some(token) if token.starts_with(TOKEN_PREFIX) => callers.of_token(token),
                    Some(token) => return callers.jwts.find(token),
                    None => None,
                }
            }
            Known::Listed(callers) => certificate.and_then(|one| callers.of(one)),
        };
        caller.map_or(Found::Unknown, |caller| Found::Caller(Arc::clone(caller)))
    }
}

impl Known {
    fn new(
        callers: &Callers,
        before: Option<&Listed>,
        clock: &Clock,
        metrics: &Arc<metrics::Callers>,
    ) -> Self {
        let new = || History::new(clock.clone(), Arc::clone(metrics));
        let Callers::Listed(callers) = callers else {
            return Self::Open(Arc::new(CallerContext::open(new())));
        };
        let mut known = Listed {
            tokens: HashMap::new(),
            spiffe_ids: HashMap::new(),
            dns_sans: HashMap::new(),
            jwts: JwtCallers::new(clock.clone(), Arc::clone(metrics)),
            names: HashMap::new(),
        };
        let fetched = before.map(|before| before.jwts.fetched());
        for caller in callers {
            let same = before.and_then(|before| before.names.get(&*caller.name));
            let history = same.map_or_else(new, |same| Arc::clone(same.history()));
            let context = Arc::new(CallerContext::listed(caller, history));
            if let Some(jwt) = &caller.jwt {
                let fetched = fetched.as_deref().unwrap_or_default();
                known.jwts.add(jwt, &context, fetched);
            }
            known.add(caller, context);
        }
        Self::Listed(Box::new(known))
    }
}

impl Listed {
    fn add(&mut self, caller: &Caller, context: Arc<CallerContext>) {
        let hashes = caller.token_sha256.iter();
        self.tokens
            .extend(hashes.map(|hash| (*hash, Arc::clone(&context))));
        let spiffe_id = caller.spiffe_id.iter();
        self.spiffe_ids
            .extend(spiffe_id.map(|id| (id.clone(), Arc::clone(&context))));
        let dns_san = caller.dns_san.iter();
        self.dns_sans
            .extend(dns_san.map(|name| (name.clone(), Arc::clone(&context))));
        self.names.insert(Arc::clone(context.name()), context);
    }

    fn of_token(&self, token: &str) -> Option<&Arc<CallerContext>> {
        (token.len() <= MAX_TOKEN).then(|| self.tokens.get(&sha256(token.as_bytes())))?
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

/// The bearer token of the only `authorization` value.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let is_only = scheme.eq_ignore_ascii_case("bearer") && values.next().is_none();
    is_only.then_some(token)
}

#[cfg(test)]
mod tests;
