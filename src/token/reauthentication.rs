//! Sessions whose users authenticate again.

use std::time::Duration;

use super::session::{ROUNDS, keep_known};
use super::{TokenPair, Tokens};
use crate::error::{Error, Result};
use crate::id::SessionId;
use crate::metrics::Reauthenticated;
use crate::model::session::{Authentication, Device, NotLive, Session};

impl Tokens {
    /// Moves a session to its next generation, because its user has just authenticated again, and
    /// returns its new tokens. For the refresh token of before this is a rotation like any other.
    ///
    /// # Errors
    /// [`Error::AccessTokenInvalid`] if the session has ended, [`Error::Banned`], [`Error::Busy`] if
    /// others refresh it again and again, and the store's errors.
    pub async fn reauthenticate(
        &self,
        id: &SessionId,
        by: Authentication,
        device: &Device,
    ) -> Result<TokenPair> {
        let inner = &self.0;
        for _ in 0..ROUNDS {
            let began = self.moment();
            // The password was hashed meanwhile, so the call's time is too old.
            let state = inner.store.find_session(id, inner.clock.now()).await?;
            let mut state = state.ok_or(Error::AccessTokenInvalid)?;
            // The grace of the refresh token of before begins at the write.
            let now = inner.clock.now();
            let (at, seen) = (inner.last_seen.live_at(now), inner.sessions.seen(id));
            state.check_live(at, seen).map_err(|reason| match reason {
                NotLive::Banned(ban) => Error::Banned { until: ban.until },
                NotLive::Revoked | NotLive::Expired => Error::AccessTokenInvalid,
            })?;
            let generation = state.session.generation;
            state.session = Session {
                auth_time: now,
                amr: by.amr.clone(),
                acr: by.acr.clone(),
                ..known_at(state.session, device)
            };
            let rotation = inner.doubts.watch(id, generation);
            rotation.send();
            let moved = inner.store.reauthenticate_session(&state.session, now);
            let moved = moved.await?;
            rotation.settle();
            if moved {
                state.session.generation += 1;
                state.session.refresh_time = now;
                return Ok(self.issue(state, began, now));
            }
        }
        Err(Error::Busy {
            retry_after: Duration::from_secs(1),
        })
    }

    /// Counts an attempt to authenticate again, by its error if it failed.
    pub fn count_reauthentication(&self, error: Option<&Error>) {
        let outcome = match error {
            None => Reauthenticated::Proven,
            Some(
                Error::AccessTokenInvalid
                | Error::CredentialsWrong
                | Error::LimitExceeded { .. }
                | Error::Banned { .. },
            ) => Reauthenticated::Refused,
            Some(_) => Reauthenticated::Failed,
        };
        self.0.metrics.reauthenticated.of(outcome).inc();
    }
}

/// A session with its device as the caller describes it now.
fn known_at(session: Session, device: &Device) -> Session {
    let device = keep_known(device, session.device());
    Session {
        ip_address: device.ip_address,
        user_agent: device.user_agent,
        device_name: device.name,
        ..session
    }
}
