use std::time::Duration;

use super::*;
use crate::store::Expired;
use crate::store::backend::writing;
use crate::store::testing::{on_each_engine, signed_in};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const HOUR: Duration = Duration::from_hours(1);

fn network_ban(network: &str, duration: Option<Duration>) -> Ban {
    ban(
        BanTarget::Network(network.parse().expect("a network")),
        NOW,
        duration,
    )
}

fn ban(target: BanTarget, now: Timestamp, duration: Option<Duration>) -> Ban {
    let expire_time = duration.map(|duration| now.plus(duration));
    Ban {
        id: BanId::new(now),
        target,
        reason: "spam".to_owned(),
        violation_type: String::new(),
        caller: "desk".to_owned(),
        create_time: now,
        expire_time,
    }
}

async fn network_banned(store: &Store, address: &str) -> Option<String> {
    let address = address.parse().expect("an address");
    let ban = store
        .find_ban(None, Some(address), NOW)
        .await
        .expect("answers")?;
    ban.target.network().map(|network| network.to_string())
}

#[tokio::test]
async fn a_network_is_banned_from_its_first_to_its_last_address() {
    on_each_engine(async |store| {
        for network in [
            "192.0.2.1",
            "198.51.100.128/25",
            "2001:db8:1:2::/64",
            "::/64",
        ] {
            store
                .insert_ban(&network_ban(network, Some(HOUR)), None)
                .await
                .expect("banned");
        }
        for (address, network) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.0", None),
            ("192.0.2.2", None),
            ("198.51.100.127", None),
            ("198.51.100.128", Some("198.51.100.128/25")),
            ("198.51.100.255", Some("198.51.100.128/25")),
            ("198.51.101.0", None),
            ("2001:db8:1:1:ffff:ffff:ffff:ffff", None),
            ("2001:db8:1:2::", Some("2001:db8:1:2::/64")),
            (
                "2001:db8:1:2:ffff:ffff:ffff:ffff",
                Some("2001:db8:1:2::/64"),
            ),
            ("2001:db8:1:3::", None),
            ("::1", Some("::/64")),
            ("203.0.113.1", None),
        ] {
            assert_eq!(
                network_banned(&store, address).await.as_deref(),
                network,
                "{address}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn of_several_bans_the_longest_is_found() {
    on_each_engine(async |store| {
        let (user, _) = signed_in(&store, NOW).await;
        let of_user = ban(BanTarget::User(user.clone()), NOW, Some(HOUR));
        let bans = [
            of_user.clone(),
            network_ban("192.0.2.0/24", Some(2 * HOUR)),
            network_ban("192.0.2.7", None),
        ];
        for ban in &bans {
            store.insert_ban(ban, None).await.expect("banned");
        }
        let find = async |user, address: Option<&str>| {
            let address = address.map(|address| address.parse().expect("an address"));
            store.find_ban(user, address, NOW).await.expect("answers")
        };
        assert_eq!(find(None, None).await, None);
        assert_eq!(find(Some(&user), None).await, Some(of_user));
        assert_eq!(
            find(Some(&user), Some("192.0.2.6")).await,
            Some(bans[1].clone())
        );
        assert_eq!(
            find(Some(&user), Some("192.0.2.7")).await,
            Some(bans[2].clone())
        );
    })
    .await;
}

#[tokio::test]
async fn a_ban_ends_on_time_and_a_lifted_one_at_once() {
    on_each_engine(async |store| {
        let ban = network_ban("192.0.2.1", Some(HOUR));
        store.insert_ban(&ban, None).await.expect("banned");
        let found = async |now| {
            store
                .find_ban(None, Some("192.0.2.1".parse().expect("an address")), now)
                .await
                .expect("answers")
        };
        let (last, end) = (
            NOW.plus(HOUR).minus(Duration::from_millis(1)),
            NOW.plus(HOUR),
        );
        assert_eq!(
            (found(last).await.as_ref(), found(end).await),
            (Some(&ban), None)
        );
        assert_eq!(
            store.lift_ban(&ban.id, end).await.expect("answers"),
            None,
            "it is over"
        );
        assert_eq!(
            store
                .lift_ban(&ban.id, NOW)
                .await
                .expect("answers")
                .as_ref(),
            Some(&ban)
        );
        assert_eq!(found(NOW).await, None);
        assert_eq!(
            store.lift_ban(&ban.id, NOW).await.expect("answers"),
            None,
            "it was lifted before"
        );
    })
    .await;
}

#[tokio::test]
async fn a_users_ban_ends_their_sessions_and_no_others() {
    on_each_engine(async |store| {
        let (ann, anns) = signed_in(&store, NOW).await;
        let (_, bobs) = signed_in(&store, NOW).await;
        store
            .insert_ban(&ban(BanTarget::User(ann), NOW, None), None)
            .await
            .expect("banned");
        let state = async |id| {
            store
                .find_session(id, NOW)
                .await
                .expect("answers")
                .expect("there")
        };
        let (anns, bobs) = (state(&anns).await, state(&bobs).await);
        assert!(anns.session.revoke_time.is_some() && anns.ban.is_some());
        assert!(bobs.session.revoke_time.is_none() && bobs.ban.is_none());
    })
    .await;
}

#[tokio::test]
async fn the_list_pages_through_what_is_in_force_newest_first() {
    on_each_engine(async |store| {
        let at = |second| NOW.plus(Duration::from_secs(second));
        let target = || BanTarget::Network("192.0.2.1".parse().expect("a network"));
        let bans: Vec<_> = [0, 1, 1, 2]
            .into_iter()
            .map(|second| ban(target(), at(second), Some(HOUR)))
            .collect();
        for ban in &bans {
            store.insert_ban(ban, None).await.expect("banned");
        }
        store.lift_ban(&bans[3].id, at(3)).await.expect("answers");
        let first = store
            .list_bans(&PageRequest::first(2), at(3))
            .await
            .expect("answers");
        let rest = PageRequest {
            size: 2,
            after: first.next.clone(),
        };
        let second = store.list_bans(&rest, at(3)).await.expect("answers");
        assert_eq!(
            (first.items.len(), second.items.as_slice()),
            (2, &bans[..1])
        );
        store
            .delete_expired(Expired::Bans, at(0).plus(HOUR))
            .await
            .expect("deleted");
        assert_eq!(
            store
                .list_bans(&PageRequest::first(9), NOW)
                .await
                .expect("answers")
                .items,
            first.items
        );
    })
    .await;
}

#[tokio::test]
async fn a_ban_that_was_stored_before_bans_had_a_prefix_is_found() {
    on_each_engine(async |store| {
        for network in ["192.0.2.0/24", "2001:db8::/64"] {
            let ban = network_ban(network, None);
            store.insert_ban(&ban, None).await.expect("banned");
        }
        for forget in [
            "UPDATE bans SET prefix = NULL",
            "DELETE FROM ban_prefix_lengths",
        ] {
            writing!(store, forget, |db, sql| query(sql)
                .execute(db)
                .await
                .map(drop))
            .expect("forgotten");
        }
        assert_eq!(network_banned(&store, "192.0.2.7").await, None);
        store.index_old_bans().await.expect("indexed");
        for (address, network) in [
            ("192.0.2.7", "192.0.2.0/24"),
            ("2001:db8::7", "2001:db8::/64"),
        ] {
            let found = network_banned(&store, address).await;
            assert_eq!(found.as_deref(), Some(network));
        }
    })
    .await;
}
