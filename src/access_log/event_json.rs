use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::AccessEvent;
use crate::util::{calendar, hex};

/// Puts fields one after another. Those that do not apply are left out.
macro_rules! put {
    ($to:ident, $($name:literal: $value:expr,)*) => {
        $(if let Some(value) = Field::value(&$value) {
            $to.put($name, concat!(",\"", $name, "\":"), value)?;
        })*
    };
}

/// All fields of an event.
impl Serialize for AccessEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut to = InMap(serializer.serialize_map(None)?);
        all(self, &mut to)?;
        to.0.end()
    }
}

/// Adds an event as a line of JSON to an empty `line`.
pub(super) fn write(
    event: &AccessEvent<'_>,
    is_compact: bool,
    line: &mut Vec<u8>,
) -> serde_json::Result<()> {
    let mut to = InLine(line);
    if is_compact {
        compact(event, &mut to)?;
    } else {
        all(event, &mut to)?;
    }
    // In place of the first field's comma.
    if let Some(first) = line.first_mut() {
        *first = b'{';
    }
    line.extend_from_slice(b"}\n");
    Ok(())
}

fn all<T: Target>(event: &AccessEvent<'_>, to: &mut T) -> Result<(), T::Error> {
    put!(to,
        "timestamp": event.timestamp,
        "client.address": event.client_address,
        "client.port": event.client_port,
        "network.peer.address": event.peer_address,
        "principal": event.principal,
        "http.request.method": event.method,
        "http.request.method_original": event.method_original,
        "url.scheme": event.scheme,
        "url.path": event.path,
        "url.query": event.query,
        "server.address": event.server_address,
        "server.port": event.server_port,
        "network.protocol.version": event.protocol_version,
        "user_agent.original": event.user_agent,
        "oci.endpoint": event.endpoint,
        "oci.action": event.action,
        "oci.registry": event.registry,
        "oci.repository": event.repository,
        "oci.reference": event.reference,
        "oci.digest": event.digest,
        "http.response.status_code": event.status,
        "refusal.reason": event.refusal_reason,
        "refusal.detail": event.refusal_detail,
        "error.type": event.error_type,
        "shadow.verdict": event.shadow_verdict,
        "shadow.detail": event.shadow_detail,
        "mount.declined": event.mount_declined,
        "revocation": event.revocation,
        "http.request.body.size": event.request_body_size,
        "http.response.body.size": event.response_body_size,
        "http.server.request.duration": event.duration,
        "time_to_first_byte": event.time_to_first_byte,
        "throttled": event.throttled,
        "tls.protocol.version": event.tls_version,
        "tls.cipher": event.tls_cipher,
        "tls.resumed": event.tls_resumed,
        "tls.client.subject": event.tls_client_subject,
        "tls.client.hash.sha256": event.tls_client_sha256,
        "connection.id": event.connection_id,
        "request.id": event.request_id,
        "outcome": event.outcome,
    );
    Ok(())
}

fn compact(event: &AccessEvent<'_>, to: &mut InLine<'_>) -> serde_json::Result<()> {
    put!(to,
        "timestamp": event.timestamp,
        "client.address": event.client_address,
        "principal": event.principal,
        "http.request.method": event.method,
        "url.path": event.path,
        "url.query": event.query,
        "http.response.status_code": event.status,
        "refusal.reason": event.refusal_reason,
        "refusal.detail": event.refusal_detail,
        "http.request.body.size": event.request_body_size,
        "http.response.body.size": event.response_body_size,
        "http.server.request.duration": event.duration,
        "outcome": event.outcome,
    );
    Ok(())
}

/// The value of a field.
#[derive(Clone, Copy)]
enum Value<'a> {
    Text(&'a str),
    Number(u64),
    Flag(bool),
    Address(IpAddr),
    Hash(&'a [u8; 32]),
    Seconds(Duration),
    Time(SystemTime),
}

/// What a field of an event is made of.
trait Field {
    /// The value; `None` where the field does not apply.
    fn value(&self) -> Option<Value<'_>>;
}

macro_rules! field {
    ($($type:ty: |$it:ident| $value:expr,)*) => {
        $(impl Field for $type {
            #[inline]
            fn value(&self) -> Option<Value<'_>> {
                let $it = self;
                Some($value)
            }
        })*
    };
}

field! {
    &str: |it| Value::Text(it),
    Cow<'_, str>: |it| Value::Text(it),
    u16: |it| Value::Number((*it).into()),
    u64: |it| Value::Number(*it),
    bool: |it| Value::Flag(*it),
    IpAddr: |it| Value::Address(*it),
    &[u8; 32]: |it| Value::Hash(it),
    Duration: |it| Value::Seconds(*it),
    SystemTime: |it| Value::Time(*it),
}

impl<T: Field> Field for Option<T> {
    #[inline]
    fn value(&self) -> Option<Value<'_>> {
        self.as_ref().and_then(Field::value)
    }
}

/// Where the fields of an event go.
trait Target {
    type Error;

    /// Adds a field. `key` is its name as it stands in a line after another field.
    fn put(
        &mut self,
        name: &'static str,
        key: &'static str,
        value: Value<'_>,
    ) -> Result<(), Self::Error>;
}

struct InMap<M>(M);

impl<M: SerializeMap> Target for InMap<M> {
    type Error = M::Error;

    fn put(
        &mut self,
        name: &'static str,
        _: &'static str,
        value: Value<'_>,
    ) -> Result<(), M::Error> {
        self.0.serialize_entry(name, &value)
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_u64(number),
            Self::Flag(flag) => serializer.serialize_bool(flag),
            Self::Address(address) => address.serialize(serializer),
            Self::Hash(hash) => serializer.serialize_str(&hex::encode(hash)),
            Self::Seconds(time) => serializer.serialize_f64(time.as_secs_f64()),
            Self::Time(time) => serializer.serialize_str(calendar::rfc3339_micros(time).as_str()),
        }
    }
}

/// A line of JSON. Every request has one, so what needs no escaping is copied, and no number is made a float first.
struct InLine<'a>(&'a mut Vec<u8>);

impl Target for InLine<'_> {
    type Error = serde_json::Error;

    #[inline]
    fn put(
        &mut self,
        _: &'static str,
        key: &'static str,
        value: Value<'_>,
    ) -> serde_json::Result<()> {
        let line = &mut *self.0;
        line.extend_from_slice(key.as_bytes());
        match value {
            Value::Text(text) => return self.text(text),
            Value::Hash(hash) => {
                let mut digits = [b'"'; 66];
                hex::write(hash, &mut digits[1..]);
                line.extend_from_slice(&digits);
            }
            Value::Seconds(time) => return self.seconds(time),
            Value::Time(time) => {
                line.push(b'"');
                line.extend_from_slice(calendar::rfc3339_micros(time).as_str().as_bytes());
                line.push(b'"');
            }
            other => return serde_json::to_writer(line, &other),
        }
        Ok(())
    }
}

impl InLine<'_> {
    fn text(&mut self, text: &str) -> serde_json::Result<()> {
        // A loop without an early end is compiled to vector instructions.
        let plain =
            |plain, byte| plain & matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=u8::MAX);
        if !text.bytes().fold(true, plain) {
            return serde_json::to_writer(&mut *self.0, text);
        }
        self.0.reserve(text.len() + 2);
        self.0.push(b'"');
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(b'"');
        Ok(())
    }

    /// Writes seconds to the nanosecond.
    fn seconds(&mut self, time: Duration) -> serde_json::Result<()> {
        serde_json::to_writer(&mut *self.0, &time.as_secs())?;
        let mut decimals = *b".000000000";
        let mut rest = time.subsec_nanos();
        for digit in decimals[1..].iter_mut().rev() {
            *digit += u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        self.0.extend_from_slice(&decimals);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The value as a line has it.
    fn written(value: Value<'_>) -> serde_json::Value {
        let mut line = Vec::new();
        InLine(&mut line).put("key", "", value).unwrap();
        serde_json::from_slice(&line).unwrap()
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_what_it_was(text in any::<String>()) {
            prop_assert_eq!(written(Value::Text(&text)), serde_json::json!(text));
        }

        #[test]
        fn any_other_value_is_what_serde_writes(
            number in any::<u64>(), hash in any::<[u8; 32]>(), nanos in 0..10_000_000_000_u64,
        ) {
            let time = Duration::from_nanos(nanos);
            for value in [
                Value::Number(number),
                Value::Flag(number % 2 == 0),
                Value::Hash(&hash),
                Value::Time(SystemTime::UNIX_EPOCH + time),
                Value::Address(std::net::Ipv6Addr::from(u128::from(number)).into()),
                Value::Address(std::net::Ipv4Addr::from_bits(hash[0].into()).into()),
            ] {
                prop_assert_eq!(written(value), serde_json::to_value(value).unwrap());
            }
            let seconds = written(Value::Seconds(time)).as_f64().unwrap();
            prop_assert!((seconds - time.as_secs_f64()).abs() < 1e-12);
        }
    }
}
