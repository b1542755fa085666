//! Which provider tokens are released, to whom, and what is kept of them in memory.

use std::time::Duration;

use countersign::grpc::proto::*;
use serde_json::json;
use tonic::{Code, Status};

use crate::renewal::{AGE, provider};
use crate::resolve_requests::arrive_through;
use crate::support::callers::{Listed, sent_with};
use crate::support::calls::{by_token, by_user};
use crate::support::federated::wish;
use crate::support::hostile::Hostile;
use crate::support::provider::Provider;
use crate::support::{World, logs, on_each_engine, reason};

const TOKEN: &[(&str, &str)] = &[("t", "{{LIBRECHAT_OPENID_TOKEN}}")];

/// The access token that a user who is named by their id gets.
async fn of_user(world: &World<'_>, user: &User) -> Result<String, Status> {
    let request = ResolvePlaceholdersRequest {
        subject: by_user(&user.id),
        ..wish("", Sink::Text, TOKEN)
    };
    let mut values = world.resolve(request).await?;
    Ok(values.remove("t").expect("a token"))
}

#[tokio::test]
async fn a_user_s_id_means_the_session_whose_good_tokens_were_renewed_last() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (user, older) = world.arrive("ann").await;
        world.clock.advance(Duration::from_secs(2));
        let (_, newer) = world.arrive("ann").await;
        let of_newer = world.bearer(&newer.access_token).await.expect("resolved");
        assert_eq!(of_user(&world, &user).await.expect("resolved"), of_newer);
        world.clock.advance(AGE);
        let refused = json!({ "grant_type": "refresh_token", "status": 400, "error": "invalid_grant", "times": 1 });
        provider.fail(refused).await;
        assert_eq!(world.no_bearer(&newer.access_token).await, "RECONNECT_REQUIRED");
        let given = of_user(&world, &user).await.expect("of the older session");
        assert_eq!(given, world.bearer(&older.access_token).await.expect("renewed"));
        // A session without any tokens is worse than one whose tokens need a new sign-in.
        world.revoke(&older.session_id).await;
        world.mint(&user.id).await;
        let status = of_user(&world, &user).await.expect_err("no good tokens");
        assert_eq!(reason(&status).1, "RECONNECT_REQUIRED");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn tokens_of_a_provider_that_is_no_longer_configured_are_not_released() {
    let (provider, other) = (Provider::start(json!({})).await, Hostile::start().await);
    on_each_engine(async |engine| {
        let mut world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        let token = world.bearer(&session.access_token).await.expect("resolved");
        // The id of the provider is given to another issuer.
        world.set("OPENID_ISSUER", &other.issuer);
        world.restart().await;
        assert_eq!(
            world.no_bearer(&session.access_token).await,
            "VALUE_MISSING"
        );
        world.restart_without_provider().await;
        assert_eq!(
            world.no_bearer(&session.access_token).await,
            "NOT_FEDERATED"
        );
        world.set("OPENID_CLIENT_ID", crate::support::provider::CLIENT_ID);
        world.set(
            "OPENID_CLIENT_SECRET",
            crate::support::provider::CLIENT_SECRET,
        );
        world.set("OPENID_ISSUER", &provider.issuer);
        world.restart().await;
        assert_eq!(
            world
                .bearer(&session.access_token)
                .await
                .expect("configured"),
            token
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn the_log_names_each_caller_that_a_token_is_released_to() {
    let provider = provider().await;
    let all = ["auth.sign_in", "federation.resolve", "federation.inline"];
    let callers = Listed::new(&[("chat", &all), ("agents", &all[1..])]);
    on_each_engine(async |engine| {
        let path = callers.path();
        let settings = [("COUNTERSIGN_CALLERS", path.as_str())];
        let world = World::trusting(engine, &provider.issuer, &settings).await;
        let (_, session) = arrive_through(&world, &callers.tokens[0], "ann").await;
        for caller in [0, 1, 1] {
            let request = wish(&session.access_token, Sink::Text, TOKEN);
            let request = sent_with(&callers.tokens[caller], request);
            let answer = world.federation().resolve_placeholders(request).await;
            answer.expect("released");
        }
        for caller in ["caller=\"chat\"", "caller=\"agents\""] {
            let line = ["a provider token is released", &session.session_id, caller];
            assert_eq!(logs::count(&line), 1, "{caller}");
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn values_and_outcomes_together_have_four_mebibytes_at_most() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        let name = "n".repeat(1024);
        let resolve = async |placeholders: usize| {
            let names = (0..placeholders).map(|index| format!("{{{{NAME_{index}}}}}"));
            let template: String = names.collect();
            let entries = [(name.as_str(), template.as_str())];
            world
                .resolve(wish(&session.access_token, Sink::Text, &entries))
                .await
        };
        resolve(3500).await.expect("3.6 MiB");
        let status = resolve(4500).await.expect_err("4.6 MiB");
        assert_eq!(
            reason(&status),
            (Code::InvalidArgument, "FIELDS_INVALID".to_owned())
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn tokens_stay_in_memory_through_the_changes_of_other_users() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (ann, session) = world.arrive("ann").await;
        let (bob, of_bob) = world.arrive("bob").await;
        let token = world.bearer(&session.access_token).await.expect("resolved");
        // If they are read again, this is seen.
        let spoil = format!(
            "UPDATE federated_tokens SET scopes = 'x' WHERE session_id = '{}'",
            session.session_id
        );
        assert_eq!(engine.execute(&spoil).await, 1);
        let delete = async |subject, provider: &str| {
            let provider = provider.to_owned();
            let request = DeleteTokensRequest { subject, provider };
            world
                .federation()
                .delete_tokens(request)
                .await
                .expect("deleted");
        };
        delete(by_token(&of_bob.access_token), "").await;
        // Nothing is left to delete.
        delete(by_user(&bob.id), "").await;
        world.revoke(&of_bob.session_id).await;
        world.register("cleo@example.com").await;
        assert_eq!(
            world
                .bearer(&session.access_token)
                .await
                .expect("remembered"),
            token
        );
        let (_, again) = world.arrive("ann").await;
        delete(by_token(&again.access_token), "").await;
        assert_eq!(
            world
                .bearer(&session.access_token)
                .await
                .expect("remembered"),
            token
        );
        delete(by_user(&ann.id), "").await;
        assert_eq!(
            world.no_bearer(&session.access_token).await,
            "VALUE_MISSING"
        );
        world.end().await;
    })
    .await;
}
