//! VerifyToken: for how long what is remembered of a session counts.

use std::time::Duration;

use crate::support::{World, on_each_engine};
use crate::verify::{ACTIVE, REVOKED};
use countersign::grpc::proto::*;

#[tokio::test]
async fn a_session_that_is_verified_once_a_minute_is_read_from_the_store_every_five() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        // Somebody changes a row by hand, which the change feed does not tell.
        engine.execute("UPDATE users SET role = 'AUDITOR'").await;
        let from = |source: &str| {
            let labels = format!("outcome=\"active\",source=\"{source}\"");
            world.count("countersign_token_verifications_total", &labels)
        };
        for minute in 0..=10 {
            let answer = world.verify(&tokens.access_token).await;
            let role = answer.claims.expect("active").role;
            let is_read = minute > 5;
            assert_eq!(role, if is_read { "AUDITOR" } else { "ADMIN" }, "{minute}");
            assert_eq!(from("store"), u64::from(is_read), "{minute}");
            world.clock.advance(Duration::from_mins(1));
        }
        assert_eq!(from("memory"), 10);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_process_that_cannot_read_the_change_feed_asks_the_store() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        assert_eq!(world.verdict(&tokens.access_token).await, ACTIVE);
        engine
            .execute("ALTER TABLE change_counter RENAME TO away")
            .await;
        // As another process would end it.
        engine
            .execute("UPDATE sessions SET revoke_time = 1, revoke_reason = 'revoked'")
            .await;
        world.clock.advance(Duration::from_millis(1001));
        assert_eq!(world.verdict(&tokens.access_token).await, REVOKED);
        let request = BatchVerifyTokensRequest {
            access_tokens: vec![tokens.access_token.clone()],
            audience: String::new(),
        };
        world.clock.advance(Duration::from_millis(1001));
        let batch = world.tokens().batch_verify_tokens(request).await;
        let answers = crate::support::calls::answers(batch.expect("verdicts"));
        assert!(!answers[0].active);
        engine
            .execute("ALTER TABLE away RENAME TO change_counter")
            .await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn without_the_store_a_batch_of_known_tokens_is_answered_for_half_a_minute() {
    use verify_token_result::Result::{Answer, Error};
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, first) = world.signed_in("ann@example.com").await;
        let second = world.mint(&user.id).await;
        let request = BatchVerifyTokensRequest {
            access_tokens: vec![first.access_token, second.access_token],
            audience: String::new(),
        };
        let batch = async || {
            let answer = world.tokens().batch_verify_tokens(request.clone()).await;
            let results = answer.expect("results").into_inner().results;
            let outcome = |one: VerifyTokenResult| match one.result.expect("a result") {
                Answer(answer) => Ok(answer.active),
                Error(reason) => Err(ErrorReason::try_from(reason).expect("a reason")),
            };
            results.into_iter().map(outcome).collect::<Vec<_>>()
        };
        engine.take_away().await;
        world.clock.advance(Duration::from_secs(30));
        assert_eq!(batch().await, [Ok(true), Ok(true)]);
        world.clock.advance(Duration::from_millis(1));
        let unavailable = Err(ErrorReason::StoreUnavailable);
        let told = batch().await;
        // On SQLite a table is missing, which is another error.
        let internal = Err(ErrorReason::Internal);
        assert!(
            told == [unavailable; 2] || told == [internal; 2],
            "{told:?}"
        );
        engine.give_back().await;
        world.end().await;
    })
    .await;
}
