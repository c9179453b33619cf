use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// One request, as the access log reports it when its answer has ended or was dropped. A [`Sink`](super::Sink)
/// writes it. The table of the [module](super) names each field as it is written.
///
/// Texts that a client sent have their control characters escaped and are cut at a bound.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AccessEvent<'a> {
    /// When the request ended.
    pub timestamp: SystemTime,
    /// The client's address, behind a listed proxy the one that the proxy reported.
    pub client_address: Option<IpAddr>,
    /// The client's port.
    pub client_port: Option<u16>,
    /// The address of the proxy that reported the client's.
    pub peer_address: Option<IpAddr>,
    /// The caller: `anonymous`, `token:ci`, `cert:spiffe://…`.
    pub principal: Option<Cow<'a, str>>,
    /// The request's method, `_OTHER` for one that OpenTelemetry does not list.
    pub method: &'a str,
    /// The method that OpenTelemetry does not list.
    pub method_original: Option<Cow<'a, str>>,
    /// `http` or `https`.
    pub scheme: Option<&'static str>,
    /// The path of the request's target, with a hash in place of an upload's session.
    pub path: Cow<'a, str>,
    /// The parts of the query that the distribution-spec names.
    pub query: Option<Cow<'a, str>>,
    /// The host that the client asked.
    pub server_address: Option<Cow<'a, str>>,
    /// The port that the client named.
    pub server_port: Option<u16>,
    /// The version of HTTP: `1.1` or `2`.
    pub protocol_version: &'static str,
    /// The client's `User-Agent`.
    pub user_agent: Option<Cow<'a, str>>,
    /// The label of the route's [`Endpoint`](crate::oci::Endpoint).
    pub endpoint: Option<&'static str>,
    /// The label of the route's [`Action`](crate::oci::Action).
    pub action: Option<&'static str>,
    /// The upstream registry that the request names (`?ns=`).
    pub registry: Option<Cow<'a, str>>,
    /// The repository that was asked for.
    pub repository: Option<Cow<'a, str>>,
    /// The tag or digest that was asked for, or a hash of the upload's session.
    pub reference: Option<Cow<'a, str>>,
    /// The digest that was answered.
    pub digest: Option<Cow<'a, str>>,
    /// The answer's status; `None` if there was no answer.
    pub status: Option<u16>,
    /// [`Refusal::label`](crate::Refusal::label) of a refused request.
    pub refusal_reason: Option<&'static str>,
    /// The rule, CRL or limit that decided.
    pub refusal_detail: Option<Cow<'a, str>>,
    /// The `outcome` of a request that did not end well, or the status of a server's error.
    pub error_type: Option<&'a str>,
    /// `allow` or `refuse`, where the shadow policy disagrees with the active one.
    pub shadow_verdict: Option<&'static str>,
    /// Why both policies decided as they did.
    pub shadow_detail: Option<Cow<'a, str>>,
    /// Why a mount was taken off the request.
    pub mount_declined: Option<Cow<'a, str>>,
    /// The label of the revocation check's verdict.
    pub revocation: Option<&'static str>,
    /// Bytes of the request's body that were read.
    pub request_body_size: u64,
    /// Bytes of the answer's body that were sent.
    pub response_body_size: u64,
    /// The time from the request's arrival to the end of its answer.
    pub duration: Duration,
    /// The time until the answer's head was there.
    pub time_to_first_byte: Option<Duration>,
    /// The time for which limits held the bodies back; `None` if they did not.
    pub throttled: Option<Duration>,
    /// The TLS version without its name: `1.3`.
    pub tls_version: Option<&'static str>,
    /// The IANA name of the TLS cipher suite.
    pub tls_cipher: Option<&'static str>,
    /// Whether the TLS session was resumed.
    pub tls_resumed: Option<bool>,
    /// The subject of the client's verified certificate.
    pub tls_client_subject: Option<Cow<'a, str>>,
    /// The SHA-256 of the client's verified certificate, which sinks write in lower-case hexadecimal.
    pub tls_client_sha256: Option<&'a [u8; 32]>,
    /// The number of the connection in this process.
    pub connection_id: Option<u64>,
    /// The request's id, which the answer carries too.
    pub request_id: Option<&'a str>,
    /// How the request ended: `finished`, `client_gone`, `cut_revoked` and so on.
    pub outcome: &'static str,
}
