//! Whether a request is for the host that its connection's handshake was for.

use http::Extensions;
use http::header::HOST;
use http::uri::Authority;

use crate::Connection;
use crate::middleware::Head;

/// Whether the host of a request is the name that the client asked for in its handshake (RFC 6066 §3). Without
/// such a name there is nothing to agree with. Ports do not count, nor do the case of letters and a last dot.
pub(super) fn agrees(request: &Head) -> bool {
    let Some(name) = asked_for(request.extensions()) else {
        return true;
    };
    let of_target = request.uri().host();
    let mut hosts = request.headers().get_all(HOST).iter();
    let header = hosts.next().map(|host| {
        let host = host.to_str().ok()?.parse::<Authority>().ok()?;
        Some(host.host().to_owned())
    });
    let same = |host: &str| bare(host).eq_ignore_ascii_case(bare(name));
    // RFC 9112 §3.2.2: of an absolute target and `Host` the service may take either.
    let header_agrees = match &header {
        None => of_target.is_some(),
        Some(host) => host.as_deref().is_some_and(same),
    };
    hosts.next().is_none() && header_agrees && of_target.is_none_or(same)
}

fn asked_for(extensions: &Extensions) -> Option<&str> {
    Connection::of(extensions)?.tls()?.server_name.as_deref()
}

fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}
