//! Minted sessions: a caller opens them for a user, who takes no part in it.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign::clock::Timestamp;
use countersign::grpc::proto::*;
use futures_util::future::join_all;
use tonic::{Code, Status};

use crate::support::calls::fields;
use crate::support::{World, client, on_each_engine, reason};

pub(crate) fn mint(user_id: &str, request_id: &str) -> MintSessionRequest {
    MintSessionRequest {
        user_id: user_id.to_owned(),
        request_id: request_id.to_owned(),
        client: client(),
        ttl: None,
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "message fields are optional on the wire"
)]
fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

async fn minted(world: &World<'_>, request: MintSessionRequest) -> Result<TokenPair, Status> {
    let tokens = world
        .tokens()
        .mint_session(request)
        .await?
        .into_inner()
        .tokens
        .expect("tokens");
    world.keep_secret(&tokens);
    Ok(tokens)
}

async fn refused(world: &World<'_>, request: MintSessionRequest) -> (Code, String, Vec<String>) {
    let status = world
        .tokens()
        .mint_session(request)
        .await
        .expect_err("must be refused");
    let (code, reason) = reason(&status);
    (code, reason, fields(&status))
}

#[tokio::test]
async fn a_minted_session_says_that_a_caller_vouched_for_the_user() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let answer = world
            .tokens()
            .mint_session(mint(&user.id, ""))
            .await
            .expect("minted")
            .into_inner();
        assert_eq!(answer.user, Some(user));
        let tokens = answer.tokens.expect("tokens");
        assert_eq!(tokens.token_type, "Bearer");
        let claims = world
            .verify(&tokens.access_token)
            .await
            .claims
            .expect("active");
        assert_eq!(
            (claims.amr, claims.provider),
            (vec!["caller".to_owned()], "caller".to_owned())
        );
        world
            .refresh(&tokens.refresh_token)
            .await
            .expect("refreshes as any other");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_session_is_minted_only_for_a_user_that_exists_and_is_not_banned() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let unknown = (Code::NotFound, "USER_NOT_FOUND".to_owned(), vec![]);
        assert_eq!(refused(&world, mint(&"0".repeat(24), "")).await, unknown);
        for id in [
            "",
            "ann@example.com",
            &user.id.to_uppercase(),
            &user.id[1..],
        ] {
            let invalid = (
                Code::InvalidArgument,
                "FIELDS_INVALID".to_owned(),
                vec!["user_id".to_owned()],
            );
            assert_eq!(refused(&world, mint(id, "")).await, invalid, "{id}");
        }
        let banned = (Code::PermissionDenied, "BANNED".to_owned(), vec![]);
        for target in [
            ban_target_request::Target::IpAddress(crate::support::calls::ADDRESS.to_owned()),
            ban_target_request::Target::UserId(user.id.clone()),
        ] {
            let request = BanTargetRequest {
                target: Some(target),
                reason: "spam".to_owned(),
                ..Default::default()
            };
            let ban = world
                .moderation()
                .ban_target(request)
                .await
                .expect("banned")
                .into_inner()
                .ban
                .expect("a ban");
            assert_eq!(refused(&world, mint(&user.id, "")).await, banned);
            world
                .moderation()
                .lift_ban(LiftBanRequest { ban_id: ban.id })
                .await
                .expect("lifted");
            minted(&world, mint(&user.id, ""))
                .await
                .expect("in good standing again");
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_minted_session_lasts_at_least_a_second_and_at_most_as_long_as_configured() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("REFRESH_TOKEN_EXPIRY", "1000 * 60 * 60")]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let lasting = |seconds, nanos| MintSessionRequest {
            ttl: Some(prost_types::Duration { seconds, nanos }),
            ..mint(&user.id, "")
        };
        for (seconds, nanos) in [(0, 0), (-1, 0), (0, 999_999_999), (0, -1)] {
            let invalid = (
                Code::InvalidArgument,
                "FIELDS_INVALID".to_owned(),
                vec!["ttl".to_owned()],
            );
            assert_eq!(
                refused(&world, lasting(seconds, nanos)).await,
                invalid,
                "{seconds}.{nanos}"
            );
        }
        let now = world.clock.now().secs();
        for (seconds, lasts) in [
            (1, 1),
            (90, 90),
            (3600, 3600),
            (3601, 3600),
            (i64::MAX, 3600),
        ] {
            let tokens = minted(&world, lasting(seconds, 0)).await.expect("minted");
            assert_eq!(
                tokens.refresh_expire_time.map(|end| end.seconds - now),
                Some(lasts),
                "{seconds}"
            );
            assert!(world.verdict(&tokens.access_token).await.0, "{seconds}");
        }
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_repeated_request_gives_the_same_session_again() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let pairs = join_all((0..20).map(|_| minted(&world, mint(&user.id, "request-1")))).await;
        let pairs: Vec<_> = pairs
            .into_iter()
            .map(|pair| pair.expect("minted"))
            .collect();
        let same: BTreeSet<_> = pairs
            .iter()
            .map(|pair| (&pair.session_id, &pair.refresh_token))
            .collect();
        assert_eq!(same.len(), 1);
        assert_eq!(
            engine
                .number("SELECT COUNT(*) FROM sessions WHERE request_id = 'request-1'")
                .await,
            1
        );

        let another = minted(&world, mint(&user.id, "request-2"))
            .await
            .expect("minted");
        assert_ne!(another.session_id, pairs[0].session_id);

        let invalid = (
            Code::InvalidArgument,
            "FIELDS_INVALID".to_owned(),
            vec!["request_id".to_owned()],
        );
        for id in ["two words", "ä", "a\n", &"x".repeat(129)] {
            assert_eq!(refused(&world, mint(&user.id, id)).await, invalid, "{id}");
        }
        let over = (Code::Aborted, "REQUEST_ID_USED".to_owned(), vec![]);
        world.revoke(&pairs[0].session_id).await;
        assert_eq!(refused(&world, mint(&user.id, "request-1")).await, over);
        world.clock.advance(Duration::from_hours(7 * 24));
        assert_eq!(refused(&world, mint(&user.id, "request-2")).await, over);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_request_id_that_is_repeated_with_other_content_opens_nothing() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let (other, _) = world.signed_in("bob@example.com").await;
        let first = MintSessionRequest {
            client: client(),
            ttl: Some(prost_types::Duration {
                seconds: 3600,
                nanos: 500_000_000,
            }),
            ..mint(&user.id, "request-1")
        };
        let opened = minted(&world, first.clone()).await.expect("minted");
        let taken = (Code::Aborted, "REQUEST_ID_USED".to_owned(), vec![]);
        for changed in [
            MintSessionRequest {
                user_id: other.id,
                ..first.clone()
            },
            MintSessionRequest {
                ttl: seconds(3601),
                ..first.clone()
            },
            MintSessionRequest {
                ttl: None,
                ..first.clone()
            },
            MintSessionRequest {
                client: None,
                ..first.clone()
            },
        ] {
            assert_eq!(refused(&world, changed.clone()).await, taken, "{changed:?}");
        }
        for _ in 0..3 {
            world.clock.advance(Duration::from_millis(600));
            let again = minted(&world, first.clone()).await;
            let again = again.expect("the same session");
            assert_eq!(again.session_id, opened.session_id);
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_request_is_repeated_for_a_day_until_the_session_is_refreshed() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let [once, never] = ["once", "never"].map(|id| mint(&user.id, id));
        let first = minted(&world, once.clone()).await.expect("minted");
        let unused = minted(&world, never.clone()).await.expect("minted");
        let opened = world.clock.now().secs();
        // The first access tokens have expired.
        world.clock.advance(Duration::from_mins(16));
        let again = minted(&world, once.clone()).await.expect("the same");
        assert_eq!(again.refresh_token, first.refresh_token);
        assert_ne!(again.access_token, first.access_token);
        let claims = world.verify(&again.access_token).await.claims;
        // As if it was issued at first: backends that verify by themselves learn of the end of a
        // session by when its tokens were issued.
        let issued = claims.expect("active").issue_time.expect("a time");
        assert_eq!(issued.seconds, opened);

        world.refresh(&first.refresh_token).await.expect("used");
        let over = (Code::Aborted, "REQUEST_ID_USED".to_owned(), vec![]);
        assert_eq!(refused(&world, once).await, over);

        world.clock.set(Timestamp::from_secs(opened + 86_400 - 2));
        let last = minted(&world, never.clone()).await.expect("the same");
        assert_eq!(last.refresh_token, unused.refresh_token);
        assert!(world.verdict(&last.access_token).await.0);
        world.clock.advance(Duration::from_secs(3));
        assert_eq!(refused(&world, never).await, over);
        world
            .refresh(&last.refresh_token)
            .await
            .expect("still good");
        world.end().await;
    })
    .await;
}
