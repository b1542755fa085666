use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;

use super::*;
use crate::clock::Timestamp;
use crate::id::IdentityId;
use crate::model::email::Email;
use crate::model::provider_tokens::{NewTokens, SealedTokens, TokensKey};
use crate::store::testing::{LIMIT, new_session, on_each_engine, profile};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// The login of a user. If `subject` is given, it makes a new identity.
pub(in crate::store) fn login(
    user: &UserId,
    profile: Profile,
    identity: &IdentityId,
    subject: Option<&str>,
) -> ConfirmedLogin {
    let session = new_session(user, "openid", NOW);
    let content = SealedTokens {
        access_token: vec![1],
        access_expire_time: NOW,
        id_token: None,
        id_expire_time: None,
        refresh_token: Some(vec![1]),
        claims: vec![1],
        scopes: String::new(),
        state_seal: Some(vec![1]),
        update_time: NOW,
    };
    let account = match subject {
        Some(subject) => ConfirmedAccount::New {
            user: User::new(user.clone(), "openid".to_owned(), profile, NOW),
            identity: NewIdentity {
                id: identity.clone(),
                issuer: "https://idp.example".to_owned(),
                subject: subject.to_owned(),
            },
        },
        None => ConfirmedAccount::Known(profile),
    };
    ConfirmedLogin {
        account,
        tokens: NewTokens {
            key: TokensKey {
                session_id: session.id.clone(),
                identity_id: identity.clone(),
            },
            provider: "openid".to_owned(),
            content,
        },
        session,
        limit: LIMIT,
    }
}

#[tokio::test]
async fn a_confirmed_login_and_a_session_of_a_backend_take_no_turn() {
    on_each_engine(async |store| {
        let mut turns = Vec::new();
        while let Some(turn) = store.lanes.turn(Lane::SignIns).now_or_never() {
            turns.push(turn.expect("a turn"));
        }
        let user = UserId::new(NOW);
        let confirmed = login(&user, full_profile(), &IdentityId::new(), Some("ann-1"));
        let committed = store.commit_federated_login(confirmed).await;
        assert!(matches!(committed, Ok(Committed::SignedIn { .. })));
        let session = new_session(&user, "caller", NOW);
        let opened = store.insert_session(&session, LIMIT).await;
        assert!(matches!(opened, Ok(Opening::Opened { .. })));
        assert!(!turns.is_empty());
    })
    .await;
}

/// A user's profile with an e-mail address and an avatar.
pub(in crate::store) fn full_profile() -> Profile {
    Profile {
        email: Some(Email::parse("ann@x.example").expect("an address")),
        email_verified: true,
        avatar_url: "https://x.example/ann.png".to_owned(),
        ..profile()
    }
}

/// Signs a user in and returns their next login.
async fn next_login(store: &Store, change: impl FnOnce(&mut Profile)) -> ConfirmedLogin {
    let (user, identity) = (UserId::new(NOW), IdentityId::new());
    store
        .commit_federated_login(login(&user, full_profile(), &identity, Some("ann")))
        .await
        .expect("signed in");
    let mut again = full_profile();
    change(&mut again);
    login(&user, again, &identity, None)
}

#[tokio::test]
async fn what_a_provider_leaves_out_at_a_login_stays() {
    on_each_engine(async |store| {
        let next = next_login(&store, |user| {
            (user.name, user.username, user.avatar_url, user.email) =
                ("Lee".to_owned(), String::new(), String::new(), None);
        });
        let committed = store
            .commit_federated_login(next.await)
            .await
            .expect("no fault");
        let Committed::SignedIn { user, .. } = committed else {
            panic!("{committed:?}")
        };
        assert_eq!(
            (
                user.name.as_str(),
                user.username.as_str(),
                user.avatar_url.as_str()
            ),
            ("Lee", "ann", "https://x.example/ann.png")
        );
        assert_eq!(
            (user.email.as_ref().map(Email::as_str), user.email_verified),
            (Some("ann@x.example"), true)
        );
    })
    .await;
}

#[tokio::test]
async fn an_address_that_is_no_longer_verified_is_taken_away_and_another_one_is_not() {
    on_each_engine(async |store| {
        let (user, identity) = (UserId::new(NOW), IdentityId::new());
        let sign_in = async |profile, subject| {
            let login = login(&user, profile, &identity, subject);
            match store.commit_federated_login(login).await {
                Ok(Committed::SignedIn { user, .. }) => (user.email.is_some(), user.email_verified),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(sign_in(full_profile(), Some("ann")).await, (true, true));
        for (unverified, kept) in [("bob@x.example", true), ("ann@x.example", false)] {
            let profile = Profile {
                unverified_email: Email::parse(unverified).ok(),
                ..profile()
            };
            assert_eq!(sign_in(profile, None).await, (kept, kept), "{unverified}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_login_announces_a_change_only_if_it_changed_what_a_token_tells_of_the_user() {
    on_each_engine(async |store| {
        let (user, identity) = (UserId::new(NOW), IdentityId::new());
        let announced = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&announced);
        store.announcements().listen(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let sign_in = async |profile, subject| {
            let login = login(&user, profile, &identity, subject);
            let committed = store.commit_federated_login(login).await;
            let committed = committed.expect("no fault");
            assert!(
                matches!(committed, Committed::SignedIn { .. }),
                "{committed:?}"
            );
            announced.load(Ordering::SeqCst)
        };
        assert_eq!(sign_in(full_profile(), Some("ann")).await, 0);
        assert_eq!(sign_in(full_profile(), None).await, 0);
        let mut profile = full_profile();
        "https://x.example/ann.png?signature=2".clone_into(&mut profile.avatar_url);
        assert_eq!(sign_in(profile.clone(), None).await, 0);
        "Lee".clone_into(&mut profile.name);
        assert_eq!(sign_in(profile, None).await, 1);
    })
    .await;
}

#[tokio::test]
async fn an_address_that_is_taken_meanwhile_is_no_fault() {
    on_each_engine(async |store| {
        let address = || Some(Email::parse("new@x.example").expect("an address"));
        let next = next_login(&store, |user| user.email = address()).await;
        let bob = Profile {
            email: address(),
            ..full_profile()
        };
        let bob = User::new(UserId::new(NOW), "openid".to_owned(), bob, NOW);
        let mut tx = store.begin().await.expect("begun");
        users::insert(&mut tx, bob, AdminClaim::None)
            .await
            .expect("no fault")
            .expect("inserted");
        let registration = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            tx.commit().await
        };
        let (registration, login) = tokio::join!(registration, store.commit_federated_login(next));
        registration.expect("no fault");
        // SQLite has one writer, so there the login waits and then sees that the address is taken.
        assert!(matches!(
            login.expect("no fault"),
            Committed::Changed | Committed::SignedIn { .. }
        ));
    })
    .await;
}
