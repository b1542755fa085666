//! What a refresh says about the user's device.

use countersign::grpc::proto::*;
use tonic::{Code, Status};

use crate::refresh::{HOUR, refused};
use crate::support::calls::by_user;
use crate::support::{World, on_each_engine};

/// The device of a user's only session, and when the session was last refreshed.
async fn seen(world: &World<'_>, user: &User) -> (ClientContext, Option<i64>) {
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
    (
        session.client.expect("a client"),
        session.refresh_time.map(|time| time.seconds),
    )
}

async fn refresh(
    world: &World<'_>,
    refresh_token: &str,
    client: Option<ClientContext>,
) -> Result<RefreshSessionResponse, Status> {
    let request = RefreshSessionRequest {
        refresh_token: refresh_token.to_owned(),
        client,
    };
    let answer = world.tokens().refresh_session(request).await?;
    Ok(answer.into_inner())
}

fn at(ip_address: &str) -> ClientContext {
    ClientContext {
        ip_address: ip_address.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_refresh_updates_what_it_says_about_the_device_and_keeps_the_rest() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, first) = world.signed_in("ann@example.com").await;
        let (before, _) = seen(&world, &user).await;
        world.clock.advance(HOUR);
        let second = refresh(&world, &first.refresh_token, None)
            .await
            .expect("the next pair");
        assert_eq!(second.user.expect("a user").id, user.id);
        assert_eq!(
            seen(&world, &user).await,
            (before.clone(), Some(world.clock.now().secs()))
        );

        let moved = at("2001:db8::7");
        let refresh_token = second.tokens.expect("tokens").refresh_token;
        refresh(&world, &refresh_token, Some(moved.clone()))
            .await
            .expect("the next pair");
        assert_eq!(
            seen(&world, &user).await.0,
            ClientContext {
                ip_address: moved.ip_address,
                ..before
            }
        );
        assert_eq!(
            refused(refresh(&world, &refresh_token, Some(at("nowhere"))).await),
            (Code::InvalidArgument, "FIELDS_INVALID".to_owned())
        );
        world.end().await;
    })
    .await;
}
