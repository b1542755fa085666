//! Callers that prove who they are by a JWT.

use std::collections::HashMap;
use std::sync::Arc;

use moka::sync::Cache;

use super::context::CallerContext;
use super::key_source::Jwt;
use super::keys::{Fetched, Held, Keys, Newer, Wait};
use crate::clock::{Clock, Timestamp};
use crate::jose::{CallerToken, CallerTokenFault, MAX_CALLER_TOKEN};
use crate::metrics::{self, CallerTokenRefusal};
use crate::secret::sha256;

/// How many verified tokens are remembered.
const MAX_REMEMBERED: u64 = 10_000;

/// The callers that have a `jwt` in the callers' file, and the tokens of theirs that were verified.
#[derive(Debug)]
pub(super) struct JwtCallers {
    clock: Clock,
    metrics: Arc<metrics::Callers>,
    /// By issuer and subject.
    callers: HashMap<String, HashMap<String, Vec<Known>>>,
    /// By the SHA-256 of the token. Only good tokens get in, so strangers cannot fill it.
    verified: Cache<[u8; 32], Arc<Verified>>,
}

#[derive(Clone, Debug)]
struct Known {
    audience: String,
    keys: Keys,
    caller: Arc<CallerContext>,
}

#[derive(Debug)]
struct Verified {
    known: Known,
    /// That of the keys that verified it.
    digest: [u8; 32],
    /// When it is not good any more.
    end: Timestamp,
}

/// What is known of the caller of a token.
pub(super) enum Found {
    Caller(Arc<CallerContext>),
    Unknown,
    /// The token's key is not known; it may be once the wait is over.
    Undecided(Wait),
    /// The issuer's keys cannot be fetched.
    NoKeys,
}

impl JwtCallers {
    pub(super) fn new(clock: Clock, metrics: Arc<metrics::Callers>) -> Self {
        Self {
            clock,
            metrics,
            callers: HashMap::new(),
            verified: Cache::new(MAX_REMEMBERED),
        }
    }

    /// Adds a caller. `before` are the keys that were fetched so far.
    pub(super) fn add(&mut self, jwt: &Jwt, caller: &Arc<CallerContext>, before: &[Arc<Fetched>]) {
        let mut known = self.fetched();
        known.extend(before.iter().cloned());
        let keys = Keys::new(&jwt.keys, &known, &self.clock, &self.metrics);
        let of_issuer = self.callers.entry(jwt.issuer.clone()).or_default();
        let of_subject = of_issuer.entry(jwt.subject.clone()).or_default();
        of_subject.push(Known {
            audience: jwt.audience.clone(),
            keys,
            caller: Arc::clone(caller),
        });
    }

    /// All keys that are fetched.
    pub(super) fn fetched(&self) -> Vec<Arc<Fetched>> {
        let known = self.callers.values().flat_map(HashMap::values).flatten();
        let fetched = known.filter_map(|known| match &known.keys {
            Keys::Url(fetched) => Some(Arc::clone(fetched)),
            Keys::File(_) => None,
        });
        fetched.collect()
    }

    /// The caller of this token.
    pub(super) fn find(&self, token: &str) -> Found {
        if self.callers.is_empty() || token.len() > MAX_CALLER_TOKEN {
            return Found::Unknown;
        }
        let (hash, now) = (sha256(token.as_bytes()), self.clock.now());
        if let Some(verified) = self.verified.get(&hash)
            && verified.is_good(now)
        {
            return Found::Caller(Arc::clone(&verified.known.caller));
        }
        match self.verify(token, now) {
            Ok(verified) => {
                let caller = Arc::clone(&verified.known.caller);
                self.verified.insert(hash, Arc::new(verified));
                Found::Caller(caller)
            }
            Err(Unverified::Undecided(wait)) => Found::Undecided(wait),
            Err(Unverified::Refused(refusal)) => {
                self.metrics.refused(refusal);
                tracing::debug!(?refusal, "a caller's JWT was refused");
                match refusal {
                    CallerTokenRefusal::NoKeys => Found::NoKeys,
                    _ => Found::Unknown,
                }
            }
        }
    }

    fn verify(&self, token: &str, now: Timestamp) -> Result<Verified, Unverified> {
        let token = CallerToken::parse(token)?;
        let of_subject = self.callers.get(token.issuer());
        let of_subject = of_subject.and_then(|callers| callers.get(token.subject()));
        let mut meant = of_subject
            .into_iter()
            .flatten()
            .filter(|known| token.is_for(&known.audience));
        // A token for the audiences of two callers is neither's.
        let (Some(known), None) = (meant.next(), meant.next()) else {
            return Err(Unverified::Refused(CallerTokenRefusal::NoCaller));
        };
        // Before anything is fetched for it.
        token.check_times(now)?;
        let keys = match known.keys.known() {
            None => {
                let newer = known.keys.newer(None);
                return Err(without_key(newer, CallerTokenRefusal::NoKeys));
            }
            Some(Held { keys, is_unasked }) if is_unasked => match known.keys.newer(Some(&keys)) {
                Newer::Newest | Newer::Failed => keys,
                newer => return Err(without_key(newer, CallerTokenRefusal::NoKeys)),
            },
            Some(Held { keys, .. }) => keys,
        };
        let verified = token.verify(&keys, now).map(|end| Verified {
            known: known.clone(),
            digest: *keys.digest(),
            end,
        });
        verified.map_err(|fault| match fault {
            CallerTokenFault::KeyUnknown => {
                let newer = known.keys.newer(Some(&keys));
                without_key(newer, CallerTokenRefusal::KeyUnknown)
            }
            fault => fault.into(),
        })
    }
}

/// What becomes of a token whose key is not known.
fn without_key(newer: Newer, otherwise: CallerTokenRefusal) -> Unverified {
    match newer {
        Newer::Wait(wait) => Unverified::Undecided(wait),
        Newer::Newest => Unverified::Refused(otherwise),
        Newer::Failed | Newer::Crowded => Unverified::Refused(CallerTokenRefusal::NoKeys),
    }
}

impl Verified {
    /// Whether it has not ended, and its issuer has withdrawn no key since.
    fn is_good(&self, now: Timestamp) -> bool {
        let is_same = |held: Held| !held.is_unasked && *held.keys.digest() == self.digest;
        now < self.end && self.known.keys.known().is_some_and(is_same)
    }
}

enum Unverified {
    Refused(CallerTokenRefusal),
    Undecided(Wait),
}

impl From<CallerTokenFault> for Unverified {
    fn from(fault: CallerTokenFault) -> Self {
        Self::Refused(match fault {
            CallerTokenFault::Malformed(_) => CallerTokenRefusal::Malformed,
            CallerTokenFault::Expired => CallerTokenRefusal::Expired,
            CallerTokenFault::NotYetValid => CallerTokenRefusal::NotYetValid,
            CallerTokenFault::TooLongLived => CallerTokenRefusal::TooLongLived,
            CallerTokenFault::KeyUnknown => CallerTokenRefusal::KeyUnknown,
            CallerTokenFault::SignatureWrong => CallerTokenRefusal::SignatureWrong,
        })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use url::Url;

    use super::*;
    use crate::caller::Caller;
    use crate::caller::context::History;
    use crate::caller::key_source::{KeySource, KeyUrl};
    use crate::http::Client;

    fn callers(clock: &Clock) -> JwtCallers {
        let metrics = metrics::Metrics::new(clock).callers;
        let history = History::new(clock.clone(), Arc::clone(&metrics));
        let caller = Arc::new(CallerContext::listed(&Caller::default(), history));
        let url = Url::parse("https://issuer.example/keys").expect("a URL");
        let jwt = Jwt {
            issuer: "i".to_owned(),
            audience: "a".to_owned(),
            subject: "s".to_owned(),
            keys: KeySource::Url(KeyUrl {
                client: Client::for_issuer(&url).expect("a client"),
                url,
                authorities: None,
                token_file: None,
            }),
        };
        let mut callers = JwtCallers::new(clock.clone(), metrics);
        callers.add(&jwt, &caller, &[]);
        callers
    }

    #[test]
    fn only_so_many_calls_wait_for_the_keys_of_an_issuer() {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let callers = callers(&clock);
        let claims = r#"{"iss":"i","aud":"a","sub":"s","exp":1800000060}"#;
        let [header, claims] =
            [r#"{"alg":"RS256","kid":"k"}"#, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        let token = format!("{header}.{claims}.c2ln");
        let wait = || match callers.find(&token) {
            Found::Undecided(wait) => Some(wait),
            _ => None,
        };
        let mut waits: Vec<_> = std::iter::from_fn(wait).take(1000).collect();
        assert_eq!(waits.len(), 256);
        assert!(matches!(callers.find(&token), Found::NoKeys));
        waits.pop();
        assert!(wait().is_some());
    }
}
