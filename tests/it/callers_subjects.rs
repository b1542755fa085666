//! Callers: which users a caller can act for, with a user's token and without one.

use countersign::grpc::proto::get_user_request::User as Named;
use countersign::grpc::proto::*;

use crate::callers::{CALLERS, lacking, refused_for, signed_in};
use crate::support::callers::{Backend, CallersFile};
use crate::support::calls::{by_session, by_token, by_user};
use crate::support::{World, on_each_engine};

fn resolve(subject: Option<Subject>, template: &str) -> ResolvePlaceholdersRequest {
    let entries = [("X-Test".to_owned(), template.to_owned())].into();
    ResolvePlaceholdersRequest {
        subject,
        sink: Sink::Header.into(),
        entries,
        ..Default::default()
    }
}

/// For each method, what the caller lacks to call it for this subject; `what` is the key in the
/// error's metadata.
pub(crate) async fn lacking_for(
    world: &World<'_>,
    caller: &Backend,
    session_id: &str,
    subject: Option<Subject>,
    what: &str,
) -> Vec<Option<String>> {
    let (mut auth, mut sessions, mut federation) =
        (world.auth(), world.tokens(), world.federation());
    let get = GetUserRequest {
        user: subject.clone().map(Named::Subject),
    };
    let list = ListSessionsRequest {
        subject: subject.clone(),
        ..Default::default()
    };
    let one = RevokeSessionRequest {
        session_id: session_id.to_owned(),
        subject: subject.clone(),
    };
    let all = RevokeUserSessionsRequest {
        subject: subject.clone(),
        ..Default::default()
    };
    let entries = resolve(subject.clone(), "{{LIBRECHAT_USER_ID}}");
    let status = GetTokenStatusRequest {
        subject: subject.clone(),
        ..Default::default()
    };
    let delete = DeleteTokensRequest {
        subject,
        ..Default::default()
    };
    vec![
        refused_for(&auth.get_user(caller.sends(get)).await, what),
        refused_for(&sessions.list_sessions(caller.sends(list)).await, what),
        refused_for(&sessions.revoke_session(caller.sends(one)).await, what),
        refused_for(
            &sessions.revoke_user_sessions(caller.sends(all)).await,
            what,
        ),
        refused_for(
            &federation.resolve_placeholders(caller.sends(entries)).await,
            what,
        ),
        refused_for(
            &federation.get_token_status(caller.sends(status)).await,
            what,
        ),
        refused_for(&federation.delete_tokens(caller.sends(delete)).await, what),
    ]
}

fn groups() -> Backend {
    Backend::new(
        "groups",
        &[
            "auth.*",
            "token.*",
            "federation.*",
            "federation.inline",
            "federation.tokens",
        ],
    )
}

#[tokio::test]
async fn without_a_users_token_a_caller_needs_the_any_permissions() {
    let groups = groups();
    let file = CallersFile::new(&[&groups]);
    on_each_engine(async |engine| {
        let world = World::start(engine, &[(CALLERS, file.path())]).await;
        let (user, tokens) = signed_in(&world, &groups, "ann@example.com").await;
        let id = tokens.session_id.clone();
        let unnamed = groups.sends(RevokeSessionRequest {
            session_id: id.clone(),
            subject: None,
        });
        assert_eq!(
            lacking(&world.tokens().revoke_session(unnamed).await).as_deref(),
            Some("token.revoke.any")
        );
        let email = groups.sends(GetUserRequest {
            user: Some(Named::Email("ann@example.com".to_owned())),
        });
        assert_eq!(
            lacking(&world.auth().get_user(email).await).as_deref(),
            Some("auth.read.any")
        );
        let expected = [
            "auth.read.any",
            "token.read.any",
            "token.revoke.any",
            "token.revoke.any",
            "federation.act_as",
            "federation.act_as",
            "federation.act_as",
        ]
        .map(|permission| Some(permission.to_owned()));
        for subject in [
            by_user(&user.id),
            by_session(&id),
            by_user("000000000000000000000000"),
            by_session("not even an id"),
        ] {
            assert_eq!(
                lacking_for(&world, &groups, &id, subject.clone(), "permission").await,
                expected,
                "{subject:?}"
            );
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn with_a_users_token_a_caller_can_do_what_its_own_permissions_cover() {
    let groups = groups();
    let plain = Backend::new("plain", &["federation.resolve"]);
    let file = CallersFile::new(&[&groups, &plain]);
    on_each_engine(async |engine| {
        let world = World::start(engine, &[(CALLERS, file.path())]).await;
        let (user, tokens) = signed_in(&world, &groups, "ann@example.com").await;
        let own = by_token(&tokens.access_token);
        let ask = async |caller: &Backend, template: &str| {
            world
                .federation()
                .resolve_placeholders(caller.sends(resolve(own.clone(), template)))
                .await
        };
        let env = ask(&groups, "${HOME}").await;
        assert_eq!(lacking(&env).as_deref(), Some("federation.template_env"));
        let inline = ask(&plain, "{{LIBRECHAT_USER_ID}}").await;
        assert_eq!(lacking(&inline).as_deref(), Some("federation.inline"));
        let resolved = ask(&groups, "{{LIBRECHAT_USER_ID}}")
            .await
            .expect("resolved");
        assert_eq!(resolved.into_inner().entries["X-Test"], user.id);
        let list = groups.sends(ListSessionsRequest {
            subject: own.clone(),
            ..Default::default()
        });
        assert_eq!(
            world
                .tokens()
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
async fn the_token_of_one_user_does_not_end_the_sessions_of_another() {
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
            .expect("a session that the user does not have is no error");
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
