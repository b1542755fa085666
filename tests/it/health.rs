//! `grpc.health.v1` and the probes tell whether the store answers, and the subcommands ask for it.

use std::time::Duration;

use countersign::grpc::proto::ListProvidersRequest;
use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::ops::get;
use crate::silent_store::behind_proxy;
use crate::support::authority::{Authority, Mounted};
use crate::support::binary::{Binary, Printed};
use crate::support::engine::KEYS;
use crate::support::{Engine, World, on_each_engine};

const OPS: (&str, &str) = ("COUNTERSIGN_OPS_LISTEN", "127.0.0.1:0");
const SIDE: (&str, &str) = ("COUNTERSIGN_HEALTH_LISTEN", "127.0.0.1:0");
/// Everything that has a status.
const SERVICES: [&str; 5] = [
    "",
    "countersign.v1.AuthService",
    "countersign.v1.FederationService",
    "countersign.v1.ModerationService",
    "countersign.v1.TokenService",
];
/// The names that a startup and a liveness probe ask for.
const PROBES: [&str; 2] = ["startup", "liveness"];
/// How often a status is looked at until it must have changed.
const LOOKS: usize = 200;

fn request(service: &str) -> HealthCheckRequest {
    let service = service.to_owned();
    HealthCheckRequest { service }
}

/// The status of everything that has one.
async fn statuses(channel: &Channel) -> Vec<ServingStatus> {
    asked_for(channel, &SERVICES).await
}

async fn asked_for(channel: &Channel, services: &[&str]) -> Vec<ServingStatus> {
    let mut client = HealthClient::new(channel.clone());
    let mut statuses = Vec::new();
    for service in services {
        let answer = client.check(request(service)).await.expect("known");
        statuses.push(answer.into_inner().status());
    }
    statuses
}

/// Lets seconds of the service's clock pass until readiness has this status.
async fn until(world: &World<'_>, expected: u16) -> String {
    let ops = world.replica().ops.expect("listens");
    for _ in 0..LOOKS {
        let (status, text) = get(ops, "/readyz").await;
        if status == expected {
            return text;
        }
        world.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("/readyz is not {expected}");
}

async fn channel(world: &World<'_>) -> Channel {
    let address = world.replica().health.expect("listens");
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URL");
    endpoint.connect().await.expect("connects")
}

/// What `countersign health` prints.
fn asked(arguments: &[&str], variables: &[(&str, &str)]) -> Printed {
    let arguments = [&["health"], arguments].concat();
    tokio::task::block_in_place(|| Binary::new().run(&arguments, variables))
}

/// `countersign health` succeeds, and says SERVING alone.
fn expect_serving(arguments: &[&str], variables: &[(&str, &str)]) {
    let printed = asked(arguments, variables);
    let told = (
        printed.succeeded,
        printed.out.as_str(),
        printed.error.as_str(),
    );
    assert_eq!(told, (true, "SERVING\n", ""), "{arguments:?}");
}

/// The store falls silent, or refuses, and comes back.
async fn told(world: &World<'_>, away: impl AsyncFnOnce(), back: impl AsyncFnOnce()) {
    let (main, ops) = (world.channel(), world.replica().ops.expect("listens"));
    assert_eq!(statuses(&main).await, [ServingStatus::Serving; 5]);
    // A connection without a call of a caller is closed before long.
    let call = world.auth().list_providers(ListProvidersRequest {}).await;
    call.expect("answered");
    let mut watch = HealthClient::new(main.clone())
        .watch(request("countersign.v1.AuthService"))
        .await
        .expect("a stream")
        .into_inner();
    let mut next = async || watch.message().await.expect("good").expect("one").status();
    assert_eq!(next().await, ServingStatus::Serving);

    away().await;
    assert_eq!(until(world, 503).await, "store: does not answer\n");
    assert_eq!(next().await, ServingStatus::NotServing);
    assert_eq!(get(ops, "/livez").await.0, 200);
    assert_eq!(get(ops, "/startupz").await.0, 200);
    // Known tokens are verified from memory for half a minute.
    for channel in [&main, &channel(world).await] {
        let statuses = statuses(channel).await;
        assert_eq!(statuses[..4], [ServingStatus::NotServing; 4]);
        assert_eq!(statuses[4], ServingStatus::Serving);
        assert_eq!(
            asked_for(channel, &PROBES).await,
            [ServingStatus::Serving; 2]
        );
    }
    let not_serving = async || statuses(&main).await == [ServingStatus::NotServing; 5];
    let mut looks = 0;
    while !not_serving().await {
        looks += 1;
        assert!(looks < LOOKS, "TokenService is still SERVING");
        world.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let address = world.replica().address.to_string();
    let printed = asked(&["--address", &address], &[]);
    assert_eq!(
        (printed.succeeded, printed.out.as_str()),
        (false, "NOT_SERVING\n")
    );

    back().await;
    until(world, 200).await;
    assert_eq!(next().await, ServingStatus::Serving);
    for channel in [&main, &channel(world).await] {
        assert_eq!(statuses(channel).await, [ServingStatus::Serving; 5]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_the_store_is_silent_only_known_tokens_are_served_and_the_process_stays_alive() {
    on_each_engine(async |engine| {
        let Some((world, proxy)) = behind_proxy(engine, &[OPS, SIDE]).await else {
            return;
        };
        told(&world, async || proxy.freeze(), async || proxy.thaw()).await;
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_the_store_is_gone_only_known_tokens_are_served_and_the_process_stays_alive() {
    on_each_engine(async |engine| {
        if !matches!(engine, Engine::Postgres { .. }) {
            return;
        }
        let world = World::start(engine, &[OPS, SIDE]).await;
        told(
            &world,
            async || engine.take_away().await,
            async || engine.give_back().await,
        )
        .await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn the_clock_of_a_service_may_jump_and_it_stays_ready() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[OPS, SIDE]).await;
        let ops = world.replica().ops.expect("listens");
        for _ in 0..20 {
            world.clock.advance(Duration::from_mins(10));
            assert_eq!(get(ops, "/readyz").await.0, 200);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn the_health_listener_serves_health_and_nothing_else() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[SIDE]).await;
        let channel = channel(&world).await;
        assert_eq!(statuses(&channel).await, [ServingStatus::Serving; 5]);
        let unknown = HealthClient::new(channel.clone()).check(request("x")).await;
        assert_eq!(unknown.expect_err("unknown").code(), Code::NotFound);
        let mut auth = AuthServiceClient::new(channel.clone());
        let refused = auth.list_providers(ListProvidersRequest {}).await;
        assert_eq!(
            refused.expect_err("health alone").code(),
            Code::Unimplemented
        );
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.expect("connected");
        let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
        let path = http::uri::PathAndQuery::from_static(path);
        let asked = grpc
            .unary(tonic::Request::new(request("")), path, codec)
            .await;
        assert_eq!(asked.expect_err("health alone").code(), Code::Unimplemented);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn silent_connections_keep_no_probe_out_of_the_health_listener() {
    let engine = Engine::sqlite();
    let world = World::start(&engine, &[SIDE]).await;
    let address = world.replica().health.expect("listens");
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(address).await.expect("connects"));
    }
    let channel = channel(&world).await;
    assert_eq!(statuses(&channel).await, [ServingStatus::Serving; 5]);
    world.end().await;
}

#[tokio::test]
async fn connections_of_the_health_listener_are_not_counted_as_those_of_callers() {
    let engine = Engine::sqlite();
    let world = World::start(&engine, &[SIDE]).await;
    for _ in 0..3 {
        statuses(&channel(&world).await).await;
    }
    // The client of the main listener has one.
    assert!(world.count("countersign_connections_accepted_total", "") <= 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_subcommand_asks_the_server_of_its_settings() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[SIDE]).await;
        let (main, side) = (world.replica().address, world.replica().health);
        let (main, side) = (main.to_string(), side.expect("listens").port());
        let everywhere = format!("0.0.0.0:{side}");
        let all = [("COUNTERSIGN_HEALTH_LISTEN", everywhere.as_str())];
        for (arguments, variables) in [
            (&[][..], &[("COUNTERSIGN_LISTEN", main.as_str())][..]),
            (&[], &all),
            (&["--service", "countersign.v1.TokenService"], &all),
            (&["--service", "liveness"], &all),
            (&["--address", &main, "--timeout", "5"], &[]),
        ] {
            expect_serving(arguments, variables);
        }
        let unknown = asked(&["--address", &main, "--service", "x"], &[]);
        assert!(!unknown.succeeded);
        assert_eq!(unknown.error, format!("{main} does not know the service\n"));
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_subcommand_asks_a_server_that_speaks_tls_if_it_trusts_its_certificate() {
    let (engine, authority) = (Engine::sqlite(), Authority::new());
    let files = Mounted::new(&authority.server(), &authority);
    let settings = files.settings();
    let ca = files.client_ca();
    let mut settings: Vec<_> = settings
        .iter()
        .map(|(name, path)| (*name, &**path))
        .collect();
    settings.push((ca.0, &ca.1));
    let world = World::start(&engine, &settings).await;
    let port = world.address().port();
    let (main, named) = (world.address().to_string(), format!("localhost:{port}"));
    let mut found = settings.clone();
    found.push(("COUNTERSIGN_LISTEN", &main));
    let (own, signer) = (settings[0].1, settings[2].1);
    for (arguments, variables) in [
        // Its own certificate is known by itself, and names no address.
        (&[][..], &found[..]),
        (&["--address", &main, "--ca", own], &[]),
        (&["--address", &named, "--ca", signer], &[]),
    ] {
        expect_serving(arguments, variables);
    }
    for (arguments, fault) in [
        (&["--ca", signer][..], "invalid peer certificate"),
        (
            &["--ca", "/nowhere"],
            "--ca names a file that cannot be read",
        ),
        (&[], "by TLS"),
    ] {
        let arguments = [&["--address", &main], arguments].concat();
        let printed = asked(&arguments, &[]);
        assert!(
            !printed.succeeded && printed.error.contains(fault),
            "{}",
            printed.error
        );
    }
    let other = Authority::new();
    files.swap(&other.server(), &other);
    let printed = asked(&[], &found);
    assert!(
        printed.error.contains("invalid peer certificate"),
        "{}",
        printed.error
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_subcommand_says_what_failed_if_nobody_answers() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    let printed = asked(&["--address", &address, "--timeout", "1"], &[]);
    assert!(!printed.succeeded);
    assert_eq!(
        printed.error,
        format!(
            "{address} did not answer within 1 seconds: see the server's log, or wait longer with --timeout\n"
        )
    );
    drop(silent);
    let printed = asked(&["--address", &address], &[]);
    assert!(!printed.succeeded);
    assert_eq!(
        printed.error,
        format!(
            "{address} cannot be reached: Connection refused (os error 111): check that the server runs, and that it listens there\n"
        )
    );
    let printed = asked(&[], &[("COUNTERSIGN_HEALTH_LISTEN", "canary")]);
    assert!(!printed.succeeded && !printed.error.contains("canary"));
    assert!(printed.error.starts_with("COUNTERSIGN_HEALTH_LISTEN "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrate_makes_the_tables_once_and_refuses_other_keys() {
    on_each_engine(async |engine| {
        let url = engine.url();
        let migrate = |keys: &str| {
            // A job before an upgrade has the settings of the service, but not yet all of its files.
            let variables = [
                ("DATABASE_URL", url.as_str()),
                ("COUNTERSIGN_ENCRYPTION_KEYS", keys),
                ("COUNTERSIGN_CALLERS", "absent.yaml"),
                ("COUNTERSIGN_TLS_CERT", "absent.crt"),
                ("COUNTERSIGN_TLS_KEY", "absent.key"),
            ];
            tokio::task::block_in_place(|| Binary::new().run(&["migrate"], &variables))
        };
        let made = migrate(KEYS);
        assert!(made.succeeded, "{}", made.error);
        let version = made.out.strip_prefix("the tables were made: version ");
        let version = version.expect("a version");
        let again = migrate(KEYS);
        assert!(again.succeeded, "{}", again.error);
        assert_eq!(again.out, format!("the tables are up to date: version {version}"));
        let other = migrate("other:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyE=");
        assert!(!other.succeeded && other.out.is_empty());
        assert_eq!(
            other.error,
            "countersign cannot migrate:\nthe encryption keys are not those that the data was written with\n"
        );
        let world = World::start(engine, &[("COUNTERSIGN_ENCRYPTION_KEYS", KEYS)]).await;
        world.register("ann@example.com").await;
        world.end().await;
    })
    .await;
}
