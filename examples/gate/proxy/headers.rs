use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, DATE, EXPECT, FORWARDED, HOST, LOCATION,
    MAX_FORWARDS, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, RANGE, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT, VIA,
};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request};
use portcullis::{ClientAddr, Connection, Principal};

use super::framing::{self, FramingError};

/// By which a Spegel peer says that it passes a request on.
pub(super) const MIRRORED: HeaderName = HeaderName::from_static("x-spegel-mirrored");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
/// Names that a registry, the gate or HTTP itself reads in another way.
const TAKEN: [HeaderName; 12] = [
    AUTHORIZATION,
    COOKIE,
    DATE,
    EXPECT,
    HOST,
    LOCATION,
    MAX_FORWARDS,
    RANGE,
    TRAILER,
    USER_AGENT,
    VIA,
    HeaderName::from_static("x-request-id"),
];

const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");
const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// What a client may not say of itself, as it is said by proxies (RFC 7239, RFC 9440, Envoy, nginx, AWS), besides
/// all of `X-Forwarded-*`.
const CLAIMS: [&str; 6] = [
    "forwarded",
    "x-real-ip",
    "client-cert",
    "client-cert-chain",
    "x-remote-user",
    "remote-user",
];

/// What concerns one connection only (RFC 9110 §7.6.1), besides what `Connection` names.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("http2-settings"),
    KEEP_ALIVE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    PROXY_CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes what concerns one connection only.
///
/// # Errors
/// Without it the message would be another one.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) -> Result<(), FramingError> {
    framing::check(headers)?;
    // The whole value may be no UTF-8.
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        // A message without them is another one, whatever its sender says.
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
        .collect();
    let trailers = headers.get_all(TE).iter().any(|value| {
        value.to_str().is_ok_and(|value| {
            value
                .split(',')
                .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
        })
    });
    remove_if(headers, |name| HOP_BY_HOP.iter().any(|it| *it == *name));
    // A gateway to CGI or WSGI reads it as `Content-Length`.
    headers.remove("content_length");
    for name in named {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(())
}

/// Whether a header of this name would not reach the registry as it was set, or means something to the gate or to
/// HTTP itself, so that it cannot say who asks.
pub(crate) fn is_taken(name: &HeaderName) -> bool {
    let name = dashed(name);
    // These say who asks, and nothing else.
    if ["x-forwarded-user", "x-remote-user", "remote-user"].contains(&&*name) {
        return false;
    }
    let begins = ["x-forwarded", "proxy-", "content-", "accept", "if-"];
    let claimed = CLAIMS.contains(&&*name) || begins.iter().any(|it| name.starts_with(it));
    claimed || HOP_BY_HOP.iter().chain(&TAKEN).any(|it| *it == *name) || MIRRORED == *name
}

/// Removes what only a peer may say, however it is written.
pub(super) fn remove_mirrored(headers: &mut HeaderMap) {
    remove_if(headers, |name| name == MIRRORED);
}

/// Removes what only a proxy may say of a client, and what is said of it in `own`.
pub(super) fn remove_claims(headers: &mut HeaderMap, own: Option<&HeaderName>) {
    let own = own.map(dashed);
    remove_if(headers, |name| {
        let known = name.starts_with("x-forwarded") || CLAIMS.contains(&name);
        known || own.as_ref().is_some_and(|own| *own == name)
    });
}

/// Removes from trailers what was removed, or set, in the head, and what must not be among them (RFC 9110 §6.5.1): a
/// server may take them for headers, and over HTTP/2 some make the whole message invalid.
pub(super) fn clean_trailers(trailers: &mut HeaderMap, own: Option<&HeaderName>) {
    remove_claims(trailers, own);
    // RFC 9530 §2 has it in trailers.
    let is_other = |name: &&HeaderName| {
        name.as_str() != "content-digest" && (is_taken(name) || **name == SET_COOKIE)
    };
    let taken: Vec<HeaderName> = trailers.keys().filter(is_other).cloned().collect();
    for name in taken {
        trailers.remove(name);
    }
}

fn remove_if(headers: &mut HeaderMap, is_it: impl Fn(&str) -> bool) {
    let found = headers.keys().filter(|name| is_it(&dashed(name)));
    let found: Vec<HeaderName> = found.cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Gateways to CGI and WSGI make both signs one.
fn dashed(name: &HeaderName) -> Cow<'_, str> {
    if name.as_str().contains('_') {
        return name.as_str().replace('_', "-").into();
    }
    name.as_str().into()
}

/// The host that the client asked for: HTTP/2's `:authority`, else `Host`.
pub(super) fn host(request: &Request<()>) -> Option<HeaderValue> {
    let authority = request.uri().authority();
    let authority = authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    authority.or_else(|| request.headers().get(HOST).cloned())
}

/// Describes the client and what it asked for: in the headers that registries read, and in that of RFC 7239.
pub(super) fn forwarded(
    headers: &mut HeaderMap,
    extensions: &Extensions,
    host: Option<&HeaderValue>,
) {
    let proto = proto(extensions);
    let mut all = format!("proto={proto}");
    if let Some(address) = ClientAddr::of(extensions) {
        let ip = address.ip();
        let node = match ip {
            std::net::IpAddr::V4(ip) => ip.to_string(),
            std::net::IpAddr::V6(ip) => format!("\"[{ip}]\""),
        };
        all = format!("for={node};{all}");
        if let Ok(ip) = HeaderValue::try_from(ip.to_string()) {
            headers.insert(X_FORWARDED_FOR, ip);
        }
    }
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
    if let Some(host) = host {
        headers.insert(X_FORWARDED_HOST, host.clone());
        if let Some(host) = host.to_str().ok().filter(|host| is_quotable(host)) {
            all = format!("{all};host=\"{host}\"");
        }
    }
    if let Ok(all) = HeaderValue::try_from(all) {
        headers.insert(FORWARDED, all);
    }
}

/// The address of the client, by which its requests are counted. A connection without an address is of this host.
pub(super) fn source(extensions: &Extensions) -> IpAddr {
    let address = ClientAddr::of(extensions);
    address.map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

/// The scheme by which the client asks.
pub(super) fn proto(extensions: &Extensions) -> &'static str {
    let encrypted = Connection::of(extensions).is_some_and(|connection| connection.tls().is_some());
    if encrypted { "https" } else { "http" }
}

fn is_quotable(text: &str) -> bool {
    !text.contains(['"', '\\'])
}

/// Sends the caller's verified certificate and those between it and its CA, as RFC 9440 has them.
pub(super) fn client_cert_chain(headers: &mut HeaderMap, extensions: &Extensions) {
    let chain = Connection::of(extensions).and_then(Connection::client_chain);
    let Some([own, between @ ..]) = chain else {
        return;
    };
    // A byte sequence of RFC 8941 §3.3.5, of which a list has several.
    let item = |der: &[u8]| format!(":{}:", STANDARD.encode(der));
    let between: Vec<String> = between.iter().map(|der| item(der)).collect();
    if let Ok(value) = HeaderValue::try_from(item(own)) {
        headers.insert(CLIENT_CERT, value);
    }
    if !between.is_empty()
        && let Ok(value) = HeaderValue::try_from(between.join(", "))
    {
        headers.insert(CLIENT_CERT_CHAIN, value);
    }
}

/// Says whose verified certificate the caller's is, in Envoy's form.
pub(super) fn client_cert(headers: &mut HeaderMap, principal: Option<&Principal>) {
    let Some(peer) = principal.and_then(Principal::peer) else {
        return;
    };
    let subject = peer.subject().replace('\\', "\\\\").replace('"', "\\\"");
    let mut text = format!(
        "Hash={};Subject=\"{subject}\"",
        peer.fingerprint_hex().replace(':', "")
    );
    for uri in peer.uris() {
        text.push_str(";URI=");
        text.push_str(&quoted(uri));
    }
    for name in peer.dns_names() {
        text.push_str(";DNS=");
        text.push_str(&quoted(name));
    }
    // A value that no header can hold is left out: half of an identity would be another.
    if let Ok(text) = HeaderValue::from_str(&text) {
        headers.insert(X_FORWARDED_CLIENT_CERT, text);
    }
}

/// As it is where nothing in it separates, else quoted.
fn quoted(text: &str) -> String {
    if text.contains([',', ';', '=', '"', '\\', ' ']) {
        return format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    }
    text.to_owned()
}
