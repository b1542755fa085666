use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;

use super::*;
use crate::id::BanId;
use crate::model::page::PageRequest;
use crate::store::Expired;
use crate::store::announcements::Announcement;
use crate::store::testing::{on_each_engine, signed_in};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const HOUR: Duration = Duration::from_hours(1);
const UNTIL: Timestamp = Timestamp::from_secs(1_800_007_200);

fn violation<'a>(
    user: Option<&'a UserId>,
    request_id: Option<&'a str>,
    now: Timestamp,
) -> NewViolation<'a> {
    let ip: IpAddr = "192.0.2.1".parse().expect("an address");
    let network = "192.0.2.1".parse().expect("a network");
    NewViolation {
        caller: "chat",
        request_id,
        kind: "message_limit",
        user,
        address: Some((ip, network)),
        added: 1,
        score_given: true,
        create_time: now,
        score_expire_time: Some(now.plus(HOUR)),
    }
}

fn ban_at_20(target: &BanTarget, (previous, score): (i64, i64)) -> Penalty {
    if previous < 20 && score >= 20 {
        Penalty::Ban(Ban {
            id: BanId::new(NOW),
            target: target.clone(),
            reason: "message_limit".to_owned(),
            violation_type: "logins".to_owned(),
            caller: "chat".to_owned(),
            create_time: NOW,
            expire_time: Some(UNTIL),
        })
    } else {
        Penalty::Nothing
    }
}

fn end_sessions(_: &BanTarget, _: (i64, i64)) -> Penalty {
    Penalty::EndSessions
}

fn nothing(_: &BanTarget, _: (i64, i64)) -> Penalty {
    Penalty::Nothing
}

#[tokio::test]
async fn parallel_violations_all_count_and_ban_once() {
    on_each_engine(async |store| {
        let (user, session) = signed_in(&store, NOW).await;
        let violation = violation(Some(&user), None, NOW);
        let recorded =
            join_all((0..25).map(|_| store.record_violation(&violation, ban_at_20))).await;
        let mut recorded: Vec<_> = recorded
            .into_iter()
            .map(|recorded| recorded.expect("recorded").expect("no other"))
            .collect();
        recorded.sort_unstable_by_key(|recorded| recorded.score);
        assert!(
            recorded
                .iter()
                .zip(1..)
                .all(|(recorded, n)| (recorded.previous_score, recorded.score) == (n - 1, n))
        );
        let made: Vec<_> = recorded
            .iter()
            .flat_map(|recorded| &recorded.bans)
            .collect();
        assert_eq!(made, recorded[19].bans.iter().collect::<Vec<_>>());
        let targets = [
            BanTarget::User(user),
            BanTarget::Network("192.0.2.1".parse().expect("a network")),
        ];
        assert!(made.iter().map(|ban| &ban.target).eq(&targets));
        assert_eq!(
            store
                .list_bans(&PageRequest::first(9), NOW)
                .await
                .expect("answers")
                .items
                .len(),
            2
        );
        assert!(
            store
                .find_session(&session, NOW)
                .await
                .expect("answers")
                .expect("there")
                .session
                .revoke_time
                .is_some()
        );
    })
    .await;
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_also_in_parallel() {
    on_each_engine(async |store| {
        let (user, _) = signed_in(&store, NOW).await;
        let hard = NewViolation {
            added: 20,
            ..violation(Some(&user), Some("r-1"), NOW)
        };
        let recorded = join_all((0..10).map(|_| store.record_violation(&hard, ban_at_20))).await;
        let recorded: Vec<_> = recorded
            .into_iter()
            .map(|recorded| recorded.expect("recorded").expect("no other"))
            .collect();
        assert_eq!(
            (
                recorded[0].previous_score,
                recorded[0].score,
                recorded[0].bans.len()
            ),
            (0, 20, 2)
        );
        assert!(recorded.iter().all(|other| *other == recorded[0]));
        assert_eq!(
            recorded[0].longest_ban().and_then(|ban| ban.expire_time),
            Some(UNTIL)
        );
        let of_another_caller = NewViolation {
            caller: "api",
            ..violation(Some(&user), Some("r-1"), NOW)
        };
        assert_eq!(
            store
                .record_violation(&of_another_caller, ban_at_20)
                .await
                .expect("recorded")
                .expect("no other")
                .score,
            21
        );
    })
    .await;
}

#[tokio::test]
async fn a_score_lasts_from_its_last_violation_and_then_starts_from_zero() {
    on_each_engine(async |store| {
        let (user, _) = signed_in(&store, NOW).await;
        let last = NOW.plus(HOUR).minus(Duration::from_millis(1));
        for (now, expected) in [(NOW, (0, 1)), (last, (1, 2)), (last.plus(HOUR), (0, 1))] {
            store
                .delete_expired(Expired::Scores, now.minus(Duration::from_millis(1)))
                .await
                .expect("deleted");
            let recorded = store
                .record_violation(&violation(Some(&user), None, now), nothing)
                .await
                .expect("recorded")
                .expect("no other");
            assert_eq!((recorded.previous_score, recorded.score), expected);
        }
        let lasting = NewViolation {
            score_expire_time: None,
            ..violation(None, None, NOW)
        };
        store
            .record_violation(&lasting, nothing)
            .await
            .expect("recorded")
            .expect("no other");
        let much_later = violation(None, None, NOW.plus(1000 * HOUR));
        assert_eq!(
            store
                .record_violation(&much_later, nothing)
                .await
                .expect("recorded")
                .expect("no other")
                .score,
            3
        );
    })
    .await;
}

#[tokio::test]
async fn types_users_and_addresses_are_scored_apart() {
    on_each_engine(async |store| {
        let (ann, _) = signed_in(&store, NOW).await;
        let (bob, _) = signed_in(&store, NOW).await;
        let other_type = NewViolation {
            kind: "logins",
            ..violation(Some(&ann), None, NOW)
        };
        let score = async |violation: NewViolation<'_>| {
            store
                .record_violation(&violation, nothing)
                .await
                .expect("recorded")
                .expect("no other")
                .score
        };
        assert_eq!(score(violation(Some(&ann), None, NOW)).await, 1);
        assert_eq!(score(violation(Some(&bob), None, NOW)).await, 1);
        assert_eq!(score(other_type).await, 1);
        assert_eq!(
            score(violation(None, None, NOW)).await,
            3,
            "the address, without a user"
        );
    })
    .await;
}

#[tokio::test]
async fn a_soft_ban_ends_sessions_makes_no_ban_and_is_told() {
    on_each_engine(async |store| {
        let (user, session) = signed_in(&store, NOW).await;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&heard);
        store
            .announcements()
            .listen(move |change| listener.lock().expect("no panic").push(change.clone()));
        let recorded = store
            .record_violation(&violation(Some(&user), None, NOW), end_sessions)
            .await
            .expect("recorded")
            .expect("no other");
        assert_eq!(recorded.bans, []);
        assert!(
            store
                .find_session(&session, NOW)
                .await
                .expect("answers")
                .expect("there")
                .session
                .revoke_time
                .is_some()
        );
        assert_eq!(
            store
                .find_ban(Some(&user), None, NOW)
                .await
                .expect("answers"),
            None
        );
        store
            .record_violation(&violation(None, None, NOW), end_sessions)
            .await
            .expect("recorded")
            .expect("no other");
        assert_eq!(
            *heard.lock().expect("no panic"),
            [Announcement::UserChanged(user)],
            "an address has no sessions"
        );
    })
    .await;
}

#[tokio::test]
async fn a_request_id_is_forgotten_with_its_violation() {
    on_each_engine(async |store| {
        let record = async || {
            store
                .record_violation(&violation(None, Some("r-1"), NOW), nothing)
                .await
                .expect("recorded")
                .expect("no other")
                .score
        };
        assert_eq!((record().await, record().await), (1, 1));
        store
            .delete_expired(Expired::Violations, NOW.minus(Duration::from_millis(1)))
            .await
            .expect("deleted");
        assert_eq!(record().await, 1);
        store
            .delete_expired(Expired::Violations, NOW)
            .await
            .expect("deleted");
        assert_eq!(record().await, 2);
    })
    .await;
}
