use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use http::{HeaderValue, Method, Version};

use super::AccessEvent;
use super::entry::AccessEntry;
use super::outcome::Outcome;
use crate::oci::{Endpoint, Route};
use crate::record::Record;
use crate::util::clock;
use crate::util::printable::{known_query, printable, printable_bytes};
use crate::{Connection, PeerIdentity, Principal, Refusal};

const SHORT: usize = 128;
const NAME: usize = 256;
const LONG: usize = 1024;

impl<'a> AccessEvent<'a> {
    /// What `entry` has to report, at the end of its request.
    pub(super) fn of(
        entry: &'a AccessEntry,
        route: Option<&'a Route>,
        outcome: Outcome,
        duration: Duration,
    ) -> Self {
        let record = &entry.record;
        let client = record.client().or(entry.client);
        let proxy = entry.peer.filter(|peer| Some(*peer) != client);
        let principal = record.principal();
        let connection = entry.connection.as_ref();
        let tls = connection.and_then(|connection| connection.tls());
        let certificate = principal
            .and_then(|principal| principal.peer())
            .or_else(|| connection.and_then(|connection| connection.identity()));
        let throttled = record.throttled_time();
        let query = entry.uri.query().and_then(known_query);
        let (method, original) = method(&entry.method);
        let (server_address, server_port) = server(entry).unzip();
        let shadow = record.shadow();
        let session = route.filter(|route| route.endpoint() == Endpoint::Upload);
        let session = session.and_then(Route::reference);
        Self {
            timestamp: clock::now(),
            client_address: client.map(|client| client.ip()),
            client_port: client.map(|client| client.port()),
            peer_address: proxy.map(|proxy| proxy.ip()),
            principal: text(principal.map(Principal::as_str), NAME),
            method,
            method_original: text(original, SHORT),
            scheme: scheme(entry),
            path: match session {
                Some(session) => concealed_in(entry.uri.path(), session),
                None => printable(entry.uri.path(), LONG),
            },
            query: query.map(|query| shown(query, LONG)),
            server_address,
            server_port: server_port.flatten(),
            protocol_version: version(entry.version),
            user_agent: header(entry.user_agent.as_ref(), NAME),
            endpoint: route.map(|route| route.endpoint().label()),
            action: route.map(|route| route.action().label()),
            registry: text(route.and_then(Route::registry), NAME),
            repository: text(route.and_then(Route::repository), NAME),
            reference: match session {
                Some(session) => Some(concealed(session).into()),
                None => text(route.and_then(Route::reference), NAME),
            },
            digest: header(entry.digest.as_ref(), NAME),
            status: entry.status.map(|status| status.as_u16()),
            refusal_reason: record.refusal().as_ref().map(Refusal::label),
            refusal_detail: detail(record),
            error_type: error(entry, outcome),
            shadow_verdict: shadow.map(|shadow| if shadow.allows { "allow" } else { "refuse" }),
            shadow_detail: text(shadow.map(|shadow| &*shadow.detail), LONG),
            mount_declined: text(record.declined_mount(), LONG),
            revocation: record.revocation(),
            request_body_size: record.received_bytes(),
            response_body_size: entry.sent,
            duration,
            time_to_first_byte: entry.first_byte,
            throttled: (!throttled.is_zero()).then_some(throttled),
            tls_version: tls.map(|tls| tls.version),
            tls_cipher: tls.map(|tls| tls.cipher),
            tls_resumed: tls.map(|tls| tls.resumed),
            tls_client_subject: text(certificate.map(PeerIdentity::subject), NAME),
            tls_client_sha256: certificate.map(PeerIdentity::fingerprint),
            connection_id: connection.map(Connection::id),
            request_id: record.request_id(),
            outcome: outcome.label(),
        }
    }
}

/// A name for the session of an upload by which its requests are found in the log, and from which the id
/// cannot be computed: for many registries the id is all that it takes to go on with the upload.
fn concealed(session: &str) -> String {
    let mut hasher = DefaultHasher::new();
    session.hash(&mut hasher);
    format!("session-{:016x}", hasher.finish())
}

fn concealed_in<'a>(path: &'a str, session: &str) -> Cow<'a, str> {
    let before = path.strip_suffix(session).unwrap_or_default();
    format!("{}{}", printable(before, LONG), concealed(session)).into()
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

fn scheme(entry: &AccessEntry) -> Option<&'static str> {
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
fn server(entry: &AccessEntry) -> Option<(Cow<'_, str>, Option<u16>)> {
    let host = match (entry.uri.authority(), &entry.host) {
        (Some(authority), _) => Cow::Borrowed(authority.as_str()),
        (None, host) => header(host.as_ref(), NAME)?,
    };
    let port = match host.rsplit_once(':') {
        Some((before, port)) if !port.contains(']') => Some((before.len(), port.parse().ok())),
        _ => None,
    };
    let (end, port) = port.unwrap_or((host.len(), None));
    let host = match host {
        Cow::Borrowed(host) => Cow::Borrowed(&host[..end]),
        Cow::Owned(host) => host[..end].to_owned().into(),
    };
    Some((shown(host, NAME), port))
}

/// What kept the request from ending well: how it ended, or the status that says so.
fn error(entry: &AccessEntry, outcome: Outcome) -> Option<&str> {
    let failed = entry
        .status
        .as_ref()
        .filter(|status| status.is_server_error());
    match outcome {
        Outcome::Finished => failed.map(http::StatusCode::as_str),
        outcome => Some(outcome.label()),
    }
}

/// [`printable`] of a text that may be borrowed.
fn shown(text: Cow<'_, str>, limit: usize) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => printable(text, limit),
        Cow::Owned(text) => printable(&text, limit).into_owned().into(),
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
