//! What must be true after every test.

use super::engine::Engine;
use super::logs;

/// Checks that no secret is in the database or the log, and that no row contradicts another one.
pub async fn check(engine: &Engine, canaries: &[String]) {
    // As text, because the standard library searches text fast even in builds that are not
    // optimised.
    let (content, log) = (engine.content().await, logs::kept());
    let (content, log) = (
        String::from_utf8_lossy(&content),
        String::from_utf8_lossy(&log),
    );
    for canary in canaries {
        assert!(
            !content.contains(canary),
            "a secret is in the database: {canary}"
        );
        assert!(!log.contains(canary), "a secret is in the log: {canary}");
    }
    for (what, sql) in RULES {
        assert_eq!(engine.number(sql).await, 0, "{what}");
    }
}

const RULES: [(&str, &str); 6] = [
    (
        "a session moves to the next generation with each refresh, within its life",
        "SELECT COUNT(*) FROM sessions WHERE (generation = 1 AND refresh_time <> create_time) OR refresh_time < create_time OR refresh_time >= expire_time",
    ),
    (
        "every user can sign in in some way",
        "SELECT COUNT(*) FROM users u WHERE NOT EXISTS (SELECT 1 FROM passwords p WHERE p.user_id = u.id) AND NOT EXISTS (SELECT 1 FROM identities i WHERE i.user_id = u.id)",
    ),
    (
        "at most one account became administrator by being first",
        "SELECT COUNT(*) FROM users a JOIN users b ON a.id < b.id WHERE a.role = 'ADMIN' AND b.role = 'ADMIN'",
    ),
    (
        "an ended session holds no provider tokens",
        "SELECT COUNT(*) FROM federated_tokens t JOIN sessions s ON s.id = t.session_id WHERE s.revoke_time IS NOT NULL",
    ),
    (
        "of the signing keys, if there are any, one is active",
        "SELECT COUNT(*) FROM signing_keys WHERE (SELECT COUNT(*) FROM signing_keys WHERE state = 'active') <> 1",
    ),
    (
        "a signing key has the times of its state",
        "SELECT COUNT(*) FROM signing_keys WHERE (state = 'active') <> (activate_time IS NOT NULL AND retire_time IS NULL AND revoke_time IS NULL) OR (state = 'next') <> (activate_time IS NULL AND revoke_time IS NULL) OR (state = 'retired' AND retire_time IS NULL)",
    ),
];
