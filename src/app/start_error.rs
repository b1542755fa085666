//! Why the service cannot start.

use std::io;
use std::net::SocketAddr;

use crate::error::Error;
use crate::store::OpenStoreError;

/// The service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{setting}: {address} cannot be listened on: {cause}")]
    Listen {
        setting: &'static str,
        address: SocketAddr,
        cause: io::Error,
    },
    #[error(transparent)]
    Store(#[from] OpenStoreError),
    #[error("{error}{}", error.cause_text())]
    Service {
        #[from]
        error: Error,
    },
}

impl StartError {
    /// A port cannot be taken.
    pub(super) fn listen(setting: &'static str, address: SocketAddr, cause: io::Error) -> Self {
        Self::Listen {
            setting,
            address,
            cause,
        }
    }
}
