//! Full verification of an ID token (OpenID Connect Core section 3.1.3.7): first our strict parser,
//! then the checks and the signature by `openidconnect`, then the checks that it does not make.

use std::str::FromStr as _;
use std::time::{Duration, SystemTime};

use openidconnect::core::{
    CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKey, CoreJwsSigningAlgorithm,
};
use openidconnect::{
    AccessToken, AccessTokenHash, ClaimsVerificationError, ClientId, IssuerUrl, JsonWebKeySet,
    Nonce, SignatureVerificationError,
};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::config::providers::SigningAlg;
use crate::jose::{self, numeric_date};
use crate::provider::claims::VerifiedClaims;
use crate::secret::equal;

/// How old `iat` may be. We receive a token as soon as it is issued, but Entra dates it five
/// minutes back.
const ISSUED_WITHIN: Duration = Duration::from_hours(1);
const ANOTHER_ISSUER: &str = "it was issued by another issuer";
const ANOTHER_AUDIENCE: &str = "it is for another audience";
const EXPIRED: &str = "it has expired";
const BAD_SIGNATURE: Rejected = Rejected::Wrong("its signature is invalid");

/// What an ID token must contain.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    /// Audiences that it may have beside the client.
    pub(super) trusted_audiences: &'a [String],
    pub(super) algorithms: &'a [SigningAlg],
    pub(super) tolerance: Duration,
    pub(super) access_token: &'a str,
    pub(super) nonce: NonceRule<'a>,
    /// The subject that a refreshed ID token must have (OpenID Connect Core section 12.2).
    pub(super) subject: Option<&'a str>,
}

impl Expected<'_> {
    fn trusts(&self, audience: &str) -> bool {
        self.trusted_audiences.iter().any(|one| one == audience)
    }
}

/// What `nonce` must be.
#[derive(Clone, Copy)]
pub(super) enum NonceRule<'a> {
    /// At login: this nonce must be present.
    Required(&'a str),
    /// At refresh: `nonce` may be absent; if it is present, it must be the login's. If the login's
    /// is not known, any nonce passes.
    IfPresent(Option<&'a str>),
}

impl NonceRule<'_> {
    fn accepts(self, nonce: Option<&str>) -> bool {
        match (self, nonce) {
            (Self::Required(expected) | Self::IfPresent(Some(expected)), Some(nonce)) => {
                equal(expected.as_bytes(), nonce.as_bytes())
            }
            (Self::Required(_), None) => false,
            (Self::IfPresent(_), None) | (Self::IfPresent(None), Some(_)) => true,
        }
    }
}

/// Why an ID token was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    /// No key has its `kid` or, if it has none, verifies its signature: the provider may have newer
    /// keys.
    KeyUnknown,
    /// It cannot be used, but nothing shows that it is another's.
    Unusable(&'static str),
    /// It is forged, or meant for another client, user or login.
    Wrong(&'static str),
}

impl Rejected {
    /// What is wrong with it, without a quotation.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::KeyUnknown => "none of the provider's keys verifies it",
            Self::Unusable(why) | Self::Wrong(why) => why,
        }
    }
}

/// Verifies an ID token with these keys.
pub(super) fn verify(
    token: &str,
    keys: &[CoreJsonWebKey],
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<VerifiedClaims, Rejected> {
    let names: Vec<&str> = expected.algorithms.iter().map(|alg| name(*alg)).collect();
    let parsed = jose::parse_id_token(token, &names).map_err(Rejected::Unusable)?;
    // Before the signature: a token that says itself that it is another's is wrong whoever signed
    // it.
    let subject = check_parties(&parsed.claims, expected)?;
    verify_with_crate(token, keys, expected, now).map_err(|rejected| match rejected {
        // Without a kid, only the signature shows that the provider has replaced its key.
        BAD_SIGNATURE if parsed.kid.is_none() => Rejected::KeyUnknown,
        rejected => rejected,
    })?;
    let times = check_times(&parsed.claims, expected.tolerance, now);
    Ok(VerifiedClaims {
        issuer: expected.issuer.to_owned(),
        subject,
        expire_time: times.map_err(Rejected::Unusable)?,
        members: parsed.claims,
    })
}

fn verify_with_crate(
    token: &str,
    keys: &[CoreJsonWebKey],
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<(), Rejected> {
    let unusable = Rejected::Unusable;
    let parsed = CoreIdToken::from_str(token)
        .map_err(|_| unusable("it lacks a claim of an ID token or has a malformed one"))?;
    let issuer = IssuerUrl::new(expected.issuer.to_owned())
        .map_err(|_| unusable("the issuer is not a URL"))?;
    // The crate has no clock tolerance, so it gets a time that is earlier by ours.
    let earlier = system_time(now.minus(expected.tolerance));
    let client_id = ClientId::new(expected.client_id.to_owned());
    let verifier = CoreIdTokenVerifier::new_public_client(
        client_id,
        issuer,
        JsonWebKeySet::new(keys.to_vec()),
    )
    .set_other_audience_verifier_fn(|audience| expected.trusts(audience))
    .set_allowed_algs(expected.algorithms.iter().map(|alg| crate_alg(*alg)))
    .set_time_fn(move || earlier.into());
    let nonce = |nonce: Option<&Nonce>| {
        let accepted = expected
            .nonce
            .accepts(nonce.map(|nonce| nonce.secret().as_str()));
        if accepted { Ok(()) } else { Err(String::new()) }
    };
    let claims = parsed
        .claims(&verifier, nonce)
        .map_err(|error| rejected(&error))?;
    let Some(stated) = claims.access_token_hash() else {
        return Ok(());
    };
    let (Ok(alg), Ok(key)) = (parsed.signing_alg(), parsed.signing_key(&verifier)) else {
        return Err(Rejected::KeyUnknown);
    };
    let computed = AccessTokenHash::from_token(
        &AccessToken::new(expected.access_token.to_owned()),
        alg,
        key,
    );
    match computed {
        Ok(computed) if equal(computed.as_bytes(), stated.as_bytes()) => Ok(()),
        _ => Err(Rejected::Wrong(
            "its at_hash does not match the access token",
        )),
    }
}

/// The crate's messages quote the token, so they are replaced.
fn rejected(error: &ClaimsVerificationError) -> Rejected {
    use ClaimsVerificationError as Claim;
    use SignatureVerificationError as Signature;
    match error {
        Claim::SignatureVerification(Signature::CryptoError(_)) => BAD_SIGNATURE,
        // Several keys are of the right kind, and the token has no kid.
        Claim::SignatureVerification(Signature::NoMatchingKey | Signature::AmbiguousKeyId(_)) => {
            Rejected::KeyUnknown
        }
        Claim::SignatureVerification(_) => Rejected::Unusable("its signature cannot be checked"),
        Claim::Expired(_) => Rejected::Unusable(EXPIRED),
        Claim::InvalidAudience(_) => Rejected::Wrong(ANOTHER_AUDIENCE),
        Claim::InvalidIssuer(_) => Rejected::Wrong(ANOTHER_ISSUER),
        Claim::InvalidNonce(_) => Rejected::Wrong("its nonce is not that of the login"),
        _ => Rejected::Unusable("it is not a valid ID token"),
    }
}

/// Checks who issued the token, for whom and about whom, and returns the subject. A token that is
/// another's is wrong, whatever else it lacks.
fn check_parties(
    members: &Map<String, Value>,
    expected: &Expected<'_>,
) -> Result<String, Rejected> {
    if members.get("iss").and_then(Value::as_str) != Some(expected.issuer) {
        return Err(Rejected::Wrong(ANOTHER_ISSUER));
    }
    let needs_azp = check_audience(members, expected).map_err(Rejected::Wrong)?;
    let subject = members
        .get("sub")
        .and_then(Value::as_str)
        .filter(|sub| is_valid_subject(sub))
        .ok_or(Rejected::Unusable("its sub is not valid"))?;
    if expected.subject.is_some_and(|expected| subject != expected) {
        return Err(Rejected::Wrong("its sub is that of another user"));
    }
    if needs_azp && !members.contains_key("azp") {
        return Err(Rejected::Unusable("it has several audiences but no azp"));
    }
    Ok(subject.to_owned())
}

/// `aud`, a string or a list, must name the client and otherwise only trusted audiences. `azp` must
/// be the client if present. Returns whether it must be present, because `aud` has several members.
fn check_audience(
    members: &Map<String, Value>,
    expected: &Expected<'_>,
) -> Result<bool, &'static str> {
    let audiences = match members.get("aud") {
        Some(Value::Array(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    let ours = |audience: &Value| audience == expected.client_id;
    let is_known = |audience: &Value| {
        ours(audience) || audience.as_str().is_some_and(|name| expected.trusts(name))
    };
    match members.get("azp") {
        _ if !audiences.iter().any(ours) || !audiences.iter().all(is_known) => {
            Err(ANOTHER_AUDIENCE)
        }
        Some(azp) if azp != expected.client_id => Err("its azp is another client"),
        _ => Ok(audiences.len() > 1),
    }
}

fn check_times(
    members: &Map<String, Value>,
    tolerance: Duration,
    now: Timestamp,
) -> Result<Timestamp, &'static str> {
    let latest = now.plus(tolerance);
    let issued = numeric_date(members.get("iat")).ok_or("its iat is not a time")?;
    if issued > latest || issued < now.minus(ISSUED_WITHIN) {
        return Err("its iat is in the future or more than an hour ago");
    }
    if let Some(not_before) = members.get("nbf")
        && numeric_date(Some(not_before)).is_none_or(|not_before| not_before > latest)
    {
        return Err("its nbf is in the future or not a time");
    }
    let expire_time = numeric_date(members.get("exp")).ok_or("its exp is not a time")?;
    if expire_time <= now.minus(tolerance) {
        Err(EXPIRED)
    } else {
        Ok(expire_time)
    }
}

/// At most 255 bytes (OpenID Connect Core section 2), and not one of the texts by which a broken
/// provider says that there is no user.
fn is_valid_subject(sub: &str) -> bool {
    (1..=255).contains(&sub.len())
        && !sub.trim().is_empty()
        && !sub.chars().any(char::is_control)
        && !["undefined", "null"].contains(&sub)
}

fn system_time(time: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(time.millis()).unwrap_or(0))
}

/// The algorithm's name in a JWS header (RFC 7518 section 3.1, RFC 8037 section 3.1).
fn name(alg: SigningAlg) -> &'static str {
    match alg {
        SigningAlg::Rs256 => "RS256",
        SigningAlg::Ps256 => "PS256",
        SigningAlg::Es256 => "ES256",
        SigningAlg::EdDsa => "EdDSA",
    }
}

fn crate_alg(alg: SigningAlg) -> CoreJwsSigningAlgorithm {
    match alg {
        SigningAlg::Rs256 => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
        SigningAlg::Ps256 => CoreJwsSigningAlgorithm::RsaSsaPssSha256,
        SigningAlg::Es256 => CoreJwsSigningAlgorithm::EcdsaP256Sha256,
        SigningAlg::EdDsa => CoreJwsSigningAlgorithm::EdDsa,
    }
}
