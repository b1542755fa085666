//! VerifyToken: its verdicts on valid and invalid tokens.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::clock::Timestamp;
use countersign::grpc::proto::*;
use tonic::Code;

use crate::support::calls::{answers, fields};
use crate::support::{World, on_each_engine, reason};

pub(crate) const ACTIVE: (bool, InactiveReason) = (true, InactiveReason::Unspecified);
pub(crate) const EXPIRED: (bool, InactiveReason) = (false, InactiveReason::Expired);
pub(crate) const INVALID: (bool, InactiveReason) = (false, InactiveReason::Invalid);
pub(crate) const REVOKED: (bool, InactiveReason) = (false, InactiveReason::SessionRevoked);

fn at(time: Option<prost_types::Timestamp>) -> Timestamp {
    let time = time.expect("a time");
    Timestamp::from_millis(time.seconds * 1000 + i64::from(time.nanos) / 1_000_000)
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

/// The `jti` that is written in a token.
fn token_id(token: &str) -> String {
    let payload = token.split('.').nth(1).expect("a payload");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64");
    let claims: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
    claims["jti"].as_str().expect("a jti").to_owned()
}

#[tokio::test]
async fn for_an_active_token_the_claims_and_a_cache_time_are_given() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("COUNTERSIGN_ISSUER", "https://id.example.com")]).await;
        let now = world.clock.now();
        let (user, tokens) = world.signed_in("ann@example.com").await;
        let answer = world.verify(&tokens.access_token).await;
        let claims = answer.claims.clone().expect("active");
        assert_eq!((answer.active, answer.inactive_reason()), ACTIVE);
        assert_eq!(answer.cache_ttl, Some(seconds(5)));
        let expected = TokenClaims {
            user_id: user.id,
            session_id: tokens.session_id,
            email: "ann@example.com".to_owned(),
            email_verified: false,
            username: user.username,
            role: "ADMIN".to_owned(),
            provider: "local".to_owned(),
            audience: "https://id.example.com".to_owned(),
            scopes: Vec::new(),
            actor: None,
            auth_time: Some(prost_types::Timestamp {
                seconds: now.secs(),
                nanos: 0,
            }),
            amr: vec!["pwd".to_owned()],
            acr: String::new(),
            issue_time: Some(prost_types::Timestamp {
                seconds: now.secs(),
                nanos: 0,
            }),
            expire_time: tokens.access_expire_time,
            token_id: token_id(&tokens.access_token),
            name: user.name,
        };
        assert_eq!(expected.token_id.len(), 32);
        assert!(!expected.name.is_empty());
        assert_eq!(claims, expected);
        let lasts = at(tokens.access_expire_time).secs() - now.secs();
        assert!((855..=900).contains(&lasts), "{lasts}");

        world
            .clock
            .set(at(tokens.access_expire_time).minus(Duration::from_secs(2)));
        assert_eq!(
            world.verify(&tokens.access_token).await.cache_ttl,
            Some(seconds(2))
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_token_expires_on_time_and_never_after_its_session() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, tokens) = world.signed_in("ann@example.com").await;
        let request = MintSessionRequest {
            user_id: user.id,
            ttl: Some(prost_types::Duration {
                seconds: 60,
                nanos: 0,
            }),
            ..Default::default()
        };
        let minted = world
            .tokens()
            .mint_session(request)
            .await
            .expect("minted")
            .into_inner()
            .tokens
            .expect("tokens");
        assert!(at(minted.access_expire_time) <= at(minted.refresh_expire_time));
        assert_eq!(
            at(minted.refresh_expire_time),
            Timestamp::from_secs(world.clock.now().secs() + 60)
        );
        for (name, tokens) in [
            ("capped by its session", minted),
            ("as long as configured", tokens),
        ] {
            let end = at(tokens.access_expire_time);
            world.clock.set(end.minus(Duration::from_millis(1)));
            assert_eq!(world.verdict(&tokens.access_token).await, ACTIVE, "{name}");
            world.clock.set(end);
            assert_eq!(world.verdict(&tokens.access_token).await, EXPIRED, "{name}");
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_token_is_active_only_for_its_own_audience() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("COUNTERSIGN_AUDIENCE", "backends")]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        for (audience, expected) in [
            ("", ACTIVE),
            ("backends", ACTIVE),
            ("tools", INVALID),
            ("Backends", INVALID),
            ("backends ", INVALID),
        ] {
            let request = VerifyTokenRequest {
                access_token: tokens.access_token.clone(),
                audience: audience.to_owned(),
            };
            let answer = world
                .tokens()
                .verify_token(request)
                .await
                .expect("a verdict")
                .into_inner();
            assert_eq!(
                (
                    answer.active,
                    answer.inactive_reason(),
                    answer.claims.is_some()
                ),
                (expected.0, expected.1, expected.0),
                "{audience:?}"
            );
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn the_verdicts_of_a_batch_are_in_the_order_of_its_tokens() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, good) = world.signed_in("ann@example.com").await;
        let ended = world.mint(&user.id).await;
        world.revoke(&ended.session_id).await;
        let batch = async |access_tokens| {
            let request = BatchVerifyTokensRequest {
                access_tokens,
                audience: String::new(),
            };
            world
                .tokens()
                .batch_verify_tokens(request)
                .await
                .map(answers)
        };
        let kinds = [
            (good.access_token.as_str(), ACTIVE),
            (ended.access_token.as_str(), REVOKED),
            ("", INVALID),
            ("x.y.z", INVALID),
        ];
        let asked: Vec<_> = kinds.iter().cycle().take(100).collect();
        let results = batch(asked.iter().map(|(token, _)| (*token).to_owned()).collect())
            .await
            .expect("verdicts");
        let verdicts: Vec<_> = results
            .iter()
            .map(|answer| (answer.active, answer.inactive_reason()))
            .collect();
        assert_eq!(
            verdicts,
            asked
                .iter()
                .map(|(_, verdict)| *verdict)
                .collect::<Vec<_>>()
        );
        assert_eq!(
            batch(vec![good.access_token.clone()])
                .await
                .expect("one")
                .len(),
            1
        );
        for size in [0, 101] {
            let status = batch(vec![good.access_token.clone(); size])
                .await
                .expect_err("not so many");
            assert_eq!(
                reason(&status),
                (Code::InvalidArgument, "FIELDS_INVALID".to_owned())
            );
            assert_eq!(fields(&status), ["access_tokens"]);
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_batch_sees_what_another_replica_changed_in_any_of_its_sessions() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let other = world.another().await.expect("a second replica");
        let (ann, _) = world.signed_in("ann@example.com").await;
        let (bob, bobs) = world.signed_in("bob@example.com").await;
        let mut pairs = vec![bobs];
        for _ in 0..48 {
            pairs.push(world.mint(&ann.id).await);
        }
        let once: Vec<_> = pairs.iter().map(|pair| pair.access_token.clone()).collect();
        let request = BatchVerifyTokensRequest {
            // Each twice, so that two tokens are of one session.
            access_tokens: [once.clone(), once].concat(),
            audience: String::new(),
        };
        let batch = async || {
            let answer = world.tokens().batch_verify_tokens(request.clone()).await;
            let answers = answers(answer.expect("verdicts"));
            let verdict = |answer: &VerifyTokenResponse| (answer.active, answer.inactive_reason());
            answers.iter().map(verdict).collect::<Vec<_>>()
        };
        assert_eq!(batch().await, [ACTIVE; 98]);
        let revoke = RevokeSessionRequest {
            session_id: pairs[7].session_id.clone(),
            subject: None,
        };
        other.tokens().revoke_session(revoke).await.expect("ended");
        let gone = format!("DELETE FROM sessions WHERE user_id = '{}'", bob.id);
        engine.change(&gone).await;
        world.clock.advance(Duration::from_millis(1001));
        let mut expected = [ACTIVE; 98];
        for at in [0, 7, 49, 56] {
            expected[at] = REVOKED;
        }
        assert_eq!(batch().await, expected);
        other.stop().await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_token_that_cannot_be_looked_up_takes_no_other_answer_of_the_batch_with_it() {
    use verify_token_result::Result::{Answer, Error};
    on_each_engine(async |engine| {
        let mut world = World::start(engine, &[]).await;
        let (user, known) = world.signed_in("ann@example.com").await;
        let unseen = world.mint(&user.id).await;
        // A process remembers the tokens that it issues.
        world.restart().await;
        assert_eq!(world.verdict(&known.access_token).await, ACTIVE);
        engine.take_away().await;
        let request = BatchVerifyTokensRequest {
            access_tokens: [&known.access_token, &unseen.access_token, "no.token.ofours"]
                .map(str::to_owned)
                .into(),
            audience: String::new(),
        };
        let answer = world.tokens().batch_verify_tokens(request).await;
        let results = answer.expect("results").into_inner().results;
        let found: Vec<_> = results
            .into_iter()
            .map(|one| match one.result.expect("a result") {
                Answer(answer) => Ok((answer.active, answer.inactive_reason())),
                Error(reason) => Err(ErrorReason::try_from(reason).expect("a reason")),
            })
            .collect();
        assert_eq!(
            found,
            [Ok(ACTIVE), Err(ErrorReason::StoreUnavailable), Ok(INVALID)]
        );
        engine.give_back().await;
        world.end().await;
    })
    .await;
}
