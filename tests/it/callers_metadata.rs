//! Metadata that others may have set names neither the caller nor the end user.

use countersign::grpc::proto::*;
use tonic::Code;
use tonic::metadata::{AsciiMetadataKey, BinaryMetadataKey, MetadataValue};

use crate::callers::{CALLERS, signed_in};
use crate::support::callers::{Backend, CallersFile};
use crate::support::calls::{ADDRESS, by_token};
use crate::support::{World, on_each_engine, reason};

/// An address that nobody calls from.
const FORGED: &str = "198.51.100.99";

/// The request with metadata that claims to be of somebody else.
fn forged<T>(mut request: tonic::Request<T>) -> tonic::Request<T> {
    let metadata = request.metadata_mut();
    for name in [
        "x-forwarded-for",
        "forwarded",
        "x-real-ip",
        "x-user-id",
        "x-role",
        "x-caller",
        "x-countersign-user-id",
    ] {
        let name = AsciiMetadataKey::from_bytes(name.as_bytes()).expect("a name");
        metadata.insert(name, MetadataValue::from_static("198.51.100.99"));
    }
    let name = BinaryMetadataKey::from_bytes(b"authorization-bin").expect("a name");
    metadata.insert_bin(name, MetadataValue::from_bytes(b"Bearer csc_x"));
    request
}

#[tokio::test]
async fn metadata_changes_neither_the_caller_nor_the_address_of_a_session() {
    let (chat, poor) = (
        Backend::new("chat", &["auth.sign_in", "token.*"]),
        Backend::new("poor", &["token.verify"]),
    );
    let file = CallersFile::new(&[&chat, &poor]);
    on_each_engine(async |engine| {
        let world = World::start(engine, &[(CALLERS, file.path())]).await;
        let (user, tokens) = signed_in(&world, &chat, "ann@example.com").await;
        let refresh = RefreshSessionRequest {
            refresh_token: tokens.refresh_token.clone(),
            ..Default::default()
        };
        let refreshed = world
            .tokens()
            .refresh_session(forged(chat.sends(refresh)))
            .await;
        let pair = refreshed
            .expect("refreshed")
            .into_inner()
            .tokens
            .expect("tokens");
        world.keep_secret(&pair);
        let list = ListSessionsRequest {
            subject: by_token(&pair.access_token),
            ..Default::default()
        };
        let listed = world
            .tokens()
            .list_sessions(forged(chat.sends(list.clone())))
            .await;
        let sessions = listed.expect("listed").into_inner().sessions;
        let session = sessions.first().expect("a session");
        assert_eq!(
            (&session.user_id, session.caller.as_str()),
            (&user.id, "chat")
        );
        let client = session.client.as_ref().expect("a client");
        assert_eq!(client.ip_address, ADDRESS);
        assert_ne!(client.ip_address, FORGED);

        let refused = world
            .tokens()
            .list_sessions(forged(poor.sends(list.clone())))
            .await;
        let refused = refused.expect_err("refused");
        assert_eq!(
            reason(&refused),
            (Code::PermissionDenied, "CALLER_NOT_ALLOWED".to_owned())
        );
        let unknown = world
            .tokens()
            .list_sessions(forged(tonic::Request::new(list)))
            .await;
        let unknown = unknown.expect_err("unknown");
        assert_eq!(
            reason(&unknown),
            (Code::Unauthenticated, "CALLER_UNKNOWN".to_owned())
        );
        world.end().await;
    })
    .await;
}
