use std::time::Duration;

use super::*;
use crate::id::SessionId;
use crate::secret;
use crate::store::federated_tokens::SealedTokens;
use crate::store::sessions::Client;
use crate::store::testing::on_each_engine;

/// The login of a user, whose identity is made with `subject` where that is given.
pub(in crate::store) fn login(
    user: NewUser,
    identity: &IdentityId,
    subject: Option<&str>,
) -> ConfirmedLogin {
    let now = user.create_time;
    let session = NewSession {
        id: SessionId::new(),
        user_id: user.id.clone(),
        caller: "chat".to_owned(),
        provider: "openid".to_owned(),
        amr: "fed".to_owned(),
        salt: secret::random(),
        client: Client::default(),
        request_id: None,
        auth_time: now,
        create_time: now,
        expire_time: now.plus(Duration::from_hours(24)),
    };
    let content = SealedTokens {
        access_token: vec![1],
        access_expire_time: now,
        id_token: None,
        id_expire_time: None,
        refresh_token: None,
        claims: vec![1],
        scopes: String::new(),
    };
    let (id, issuer) = (identity.clone(), "https://idp.example".to_owned());
    ConfirmedLogin {
        new_identity: subject.map(|subject| NewIdentity {
            id,
            issuer,
            subject: subject.to_owned(),
        }),
        tokens: FederatedTokens {
            session_id: session.id.clone(),
            identity_id: identity.clone(),
            provider: "openid".to_owned(),
            content,
            update_time: now,
        },
        user,
        session,
    }
}

/// A user as their provider describes them.
pub(in crate::store) fn described(id: UserId, now: Timestamp) -> NewUser {
    NewUser {
        id,
        email: Some("ann@x.example".to_owned()),
        email_verified: true,
        name: "Ann".to_owned(),
        username: "ann".to_owned(),
        provider: "openid".to_owned(),
        avatar_url: "https://x.example/ann.png".to_owned(),
        create_time: now,
    }
}

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Signs a user in, and gives the next login of theirs.
async fn next_login(store: &Store, change: impl FnOnce(&mut NewUser)) -> ConfirmedLogin {
    let (user, identity) = (UserId::new(NOW), IdentityId::new());
    store
        .commit_federated_login(login(described(user.clone(), NOW), &identity, Some("ann")))
        .await
        .expect("signed in");
    let mut again = described(user, NOW);
    change(&mut again);
    login(again, &identity, None)
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
        let Committed::SignedIn(user) = committed else {
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
            (user.email.as_deref(), user.email_verified),
            (Some("ann@x.example"), true)
        );
    })
    .await;
}

#[tokio::test]
async fn an_address_that_is_taken_meanwhile_is_no_fault() {
    on_each_engine(async |store| {
        let address = || Some("new@x.example".to_owned());
        let next = next_login(&store, |user| user.email = address()).await;
        let bob = NewUser {
            email: address(),
            ..described(UserId::new(NOW), NOW)
        };
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
        // SQLite has one writer: there, the login waits and sees that the address is taken.
        assert!(matches!(
            login.expect("no fault"),
            Committed::Changed | Committed::SignedIn(_)
        ));
    })
    .await;
}
