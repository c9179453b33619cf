use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderValue, Method, Version};
use tracing::Level;

use super::Record;
use super::entry::{Entry, Outcome};
use super::hex;
use super::text::{known_query, printable, printable_bytes};
use crate::{Refusal, oci::Route};

/// The target of the access log's events.
pub(super) const TARGET: &str = "portcullis::access";

const SHORT: usize = 128;
const NAME: usize = 256;
const LONG: usize = 1024;

/// Whether a subscriber wants the event: one load of a cached answer where none does.
pub(super) fn is_wanted() -> bool {
    tracing::enabled!(target: TARGET, Level::INFO)
}

/// Writes the one event of a request. The names are OpenTelemetry's, where it has one.
pub(super) fn write(entry: &Entry, route: Option<&Route>, outcome: Outcome, duration: Duration) {
    let record = &entry.record;
    let client = record.client().or(entry.client);
    let address = client.map(|client| client.ip().to_string());
    let proxy = entry.peer.filter(|peer| Some(*peer) != client);
    let principal = record
        .principal()
        .map(|principal| printable(&principal.to_string(), NAME).into_owned());
    let connection = entry.connection.as_ref();
    let tls = connection.and_then(|connection| connection.tls());
    let peer = record
        .principal()
        .and_then(|principal| principal.peer())
        .or_else(|| connection.and_then(|connection| connection.identity()));
    let fingerprint = peer.map(|peer| {
        let mut text = [0; 64];
        hex::write(peer.fingerprint(), &mut text);
        text
    });
    let fingerprint = fingerprint
        .as_ref()
        .and_then(|text| str::from_utf8(text).ok());
    let throttled = record.throttled_time();
    let query = entry.uri.query().and_then(known_query);
    let (method, original) = method(&entry.method);
    let server = server(entry);
    let shadow = record.shadow();
    tracing::event!(
        target: TARGET,
        Level::INFO,
        client.address = address.as_deref(),
        client.port = client.map(|client| client.port()),
        network.peer.address = proxy.map(|proxy| proxy.ip().to_string()),
        principal = principal.as_deref(),
        http.request.method = method,
        http.request.method_original = text(original, SHORT).as_deref(),
        url.scheme = scheme(entry),
        url.path = &*printable(entry.uri.path(), LONG),
        url.query = query.map(|query| printable(&query, LONG).into_owned()),
        server.address = server.as_ref().map(|(host, _)| &**host),
        server.port = server.as_ref().and_then(|(_, port)| *port),
        network.protocol.version = version(entry.version),
        user_agent.original = header(entry.user_agent.as_ref(), NAME).as_deref(),
        oci.endpoint = route.map(|route| route.endpoint().label()),
        oci.action = route.map(|route| route.action().label()),
        oci.registry = text(route.and_then(Route::registry), NAME).as_deref(),
        oci.repository = text(route.and_then(Route::repository), NAME).as_deref(),
        oci.reference = text(route.and_then(Route::reference), NAME).as_deref(),
        oci.digest = header(entry.digest.as_ref(), NAME).as_deref(),
        http.response.status_code = entry.status.map(|status| status.as_u16()),
        refusal.reason = record.refusal().as_ref().map(Refusal::label),
        refusal.detail = detail(record).as_deref(),
        "error.type" = error(entry, outcome),
        shadow.verdict = shadow.map(|shadow| if shadow.allows { "allow" } else { "refuse" }),
        shadow.detail = text(shadow.map(|shadow| &*shadow.detail), LONG).as_deref(),
        mount.declined = text(record.declined_mount(), LONG).as_deref(),
        revocation = record.revocation(),
        http.request.body.size = record.received_bytes(),
        http.response.body.size = entry.sent,
        http.server.request.duration = duration.as_secs_f64(),
        time_to_first_byte = entry.first_byte.map(|time| time.as_secs_f64()),
        throttled = (!throttled.is_zero()).then_some(throttled.as_secs_f64()),
        tls.protocol.version = tls.map(|tls| tls.version),
        tls.cipher = tls.map(|tls| tls.cipher),
        tls.resumed = tls.map(|tls| tls.resumed),
        tls.client.subject = text(peer.map(crate::PeerIdentity::subject), NAME).as_deref(),
        tls.client.hash.sha256 = fingerprint,
        connection.id = connection.map(crate::Connection::id),
        request.id = header(Some(&entry.request_id), SHORT).as_deref(),
        outcome = outcome.label(),
    );
}

fn detail(record: &Record) -> Option<Cow<'_, str>> {
    match (record.detail(), record.refusal()) {
        (Some(detail), _) => Some(printable(detail, LONG)),
        (None, Some(Refusal::RouteInvalid(error))) => Some(error.to_string().into()),
        _ => None,
    }
}

/// The method, of those that OpenTelemetry lists, and what was sent instead of one.
fn method(method: &Method) -> (&str, Option<&str>) {
    const KNOWN: [&str; 9] = [
        "GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE",
    ];
    let sent = method.as_str();
    if KNOWN.contains(&sent) {
        (sent, None)
    } else {
        ("_OTHER", Some(sent))
    }
}

fn scheme(entry: &Entry) -> Option<&'static str> {
    let connection = entry.connection.as_ref();
    match (
        connection.map(|connection| connection.tls()),
        entry.uri.scheme_str(),
    ) {
        (Some(Some(_)), _) | (_, Some("https")) => Some("https"),
        (Some(None), _) | (_, Some("http")) => Some("http"),
        _ => None,
    }
}

/// The host that the client asked, and its port, if it names one.
fn server(entry: &Entry) -> Option<(Cow<'_, str>, Option<u16>)> {
    let host = match (entry.uri.authority(), &entry.host) {
        (Some(authority), _) => Cow::Borrowed(authority.as_str()),
        (None, host) => header(host.as_ref(), NAME)?,
    };
    let port = match host.rsplit_once(':') {
        Some((before, port)) if !port.contains(']') => Some((before.len(), port.parse().ok())),
        _ => None,
    };
    let (end, port) = port.unwrap_or((host.len(), None));
    let host = printable(&host[..end], NAME).into_owned();
    Some((host.into(), port))
}

/// What kept the request from ending well: how it ended, or the status that says so.
fn error(entry: &Entry, outcome: Outcome) -> Option<&str> {
    let failed = entry
        .status
        .as_ref()
        .filter(|status| status.is_server_error());
    match outcome {
        Outcome::Finished => failed.map(http::StatusCode::as_str),
        outcome => Some(outcome.label()),
    }
}

fn text(text: Option<&str>, limit: usize) -> Option<Cow<'_, str>> {
    text.map(|text| printable(text, limit))
}

fn header(value: Option<&HeaderValue>, limit: usize) -> Option<Cow<'_, str>> {
    value.map(|value| printable_bytes(value.as_bytes(), limit))
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "unknown",
    }
}
