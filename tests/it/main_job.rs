//! The main job from sign-in to logout, on both engines.

use countersign::grpc::proto::*;
use serde_json::json;

use crate::support::calls::by_token;
use crate::support::provider::Provider;
use crate::support::{World, on_each_engine};

#[tokio::test]
async fn a_backend_signs_users_in_verifies_them_and_acts_for_them() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (user, tokens) = world.signed_in("ann@example.com").await;
        assert_eq!(user.role, "ADMIN");
        let claims = world
            .verify(&tokens.access_token)
            .await
            .claims
            .expect("active");
        assert_eq!((claims.user_id, claims.role), (user.id, "ADMIN".to_owned()));

        let (signed_in, new_user) = world.federated_login("bob").await.expect("signed in");
        assert!(new_user);
        let tokens = signed_in.tokens.expect("tokens");
        let request = ResolvePlaceholdersRequest {
            subject: by_token(&tokens.access_token),
            sink: Sink::Header.into(),
            entries: [
                (
                    "Authorization".to_owned(),
                    "Bearer {{LIBRECHAT_OPENID_TOKEN}}".to_owned(),
                ),
                (
                    "X-User".to_owned(),
                    "{{LIBRECHAT_OPENID_USER_ID}}".to_owned(),
                ),
            ]
            .into(),
            ..Default::default()
        };
        let resolved = world
            .federation()
            .resolve_placeholders(request)
            .await
            .expect("resolved")
            .into_inner();
        assert_eq!(resolved.entries["X-User"], "bob");
        let bearer = resolved.entries["Authorization"]
            .strip_prefix("Bearer ")
            .expect("a bearer");
        assert!(bearer.len() > 20);
        world.secret(bearer);

        world
            .auth()
            .logout(LogoutRequest {
                refresh_token: tokens.refresh_token,
            })
            .await
            .expect("logged out");
        let after = world.verify(&tokens.access_token).await;
        assert_eq!(
            (after.active, after.inactive_reason()),
            (false, InactiveReason::SessionRevoked)
        );
        world.end().await;
    })
    .await;
}
