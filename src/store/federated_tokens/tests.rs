use std::sync::{Arc, Mutex};

use super::*;
use crate::store::federated_logins::tests::{full_profile, login};
use crate::store::testing::on_each_engine;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn sealed(state: TokenState, seal: u8) -> SealedState {
    SealedState {
        state,
        seal: vec![seal],
    }
}

/// The tokens of a login, whose state has the seal `[1]`.
async fn login_s_tokens(store: &Store) -> TokensKey {
    let (user, identity) = (UserId::new(NOW), IdentityId::new());
    let login = login(&user, full_profile(), &identity, Some("ann"));
    let key = login.tokens.key.clone();
    store.commit_federated_login(login).await.expect("stored");
    key
}

#[tokio::test]
async fn a_state_is_replaced_only_if_it_is_the_one_that_was_seen() {
    on_each_engine(async |store| {
        let key = login_s_tokens(&store).await;
        let retry = NOW;
        let (begun, waiting) = (
            sealed(TokenState::Refreshing, 2),
            sealed(TokenState::Backoff { retry }, 3),
        );
        let set = async |seen: u8, new| {
            let set = store.set_token_state(&key, &[seen], new).await;
            set.expect("asked")
        };
        assert!(set(1, &begun).await);
        assert!(!set(1, &begun).await, "another attempt began");
        assert!(set(2, &waiting).await);
        assert!(!set(2, &waiting).await, "the attempt has its outcome");
        let rows = store.list_federated_tokens(&key.session_id).await;
        let row = rows.expect("listed").remove(0).1.expect("read");
        assert_eq!((row.state, row.version), (waiting.state, 1));
        assert_eq!(row.content.state_seal, Some(vec![3]));
    })
    .await;
}

#[tokio::test]
async fn new_tokens_replace_any_state_of_the_version_that_they_renew() {
    on_each_engine(async |store| {
        let key = login_s_tokens(&store).await;
        let given_up = sealed(TokenState::ReconnectRequired, 2);
        store
            .erase_refresh_token(&key, &[1], &given_up)
            .await
            .expect("stored");
        let rows = store.list_federated_tokens(&key.session_id).await;
        let mut row = rows.expect("listed").remove(0).1.expect("read");
        assert_eq!(row.content.refresh_token, None);
        row.content.state_seal = Some(vec![4]);
        let complete = async || {
            let stored = store.complete_token_refresh(&key, 1, &row.content).await;
            stored.expect("asked")
        };
        assert_eq!((complete().await, complete().await), (true, false));
        let rows = store.list_federated_tokens(&key.session_id).await;
        let row = rows.expect("listed").remove(0).1.expect("read");
        assert_eq!((row.state, row.version), (TokenState::Active, 2));
    })
    .await;
}

#[tokio::test]
async fn what_matches_no_row_is_no_change() {
    on_each_engine(async |store| {
        let key = login_s_tokens(&store).await;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hearing = Arc::clone(&heard);
        store.announcements().listen(move |change| {
            hearing.lock().expect("no panic").push(change.clone());
        });
        let (session, user) = (&key.session_id, UserId::new(NOW));
        let state = sealed(TokenState::Refreshing, 2);
        let rows = store.list_federated_tokens(session).await;
        let row = rows.expect("listed").remove(0).1.expect("read");
        store.set_token_state(&key, &[9], &state).await.expect("ok");
        let late = store.complete_token_refresh(&key, 9, &row.content).await;
        assert!(!late.expect("asked"));
        store.delete_session_tokens(session, "x").await.expect("ok");
        store.delete_user_tokens(&user, "").await.expect("ok");
        assert_eq!(*heard.lock().expect("no panic"), []);
        store.delete_session_tokens(session, "").await.expect("ok");
        let heard = heard.lock().expect("no panic");
        assert_eq!(*heard, [Announcement::TokensChanged(session.clone())]);
    })
    .await;
}
