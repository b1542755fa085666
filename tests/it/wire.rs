//! Messages of the whole service: how large they may be, and how mistakes in them are named.

use std::collections::BTreeMap;

use countersign::grpc::proto::*;
use prost::Message as _;
use prost_types::{Any, FileDescriptorSet};
use tonic::{Code, Request, Status};

use crate::support::calls::{by_session, by_token, by_user, client_at, fields, first_answer};
use crate::support::{World, on_each_engine, reason};

const KIB: usize = 1024;
const LARGE: [&str; 4] = [
    "BatchVerifyTokens",
    "ResolvePlaceholders",
    "ResolveEndpoint",
    "ResolveMcpServer",
];

/// The path of each of our methods, with the size of its largest message.
fn methods() -> BTreeMap<String, usize> {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET)
        .expect("descriptors")
        .file;
    let ours = files
        .iter()
        .filter(|file| file.package() == "countersign.v1")
        .flat_map(|file| &file.service);
    let paths = ours.flat_map(|service| {
        service.method.iter().map(|method| {
            let limit = if LARGE.contains(&method.name()) {
                2048 * KIB
            } else {
                256 * KIB
            };
            (
                format!("/countersign.v1.{}/{}", service.name(), method.name()),
                limit,
            )
        })
    });
    paths.collect()
}

/// Calls a method with a message of `size` bytes. For most methods its content is not a valid
/// request.
async fn call(world: &World<'_>, path: &str, size: usize) -> Result<(), Status> {
    // A tag, three bytes of length, and the value.
    let message = Any {
        type_url: String::new(),
        value: vec![0; size - 4],
    };
    assert_eq!(message.encoded_len(), size);
    first_answer(world.channel(), path, Request::new(message)).await
}

#[tokio::test]
async fn every_method_has_a_size_limit_and_works_after_a_message_beyond_it() {
    let engine = crate::support::Engine::sqlite();
    let world = World::start(&engine, &[]).await;
    let methods = methods();
    assert!(methods.len() >= 25, "{methods:?}");
    let too_large = (Code::OutOfRange, "MESSAGE_TOO_LARGE".to_owned());
    for (path, limit) in methods {
        let status = call(&world, &path, limit + 1).await.expect_err("too large");
        assert_eq!(reason(&status), too_large, "{path}");
        if let Err(status) = call(&world, &path, limit).await {
            assert_ne!(reason(&status), too_large, "{path}");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn more_than_a_thousand_entries_or_a_mebibyte_of_template_is_refused() {
    let engine = crate::support::Engine::sqlite();
    let world = World::start(&engine, &[]).await;
    let (_, tokens) = world.signed_in("ann@example.com").await;
    let resolve = async |count: usize, text: &str| {
        let request = ResolvePlaceholdersRequest {
            subject: by_token(&tokens.access_token),
            sink: Sink::Text.into(),
            entries: (0..count)
                .map(|entry| (format!("entry-{entry}"), text.to_owned()))
                .collect(),
            ..Default::default()
        };
        world
            .federation()
            .resolve_placeholders(request)
            .await
            .map(|answer| answer.into_inner().entries.len())
    };
    assert_eq!(resolve(1000, "x").await.expect("resolved"), 1000);
    for (count, text) in [
        (1001, "x".to_owned()),
        (1, "x".repeat(1024 * KIB + 1)),
        (1000, "x".repeat(1100)),
    ] {
        let status = resolve(count, &text).await.expect_err("too much");
        assert_eq!(
            reason(&status),
            (Code::InvalidArgument, "FIELDS_INVALID".to_owned()),
            "{count}"
        );
        assert_eq!(fields(&status), ["entries"], "{count}");
    }
    world.end().await;
}

fn wrong<T>(answer: Result<T, Status>) -> Vec<String> {
    fields(&answer.map(drop).expect_err("refused"))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "message fields are optional on the wire"
)]
fn negative() -> Option<prost_types::Duration> {
    Some(prost_types::Duration {
        seconds: -1,
        nanos: 0,
    })
}

#[tokio::test]
async fn everything_that_is_wrong_in_a_request_about_sessions_is_named_at_once() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let mut sessions = world.tokens();
        let mint = MintSessionRequest {
            ttl: negative(),
            request_id: "two words".to_owned(),
            client: client_at("unknown"),
            ..Default::default()
        };
        assert_eq!(
            wrong(sessions.mint_session(mint).await),
            ["client.ip_address", "request_id", "ttl", "user_id"]
        );
        let one = RevokeSessionRequest {
            session_id: "x".to_owned(),
            subject: by_user("x"),
        };
        assert_eq!(
            wrong(sessions.revoke_session(one).await),
            ["session_id", "subject.user_id"]
        );
        let many = RevokeUserSessionsRequest {
            subject: None,
            except_session_id: "x".to_owned(),
        };
        assert_eq!(
            wrong(sessions.revoke_user_sessions(many).await),
            ["except_session_id", "subject"]
        );
        let list = ListSessionsRequest {
            subject: by_session("x"),
            page_size: -1,
            ..Default::default()
        };
        assert_eq!(
            wrong(sessions.list_sessions(list).await),
            ["page_size", "subject.session_id"]
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn everything_that_is_wrong_in_a_request_to_resolve_is_named_at_once() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let mut federation = world.federation();
        let custom_vars = || [("LIBRECHAT_X".to_owned(), "x".to_owned())].into();
        let all = [
            "custom_vars[\"LIBRECHAT_X\"]",
            "min_ttl",
            "on_unresolved",
            "subject",
        ];
        let resolve = ResolvePlaceholdersRequest {
            min_ttl: negative(),
            on_unresolved: 99,
            custom_vars: custom_vars(),
            ..Default::default()
        };
        let named = wrong(federation.resolve_placeholders(resolve).await);
        assert_eq!(named, [all[0], all[1], all[2], "sink", all[3]]);
        let endpoint = ResolveEndpointRequest {
            min_ttl: negative(),
            on_unresolved: 99,
            custom_vars: custom_vars(),
            ..Default::default()
        };
        let named = wrong(federation.resolve_endpoint(endpoint).await);
        assert_eq!(named, [all[0], "endpoint", all[1], all[2], all[3]]);
        let server = ResolveMcpServerRequest {
            min_ttl: negative(),
            on_unresolved: 99,
            custom_vars: custom_vars(),
            ..Default::default()
        };
        let named = wrong(federation.resolve_mcp_server(server).await);
        assert_eq!(named, [all[0], all[1], all[2], "server", all[3]]);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn the_status_message_names_the_first_mistake_for_clients_that_read_no_details() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let login = LoginRequest {
            password: "a-canary-password".to_owned(),
            ..Default::default()
        };
        let status = world.auth().login(login).await.expect_err("no address");
        let message = status.message();
        assert!(message.starts_with("invalid field email: "), "{message}");
        assert!(message.ends_with(", and 1 more"), "{message}");
        assert!(!message.contains("canary"), "{message}");

        let placeholder = "{{LIBRECHAT_OPENID_TOKEN}}";
        let entries = ["Authorization", "X-Token"]
            .map(|name| (name.to_owned(), format!("Bearer canary {placeholder}")));
        let request = ResolvePlaceholdersRequest {
            subject: by_token(&tokens.access_token),
            sink: Sink::Header.into(),
            entries: entries.into(),
            ..Default::default()
        };
        let status = world.federation().resolve_placeholders(request).await;
        let status = status.expect_err("no provider");
        let message = status.message();
        let expected = format!("{placeholder} in Authorization does not resolve: NOT_FEDERATED ");
        assert!(message.starts_with(&expected), "{message}");
        assert!(message.ends_with(", and 1 more"), "{message}");
        assert!(!message.contains("canary"), "{message}");
        world.end().await;
    })
    .await;
}
