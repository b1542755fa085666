//! The binary with a log that cannot be written: it serves and stops as ever.

use std::process::Stdio;

use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use countersign::grpc::proto::*;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::process::Process;

/// Makes so many calls that their lines fill any pipe.
async fn work(process: &Process) {
    for _ in 0..1000 {
        let list = ListProvidersRequest {};
        let mut auth = AuthServiceClient::new(process.channel.clone());
        auth.list_providers(list).await.expect("an answer");
    }
    let mut health = HealthClient::new(process.channel.clone());
    let check = HealthCheckRequest::default();
    health.check(check).await.expect("healthy");
}

#[tokio::test]
async fn a_log_whose_reader_is_gone_harms_nothing() {
    let process = Process::with_log_at(Stdio::piped(), |child| drop(child.stderr.take())).await;
    work(&process).await;
    process.stop().await;
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_nothing_up() {
    let process = Process::with_log_at(Stdio::piped(), |_| {}).await;
    work(&process).await;
    process.stop().await;
}

#[tokio::test]
async fn a_log_on_a_full_device_harms_nothing() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let process = Process::with_log_at(full.expect("the device").into(), |_| {}).await;
    work(&process).await;
    process.stop().await;
}
