use std::time::{Duration, SystemTime};

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::AccessEvent;
use crate::util::calendar;

/// All fields of an event.
impl Serialize for AccessEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut to = InMap(serializer.serialize_map(None)?);
        all(self, &mut to)?;
        to.0.end()
    }
}

/// An event as a line of JSON.
pub(super) fn line(event: &AccessEvent<'_>, is_compact: bool) -> serde_json::Result<Vec<u8>> {
    let mut to = InLine(Vec::with_capacity(1024));
    if is_compact {
        compact(event, &mut to)?;
    } else {
        all(event, &mut to)?;
    }
    let InLine(mut line) = to;
    line.extend_from_slice(b"}\n");
    Ok(line)
}

fn all<F: Fields>(event: &AccessEvent<'_>, to: &mut F) -> Result<(), F::Error> {
    to.always("timestamp", &Rfc3339(event.timestamp))?;
    to.put("client.address", event.client_address.as_ref())?;
    to.put("client.port", event.client_port.as_ref())?;
    to.put("network.peer.address", event.peer_address.as_ref())?;
    to.put("principal", event.principal.as_ref())?;
    to.always("http.request.method", event.method)?;
    to.put(
        "http.request.method_original",
        event.method_original.as_ref(),
    )?;
    to.put("url.scheme", event.scheme)?;
    to.always("url.path", &event.path)?;
    to.put("url.query", event.query.as_ref())?;
    to.put("server.address", event.server_address.as_ref())?;
    to.put("server.port", event.server_port.as_ref())?;
    to.always("network.protocol.version", event.protocol_version)?;
    to.put("user_agent.original", event.user_agent.as_ref())?;
    to.put("oci.endpoint", event.endpoint)?;
    to.put("oci.action", event.action)?;
    to.put("oci.registry", event.registry.as_ref())?;
    to.put("oci.repository", event.repository.as_ref())?;
    to.put("oci.reference", event.reference.as_ref())?;
    to.put("oci.digest", event.digest.as_ref())?;
    to.put("http.response.status_code", event.status.as_ref())?;
    to.put("refusal.reason", event.refusal_reason)?;
    to.put("refusal.detail", event.refusal_detail.as_ref())?;
    to.put("error.type", event.error_type)?;
    to.put("shadow.verdict", event.shadow_verdict)?;
    to.put("shadow.detail", event.shadow_detail.as_ref())?;
    to.put("mount.declined", event.mount_declined.as_ref())?;
    to.put("revocation", event.revocation)?;
    to.always("http.request.body.size", &event.request_body_size)?;
    to.always("http.response.body.size", &event.response_body_size)?;
    to.always(
        "http.server.request.duration",
        &event.duration.as_secs_f64(),
    )?;
    to.seconds("time_to_first_byte", event.time_to_first_byte)?;
    to.seconds("throttled", event.throttled)?;
    to.put("tls.protocol.version", event.tls_version)?;
    to.put("tls.cipher", event.tls_cipher)?;
    to.put("tls.resumed", event.tls_resumed.as_ref())?;
    to.put("tls.client.subject", event.tls_client_subject.as_ref())?;
    to.put("tls.client.hash.sha256", event.tls_client_sha256.as_ref())?;
    to.put("connection.id", event.connection_id.as_ref())?;
    to.put("request.id", event.request_id)?;
    to.always("outcome", event.outcome)?;
    Ok(())
}

fn compact(event: &AccessEvent<'_>, to: &mut InLine) -> serde_json::Result<()> {
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
    Ok(())
}

/// Where the fields of an event go. Those that do not apply are left out.
trait Fields {
    type Error;

    fn always<T>(&mut self, name: &'static str, value: &T) -> Result<(), Self::Error>
    where
        T: Serialize + ?Sized;

    fn put<T>(&mut self, name: &'static str, value: Option<&T>) -> Result<(), Self::Error>
    where
        T: Serialize + ?Sized,
    {
        value.map_or(Ok(()), |value| self.always(name, value))
    }

    fn seconds(&mut self, name: &'static str, time: Option<Duration>) -> Result<(), Self::Error> {
        self.put(name, time.map(|time| time.as_secs_f64()).as_ref())
    }
}

struct InMap<M>(M);

impl<M: SerializeMap> Fields for InMap<M> {
    type Error = M::Error;

    fn always<T>(&mut self, name: &'static str, value: &T) -> Result<(), M::Error>
    where
        T: Serialize + ?Sized,
    {
        self.0.serialize_entry(name, value)
    }
}

/// A line of JSON. The names are written as they are, which is a third of the work: none has anything to be escaped.
struct InLine(Vec<u8>);

impl Fields for InLine {
    type Error = serde_json::Error;

    fn always<T>(&mut self, name: &'static str, value: &T) -> serde_json::Result<()>
    where
        T: Serialize + ?Sized,
    {
        let line = &mut self.0;
        let begin = if line.is_empty() { b"{\"" } else { b",\"" };
        line.extend_from_slice(begin);
        line.extend_from_slice(name.as_bytes());
        line.extend_from_slice(b"\":");
        serde_json::to_writer(line, value)
    }
}

struct Rfc3339(SystemTime);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(calendar::rfc3339_micros(self.0).as_str())
    }
}
