use tracing::Level;

use super::AccessEvent;
use crate::util::hex;

/// The target of the access log's events.
const TARGET: &str = "portcullis::access";

/// Writes the access log. [`TracingSink`] is the default; feature `json-log` adds [`JsonLines`](super::JsonLines).
///
/// ```
/// use portcullis::access_log::{AccessEvent, AccessLogLayer, Sink, TracingSink};
///
/// /// Logs what was refused, and nothing else.
/// struct Refusals;
///
/// impl Sink for Refusals {
///     fn write(&self, event: &AccessEvent<'_>) {
///         if event.refusal_reason.is_some() {
///             TracingSink.write(event);
///         }
///     }
/// }
///
/// let layer = AccessLogLayer::new().with_sink(Refusals);
/// ```
pub trait Sink: Send + Sync + 'static {
    /// Returns whether events are wanted now; a request that begins while they are not makes none. Default:
    /// always.
    fn is_enabled(&self) -> bool {
        true
    }

    /// Writes the event of one request. The thread that ends the request calls this, mostly in a `Drop`, so it
    /// must neither panic nor take long.
    fn write(&self, event: &AccessEvent<'_>);
}

/// Writes each request as one [`tracing`] event, target `portcullis::access`, level `INFO`, where a subscriber
/// wants it.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs, reason = "it has nothing to set")]
pub struct TracingSink;

impl Sink for TracingSink {
    // One load of a cached answer where no subscriber wants the events.
    fn is_enabled(&self) -> bool {
        tracing::enabled!(target: TARGET, Level::INFO)
    }

    // The names are OpenTelemetry's, where it has one.
    fn write(&self, event: &AccessEvent<'_>) {
        tracing::event!(
            target: TARGET,
            Level::INFO,
            client.address = event.client_address.map(|ip| ip.to_string()),
            client.port = event.client_port,
            network.peer.address = event.peer_address.map(|ip| ip.to_string()),
            principal = event.principal.as_deref(),
            http.request.method = event.method,
            http.request.method_original = event.method_original.as_deref(),
            url.scheme = event.scheme,
            url.path = &*event.path,
            url.query = event.query.as_deref(),
            server.address = event.server_address.as_deref(),
            server.port = event.server_port,
            network.protocol.version = event.protocol_version,
            user_agent.original = event.user_agent.as_deref(),
            oci.endpoint = event.endpoint,
            oci.action = event.action,
            oci.registry = event.registry.as_deref(),
            oci.repository = event.repository.as_deref(),
            oci.reference = event.reference.as_deref(),
            oci.digest = event.digest.as_deref(),
            http.response.status_code = event.status,
            refusal.reason = event.refusal_reason,
            refusal.detail = event.refusal_detail.as_deref(),
            "error.type" = event.error_type,
            shadow.verdict = event.shadow_verdict,
            shadow.detail = event.shadow_detail.as_deref(),
            mount.declined = event.mount_declined.as_deref(),
            revocation = event.revocation,
            http.request.body.size = event.request_body_size,
            http.response.body.size = event.response_body_size,
            http.server.request.duration = event.duration.as_secs_f64(),
            time_to_first_byte = event.time_to_first_byte.map(|time| time.as_secs_f64()),
            throttled = event.throttled.map(|time| time.as_secs_f64()),
            tls.protocol.version = event.tls_version,
            tls.cipher = event.tls_cipher,
            tls.resumed = event.tls_resumed,
            tls.client.subject = event.tls_client_subject.as_deref(),
            tls.client.hash.sha256 = event.tls_client_sha256.map(|hash| hex::encode(hash)),
            connection.id = event.connection_id,
            request.id = event.request_id,
            outcome = event.outcome,
        );
    }
}
