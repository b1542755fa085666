//! Callers: who gets in, what a grant covers, and what belongs to whom.

use std::collections::BTreeMap;

use countersign::config::callers::Permission;
use countersign::grpc::proto::get_user_request::User as Named;
use countersign::grpc::proto::*;
use http::uri::PathAndQuery;
use prost::Message as _;
use serde_json::json;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::support::browser::sign_in;
use crate::support::callers::{Backend, CallersFile, sent_with};
use crate::support::calls::{
    PASSWORD, by_session, by_token, by_user, complete_request, login_request, openid_settings,
    register_request,
};
use crate::support::provider::Provider;
use crate::support::{World, client, on_each_engine, reason};

const CALLERS: &str = "COUNTERSIGN_CALLERS";

/// The path of every RPC in the descriptor set.
fn methods() -> Vec<String> {
    let set =
        prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("a descriptor set");
    let ours = set
        .file
        .iter()
        .filter(|file| file.package() == "countersign.v1");
    let services = ours.flat_map(|file| &file.service);
    services
        .flat_map(|service| {
            service
                .method
                .iter()
                .map(|method| format!("/countersign.v1.{}/{}", service.name(), method.name()))
        })
        .collect()
}

/// Calls a method with an empty message.
async fn call(world: &World<'_>, path: &str, request: Request<()>) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(world.channel());
    grpc.ready().await.expect("ready");
    let path = PathAndQuery::try_from(path).expect("a path");
    grpc.unary(request, path, tonic_prost::ProstCodec::<(), ()>::default())
        .await
        .map(drop)
}

/// The permission that the caller lacks, where that is why the call failed.
fn lacking<T>(answer: &Result<T, Status>) -> Option<String> {
    refused_for(answer, "permission")
}

/// What the caller lacks, by the name in the metadata, where that is why the call failed.
fn refused_for<T>(answer: &Result<T, Status>, lacking: &str) -> Option<String> {
    let status = answer
        .as_ref()
        .err()
        .filter(|status| reason(status).1 == "CALLER_NOT_ALLOWED")?;
    assert_eq!(status.code(), Code::PermissionDenied);
    Some(status.get_details_error_info().expect("ErrorInfo").metadata[lacking].clone())
}

#[tokio::test]
async fn without_a_credential_nothing_answers_and_without_a_grant_nothing_is_done() {
    let (poor, stranger) = (Backend::new("poor", &[]), Backend::new("stranger", &[]));
    let file = CallersFile::new(&[&poor]);
    on_each_engine(async |engine| {
        let world = World::start(engine, &[(CALLERS, file.path())]).await;
        let methods = methods();
        assert!(methods.len() >= 25, "{methods:?}");
        for path in &methods {
            for request in [Request::new(()), stranger.sends(())] {
                let status = call(&world, path, request).await.expect_err("refused");
                assert_eq!(
                    reason(&status),
                    (Code::Unauthenticated, "CALLER_UNKNOWN".to_owned()),
                    "{path}"
                );
            }
            assert!(
                lacking(&call(&world, path, poor.sends(())).await).is_some(),
                "{path}"
            );
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn every_method_needs_one_permission_and_no_other_one_helps() {
    let poor = Backend::new("poor", &[]);
    let single: Vec<_> = Permission::ALL
        .iter()
        .map(|one| {
            (
                one.name(),
                Backend::new(&format!("has-{}", one.name()), &[one.name()]),
            )
        })
        .collect();
    let file = CallersFile::new(
        &single
            .iter()
            .map(|(_, backend)| backend)
            .chain([&poor])
            .collect::<Vec<_>>(),
    );
    on_each_engine(async |engine| {
        let world = World::start(engine, &[(CALLERS, file.path())]).await;
        for path in methods() {
            let needed = lacking(&call(&world, &path, poor.sends(())).await).expect("a permission");
            for (name, backend) in &single {
                let refused = lacking(&call(&world, &path, backend.sends(())).await);
                // A method may ask for more than its own permission, once that let the caller in.
                assert_eq!(
                    refused.as_ref() == Some(&needed),
                    *name != needed,
                    "{path} with {name}"
                );
            }
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_group_covers_nothing_sensitive() {
    let groups = Backend::new(
        "groups",
        &["auth.*", "token.*", "moderation.*", "federation.*"],
    );
    let poor = Backend::new("poor", &[]);
    let file = CallersFile::new(&[&groups, &poor]);
    let sensitive: BTreeMap<_, _> = Permission::ALL
        .iter()
        .map(|one| (one.name().to_owned(), one.is_sensitive()))
        .collect();
    for name in [
        "token.mint",
        "federation.act_as",
        "federation.inline",
        "federation.template_env",
        "federation.tokens",
    ] {
        assert!(sensitive[name], "{name}");
    }
    assert!(
        sensitive
            .iter()
            .all(|(name, sensitive)| *sensitive || name.rsplit('.').next() != Some("any"))
    );
    on_each_engine(async |engine| {
        let world = World::start(engine, &[(CALLERS, file.path())]).await;
        let mut refused = Vec::new();
        for path in methods() {
            let needed = lacking(&call(&world, &path, poor.sends(())).await).expect("a permission");
            let is_refused =
                lacking(&call(&world, &path, groups.sends(())).await) == Some(needed.clone());
            assert_eq!(is_refused, sensitive[&needed], "{path}");
            refused.extend(is_refused.then_some(needed));
        }
        refused.sort();
        assert_eq!(
            refused,
            ["auth.read.any", "federation.tokens", "token.mint"]
        );
        world.end().await;
    })
    .await;
}

/// A user with a session that `caller` got.
async fn signed_in(world: &World<'_>, caller: &Backend, email: &str) -> (User, TokenPair) {
    world.secret(PASSWORD);
    world
        .auth()
        .register(caller.sends(register_request(email)))
        .await
        .expect("registered");
    let answer = world
        .auth()
        .login(caller.sends(login_request(email, PASSWORD)))
        .await
        .expect("signed in")
        .into_inner();
    let login_response::Result::SignedIn(SignedIn { user, tokens }) =
        answer.result.expect("a result");
    let tokens = tokens.expect("tokens");
    world.keep_secret(&tokens);
    (user.expect("a user"), tokens)
}

fn resolve(subject: Option<Subject>, template: &str) -> ResolvePlaceholdersRequest {
    let entries = [("X-Test".to_owned(), template.to_owned())].into();
    ResolvePlaceholdersRequest {
        subject,
        sink: Sink::Header.into(),
        entries,
        ..Default::default()
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn whom_a_token_does_not_name_only_the_any_forms_reach() {
    let groups = Backend::new(
        "groups",
        &[
            "auth.*",
            "token.*",
            "federation.*",
            "federation.inline",
            "federation.tokens",
        ],
    );
    let plain = Backend::new("plain", &["federation.resolve"]);
    let file = CallersFile::new(&[&groups, &plain]);
    on_each_engine(async |engine| {
        let world = World::start(engine, &[(CALLERS, file.path())]).await;
        let (user, tokens) = signed_in(&world, &groups, "ann@example.com").await;
        let (mut auth, mut sessions, mut federation) =
            (world.auth(), world.tokens(), world.federation());
        let id = tokens.session_id.clone();
        let unnamed = groups.sends(RevokeSessionRequest {
            session_id: id.clone(),
            subject: None,
        });
        assert_eq!(
            lacking(&sessions.revoke_session(unnamed).await).as_deref(),
            Some("token.revoke.any")
        );
        let email = groups.sends(GetUserRequest {
            user: Some(Named::Email("ann@example.com".to_owned())),
        });
        assert_eq!(
            lacking(&auth.get_user(email).await).as_deref(),
            Some("auth.read.any")
        );
        for subject in [
            by_user(&user.id),
            by_session(&id),
            by_user("000000000000000000000000"),
            by_session("not even an id"),
        ] {
            let one = RevokeSessionRequest {
                session_id: id.clone(),
                subject: subject.clone(),
            };
            assert_eq!(
                lacking(&sessions.revoke_session(groups.sends(one)).await).as_deref(),
                Some("token.revoke.any")
            );
            let all = RevokeUserSessionsRequest {
                subject: subject.clone(),
                except_session_id: String::new(),
            };
            assert_eq!(
                lacking(&sessions.revoke_user_sessions(groups.sends(all)).await).as_deref(),
                Some("token.revoke.any")
            );
            let list = ListSessionsRequest {
                subject: subject.clone(),
                ..Default::default()
            };
            assert_eq!(
                lacking(&sessions.list_sessions(groups.sends(list)).await).as_deref(),
                Some("token.read.any")
            );
            let get = GetUserRequest {
                user: subject.clone().map(Named::Subject),
            };
            assert_eq!(
                lacking(&auth.get_user(groups.sends(get)).await).as_deref(),
                Some("auth.read.any")
            );
            let entries = resolve(subject.clone(), "{{LIBRECHAT_USER_ID}}");
            assert_eq!(
                lacking(&federation.resolve_placeholders(groups.sends(entries)).await).as_deref(),
                Some("federation.act_as")
            );
            let status = GetTokenStatusRequest {
                subject: subject.clone(),
                provider: String::new(),
            };
            assert_eq!(
                lacking(&federation.get_token_status(groups.sends(status)).await).as_deref(),
                Some("federation.act_as")
            );
            let delete = DeleteTokensRequest {
                subject,
                provider: String::new(),
            };
            assert_eq!(
                lacking(&federation.delete_tokens(groups.sends(delete)).await).as_deref(),
                Some("federation.act_as")
            );
        }
        let own = by_token(&tokens.access_token);
        let env = federation
            .resolve_placeholders(groups.sends(resolve(own.clone(), "${HOME}")))
            .await;
        assert_eq!(lacking(&env).as_deref(), Some("federation.template_env"));
        let inline = federation
            .resolve_placeholders(plain.sends(resolve(own.clone(), "{{LIBRECHAT_USER_ID}}")))
            .await;
        assert_eq!(lacking(&inline).as_deref(), Some("federation.inline"));
        let resolved = federation
            .resolve_placeholders(groups.sends(resolve(own.clone(), "{{LIBRECHAT_USER_ID}}")))
            .await
            .expect("resolved");
        assert_eq!(resolved.into_inner().entries["X-Test"], user.id);
        let list = groups.sends(ListSessionsRequest {
            subject: own,
            ..Default::default()
        });
        assert_eq!(
            sessions
                .list_sessions(list)
                .await
                .expect("a list")
                .into_inner()
                .sessions
                .len(),
            1
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_token_of_one_user_opens_nothing_of_another() {
    let chat = Backend::new("chat", &["auth.*", "token.*"]);
    let file = CallersFile::new(&[&chat]);
    on_each_engine(async |engine| {
        let world = World::start(engine, &[(CALLERS, file.path())]).await;
        let (_, anns) = signed_in(&world, &chat, "ann@example.com").await;
        let (_, bobs) = signed_in(&world, &chat, "bob@example.com").await;
        let revoke = RevokeSessionRequest {
            session_id: bobs.session_id.clone(),
            subject: by_token(&anns.access_token),
        };
        world
            .tokens()
            .revoke_session(chat.sends(revoke))
            .await
            .expect("a session of nobody's is no error");
        let all = RevokeUserSessionsRequest {
            subject: by_token(&anns.access_token),
            except_session_id: String::new(),
        };
        assert_eq!(
            world
                .tokens()
                .revoke_user_sessions(chat.sends(all))
                .await
                .expect("ended")
                .into_inner()
                .revoked_count,
            1
        );
        let active = async |token: &str| {
            let request = VerifyTokenRequest {
                access_token: token.to_owned(),
                audience: String::new(),
            };
            world
                .tokens()
                .verify_token(chat.sends(request))
                .await
                .expect("a verdict")
                .into_inner()
                .active
        };
        assert_eq!(
            (
                active(&anns.access_token).await,
                active(&bobs.access_token).await
            ),
            (false, true)
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn another_callers_refresh_token_is_refused_and_not_consumed() {
    let (chat, agents) = (
        Backend::new("chat", &["auth.sign_in", "token.*"]),
        Backend::new("agents", &["auth.sign_in", "token.*"]),
    );
    let file = CallersFile::new(&[&chat, &agents]);
    on_each_engine(async |engine| {
        let world = World::start(engine, &[(CALLERS, file.path())]).await;
        let (_, tokens) = signed_in(&world, &chat, "ann@example.com").await;
        let refresh = async |caller: &Backend| {
            let request = RefreshSessionRequest {
                refresh_token: tokens.refresh_token.clone(),
                client: client(),
            };
            world
                .tokens()
                .refresh_session(caller.sends(request))
                .await
                .map(|answer| answer.into_inner().tokens.expect("tokens"))
        };
        let refused = (Code::Unauthenticated, "REFRESH_TOKEN_INVALID".to_owned());
        assert_eq!(
            reason(&refresh(&agents).await.expect_err("refused")),
            refused
        );
        let logout = agents.sends(LogoutRequest {
            refresh_token: tokens.refresh_token.clone(),
        });
        assert_eq!(
            reason(&world.auth().logout(logout).await.expect_err("refused")),
            refused
        );
        let next = refresh(&chat).await.expect("refreshed");
        world.keep_secret(&next);
        assert_eq!(
            reason(&refresh(&agents).await.expect_err("no successor for others")),
            refused
        );
        assert_eq!(
            refresh(&chat)
                .await
                .expect("the same successor")
                .refresh_token,
            next.refresh_token
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn only_the_caller_that_began_a_federated_login_completes_it() {
    let provider = Provider::start(json!({})).await;
    let (chat, agents) = (
        Backend::new("chat", &["auth.sign_in"]),
        Backend::new("agents", &["auth.sign_in"]),
    );
    let file = CallersFile::new(&[&chat, &agents]);
    let mut settings = openid_settings(&provider);
    settings.push((CALLERS, file.path().to_owned()));
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    on_each_engine(async |engine| {
        let world = World::start(engine, &settings).await;
        let begun = async || {
            let request = BeginFederatedLoginRequest {
                provider: "openid".to_owned(),
                return_to: String::new(),
                client: client(),
            };
            let begun = world
                .auth()
                .begin_federated_login(chat.sends(request))
                .await
                .expect("begun")
                .into_inner();
            let callback = sign_in(&begun.authorization_url, "bob").await;
            complete_request(&begun, &callback)
        };
        let complete = async |caller: &Backend, request| {
            world
                .auth()
                .complete_federated_login(caller.sends(request))
                .await
        };
        let refused = complete(&agents, begun().await).await.expect_err("refused");
        assert_eq!(
            reason(&refused),
            (Code::Unauthenticated, "STATE_INVALID".to_owned())
        );
        assert_eq!(engine.number("SELECT COUNT(*) FROM users").await, 0);
        complete(&chat, begun().await).await.expect("signed in");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_caller_with_audiences_verifies_for_no_other_one() {
    let audience = "https://chat.example";
    let chat = Backend::new("chat", &["auth.sign_in", "token.*"]).audiences(&[audience]);
    let agents = Backend::new("agents", &["token.*"]).audiences(&["https://agents.example"]);
    let file = CallersFile::new(&[&chat, &agents]);
    on_each_engine(async |engine| {
        let world = World::start(
            engine,
            &[(CALLERS, file.path()), ("COUNTERSIGN_AUDIENCE", audience)],
        )
        .await;
        let (_, tokens) = signed_in(&world, &chat, "ann@example.com").await;
        let verify = async |caller: &Backend, audience: &str| {
            let request = VerifyTokenRequest {
                access_token: tokens.access_token.clone(),
                audience: audience.to_owned(),
            };
            let one = world.tokens().verify_token(caller.sends(request)).await;
            let batch = BatchVerifyTokensRequest {
                access_tokens: vec![tokens.access_token.clone()],
                audience: audience.to_owned(),
            };
            let many = world
                .tokens()
                .batch_verify_tokens(caller.sends(batch))
                .await;
            assert_eq!(
                refused_for(&one, "audience"),
                refused_for(&many, "audience")
            );
            one.map(|answer| answer.into_inner().active)
        };
        for asked in ["", audience] {
            assert!(verify(&chat, asked).await.expect("a verdict"));
            assert_eq!(
                refused_for(&verify(&agents, asked).await, "audience").as_deref(),
                Some(audience)
            );
        }
        assert!(refused_for(&verify(&chat, "https://agents.example").await, "audience").is_some());
        assert!(
            !verify(&agents, "https://agents.example")
                .await
                .expect("a verdict"),
            "it is for another audience"
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn a_caller_without_our_audience_neither_gets_nor_shows_our_tokens() {
    let audience = "https://chat.example";
    let chat = Backend::new("chat", &["auth.*"]).audiences(&[audience]);
    let all = [
        "auth.*",
        "token.*",
        "token.mint",
        "federation.*",
        "federation.inline",
        "federation.tokens",
        "auth.read.any",
    ];
    let agents = Backend::new("agents", &all).audiences(&["https://agents.example"]);
    let file = CallersFile::new(&[&chat, &agents]);
    on_each_engine(async |engine| {
        let world = World::start(
            engine,
            &[(CALLERS, file.path()), ("COUNTERSIGN_AUDIENCE", audience)],
        )
        .await;
        let (user, tokens) = signed_in(&world, &chat, "ann@example.com").await;
        let (mut auth, mut sessions, mut federation) =
            (world.auth(), world.tokens(), world.federation());
        let named = || by_token(&tokens.access_token);
        let get = GetUserRequest {
            user: named().map(Named::Subject),
        };
        let one = RevokeSessionRequest {
            session_id: tokens.session_id.clone(),
            subject: named(),
        };
        let many = RevokeUserSessionsRequest {
            subject: named(),
            ..Default::default()
        };
        let status = GetTokenStatusRequest {
            subject: named(),
            ..Default::default()
        };
        let delete = DeleteTokensRequest {
            subject: named(),
            ..Default::default()
        };
        let mint = MintSessionRequest {
            user_id: user.id.clone(),
            ..Default::default()
        };
        let refresh = RefreshSessionRequest {
            refresh_token: tokens.refresh_token.clone(),
            client: client(),
        };
        for refused in [
            refused_for(&auth.get_user(agents.sends(get)).await, "audience"),
            refused_for(
                &sessions
                    .list_sessions(agents.sends(ListSessionsRequest {
                        subject: named(),
                        ..Default::default()
                    }))
                    .await,
                "audience",
            ),
            refused_for(
                &sessions.revoke_session(agents.sends(one)).await,
                "audience",
            ),
            refused_for(
                &sessions.revoke_user_sessions(agents.sends(many)).await,
                "audience",
            ),
            refused_for(
                &federation
                    .resolve_placeholders(agents.sends(resolve(named(), "{{LIBRECHAT_USER_ID}}")))
                    .await,
                "audience",
            ),
            refused_for(
                &federation.get_token_status(agents.sends(status)).await,
                "audience",
            ),
            refused_for(
                &federation.delete_tokens(agents.sends(delete)).await,
                "audience",
            ),
            refused_for(&sessions.mint_session(agents.sends(mint)).await, "audience"),
            refused_for(
                &sessions.refresh_session(agents.sends(refresh)).await,
                "audience",
            ),
            refused_for(
                &auth
                    .login(agents.sends(login_request("ann@example.com", PASSWORD)))
                    .await,
                "audience",
            ),
            refused_for(
                &auth
                    .complete_federated_login(
                        agents.sends(CompleteFederatedLoginRequest::default()),
                    )
                    .await,
                "audience",
            ),
        ] {
            assert_eq!(refused.as_deref(), Some(audience));
        }
        let by_email = agents.sends(GetUserRequest {
            user: Some(Named::Email("ann@example.com".to_owned())),
        });
        auth.get_user(by_email).await.expect("no token is shown");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_caller_changes_its_token_without_a_gap() {
    on_each_engine(async |engine| {
        let mut chat = Backend::new("chat", &["auth.sign_in"]);
        let file = CallersFile::new(&[&chat]);
        let mut world = World::start(engine, &[(CALLERS, file.path())]).await;
        let old = chat
            .sends(ListProvidersRequest {})
            .metadata()
            .get("authorization")
            .expect("a token")
            .to_str()
            .expect("ASCII")
            .to_owned();
        let old = old.strip_prefix("Bearer ").expect("a bearer").to_owned();
        let new = chat.add_token();
        let works = async |world: &World<'_>, token: &str| {
            world
                .auth()
                .list_providers(sent_with(token, ListProvidersRequest {}))
                .await
                .is_ok()
        };
        for (entry, old_works, new_works) in [
            ("as it was", true, false),
            ("both", true, true),
            ("the new one", false, true),
        ] {
            match entry {
                "both" => file.write(&[&chat]),
                "the new one" => {
                    chat.drop_first_token();
                    file.write(&[&chat]);
                }
                _ => (),
            }
            world.restart().await;
            assert_eq!(
                (works(&world, &old).await, works(&world, &new).await),
                (old_works, new_works),
                "{entry}"
            );
        }
        world.secret(&old);
        world.secret(&new);
        world.end().await;
    })
    .await;
}
