//! Callers: who gets in, and what a permission covers.

use std::collections::{BTreeMap, BTreeSet};

use countersign::caller::Permission;
use countersign::grpc::proto::*;
use prost::Message as _;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::support::callers::{Backend, CallersFile, sent_with};
use crate::support::calls::{PASSWORD, first_answer, login_request, register_request};
use crate::support::{World, on_each_engine, reason};

pub(crate) const CALLERS: &str = "COUNTERSIGN_CALLERS";

/// The path of every RPC in the descriptor set.
fn methods() -> BTreeSet<String> {
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
    first_answer(world.channel(), path, request).await
}

/// The permission that the caller lacks, if the call failed because of that.
pub(crate) fn lacking<T>(answer: &Result<T, Status>) -> Option<String> {
    refused_for(answer, "permission")
}

/// What the caller lacks, if the call failed because of that; `lacking` is the key in the error's
/// metadata.
pub(crate) fn refused_for<T>(answer: &Result<T, Status>, lacking: &str) -> Option<String> {
    let status = answer
        .as_ref()
        .err()
        .filter(|status| reason(status).1 == "CALLER_NOT_ALLOWED")?;
    assert_eq!(status.code(), Code::PermissionDenied);
    Some(status.get_details_error_info().expect("ErrorInfo").metadata[lacking].clone())
}

#[tokio::test]
async fn every_method_needs_a_known_caller_and_a_permission() {
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

/// The permission of every RPC by its path, as README lists them; a unit test compares that list with
/// the protos.
pub(crate) fn documented() -> BTreeMap<String, String> {
    let readme = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
    let rows = readme
        .lines()
        .skip_while(|line| !line.starts_with("| RPC | Permission |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let row = |row: &str| {
        let cells: Vec<_> = row
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        (format!("/countersign.v1.{}", cells[1]), cells[2].to_owned())
    };
    rows.map(row).collect()
}

/// What an entry of the callers' file grants, said without the service's own code: a group covers the
/// permissions of its service that are not sensitive.
fn covers(entry: &str, permission: Permission) -> bool {
    match entry.strip_suffix(".*") {
        Some(service) => {
            !permission.is_sensitive() && permission.name().split('.').next() == Some(service)
        }
        None => permission.name() == entry,
    }
}

fn is_sensitive(name: &str) -> bool {
    let one = Permission::ALL.iter().find(|one| one.name() == name);
    one.is_some_and(|one| one.is_sensitive())
}

#[tokio::test]
async fn every_method_is_refused_without_its_permission_and_let_in_with_it() {
    let groups = ["auth.*", "token.*", "moderation.*", "federation.*"];
    let each = Permission::ALL.iter().map(|one| one.name());
    let entries: Vec<&str> = each.chain(groups).collect();
    let named = |entry: &&str| Backend::new(&entry.replace('*', "all"), &[*entry]);
    let backends: Vec<_> = entries.iter().map(named).collect();
    let poor = Backend::new("poor", &[]);
    let file = CallersFile::new(&backends.iter().chain([&poor]).collect::<Vec<_>>());
    on_each_engine(async |engine| {
        let world = World::start(engine, &[(CALLERS, file.path())]).await;
        let documented = documented();
        assert!(methods().iter().eq(documented.keys()));
        for (path, needed) in &documented {
            let is_needed = |one: &&Permission| one.name() == needed;
            let permission = Permission::ALL
                .iter()
                .find(is_needed)
                .expect("a permission");
            let refused = lacking(&call(&world, path, poor.sends(())).await);
            assert_eq!(refused.as_ref(), Some(needed), "{path}");
            for (entry, backend) in entries.iter().zip(&backends) {
                let refused = lacking(&call(&world, path, backend.sends(())).await);
                // With its own permission a caller may still be refused, for another permission
                // that the method needs later.
                let is_refused = refused.as_ref() == Some(needed);
                assert_eq!(
                    is_refused,
                    !covers(entry, *permission),
                    "{path} with {entry}"
                );
                assert!(
                    is_refused || refused.is_none_or(|later| is_sensitive(&later)),
                    "{path} with {entry}"
                );
            }
        }
        world.end().await;
    })
    .await;
}

#[test]
fn what_acts_without_the_user_or_changes_everything_is_sensitive() {
    for name in [
        "token.mint",
        "token.keys",
        "federation.act_as",
        "federation.inline",
        "federation.template_env",
        "federation.tokens",
    ] {
        assert!(is_sensitive(name), "{name}");
    }
    for one in Permission::ALL {
        assert!(
            one.is_sensitive() || one.name().rsplit('.').next() != Some("any"),
            "{one:?}"
        );
    }
}

#[tokio::test]
async fn a_caller_can_change_its_token_without_an_interruption() {
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

/// A new user, signed in through `caller`.
pub(crate) async fn signed_in(
    world: &World<'_>,
    caller: &Backend,
    email: &str,
) -> (User, TokenPair) {
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
