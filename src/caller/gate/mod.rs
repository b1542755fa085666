//! Who may make a call. An RPC that is not in the protos' table does not exist.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::certificate::Certificate;
use super::context::{CallerContext, History};
use super::credential::TOKEN_PREFIX;
use super::file::{Caller, Callers};
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
    names: HashMap<Arc<str>, Arc<CallerContext>>,
}

impl Gate {
    /// A gate for the configured callers.
    #[must_use]
    pub fn new(callers: &Callers, clock: Clock, metrics: Arc<metrics::Callers>) -> Self {
        let nobody = Listed::default();
        let known = Known::new(callers, &nobody, || {
            History::new(clock.clone(), Arc::clone(&metrics))
        });
        Self {
            known: Arc::new(RwLock::new(known)),
            clock,
            metrics,
        }
    }

    /// Replaces the callers, from the next call on. What callers use of their limits is kept, by
    /// their names.
    pub fn replace(&self, callers: &Callers) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let nobody = Listed::default();
        let before = match &*known {
            Known::Open(_) => &nobody,
            Known::Listed(before) => before,
        };
        let replaced = Known::new(callers, before, || {
            History::new(self.clock.clone(), Arc::clone(&self.metrics))
        });
        *known = replaced;
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
    fn new(callers: &Callers, before: &Listed, new: impl Fn() -> Arc<History>) -> Self {
        let Callers::Listed(callers) = callers else {
            return Self::Open(Arc::new(CallerContext::open(new())));
        };
        let mut known = Listed::default();
        for caller in callers {
            let same = before.names.get(&*caller.name);
            let history = same.map_or_else(&new, |same| Arc::clone(same.history()));
            known.add(caller, history);
        }
        Self::Listed(known)
    }
}

impl Listed {
    fn add(&mut self, caller: &Caller, history: Arc<History>) {
        let context = Arc::new(CallerContext::listed(caller, history));
        self.names
            .insert(Arc::clone(context.name()), Arc::clone(&context));
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
mod tests;
