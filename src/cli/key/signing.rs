//! `countersign key list`, `rotate` and `revoke`.

use std::process::ExitCode;

use crate::app::{App, StartError};
use crate::cli::offline;
use crate::model::signing_key::SigningKeyInfo;

pub(in crate::cli) fn list() -> ExitCode {
    offline::on_store("list the signing keys", async |config| {
        Ok::<_, StartError>(table(&App::list_keys(config).await?))
    })
}

pub(in crate::cli) fn rotate() -> ExitCode {
    offline::on_store("rotate the signing key", async |config| {
        let active = App::rotate_key(config).await?;
        Ok::<_, StartError>(format!("{} signs from now on", active.kid))
    })
}

pub(in crate::cli) fn revoke(kid: &str) -> ExitCode {
    offline::on_store("revoke the signing key", async |config| {
        let active = App::revoke_key(config, kid).await?;
        Ok::<_, StartError>(format!(
            "{kid} is revoked: within a second every process refuses its tokens; {} signs",
            active.kid
        ))
    })
}

/// A line for each key, under a line with the names of the columns.
fn table(keys: &[SigningKeyInfo]) -> String {
    let mut lines = vec![format!(
        "{:43}  {:9}  {:7}  {:20}  {:20}",
        "KID", "ALGORITHM", "STATE", "CREATED", "SINCE"
    )];
    lines.extend(keys.iter().map(|key| {
        let since = key.revoke_time.or(key.retire_time).or(key.activate_time);
        format!(
            "{:43}  {:9}  {:7}  {:20}  {:20}",
            key.kid,
            key.algorithm.name(),
            key.state.name(),
            key.create_time.to_string(),
            since.unwrap_or(key.create_time).to_string(),
        )
    }));
    lines.join("\n")
}
