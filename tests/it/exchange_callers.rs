//! ExchangeToken: which backends may exchange a token, for which audiences, and how often.

use countersign::grpc::proto::*;
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::callers::{CALLERS, refused_for, signed_in};
use crate::exchange::{AGENTS, callers_of, exchange, payload, wish};
use crate::support::callers::{Backend, CallersFile};
use crate::support::calls::fields;
use crate::support::{Engine, World, on_each_engine, reason};

const OWN: &str = "https://chat.example";
const TOOLS: &str = "https://tools.example";

/// A service whose own audience is [`OWN`], with these callers.
async fn serving<'a>(engine: &'a Engine, callers: &CallersFile) -> World<'a> {
    let settings = [(CALLERS, callers.path()), ("COUNTERSIGN_AUDIENCE", OWN)];
    World::start(engine, &settings).await
}

async fn exchanged_by(
    world: &World<'_>,
    caller: &Backend,
    request: ExchangeTokenRequest,
) -> Result<String, Status> {
    let answer = world.tokens().exchange_token(caller.sends(request)).await?;
    Ok(answer.into_inner().access_token)
}

/// What a backend learns of a token for an audience of it.
async fn verified_by(
    world: &World<'_>,
    caller: &Backend,
    token: &str,
    audience: &str,
) -> VerifyTokenResponse {
    let request = VerifyTokenRequest {
        access_token: token.to_owned(),
        audience: audience.to_owned(),
    };
    let answer = world.tokens().verify_token(caller.sends(request)).await;
    answer.expect("a verdict").into_inner()
}

#[tokio::test]
async fn a_chain_of_backends_only_narrows_and_names_each_of_them() {
    let chat = Backend::new("chat", &["auth.*", "token.*"])
        .audiences(&[OWN, AGENTS])
        .scopes(&["agents.run", "tools.search"]);
    let agent = Backend::new("agent", &["token.*"])
        .audiences(&[AGENTS, TOOLS])
        .scopes(&["tools.search", "tools.write"]);
    let tools = Backend::new("tools", &["token.verify"]).audiences(&[TOOLS]);
    let file = CallersFile::new(&[&chat, &agent, &tools]);
    on_each_engine(async |engine| {
        let world = serving(engine, &file).await;
        let (_, tokens) = signed_in(&world, &chat, "ann@example.com").await;
        let scopes = ["agents.run", "tools.search", "token.exchange"];
        let first = exchanged_by(&world, &chat, wish(&tokens.access_token, AGENTS, &scopes))
            .await
            .expect("exchanged");
        let claims = verified_by(&world, &agent, &first, AGENTS)
            .await
            .claims
            .expect("active");
        assert_eq!(
            (claims.audience.as_str(), callers_of(claims.actor.as_ref())),
            (AGENTS, vec!["chat"])
        );

        let second = exchanged_by(&world, &agent, wish(&first, TOOLS, &["tools.search"]))
            .await
            .expect("exchanged");
        let claims = verified_by(&world, &tools, &second, TOOLS)
            .await
            .claims
            .expect("active");
        assert_eq!(claims.scopes, ["tools.search"]);
        assert_eq!(callers_of(claims.actor.as_ref()), ["agent", "chat"]);
        assert_eq!(
            payload(&second)["act"],
            json!({"sub": "agent", "act": {"sub": "chat"}})
        );

        // Wider, although the agent knows that scope.
        let wider = exchanged_by(
            &world,
            &agent,
            wish(&first, TOOLS, &["tools.search", "tools.write"]),
        )
        .await;
        assert_eq!(missing(&wider), "tools.write");
        // Without `token.exchange` it goes no further.
        let again = exchanged_by(&world, &agent, wish(&second, TOOLS, &["tools.search"])).await;
        assert_eq!(missing(&again), "token.exchange");
        world.end().await;
    })
    .await;
}

fn missing<T>(answer: &Result<T, Status>) -> String {
    let status = answer.as_ref().err().expect("refused");
    assert_eq!(
        reason(status),
        (Code::PermissionDenied, "SCOPE_INSUFFICIENT".to_owned())
    );
    status.get_details_error_info().expect("ErrorInfo").metadata["scope"].clone()
}

#[tokio::test]
async fn a_token_is_handed_on_five_times_at_most() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let mut token = tokens.access_token.clone();
        for _ in 0..5 {
            let request = wish(&token, "", &["auth.read", "token.exchange"]);
            token = exchange(&world, request)
                .await
                .expect("exchanged")
                .access_token;
        }
        let actor = world.verify(&token).await.claims.expect("active").actor;
        assert_eq!(callers_of(actor.as_ref()).len(), 5);
        let refused = exchange(&world, wish(&token, "", &["auth.read"]))
            .await
            .expect_err("too often");
        assert_eq!(fields(&refused), ["access_token"]);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_caller_exchanges_only_tokens_of_its_audiences_and_for_them() {
    let chat = Backend::new("chat", &["auth.*", "token.*"]).audiences(&[OWN, AGENTS]);
    let plain = Backend::new("plain", &["token.*"]);
    let tools = Backend::new("tools", &["token.*"]).audiences(&[TOOLS]);
    let poor = Backend::new("poor", &["token.verify"]);
    let file = CallersFile::new(&[&chat, &plain, &tools, &poor]);
    on_each_engine(async |engine| {
        let world = serving(engine, &file).await;
        let (_, tokens) = signed_in(&world, &chat, "ann@example.com").await;
        let own = &tokens.access_token;
        let to = async |caller: &Backend, token: &str, audience: &str| {
            let request = wish(token, audience, &["auth.read", "token.exchange"]);
            exchanged_by(&world, caller, request).await
        };
        assert_eq!(
            refused_for(&to(&poor, own, OWN).await, "permission").as_deref(),
            Some("token.exchange")
        );
        // Without `audiences` there is the service's own alone.
        to(&plain, own, "").await.expect("exchanged");
        to(&plain, own, OWN).await.expect("exchanged");
        for (caller, audience) in [
            (&plain, AGENTS),
            (&chat, TOOLS),
            (&chat, "https://agents.example/"),
            (&chat, "https://AGENTS.example"),
            (&chat, "https://agents.example#x"),
            (&tools, OWN),
        ] {
            let refused = to(caller, own, audience).await;
            assert_eq!(refused_for(&refused, "audience").as_deref(), Some(audience));
        }
        let of_agents = to(&chat, own, AGENTS).await.expect("exchanged");
        for (caller, token, audience) in [
            (&plain, of_agents.as_str(), OWN),
            (&tools, own.as_str(), TOOLS),
            (&tools, &of_agents, TOOLS),
            (&chat, tokens.refresh_token.as_str(), OWN),
            (&chat, "", OWN),
        ] {
            let refused = to(caller, token, audience).await.expect_err("refused");
            assert_eq!(
                reason(&refused),
                (Code::Unauthenticated, "ACCESS_TOKEN_INVALID".to_owned())
            );
        }
        // A token for another audience is not active for this one, and no subject.
        assert!(!verified_by(&world, &chat, &of_agents, OWN).await.active);
        assert!(verified_by(&world, &chat, &of_agents, AGENTS).await.active);
        world.end().await;
    })
    .await;
}
