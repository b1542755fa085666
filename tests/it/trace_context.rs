//! OTEL_PROPAGATORS: whether callers say which trace a call is part of, and providers are told.

use countersign::grpc::proto::BeginFederatedLoginRequest;
use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use tonic::Request;

use crate::support::client;
use crate::support::collector::{Collector, with_provider};
use crate::support::hostile::Hostile;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

#[tokio::test]
async fn without_a_propagator_traces_end_at_the_service() {
    for (propagators, is_followed) in [("tracecontext,baggage", true), ("none", false)] {
        let (collector, provider) = (Collector::start().await, Hostile::start().await);
        let further = [
            ("OTEL_PROPAGATORS", propagators),
            ("COUNTERSIGN_LOG", "debug"),
        ];
        let process = with_provider(&provider.issuer, &collector, &further).await;
        let mut request = Request::new(BeginFederatedLoginRequest {
            provider: "openid".to_owned(),
            client: client(),
            ..Default::default()
        });
        let parent = format!("00-{TRACE}-{PARENT}-01").parse();
        let metadata = request.metadata_mut();
        metadata.insert("traceparent", parent.expect("a value"));
        metadata.insert("baggage", "user=canary".parse().expect("a value"));
        let mut auth = AuthServiceClient::new(process.channel.clone());
        let begun = auth.begin_federated_login(request).await;
        begun.expect("begun");
        let log = process.stop().await;

        let spans = collector.spans();
        assert!(!spans.is_empty());
        let is_of_caller = |trace_id: &[u8]| hex::encode(trace_id) == TRACE;
        for span in &spans {
            assert_eq!(is_of_caller(&span.trace_id), is_followed, "{}", span.name);
        }
        let heads = provider.heads().concat();
        assert_eq!(heads.contains("traceparent"), is_followed, "{heads}");
        assert!(!heads.contains("canary"), "{heads}");
        assert_eq!(log.contains(TRACE), is_followed, "{log}");
        let warned = log.matches("OTEL_PROPAGATORS names baggage").count();
        assert_eq!(warned, usize::from(is_followed), "{log}");
    }
}
