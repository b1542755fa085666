//! Transactions that PostgreSQL aborts because of a conflict with another one.

use std::time::Duration;

use sqlx::{PgPool, query_scalar, raw_sql};

use super::backend::ROUNDS;
use super::federated_logins::tests::{full_profile, login};
use super::testing::{on_each_engine, profile, signed_in};
use super::{Store, StoreError};
use crate::clock::{Clock, Timestamp};
use crate::error::Error;
use crate::id::{BanId, IdentityId, UserId};
use crate::metrics::Ended;
use crate::model::account::{AdminClaim, LOCAL, User};
use crate::model::ban::{Ban, BanTarget};
use crate::model::identity::{Committed, FederatedLogin};
use crate::model::provider_tokens::{SealedState, TokenState};
use crate::model::session::{Device, Refresh, SessionState};
use crate::model::violation::{NewViolation, Penalty};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Every write takes a number, which is not given back if its transaction is rolled back, and up to
/// the number of losses it fails.
const LOSING: &str = "CREATE SEQUENCE writes;
    CREATE TABLE losses AS SELECT 0::bigint AS count;
    CREATE FUNCTION lose() RETURNS trigger AS $$ BEGIN
        IF nextval('writes') <= (SELECT count FROM losses) THEN RAISE EXCEPTION USING ERRCODE = '40001'; END IF; RETURN NULL;
    END $$ LANGUAGE plpgsql;
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'losses' LOOP
            EXECUTE format('CREATE TRIGGER lose BEFORE INSERT OR UPDATE OR DELETE ON %I FOR EACH STATEMENT EXECUTE FUNCTION lose()', name);
        END LOOP;
    END $$";

/// A PostgreSQL database whose next transactions lose.
struct Losing(PgPool);

impl Losing {
    async fn new(store: &Store) -> Option<Self> {
        let pool = store.postgres()?;
        raw_sql(LOSING).execute(&pool).await.expect("set up");
        Some(Self(pool))
    }

    async fn lose(&self, rounds: usize) {
        let sql = "UPDATE losses SET count = $1 + setval('writes', 1, false) - 1";
        let rounds = i64::try_from(rounds).expect("a number");
        sqlx::query(sql)
            .bind(rounds)
            .execute(&self.0)
            .await
            .expect("set");
    }

    /// The transaction succeeds in its last round.
    async fn survive<T>(&self, what: &str, work: impl Future<Output = Result<T, StoreError>>) -> T {
        self.lose(ROUNDS - 1).await;
        let done = work.await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let writes: i64 = query_scalar("SELECT last_value FROM writes")
            .fetch_one(&self.0)
            .await
            .expect("read");
        assert!(writes >= i64::try_from(ROUNDS).expect("a number"), "{what}");
        done
    }
}

fn ban(user: &UserId) -> Ban {
    Ban {
        id: BanId::new(NOW),
        target: BanTarget::User(user.clone()),
        reason: String::new(),
        violation_type: String::new(),
        caller: "desk".to_owned(),
        create_time: NOW,
        expire_time: None,
    }
}

#[tokio::test]
async fn moderations_transactions_are_repeated_after_a_conflict() {
    on_each_engine(async |store| {
        let (user, _) = signed_in(&store, NOW).await;
        let Some(losing) = Losing::new(&store).await else {
            return;
        };
        let ban = ban(&user);
        losing.survive("ban", store.insert_ban(&ban, None)).await;
        let lifted = losing.survive("lift", store.lift_ban(&ban.id, NOW)).await;
        assert_eq!(lifted.as_ref(), Some(&ban));
        let violation = NewViolation {
            caller: "chat",
            request_id: None,
            kind: "logins",
            user: Some(&user),
            address: None,
            added: 7,
            score_given: true,
            create_time: NOW,
            score_expire_time: None,
        };
        let recorded = store.record_violation(&violation, |_, _| Penalty::Nothing);
        assert_eq!(
            losing
                .survive("violation", recorded)
                .await
                .map(|recorded| recorded.score),
            Some(7)
        );
        let window = Duration::from_secs(1);
        let attempt = store.count_attempt("login", "192.0.2.1", window, NOW);
        assert_eq!(losing.survive("attempt", attempt).await.count, 1);
    })
    .await;
}

#[tokio::test]
async fn transactions_of_sign_ins_and_sessions_are_repeated_after_a_conflict() {
    on_each_engine(async |store| {
        let (user, session) = signed_in(&store, NOW).await;
        let Some(losing) = Losing::new(&store).await else {
            return;
        };
        let new = User::new(UserId::new(NOW), LOCAL.to_owned(), profile(), NOW);
        let made = store.insert_local_user(new, "", AdminClaim::None);
        losing.survive("account", made).await;
        let device = Device {
            ip_address: String::new(),
            user_agent: String::new(),
            name: String::new(),
        };
        let clock = Clock::manual(NOW);
        let rotate = |_: &SessionState| Refresh::<()>::Rotate(device);
        let refreshed = store.refresh_session(&session, &clock, rotate);
        losing.survive("refresh", refreshed).await;
        let revoked = store.revoke_session(&session, None, Ended::Revoked, NOW);
        losing.survive("revoke", revoked).await;
        let revoked = store.revoke_user_sessions(&user, None, Ended::Revoked, NOW);
        losing.survive("revoke all", revoked).await;
        let begun = FederatedLogin {
            state_hash: vec![1],
            binding_hash: vec![1],
            provider: "openid".to_owned(),
            caller: "chat".to_owned(),
            secrets: vec![1],
            return_to: String::new(),
            expire_time: NOW,
        };
        let inserted = store.insert_federated_login(&begun);
        losing.survive("begin", inserted).await;
        let consumed = losing.survive("consume", store.consume_federated_login(&[1]));
        assert!(consumed.await.is_some());
        let login = login(
            &UserId::new(NOW),
            full_profile(),
            &IdentityId::new(),
            Some("ann"),
        );
        let key = login.tokens.key.clone();
        let committed = store.commit_federated_login(login);
        let committed = losing.survive("login", committed).await;
        assert!(
            matches!(committed, Committed::SignedIn { .. }),
            "{committed:?}"
        );
        let sealed = |state| SealedState {
            state,
            seal: vec![2],
        };
        let begun = sealed(TokenState::Refreshing);
        let attempt = store.set_token_state(&key, &[1], &begun);
        assert!(losing.survive("attempt", attempt).await);
        let given_up = sealed(TokenState::ReconnectRequired);
        let failed = store.erase_refresh_token(&key, &[2], &given_up);
        assert!(losing.survive("outcome", failed).await);
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_loses_too_often_is_busy() {
    on_each_engine(async |store| {
        let (user, _) = signed_in(&store, NOW).await;
        let Some(losing) = Losing::new(&store).await else {
            return;
        };
        losing.lose(ROUNDS).await;
        let lost = store.insert_ban(&ban(&user), None).await.expect_err("lost");
        assert!(matches!(lost.into(), Error::Busy { .. }));
    })
    .await;
}
