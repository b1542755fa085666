use super::*;

fn ring(id: &str, byte: u8) -> Keyring {
    Keyring::new(RootKey::new(id, [byte; 32]).expect("a good id"), Vec::new())
}

#[test]
fn a_sealed_value_opens_only_where_it_belongs() {
    let ring = ring("a", 1);
    let sealed = ring.seal(Purpose::FederatedTokens, &["tokens", "s1"], b"secret");
    assert_eq!(
        ring.open(Purpose::FederatedTokens, &["tokens", "s1"], &sealed)
            .expect("opens")
            .as_slice(),
        b"secret"
    );
    for (purpose, context) in [
        (Purpose::FederatedTokens, ["tokens", "s2"]),
        (Purpose::FederatedTokens, ["tokenss", "1"]),
        (Purpose::SigningKeys, ["tokens", "s1"]),
    ] {
        assert!(matches!(
            ring.open(purpose, &context, &sealed),
            Err(OpenError::Refused)
        ));
    }
}

#[test]
fn a_changed_byte_is_refused_at_every_position() {
    let ring = ring("a", 1);
    let sealed = ring.seal(Purpose::Canary, &[], b"secret");
    for position in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[position] ^= 1;
        assert!(
            ring.open(Purpose::Canary, &[], &changed).is_err(),
            "byte {position}"
        );
    }
}

#[test]
fn a_retired_key_reads_and_an_unknown_one_is_named() {
    let old = ring("old", 1);
    let sealed = old.seal(Purpose::Canary, &[], b"x");
    let new = RootKey::new("new", [2; 32]).expect("a good id");
    let both = Keyring::new(new.clone(), vec![old.writer().clone()]);
    assert!(both.open(Purpose::Canary, &[], &sealed).is_ok());
    let error = Keyring::new(new, Vec::new())
        .open(Purpose::Canary, &[], &sealed)
        .expect_err("unknown key");
    assert!(matches!(error, OpenError::KeyUnknown(id) if id == "old"));
}

#[test]
fn nothing_of_a_key_shows_in_debug() {
    assert_eq!(
        format!("{:?}", ring("a", 7)),
        "Keyring { writer: RootKey { id: \"a\", .. }, others: [] }"
    );
}

#[test]
fn what_another_key_of_the_ring_sealed_is_sealed_anew_and_nothing_else() {
    let old = ring("old", 1);
    let sealed = old.seal(Purpose::Canary, &["row"], b"x");
    let new = RootKey::new("new", [2; 32]).expect("a good id");
    let both = Keyring::new(new.clone(), vec![old.writer().clone()]);
    assert!(!both.is_current(&sealed));
    let anew = both.reseal(Purpose::Canary, &["row"], &sealed);
    let anew = anew.expect("opens").expect("is replaced");
    assert!(both.is_current(&anew));
    let opened = Keyring::new(new, Vec::new()).open(Purpose::Canary, &["row"], &anew);
    assert_eq!(opened.expect("opens").as_slice(), b"x");
    let again = both.reseal(Purpose::Canary, &["row"], &anew);
    assert!(again.expect("needs no opening").is_none());
    assert!(both.reseal(Purpose::Canary, &["other"], &sealed).is_err());
}
