//! A PostgreSQL server that falls silent or is gone, while its connections stay open.

use std::time::Duration;

use countersign::clock::Clock;
use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use countersign::grpc::proto::*;
use futures_util::future::join_all;
use tokio::task::spawn_blocking;
use tonic::{Code, Status};

use crate::support::binary::Binary;
use crate::support::calls::by_user;
use crate::support::engine::KEYS;
use crate::support::process::Process;
use crate::support::proxy::Proxy;
use crate::support::{Engine, World, on_each_engine, reason};
use crate::verify::ACTIVE;

/// How long a service may take until it is served on new connections. A statement takes nine seconds
/// until it is given up.
const RECOVERY: Duration = Duration::from_secs(15);
/// How many reports are at work in the store at once.
const TURNS: i64 = 6;
/// Counts the reports that wait for the lock of `Engine::hold_violations`.
const WAITING: &str =
    "SELECT COUNT(*) FROM pg_locks WHERE relation = 'violations'::regclass AND NOT granted";
/// Counts those that wait for the lock of `Engine::hold_migrations`.
const MIGRATING: &str =
    "SELECT COUNT(*) FROM pg_locks WHERE relation = '_sqlx_migrations'::regclass AND NOT granted";
/// How many causes a call may fail for if connections are silent and new ones are refused.
const CAUSES: usize = 4;
/// How long a call may take if the database refuses connections.
const REFUSED: Duration = Duration::from_millis(250);

/// A proxy of PostgreSQL, and the URL that leads through it.
async fn proxied(engine: &Engine) -> Option<(String, Proxy)> {
    let Engine::Postgres { .. } = engine else {
        return None;
    };
    let mut url: url::Url = engine.url().parse().expect("a URL");
    let host = url.host_str().expect("a host").to_owned();
    let proxy = Proxy::start(host, url.port().unwrap_or(5432)).await;
    url.set_host(Some("127.0.0.1")).expect("a host");
    url.set_port(Some(proxy.port)).expect("a port");
    Some((url.into(), proxy))
}

/// A service that reaches PostgreSQL through a proxy.
pub async fn behind_proxy<'a>(
    engine: &'a Engine,
    settings: &[(&str, &str)],
) -> Option<(World<'a>, Proxy)> {
    let (url, proxy) = proxied(engine).await?;
    let settings = [settings, &[("DATABASE_URL", url.as_str())]].concat();
    let world = World::start(engine, &settings).await;
    Some((world, proxy))
}

fn unavailable() -> (Code, String) {
    (Code::Unavailable, "STORE_UNAVAILABLE".to_owned())
}

async fn report(world: &World<'_>, user_id: &str) -> Result<i64, Status> {
    let request = RecordViolationRequest {
        user_id: user_id.to_owned(),
        r#type: "message_limit".to_owned(),
        ..Default::default()
    };
    let recorded = world.moderation().record_violation(request).await;
    recorded.map(|answer| i64::from(answer.into_inner().score))
}

/// A call that always reads the store, and shares its reading with no other.
async fn read(world: &World<'_>, user_id: &str) -> Result<(), Status> {
    let user = by_user(user_id).map(get_user_request::User::Subject);
    let answer = world.auth().get_user(GetUserRequest { user }).await;
    answer.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn if_all_connections_fall_silent_under_writes_calls_are_served_again_on_new_ones() {
    on_each_engine(async |engine| {
        let Some((world, proxy)) = behind_proxy(engine, &[]).await else {
            return;
        };
        let users: Vec<_> = (0..40).map(|n| format!("{n:024}")).collect();
        // Each report has its own user, because the silent connections keep their locks.
        let reports = join_all(
            users[..20]
                .iter()
                .cycle()
                .take(40)
                .map(|user| report(&world, user)),
        );
        let clock = Clock::system();
        let held = engine.hold_violations().await;
        let silence = async {
            // Until as many are under way as may be at a time.
            while engine.number(WAITING).await < TURNS {
                assert!(clock.elapsed() < RECOVERY, "few reports are under way");
            }
            proxy.silence();
            held.release().await;
            clock.elapsed()
        };
        let (reports, silent) = futures_util::future::join(reports, silence).await;
        assert!(reports.iter().all(Result::is_err), "some were not silent");
        while let Err(status) = report(&world, &users[20]).await {
            assert!(
                ["STORE_UNAVAILABLE", "BUSY", "DEADLINE_EXCEEDED"]
                    .contains(&reason(&status).1.as_str()),
                "{status:?}"
            );
            let waited = clock.elapsed().saturating_sub(silent);
            assert!(waited < RECOVERY, "not served after {waited:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let again = join_all(users[20..].iter().map(|user| report(&world, user))).await;
        assert!(again.iter().all(Result::is_ok), "{again:?}");
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_the_database_is_silent_one_call_asks_it_and_the_others_fail_at_once() {
    on_each_engine(async |engine| {
        let Some((world, proxy)) = behind_proxy(engine, &[]).await else {
            return;
        };
        let user = world.register("ann@example.com").await;
        proxy.freeze();
        // The first failure shows that the database is silent.
        let clock = Clock::system();
        let first = read(&world, &user.id).await;
        let one = clock.elapsed();
        assert_eq!(reason(&first.expect_err("silent")), unavailable());
        let before = proxy.connections();
        for answer in join_all((0..40).map(|_| read(&world, &user.id))).await {
            assert_eq!(reason(&answer.expect_err("silent")), unavailable());
        }
        let all = clock.elapsed().saturating_sub(one);
        assert!(
            all < one.max(REFUSED) * 20,
            "{all:?} for 40 calls, {one:?} for one"
        );
        let asked = proxy.connections() - before;
        // None, if the service itself asks at the moment whether the database answers.
        assert!(asked <= 3, "{asked} of 40 calls asked");
        proxy.thaw();
        let mut tries = 0;
        while read(&world, &user.id).await.is_err() {
            tries += 1;
            assert!(tries < 300, "the service does not ask again");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let waited = clock.elapsed().saturating_sub(one + all);
        assert!(waited < RECOVERY, "not served after {waited:?}");
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn if_connections_are_refused_all_verifications_of_a_session_fail_together() {
    on_each_engine(async |engine| {
        let Some((world, mut proxy)) = behind_proxy(engine, &[]).await else {
            return;
        };
        let (_, tokens) = world.signed_in("ann@example.com").await;
        assert_eq!(world.verdict(&tokens.access_token).await, ACTIVE);
        // What is known of the token does not count any more.
        world.clock.advance(Duration::from_secs(31));
        proxy.silence();
        proxy.refuse().await;
        let verify = || async {
            let request = VerifyTokenRequest {
                access_token: tokens.access_token.clone(),
                audience: String::new(),
            };
            world.tokens().verify_token(request).await
        };
        // The first ones find that the connections are silent.
        for round in 0..3 {
            let clock = Clock::system();
            for answer in join_all((0..20).map(|_| verify())).await {
                assert_eq!(reason(&answer.expect_err("no store")), unavailable());
            }
            // One after the other they would take up to twenty times as long as one may.
            let all = clock.elapsed();
            assert!(round == 0 || all < REFUSED * 10, "{all:?} for 20 calls");
        }
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rotation_that_the_store_wrote_after_the_call_had_failed_is_no_reuse() {
    on_each_engine(async |engine| {
        let Some((world, proxy)) = behind_proxy(engine, &[]).await else {
            return;
        };
        let (_, first) = world.signed_in("ann@example.com").await;
        // The connection knows the statement, so that only its parameters have to be sent.
        let first = world.refresh(&first.refresh_token).await.expect("fresh");
        let held = engine.hold_rotations().await;
        let interrupted = async {
            let waiting = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND relation = 'sessions'::regclass";
            while engine.number(waiting).await == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            proxy.silence();
            held.release().await;
            let generation = format!("SELECT generation FROM sessions WHERE id = '{}'", first.session_id);
            while engine.number(&generation).await == 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let (lost, ()) = tokio::join!(world.refresh(&first.refresh_token), interrupted);
        assert_eq!(reason(&lost.map(drop).expect_err("no answer")), unavailable());
        // Longer than the grace time.
        world.clock.advance(Duration::from_mins(1));
        let successor = loop {
            match world.refresh(&first.refresh_token).await {
                Err(status) if status.code() == Code::Unavailable => {}
                answer => break answer.expect("no reuse"),
            }
        };
        let next = world.refresh(&successor.refresh_token).await;
        next.expect("the successor is the current one");
        // It is settled now, and using the token once more is reuse.
        let status = world.refresh(&first.refresh_token).await.expect_err("used");
        assert_eq!(reason(&status).1, "REFRESH_TOKEN_REUSED");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn calls_that_fail_for_the_same_cause_share_a_line_of_the_log() {
    on_each_engine(async |engine| {
        let Some((url, mut proxy)) = proxied(engine).await else {
            return;
        };
        let settings = engine.settings();
        let settings = settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let settings: Vec<_> = settings.chain([("DATABASE_URL", url.as_str())]).collect();
        let process = Process::start(&settings).await;
        let list = || async {
            let mut auth = AuthServiceClient::new(process.channel.clone());
            auth.list_users(ListUsersRequest::default()).await
        };
        list().await.expect("it has started");
        proxy.silence();
        proxy.refuse().await;
        for _ in 0..3 {
            let calls = join_all((0..20).map(|_| list()));
            assert!(calls.await.iter().all(Result::is_err));
        }
        let log = process.stop().await;
        let is_told = |line: &&str| line.contains("WARN") && line.contains(" unavailable ");
        let lines: Vec<_> = log.lines().filter(is_told).collect();
        assert!((1..=CAUSES).contains(&lines.len()), "{lines:#?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_that_falls_silent_while_its_tables_are_brought_up_to_date_ends_the_start() {
    on_each_engine(async |engine| {
        let Some((url, proxy)) = proxied(engine).await else {
            return;
        };
        World::start(engine, &[]).await.end().await;
        let held = engine.hold_migrations().await;
        let started = spawn_blocking(move || {
            let settings = [
                ("DATABASE_URL", url.as_str()),
                ("COUNTERSIGN_ENCRYPTION_KEYS", KEYS),
                ("COUNTERSIGN_LISTEN", "127.0.0.1:0"),
            ];
            Binary::new().run(&["serve"], &settings)
        });
        while engine.number(MIGRATING).await == 0 {
            assert!(!started.is_finished(), "it does not wait");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        proxy.freeze();
        let printed = started.await.expect("it ends");
        assert!(!printed.succeeded);
        let told = format!("PostgreSQL at 127.0.0.1:{} does not answer", proxy.port);
        assert!(printed.error.contains(&told), "{}", printed.error);
        held.release().await;
    })
    .await;
}
