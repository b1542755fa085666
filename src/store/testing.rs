//! New stores for tests, on each engine.

use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use super::Store;
use super::announcements::Announcements;
use super::connection::Connector;
use crate::clock::{Clock, Timestamp};
use crate::config::Database;
use crate::health::Health;
use crate::id::{SessionId, UserId};
use crate::metrics::{Ended, Metrics};
use crate::model::account::{AdminClaim, LOCAL, Profile, Registered, User};
use crate::model::session::{Opening, Session, SessionLimit};
use crate::secret::{self, Keyring, RootKey};

/// How many sessions the tests' users may have.
pub(crate) const LIMIT: SessionLimit = SessionLimit {
    most: 100,
    used_since: Timestamp::from_millis(0),
};
/// When the stores' clock stands.
const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Runs a test on SQLite, and on PostgreSQL if COUNTERSIGN_TEST_POSTGRES names a server.
pub(crate) async fn on_each_engine(test: impl AsyncFn(Store)) {
    let directory = tempfile::tempdir().expect("a directory");
    let database = Database::Sqlite(directory.path().join("test.db"));
    test(open(&database).await).await;
    if let Ok(server) = std::env::var("COUNTERSIGN_TEST_POSTGRES") {
        on_postgres(&server, test).await;
    }
}

async fn on_postgres(server: &str, test: impl AsyncFn(Store)) {
    let name = format!("countersign_{}", hex::encode(secret::random::<8>()));
    let mut admin = PgConnection::connect(server)
        .await
        .expect("the server answers");
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut admin)
        .await
        .expect("created");
    let mut url: url::Url = server.parse().expect("a URL");
    url.set_path(&name);
    let store = open(&Database::Postgres(url.as_str().into())).await;
    test(store.clone()).await;
    store.close().await;
    sqlx::query(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)")))
        .execute(&mut admin)
        .await
        .expect("dropped");
}

async fn open(database: &Database) -> Store {
    let key = RootKey::new("test", [1; 32]).expect("a good id");
    let clock = Clock::manual(START);
    let metrics = Metrics::new(&clock);
    Store::open(
        database,
        Some(Keyring::new(key, Vec::new())),
        &clock,
        &metrics,
        &Health::new(),
    )
    .await
    .expect("opens")
    .store
}

impl Store {
    /// Ends a session as another process would: this one is not told.
    pub(crate) async fn revoke_elsewhere(&self, session: &SessionId, now: Timestamp) {
        let other = Self {
            announcements: Announcements::default(),
            ..self.clone()
        };
        let ended = other.revoke_session(session, None, Ended::Revoked, now);
        assert!(ended.await.expect("ended"));
    }

    /// Connections of the test's own, if the store is on PostgreSQL.
    pub(crate) fn postgres(&self) -> Option<PgPool> {
        match self.pools.write.connector() {
            Connector::Postgres(options) => {
                let pool = PgPoolOptions::new().max_connections(2);
                Some(pool.connect_lazy_with(options.clone()))
            }
            Connector::Sqlite(_) => None,
        }
    }
}

/// Ann's profile, without an e-mail address.
pub(crate) fn profile() -> Profile {
    Profile {
        email: None,
        email_verified: false,
        unverified_email: None,
        name: "Ann".to_owned(),
        username: "ann".to_owned(),
        avatar_url: String::new(),
    }
}

/// A new session of a user that expires a day later.
pub(crate) fn new_session(user: &UserId, provider: &str, now: Timestamp) -> Session {
    Session {
        id: SessionId::new(),
        user_id: user.clone(),
        caller: "chat".to_owned(),
        provider: provider.to_owned(),
        amr: "pwd".to_owned(),
        acr: String::new(),
        salt: secret::random::<16>().to_vec(),
        generation: 1,
        ip_address: String::new(),
        user_agent: String::new(),
        device_name: String::new(),
        request_id: None,
        auth_time: now,
        create_time: now,
        refresh_time: now,
        expire_time: now.plus(std::time::Duration::from_hours(24)),
        revoke_time: None,
        last_seen_time: now,
    }
}

/// A new user with a live session.
pub(crate) async fn signed_in(store: &Store, now: Timestamp) -> (UserId, SessionId) {
    let user = User::new(UserId::new(now), LOCAL.to_owned(), profile(), now);
    let made = store.insert_local_user(user, "", AdminClaim::None).await;
    let Registered::Made(user) = made.expect("stored") else {
        panic!("there is no address to be taken")
    };
    let session = new_session(&user.id, LOCAL, now);
    let opened = store.insert_session(&session, LIMIT).await;
    let (create_time, ended) = (session.create_time, 0);
    let expected = Opening::Opened { create_time, ended };
    assert_eq!(opened.expect("stored"), expected);
    (user.id, session.id)
}
