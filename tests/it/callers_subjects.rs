//! Callers: whose data a caller reaches with a user's token, and without one.

use countersign::grpc::proto::get_user_request::User as Named;
use countersign::grpc::proto::*;

use crate::callers::{CALLERS, lacking, signed_in};
use crate::support::callers::{Backend, CallersFile};
use crate::support::calls::{by_session, by_token, by_user};
use crate::support::{World, on_each_engine};

pub(crate) fn resolve(subject: Option<Subject>, template: &str) -> ResolvePlaceholdersRequest {
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
