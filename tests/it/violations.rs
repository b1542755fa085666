//! Violations and their scores.

use std::time::Duration;

use countersign::grpc::proto::moderation_service_client::ModerationServiceClient;
use countersign::grpc::proto::*;
use futures_util::future::join_all;
use tonic::Code;

use crate::moderation::{BANS, record, record_many, violation};
use crate::support::callers::{Backend, CallersFile};
use crate::support::calls::fields;
use crate::support::{World, on_each_engine, reason};

#[tokio::test]
async fn twenty_violations_at_once_at_two_replicas_make_twenty_points_and_one_ban() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let second = world.another().await.expect("a second replica");
        let user = world.register("ann@example.com").await;
        let clients = [
            world.moderation(),
            ModerationServiceClient::new(second.channel.clone()),
        ];
        let calls = (0..20).map(|n| {
            let mut client = clients[n % 2].clone();
            let request = violation(&user);
            async move {
                client
                    .record_violation(request)
                    .await
                    .expect("recorded")
                    .into_inner()
            }
        });
        let answers = join_all(calls).await;
        let mut scores: Vec<_> = answers.iter().map(|answer| answer.score).collect();
        scores.sort_unstable();
        assert_eq!(scores, (1..=20).collect::<Vec<_>>());
        let banning: Vec<_> = answers
            .iter()
            .filter(|answer| answer.ban.is_some())
            .map(|answer| answer.score)
            .collect();
        assert_eq!((banning, engine.number(BANS).await), (vec![20], 1));
        drop(clients);
        second.stop().await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_repeated_request_id_counts_once_and_gets_the_first_answer() {
    let (chat, agents) = (
        Backend::new("chat", &["moderation.*", "auth.sign_in"]),
        Backend::new("agents", &["moderation.report"]),
    );
    let file = CallersFile::new(&[&chat, &agents]);
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("COUNTERSIGN_CALLERS", file.path())]).await;
        let named = |id: &str| RecordViolationRequest {
            r#type: "non_browser".to_owned(),
            ip_address: "203.0.113.7".to_owned(),
            request_id: id.to_owned(),
            ..Default::default()
        };
        let send = async |caller: &Backend, id: &str| {
            world
                .moderation()
                .record_violation(caller.sends(named(id)))
                .await
                .expect("recorded")
                .into_inner()
        };
        let answers = join_all((0..10).map(|_| send(&chat, "one"))).await;
        assert_eq!(
            (answers[0].score, answers[0].bans.len()),
            (20, 1),
            "a non-browser is 20 points"
        );
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{answers:?}"
        );
        world.clock.advance(Duration::from_mins(5));
        assert_eq!(send(&chat, "one").await, answers[0]);
        assert_eq!(send(&chat, "two").await.score, 40);
        assert_eq!(
            send(&agents, "one").await.score,
            60,
            "another caller's ids are its own"
        );
        assert_eq!(engine.number(BANS).await, 3);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_report_without_a_score_may_be_repeated_after_the_configured_one_has_changed() {
    on_each_engine(async |engine| {
        let mut world = World::start(engine, &[]).await;
        let report = RecordViolationRequest {
            r#type: "non_browser".to_owned(),
            ip_address: "203.0.113.7".to_owned(),
            request_id: "one".to_owned(),
            ..Default::default()
        };
        let first = world.moderation().record_violation(report.clone()).await;
        world.set("NON_BROWSER_VIOLATION_SCORE", "7");
        world.restart().await;
        let again = world.moderation().record_violation(report).await;
        let answer = again.expect("the first answer").into_inner();
        assert_eq!(answer, first.expect("recorded").into_inner());
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_request_id_that_is_repeated_with_other_content_adds_nothing() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let user = world.register("ann@example.com").await;
        let first = RecordViolationRequest {
            r#type: "logins".to_owned(),
            user_id: user.id,
            ip_address: "203.0.113.7".to_owned(),
            score: Some(3),
            request_id: "one".to_owned(),
        };
        let record = async |request| world.moderation().record_violation(request).await;
        let recorded = record(first.clone()).await.expect("recorded").into_inner();
        let changes: [fn(&mut RecordViolationRequest); 4] = [
            |request| request.r#type = "registrations".to_owned(),
            |request| request.user_id = "6650f1c2a3b4c5d6e7f80912".to_owned(),
            |request| request.ip_address = String::new(),
            |request| request.score = Some(4),
        ];
        for change in changes {
            let mut request = first.clone();
            change(&mut request);
            let status = record(request.clone()).await.expect_err("refused");
            let taken = (Code::Aborted, "REQUEST_ID_USED".to_owned());
            assert_eq!(reason(&status), taken, "{request:?}");
        }
        let again = record(first).await.expect("recorded").into_inner();
        assert_eq!(again, recorded);
        let scored = "SELECT CAST(SUM(score) AS BIGINT) FROM scores";
        assert_eq!(engine.number(scored).await, 6, "three for each target");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_score_expires_a_fixed_time_after_the_last_violation() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("VIOLATION_SCORE_TTL", "1000 * 60 * 10")]).await;
        let user = world.register("ann@example.com").await;
        record_many(&world, &user, 18).await;
        world.clock.advance(Duration::from_secs(599));
        assert_eq!(record(&world, violation(&user)).await.score, 19);
        world.clock.advance(Duration::from_mins(10));
        let answer = record(&world, violation(&user)).await;
        assert_eq!(
            (answer.previous_score, answer.score, answer.bans.len()),
            (0, 1, 0)
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn each_type_of_violation_has_its_own_points_and_score() {
    on_each_engine(async |engine| {
        let world = World::start(
            engine,
            &[("MESSAGE_VIOLATION_SCORE", "3"), ("BAN_INTERVAL", "10")],
        )
        .await;
        let user = world.register("ann@example.com").await;
        let of = |kind: &str, score| RecordViolationRequest {
            r#type: kind.to_owned(),
            score,
            ..violation(&user)
        };
        assert_eq!(record(&world, of("message_limit", None)).await.score, 3);
        assert_eq!(record(&world, of("message_limit", Some(6))).await.score, 9);
        let other = record(&world, of("concurrent", None)).await;
        assert_eq!((other.previous_score, other.score), (0, 1));
        assert_eq!(
            record(&world, of("message_limit", Some(0)))
                .await
                .bans
                .len(),
            0
        );
        assert_eq!(
            record(&world, of("message_limit", Some(25)))
                .await
                .bans
                .len(),
            1,
            "two multiples at once are one ban"
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn for_an_invalid_report_every_wrong_field_is_named_and_nothing_is_counted() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let wrong = RecordViolationRequest {
            r#type: "Logins!".to_owned(),
            user_id: "ann".to_owned(),
            ip_address: "1.2.3.4,5.6.7.8".to_owned(),
            score: Some(-1),
            request_id: "two words".to_owned(),
        };
        let refused = async |request| {
            fields(
                &world
                    .moderation()
                    .record_violation(request)
                    .await
                    .expect_err("refused"),
            )
        };
        assert_eq!(
            refused(wrong).await,
            ["ip_address", "request_id", "score", "type", "user_id"]
        );
        assert_eq!(
            refused(RecordViolationRequest::default()).await,
            ["type", "user_id"]
        );
        assert_eq!(engine.number("SELECT COUNT(*) FROM violations").await, 0);
        world.end().await;
    })
    .await;
}
