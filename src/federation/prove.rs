//! What decrypted provider tokens occupy in memory, measured with the real types. `scripts/prove memory`
//! runs it.
#![expect(clippy::print_stdout, reason = "the figures")]

use serde_json::{Map, Value as Json, json};

use super::*;
use crate::clock::Timestamp;
use crate::id::IdentityId;
use crate::model::provider_tokens::TokenState;
use crate::provider::Grant;
use crate::secret::RootKey;
use crate::store::announcements::Announcements;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const SESSIONS: u32 = 5_000;

/// The resident memory of this process, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("a file of Linux");
    let pages = text.split(' ').nth(1).expect("two numbers");
    pages.parse::<u64>().expect("a number") * 4096
}

/// As many claims as a directory gives, and some groups.
fn claims(groups: usize) -> Map<String, Json> {
    let groups: Vec<_> = (0..groups)
        .map(|n| format!("group-of-people-{n}"))
        .collect();
    let claims = json!({
        "iss": "https://login.example.com/0f1e2d3c4b5a/v2.0", "aud": "countersign",
        "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ", "exp": 1_800_003_600,
        "iat": 1_800_000_000, "name": "Ann Example", "preferred_username": "ann@example.com",
        "email": "ann@example.com", "email_verified": true, "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474",
        "tid": "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", "ver": "2.0", "groups": groups,
    });
    match claims {
        Json::Object(claims) => claims,
        _ => unreachable!("an object"),
    }
}

/// Opened tokens as they are read from a row.
fn opened(vault: &Vault, session: &SessionId, groups: usize) -> ProviderTokens {
    let secret = |length| SecretString::from("x".repeat(length));
    let user_id = UserId::new(NOW);
    let sealed = ProviderTokens {
        key: TokensKey {
            session_id: session.clone(),
            identity_id: IdentityId::new(),
        },
        user_id: user_id.clone(),
        issuer: "https://login.example.com/0f1e2d3c4b5a/v2.0".to_owned(),
        subject: "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ".to_owned(),
        provider: "openid".to_owned(),
        access_token: secret(0),
        access_expire_time: NOW,
        id_token: None,
        refresh_token: None,
        claims: claims(groups),
        scopes: "openid profile email offline_access".to_owned(),
        state: TokenState::Active,
        state_seal: Vec::new(),
        version: 1,
        update_time: NOW,
        weight: 0,
        released: std::sync::Mutex::default(),
    };
    let grant = Grant {
        provider: sealed.provider.clone(),
        access_token: secret(1_800),
        access_expire_time: NOW,
        id_token: Some((secret(1_200), NOW)),
        refresh_token: Some(secret(1_100)),
        scopes: None,
    };
    let content = vault.seal_refresh(&sealed, &grant, None, NOW);
    let opened = vault.open(StoredTokens {
        key: sealed.key,
        user_id,
        issuer: sealed.issuer,
        subject: sealed.subject,
        provider: sealed.provider,
        content,
        state: TokenState::Active,
        version: 2,
    });
    opened.expect("opens")
}

/// What so many sessions occupy, as they were measured and as they are weighed, in bytes a session;
/// and the sessions, so that the next ones do not fill what these would give back.
fn filled(vault: &Vault, groups: usize) -> (u64, u64, impl Sized + use<>) {
    let before = resident();
    let cache = Cache::<SessionTokens>::new(Clock::manual(NOW), &Announcements::default(), affects);
    let in_use = Bounded::builder().weigher(|_, used: &InUse| used.weight);
    let in_use = in_use.max_capacity(u64::MAX).build();
    for _ in 0..SESSIONS {
        let session = SessionId::new();
        let tokens = vec![Arc::new(opened(vault, &session, groups))];
        let entry = cache.entry(&session);
        in_use.insert(session, InUse::new(Arc::clone(&entry), &tokens));
        cache.keep(&entry, Arc::new(tokens), cache.moment());
    }
    in_use.run_pending_tasks();
    let taken = resident().saturating_sub(before) / u64::from(SESSIONS);
    let weight = in_use.weighted_size() / u64::from(SESSIONS);
    (taken, weight, (cache, in_use))
}

#[test]
#[ignore = "measures the whole process, so it must run alone"]
fn decrypted_tokens_occupy_no_more_than_their_weight() {
    let key = RootKey::new("test", [1; 32]).expect("a good id");
    let vault = Vault::new(Keyring::new(key, Vec::new()));
    // The first one pays for what the allocator keeps.
    let (_, _, first) = filled(&vault, 0);
    let mut kept = vec![first];
    for groups in [0, 10, 100] {
        let (taken, weight, sessions) = filled(&vault, groups);
        kept.push(sessions);
        println!("{groups} groups: {taken} bytes a session, weighed as {weight}");
        assert!(taken > 4_000 && taken <= weight, "{taken} of {weight}");
    }
}
