//! A token with scopes is good, as a subject, for what they say and for nothing else.

use std::collections::BTreeSet;

use countersign::grpc::proto::get_user_request::User as Named;
use countersign::grpc::proto::*;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use serde_json::json;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::callers::documented;
use crate::exchange::{exchange, wish};
use crate::support::calls::{PASSWORD, by_token, first_answer};
use crate::support::{World, client, on_each_engine, reason, shape};

/// The path of every RPC whose request has a subject, and of ExchangeToken.
fn taking_a_subject() -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("a descriptor set");
    let ours: Vec<_> = set
        .file
        .iter()
        .filter(|file| file.package() == "countersign.v1")
        .collect();
    let takes = |name: &str| {
        let messages = ours.iter().flat_map(|file| &file.message_type);
        let mut named =
            messages.filter(|message| format!(".countersign.v1.{}", message.name()) == name);
        let message = named.next().expect("a message");
        message.name() == "ExchangeTokenRequest"
            || message
                .field
                .iter()
                .any(|field| field.type_name() == ".countersign.v1.Subject")
    };
    let services = ours.iter().flat_map(|file| &file.service);
    services
        .flat_map(|service| {
            service
                .method
                .iter()
                .map(move |method| (service.name(), method))
        })
        .filter(|(_, method)| takes(method.input_type()))
        .map(|(service, method)| format!("/countersign.v1.{service}/{}", method.name()))
        .collect()
}

/// Calls an RPC for the user of a token, with a request that is good otherwise.
#[expect(clippy::too_many_lines, reason = "an arm for each RPC")]
async fn call(world: &World<'_>, path: &str, token: &str, session: &str) -> Result<(), Status> {
    let (channel, subject) = (world.channel(), by_token(token));
    macro_rules! send {
        ($request:expr) => {
            first_answer(channel, path, Request::new($request)).await
        };
    }
    match path.rsplit('/').next().expect("a method") {
        "GetUser" => send!(GetUserRequest {
            user: subject.map(Named::Subject)
        }),
        "ListSessions" => send!(ListSessionsRequest {
            subject,
            ..Default::default()
        }),
        "RevokeSession" => send!(RevokeSessionRequest {
            session_id: session.to_owned(),
            subject
        }),
        "RevokeUserSessions" => {
            send!(RevokeUserSessionsRequest {
                subject,
                except_session_id: session.to_owned()
            })
        }
        "ExchangeToken" => send!(wish(token, "", &["token.exchange"])),
        "ResolvePlaceholders" => {
            let entries = [("X-Id".to_owned(), "{{LIBRECHAT_USER_ID}}".to_owned())].into();
            let sink = Sink::Header.into();
            send!(ResolvePlaceholdersRequest {
                subject,
                sink,
                entries,
                ..Default::default()
            })
        }
        "ResolveEndpoint" => {
            let endpoint = shape::struct_of(&json!({"baseURL": "https://llm.example/v1"}));
            let target = Some(resolve_endpoint_request::Target::Endpoint(endpoint));
            send!(ResolveEndpointRequest {
                subject,
                target,
                ..Default::default()
            })
        }
        "ResolveMcpServer" => {
            let server = json!({"type": "sse", "url": "https://mcp.example/sse"});
            let server = shape::struct_of(&server);
            let target = Some(resolve_mcp_server_request::Target::Server(server));
            send!(ResolveMcpServerRequest {
                subject,
                target,
                ..Default::default()
            })
        }
        "Reauthenticate" => {
            let proof = reauthenticate_request::Proof::Password(PASSWORD.to_owned());
            send!(ReauthenticateRequest {
                subject,
                proof: Some(proof),
                client: client(),
            })
        }
        "GetTokenStatus" => send!(GetTokenStatusRequest {
            subject,
            ..Default::default()
        }),
        "DeleteTokens" => send!(DeleteTokensRequest {
            subject,
            ..Default::default()
        }),
        other => panic!("{other} takes a subject: give it a good request here"),
    }
}

#[tokio::test]
async fn every_rpc_refuses_a_subject_whose_scopes_do_not_have_its_permission() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let scoped = async |scope: &str| {
            let request = wish(&tokens.access_token, "", &[scope]);
            exchange(&world, request)
                .await
                .expect("exchanged")
                .access_token
        };
        let useless = scoped("moderation.report").await;
        let documented = documented();
        let paths = taking_a_subject();
        assert!(paths.len() >= 11, "{paths:?}");
        // The last one ends the session.
        let last = "/countersign.v1.TokenService/RevokeSession";
        let ordered = paths
            .iter()
            .filter(|path| *path != last)
            .map(String::as_str);
        for path in ordered.chain([last]) {
            let permission = &documented[path];
            let refused = call(&world, path, &useless, &tokens.session_id)
                .await
                .expect_err(path);
            assert_eq!(
                reason(&refused),
                (Code::PermissionDenied, "SCOPE_INSUFFICIENT".to_owned()),
                "{path}"
            );
            let info = refused.get_details_error_info().expect("ErrorInfo");
            assert_eq!(&info.metadata["scope"], permission, "{path}");
            let good = scoped(permission).await;
            let answer = call(&world, path, &good, &tokens.session_id).await;
            assert!(answer.is_ok(), "{path}: {answer:?}");
        }
        assert!(!world.verify(&tokens.access_token).await.active);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_token_for_another_audience_is_no_subject() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let request = wish(
            &tokens.access_token,
            "https://tools.example",
            &["auth.read"],
        );
        let foreign = exchange(&world, request)
            .await
            .expect("exchanged")
            .access_token;
        for path in taking_a_subject() {
            let refused = call(&world, &path, &foreign, &tokens.session_id).await;
            if path.ends_with("/ExchangeToken") {
                // The open caller may present tokens of any audience there; this one may not be exchanged.
                assert_eq!(
                    reason(&refused.expect_err("refused")).1,
                    "SCOPE_INSUFFICIENT"
                );
            } else {
                assert_eq!(
                    reason(&refused.expect_err(&path)).1,
                    "ACCESS_TOKEN_INVALID",
                    "{path}"
                );
            }
        }
        world.end().await;
    })
    .await;
}
