//! The RPCs of signing keys.

use tonic::{Request, Response, Status};

use super::api::{Api, Incoming, answer};
use super::convert::time;
use super::field_errors::FieldErrors;
use super::proto;
use crate::error::Result;
use crate::model::signing_key::{SigningKeyInfo, SigningKeyState};

const MAX_KID: usize = 64;

impl Api {
    pub(super) async fn list_keys(
        &self,
        request: Request<proto::ListSigningKeysRequest>,
    ) -> Result<Response<proto::ListSigningKeysResponse>, Status> {
        self.begin(request)?;
        answer(async {
            let (keys, jwks) = self.tokens.list_keys().await?;
            Ok(proto::ListSigningKeysResponse {
                keys: keys.into_iter().map(signing_key).collect(),
                jwks: jwks.json.clone(),
            })
        })
        .await
    }

    pub(super) async fn rotate_key(
        &self,
        request: Request<proto::RotateSigningKeyRequest>,
    ) -> Result<Response<proto::RotateSigningKeyResponse>, Status> {
        let Incoming { caller, .. } = self.begin(request)?;
        self.require_own_audience(&caller)?;
        let tokens = self.tokens.clone();
        self.run_to_end(async move {
            let active = tokens.rotate_key(caller.name()).await?;
            Ok(proto::RotateSigningKeyResponse {
                active_key: Some(signing_key(active)),
            })
        })
        .await
    }

    pub(super) async fn revoke_key(
        &self,
        request: Request<proto::RevokeSigningKeyRequest>,
    ) -> Result<Response<proto::RevokeSigningKeyResponse>, Status> {
        let Incoming {
            caller, message, ..
        } = self.begin(request)?;
        self.require_own_audience(&caller)?;
        let tokens = self.tokens.clone();
        self.run_to_end(async move {
            let mut errors = FieldErrors::default();
            let kid = errors.check("kid", kid(message.kid));
            let kid = errors.build(|| kid)?;
            let active = tokens.revoke_key(&kid, caller.name()).await?;
            Ok(proto::RevokeSigningKeyResponse {
                active_key: Some(signing_key(active)),
            })
        })
        .await
    }
}

fn kid(text: String) -> Result<String, &'static str> {
    let is_kid = (1..=MAX_KID).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if is_kid {
        Ok(text)
    } else {
        Err("must be the id of a key: 1 to 64 visible ASCII characters")
    }
}

fn signing_key(key: SigningKeyInfo) -> proto::SigningKey {
    let state = match key.state {
        SigningKeyState::Next => proto::SigningKeyState::Next,
        SigningKeyState::Active => proto::SigningKeyState::Active,
        SigningKeyState::Retired => proto::SigningKeyState::Retired,
        SigningKeyState::Revoked => proto::SigningKeyState::Revoked,
    };
    proto::SigningKey {
        kid: key.kid,
        algorithm: key.algorithm.name().to_owned(),
        state: state.into(),
        create_time: time(key.create_time),
        activate_time: key.activate_time.and_then(time),
        retire_time: key.retire_time.and_then(time),
        revoke_time: key.revoke_time.and_then(time),
    }
}
