//! Who gets in.

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
        metrics(),
    )
}

fn metrics() -> Arc<metrics::Callers> {
    metrics::Metrics::new(&clock()).callers
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
    match gate.identify(path, headers, None)? {
        Identified::Caller(caller, permission) => {
            caller.require(permission)?;
            Ok(Some(caller))
        }
        Identified::Public => Ok(None),
        Identified::Undecided(_) => panic!("no caller has a JWT"),
    }
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
    let caller = admit(
        &Gate::new(&Callers::Open, clock(), metrics()),
        VERIFY,
        &headers(&[]),
    )
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
    let gate = Gate::new(&Callers::Listed(callers), clock(), metrics());
    let found = |headers: &[&'static str], certificate: &Certificate| {
        let identified = gate.identify(VERIFY, &self::headers(headers), Some(certificate));
        match identified {
            Ok(Identified::Caller(caller, _)) => Some(caller.name().to_string()),
            _ => None,
        }
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
    let gate = Gate::new(
        &Callers::Listed(vec![caller("chat", None, None)]),
        clock(),
        metrics(),
    );
    let admits = |token| admit(&gate, VERIFY, &headers(&[token])).is_ok();
    assert!(admits("Bearer csc_chat") && !admits("Bearer csc_agents"));
    gate.clone()
        .replace(&Callers::Listed(vec![caller("agents", None, None)]));
    assert!(!admits("Bearer csc_chat") && admits("Bearer csc_agents"));
}
