//! What a refresh tells of the user's device.

use countersign::grpc::proto::*;
use tonic::Code;

use crate::refresh::{HOUR, refused};
use crate::support::calls::by_user;
use crate::support::{World, on_each_engine};

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn what_is_known_of_the_users_device_is_renewed_and_kept() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, first) = world.signed_in("ann@example.com").await;
        let seen = async || {
            let request = ListSessionsRequest {
                subject: by_user(&user.id),
                ..Default::default()
            };
            let session = world
                .tokens()
                .list_sessions(request)
                .await
                .expect("listed")
                .into_inner()
                .sessions
                .remove(0);
            (session.client.expect("a client"), session.refresh_time)
        };
        let (before, _) = seen().await;
        world.clock.advance(HOUR);
        let request = RefreshSessionRequest {
            refresh_token: first.refresh_token,
            client: None,
        };
        let second = world
            .tokens()
            .refresh_session(request)
            .await
            .expect("the next pair")
            .into_inner();
        assert_eq!(second.user.expect("a user").id, user.id);
        let (kept, renewed) = seen().await;
        assert_eq!(
            (kept, renewed.map(|time| time.seconds)),
            (before.clone(), Some(world.clock.now().secs()))
        );

        let moved = ClientContext {
            ip_address: "2001:db8::7".to_owned(),
            ..Default::default()
        };
        let refresh_token = second.tokens.expect("tokens").refresh_token;
        let request = RefreshSessionRequest {
            refresh_token: refresh_token.clone(),
            client: Some(moved.clone()),
        };
        world
            .tokens()
            .refresh_session(request)
            .await
            .expect("the next pair");
        assert_eq!(
            seen().await.0,
            ClientContext {
                ip_address: moved.ip_address,
                ..before
            }
        );

        let nowhere = ClientContext {
            ip_address: "nowhere".to_owned(),
            ..Default::default()
        };
        let request = RefreshSessionRequest {
            refresh_token,
            client: Some(nowhere),
        };
        assert_eq!(
            refused(world.tokens().refresh_session(request).await),
            (Code::InvalidArgument, "FIELDS_INVALID".to_owned())
        );
        world.end().await;
    })
    .await;
}
