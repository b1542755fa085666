//! WatchRevocations: its cursors and its events on the wire.

use std::pin::Pin;

use futures_util::{Stream, stream};
use tonic::Status;

use super::convert::{ban, time};
use super::proto::watch_revocations_response::Change;
use super::proto::{self, WatchRevocationsResponse};
use crate::error::Result;
use crate::store::Head;
use crate::token::{Event, News, Watch};
use crate::transport::status;

/// The events of a watch.
pub(super) type Events =
    Pin<Box<dyn Stream<Item = Result<WatchRevocationsResponse, Status>> + Send>>;

/// The events of a watch, until it is over.
pub(super) fn events(watch: Watch) -> Events {
    Box::pin(stream::try_unfold(watch, async |mut watch| {
        let event = watch.next().await.map_err(status)?;
        Ok(event.map(|event| (response(event), watch)))
    }))
}

/// Reads a cursor; `None` if it is empty.
pub(super) fn cursor(text: &str) -> Result<Option<Head>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    parse(text).map(Some).ok_or("is not the cursor of a watch")
}

fn parse(text: &str) -> Option<Head> {
    let (epoch, number) = text.split_once('.')?;
    let is_epoch = epoch.len() == 32 && epoch.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = number.parse().ok().filter(|number| *number >= 0)?;
    is_epoch.then(|| Head {
        epoch: epoch.to_owned(),
        number,
    })
}

fn response(event: Event) -> WatchRevocationsResponse {
    let cursor = event
        .cursor
        .map(|Head { epoch, number }| format!("{epoch}.{number}"));
    WatchRevocationsResponse {
        cursor: cursor.unwrap_or_default(),
        change: change(event.news),
    }
}

fn change(news: News) -> Option<Change> {
    Some(match news {
        News::SnapshotEnd => Change::SnapshotEnd(proto::SnapshotEnd {}),
        News::Heartbeat => Change::Heartbeat(proto::Heartbeat {}),
        News::SessionRevoked(session) => Change::SessionRevoked(proto::SessionRevoked {
            session_id: session.to_string(),
        }),
        News::UserNotBefore {
            user,
            not_before,
            except,
        } => Change::UserNotBefore(proto::UserNotBefore {
            user_id: user.to_string(),
            not_before: time(not_before),
            except_session_id: except
                .map(|session| session.to_string())
                .unwrap_or_default(),
        }),
        News::UserChanged(user) => Change::UserChanged(proto::UserChanged {
            user_id: user.to_string(),
        }),
        News::Banned(made) => Change::Ban(ban(*made)),
        News::BanLifted(lifted) => Change::BanLifted(proto::BanLifted {
            ban_id: lifted.to_string(),
        }),
        News::KeyRevoked(kid) => Change::KeyRevoked(proto::KeyRevoked { kid }),
        News::Unknown => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_an_epoch_and_a_number() {
        let epoch = "0123456789abcdef0123456789abcdef";
        let head = Head {
            epoch: epoch.to_owned(),
            number: 7,
        };
        assert_eq!(cursor(&format!("{epoch}.7")), Ok(Some(head)));
        assert_eq!(cursor(""), Ok(None));
        for bad in [
            "x",
            ".7",
            &format!("{epoch}.-7"),
            &format!("{epoch}.7.7"),
            &format!("{epoch}x.7"),
            epoch,
        ] {
            assert!(cursor(bad).is_err(), "{bad}");
        }
    }
}
