//! Sends requests to a provider, and counts them.

use std::fmt;

use crate::clock::Clock;
use crate::http::{Client, Error, Request, Response};
use crate::metrics::{Answered, Asked, Provider as Metrics};

/// The way to one provider.
pub(super) struct Requests {
    client: Client,
    clock: Clock,
    metrics: Metrics,
}

impl Requests {
    pub(super) fn new(client: Client, clock: Clock, metrics: Metrics) -> Self {
        Self {
            client,
            clock,
            metrics,
        }
    }

    /// What is counted of the provider.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The client, which checks URLs.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a request; see [`Client::send`].
    pub(super) async fn send(&self, asked: Asked, request: Request) -> Result<Response, Error> {
        let began = self.clock.elapsed();
        let answer = self.client.send(request).await;
        let took = self.clock.elapsed().saturating_sub(began);
        self.metrics.request(asked, answered(&answer), took);
        answer
    }
}

fn answered(answer: &Result<Response, Error>) -> Answered {
    match answer {
        Ok(response) if response.status().is_success() => Answered::Ok,
        Ok(response) if response.status().is_server_error() => Answered::ServerError,
        Ok(_) => Answered::Refused,
        Err(Error::TimedOut) => Answered::TimedOut,
        Err(Error::Broken(_) | Error::TooLarge) => Answered::Broken,
        Err(Error::UrlRefused(_) | Error::Unreachable(_) | Error::Setup(_)) => {
            Answered::Unreachable
        }
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}
