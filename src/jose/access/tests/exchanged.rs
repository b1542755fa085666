//! The claims of tokens that were exchanged.

use super::*;
use crate::jose::{Actor, MAX_ACTORS};

/// So many backends, each of which has it from the next.
fn actors(count: usize) -> Option<Box<Actor>> {
    (0..count).fold(None, |act, number| {
        let sub = format!("backend-{number}");
        Some(Box::new(Actor { sub, act }))
    })
}

fn exchanged(scope: Option<&str>, act: Option<Box<Actor>>) -> AccessClaims {
    AccessClaims {
        scope: scope.map(str::to_owned),
        act,
        ..claims()
    }
}

#[test]
fn an_exchanged_token_names_its_scopes_and_the_chain_of_backends() {
    let key = key();
    let claims = exchanged(Some("token.read tools.search"), actors(2));
    let verified = verify(&key, &key.sign(&claims)).expect("valid");
    assert_eq!(verified, claims);
    let scopes: Vec<_> = verified.scopes().expect("scopes").collect();
    assert_eq!(scopes, ["token.read", "tools.search"]);
    let chain: Vec<_> = verified.act.as_ref().expect("an actor").chain().collect();
    assert_eq!(chain, ["backend-1", "backend-0"]);
    let payload = serde_json::to_value(&claims).expect("JSON");
    assert_eq!(
        payload["act"],
        json!({"sub": "backend-1", "act": {"sub": "backend-0"}})
    );
}

#[test]
fn scope_and_act_come_together_in_order_or_not_at_all() {
    let key = key();
    let refused = |claims: &AccessClaims| {
        assert_eq!(
            verify(&key, &key.sign(claims)),
            Err(Rejected::Invalid),
            "{claims:?}"
        );
    };
    refused(&exchanged(Some("token.read"), None));
    refused(&exchanged(None, actors(1)));
    for scope in ["", " token.read", "token.read ", "token.read  token.verify"] {
        refused(&exchanged(Some(scope), actors(1)));
    }
    let most = exchanged(Some("token.read"), actors(MAX_ACTORS));
    assert!(verify(&key, &key.sign(&most)).is_ok());
    refused(&exchanged(Some("token.read"), actors(MAX_ACTORS + 1)));
    for name in [String::new(), "x".repeat(256)] {
        let act = Box::new(Actor {
            sub: name,
            act: None,
        });
        refused(&exchanged(Some("token.read"), Some(act)));
    }
}

#[test]
fn an_actor_of_another_form_is_refused() {
    let key = key();
    for act in [
        json!(null),
        json!("chat"),
        json!([]),
        json!({}),
        json!({"sub": "chat", "iss": "x"}),
        json!({"sub": "chat", "act": null}),
        json!({"sub": "chat", "act": {"sub": 1}}),
        json!({"client_id": "chat"}),
    ] {
        let mut payload = serde_json::to_value(exchanged(Some("token.read"), None)).expect("JSON");
        payload["act"] = act;
        let token = key.sign_payload(payload.to_string().as_bytes());
        assert_eq!(verify(&key, &token), Err(Rejected::Invalid), "{payload}");
    }
    let twice = r#"{"sub":"a","sub":"b"}"#;
    let claims = exchanged(Some("token.read"), actors(1)).to_json();
    let text = String::from_utf8(claims).expect("text");
    let text = text.replace(r#"{"sub":"backend-0"}"#, twice);
    assert!(text.contains(twice));
    assert_eq!(
        verify(&key, &key.sign_payload(text.as_bytes())),
        Err(Rejected::Invalid)
    );
}
