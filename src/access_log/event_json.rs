use std::time::{Duration, SystemTime};

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::AccessEvent;
use crate::util::calendar;

/// All fields of an event.
impl Serialize for AccessEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut to = Fields(serializer.serialize_map(None)?);
        to.always("timestamp", &Rfc3339(self.timestamp))?;
        to.put("client.address", self.client_address.as_ref())?;
        to.put("client.port", self.client_port.as_ref())?;
        to.put("network.peer.address", self.peer_address.as_ref())?;
        to.put("principal", self.principal.as_ref())?;
        to.always("http.request.method", self.method)?;
        to.put(
            "http.request.method_original",
            self.method_original.as_ref(),
        )?;
        to.put("url.scheme", self.scheme)?;
        to.always("url.path", &self.path)?;
        to.put("url.query", self.query.as_ref())?;
        to.put("server.address", self.server_address.as_ref())?;
        to.put("server.port", self.server_port.as_ref())?;
        to.always("network.protocol.version", self.protocol_version)?;
        to.put("user_agent.original", self.user_agent.as_ref())?;
        to.put("oci.endpoint", self.endpoint)?;
        to.put("oci.action", self.action)?;
        to.put("oci.registry", self.registry.as_ref())?;
        to.put("oci.repository", self.repository.as_ref())?;
        to.put("oci.reference", self.reference.as_ref())?;
        to.put("oci.digest", self.digest.as_ref())?;
        to.put("http.response.status_code", self.status.as_ref())?;
        to.put("refusal.reason", self.refusal_reason)?;
        to.put("refusal.detail", self.refusal_detail.as_ref())?;
        to.put("error.type", self.error_type)?;
        to.put("shadow.verdict", self.shadow_verdict)?;
        to.put("shadow.detail", self.shadow_detail.as_ref())?;
        to.put("mount.declined", self.mount_declined.as_ref())?;
        to.put("revocation", self.revocation)?;
        to.always("http.request.body.size", &self.request_body_size)?;
        to.always("http.response.body.size", &self.response_body_size)?;
        to.always("http.server.request.duration", &self.duration.as_secs_f64())?;
        to.seconds("time_to_first_byte", self.time_to_first_byte)?;
        to.seconds("throttled", self.throttled)?;
        to.put("tls.protocol.version", self.tls_version)?;
        to.put("tls.cipher", self.tls_cipher)?;
        to.put("tls.resumed", self.tls_resumed.as_ref())?;
        to.put("tls.client.subject", self.tls_client_subject.as_ref())?;
        to.put("tls.client.hash.sha256", self.tls_client_sha256.as_ref())?;
        to.put("connection.id", self.connection_id.as_ref())?;
        to.put("request.id", self.request_id)?;
        to.always("outcome", self.outcome)?;
        to.0.end()
    }
}

/// An event with the fields of [`JsonLines::with_compact`](super::JsonLines::with_compact).
pub(super) struct Compact<'a, 'b>(pub(super) &'a AccessEvent<'b>);

impl Serialize for Compact<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.0;
        let mut to = Fields(serializer.serialize_map(None)?);
        to.always("timestamp", &Rfc3339(event.timestamp))?;
        to.put("client.address", event.client_address.as_ref())?;
        to.put("principal", event.principal.as_ref())?;
        to.always("http.request.method", event.method)?;
        to.always("url.path", &event.path)?;
        to.put("url.query", event.query.as_ref())?;
        to.put("http.response.status_code", event.status.as_ref())?;
        to.put("refusal.reason", event.refusal_reason)?;
        to.put("refusal.detail", event.refusal_detail.as_ref())?;
        to.always("http.request.body.size", &event.request_body_size)?;
        to.always("http.response.body.size", &event.response_body_size)?;
        to.always(
            "http.server.request.duration",
            &event.duration.as_secs_f64(),
        )?;
        to.always("outcome", event.outcome)?;
        to.0.end()
    }
}

/// The fields of an event, of which those that do not apply are left out.
struct Fields<M>(M);

impl<M: SerializeMap> Fields<M> {
    fn always(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), M::Error> {
        self.0.serialize_entry(name, value)
    }

    fn put(
        &mut self,
        name: &str,
        value: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<(), M::Error> {
        value.map_or(Ok(()), |value| self.always(name, value))
    }

    fn seconds(&mut self, name: &str, time: Option<Duration>) -> Result<(), M::Error> {
        self.put(name, time.map(|time| time.as_secs_f64()).as_ref())
    }
}

struct Rfc3339(SystemTime);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&calendar::rfc3339_micros(self.0))
    }
}
