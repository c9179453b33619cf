//! Every metric of the crate is counted here and in the access log's own meters,
//! and described in the [catalogue](super::catalogue). Without the feature `metrics` each function
//! does nothing.
//!
//! What happens a few times a connection or less is looked up by name; what happens in each request has its
//! handle kept by the code that counts it.

#[cfg(feature = "reload")]
use std::time::Duration;
use std::time::SystemTime;

#[cfg(all(feature = "metrics", feature = "tls"))]
use metrics::histogram;
#[cfg(feature = "metrics")]
use metrics::{counter, gauge};

#[cfg(all(not(feature = "metrics"), feature = "tls"))]
use super::no_op::histogram;
#[cfg(not(feature = "metrics"))]
use super::no_op::{counter, gauge};
use crate::Refusal;
use crate::util::clock;

/// A request was turned away.
pub(crate) fn refused(refusal: Refusal) {
    let reason = refusal.label();
    counter!("portcullis_refusals_total", "reason" => reason).increment(1);
    if is_authentication(refusal) {
        counter!("portcullis_auth_failures_total", "reason" => reason).increment(1);
    }
}

/// Counts a verdict of a shadow policy that differs from that of the active policy; `allowed` is the shadow's.
#[cfg(feature = "policy")]
pub(crate) fn shadow_differed(allowed: bool) {
    let verdict = if allowed { "allow" } else { "refuse" };
    counter!("portcullis_policy_shadow_differences_total", "shadow" => verdict).increment(1);
}

/// A mount was taken off a request, which went on as an ordinary upload.
#[cfg(any(feature = "policy", feature = "jwt"))]
pub(crate) fn mount_declined(reason: &'static str) {
    counter!("portcullis_mounts_declined_total", "reason" => reason).increment(1);
}

/// What is known of digests was written to its file, or could not be.
#[cfg(feature = "digest-binding")]
pub(crate) fn digests_saved(well: bool) {
    let outcome = if well { "ok" } else { "failed" };
    counter!("portcullis_digest_saves_total", "outcome" => outcome).increment(1);
}

/// A credential was used whose secret expires soon. The ids are the operator's own.
#[cfg(feature = "auth")]
pub(crate) fn expiring_credential_used(credential: &str) {
    counter!(
        "portcullis_expiring_credential_uses_total", "credential" => credential.to_owned()
    )
    .increment(1);
}

/// A caller was warned of something, in the head of an answer.
#[cfg(feature = "auth")]
pub(crate) fn client_warned(kind: &'static str) {
    counter!("portcullis_client_warnings_total", "kind" => kind).increment(1);
}

/// What a value that no file is behind is called: its age means nothing.
pub(crate) const FIXED: &str = "fixed";

/// A snapshot came into force.
pub(crate) fn loaded(what: &'static str, generation: u64) {
    if what != FIXED {
        gauge!("portcullis_snapshot_generation", "what" => what)
            .set(number(usize::try_from(generation).unwrap_or(usize::MAX)));
        gauge!("portcullis_snapshot_loaded_timestamp_seconds", "what" => what)
            .set(seconds(clock::now()));
        gauge!("portcullis_snapshot_stale", "what" => what).set(0);
        gauge!("portcullis_snapshot_lapsed", "what" => what).set(0);
    }
}

/// A snapshot that was stale for too long has ended, and another of this generation is in its place.
pub(crate) fn lapsed(what: &'static str, generation: u64) {
    if what != FIXED {
        loaded(what, generation);
        gauge!("portcullis_snapshot_stale", "what" => what).set(1);
        gauge!("portcullis_snapshot_lapsed", "what" => what).set(1);
    }
}

/// A snapshot was loaded again, and has this generation; or could not be.
pub(crate) fn reloaded(what: &'static str, generation: Option<u64>) {
    if what != FIXED {
        let outcome = generation.map_or("failed", |_| "ok");
        counter!("portcullis_reloads_total", "what" => what, "outcome" => outcome).increment(1);
        match generation {
            Some(generation) => loaded(what, generation),
            None => gauge!("portcullis_snapshot_stale", "what" => what).set(1),
        }
    }
}

/// Reading a snapshot from its files took this long, whatever came of it.
#[cfg(feature = "reload")]
pub(crate) fn load_took(what: &'static str, time: Duration) {
    gauge!("portcullis_snapshot_load_duration_seconds", "what" => what).set(time);
}

/// A TLS handshake ended, well or not, after this time.
#[cfg(feature = "tls")]
pub(crate) fn handshaken(outcome: &'static str, time: Duration) {
    counter!("portcullis_handshakes_total", "outcome" => outcome).increment(1);
    histogram!("portcullis_handshake_duration_seconds").record(time);
}

/// Sets how many TLS handshakes are in flight.
#[cfg(feature = "tls")]
pub(crate) fn handshakes_in_flight(count: usize) {
    gauge!("portcullis_handshakes_in_flight").set(number(count));
}

/// Whether the server of a limit's fleet answers. `kind` is what is shared, a rate or a quota.
#[cfg(feature = "redis")]
pub(crate) fn fleet_reachable(limit: &str, kind: &'static str, reachable: bool) {
    gauge!("portcullis_fleet_reachable", "limit" => limit.to_owned(), "kind" => kind)
        .set(f64::from(u8::from(reachable)));
}

/// The server of a limit's fleet has not answered for so many seconds more.
#[cfg(feature = "redis")]
pub(crate) fn fleet_unreachable(limit: &str, kind: &'static str, seconds: u64) {
    counter!(
        "portcullis_fleet_unreachable_seconds_total", "limit" => limit.to_owned(), "kind" => kind
    )
    .increment(seconds);
}

/// This replica's part of a rate, in bytes per second.
#[cfg(feature = "redis")]
pub(crate) fn fleet_rate(limit: &str, rate: u64) {
    gauge!("portcullis_fleet_rate_bytes_per_second", "limit" => limit.to_owned()).set(bytes(rate));
}

/// What this replica has leased of a quota and not used, of all keys together.
#[cfg(feature = "redis")]
pub(crate) fn fleet_leased(limit: &str, leased: u64) {
    gauge!("portcullis_fleet_leased_bytes", "limit" => limit.to_owned()).set(bytes(leased));
}

#[cfg(feature = "redis")]
#[allow(
    clippy::cast_precision_loss,
    reason = "to the nearest number that a gauge has"
)]
fn bytes(count: u64) -> f64 {
    count as f64
}

/// Notes that a CRL is active. `issuer` and `scope` are bounded by the CRLs of the operator's own CAs.
#[cfg(feature = "crl")]
pub(crate) fn crl_in_force(
    issuer: &str,
    scope: &str,
    this_update: SystemTime,
    next_update: SystemTime,
    entries: usize,
) {
    set_crl(
        issuer,
        scope,
        [seconds(this_update), seconds(next_update), number(entries)],
    );
}

/// Notes that no CRL of this issuer and scope is active any more. A series cannot be taken back: it becomes no
/// number, at which no alert fires.
#[cfg(feature = "crl")]
pub(crate) fn crl_gone(issuer: &str, scope: &str) {
    set_crl(issuer, scope, [f64::NAN; 3]);
}

#[cfg(feature = "crl")]
fn set_crl(issuer: &str, scope: &str, [this_update, next_update, entries]: [f64; 3]) {
    macro_rules! set {
        ($name:literal, $value:expr) => {
            gauge!($name, "issuer" => issuer.to_owned(), "scope" => scope.to_owned()).set($value)
        };
    }
    set!("portcullis_crl_this_update_timestamp_seconds", this_update);
    set!("portcullis_crl_next_update_timestamp_seconds", next_update);
    set!("portcullis_crl_entries", entries);
}

/// Counts a CRL that was not taken: `older` than the active one, `not_yet_valid`, `unusable`,
/// or a delta with `no_base`.
#[cfg(feature = "crl")]
pub(crate) fn crl_refused(reason: &'static str) {
    counter!("portcullis_crl_refused_total", "reason" => reason).increment(1);
}

/// A request passed though no CRL says whether its client's certificate is revoked.
#[cfg(feature = "crl")]
pub(crate) fn unknown_allowed() {
    counter!("portcullis_revocation_unknown_allowed_total").increment(1);
}

/// How many entries of the deny list count now.
#[cfg(feature = "crl")]
pub(crate) fn deny_entries(entries: usize) {
    gauge!("portcullis_deny_entries").set(number(entries));
}

/// A request whose certificate needs no CRL, for this reason.
#[cfg(feature = "crl")]
pub(crate) fn revocation_exempt(reason: &'static str) {
    counter!("portcullis_revocation_exempt_total", "reason" => reason).increment(1);
}

/// A CRL was asked for, with this outcome. `url` is bounded by what the operator named, and without its
/// query.
#[cfg(feature = "crl-fetch")]
pub(crate) fn crl_fetched(url: &str, outcome: &'static str) {
    let url = url.to_owned();
    if matches!(outcome, "new" | "unchanged") {
        gauge!("portcullis_crl_fetched_timestamp_seconds", "url" => url.clone())
            .set(seconds(clock::now()));
    }
    counter!("portcullis_crl_fetches_total", "url" => url, "outcome" => outcome).increment(1);
}

/// A certificate came into force: `server`, or a client CA.
#[cfg(feature = "tls")]
pub(crate) fn certificate_in_force(role: &'static str, subject: &str, not_after: SystemTime) {
    gauge!(
        "portcullis_certificate_not_after_timestamp_seconds",
        "role" => role,
        "subject" => subject.to_owned()
    )
    .set(seconds(not_after));
}

/// Notes that a certificate is active no more. A series cannot be taken back: it becomes no number, at which no
/// alert fires.
#[cfg(feature = "tls")]
pub(crate) fn certificate_gone(role: &'static str, subject: &str) {
    gauge!(
        "portcullis_certificate_not_after_timestamp_seconds",
        "role" => role,
        "subject" => subject.to_owned()
    )
    .set(f64::NAN);
}

/// A header of proxies was removed, because its sender is no listed one. `header` is bounded by the crate's
/// own list and the operator's.
pub(crate) fn forwarded_removed(header: &str) {
    counter!("portcullis_forwarded_removed_total", "header" => header.to_owned()).increment(1);
}

/// How many connections have shown nothing yet, and how many there are in all.
#[cfg(feature = "serve")]
pub(crate) fn connections(new: usize, all: usize) {
    gauge!("portcullis_connections", "state" => "new").set(number(new));
    gauge!("portcullis_connections", "state" => "known").set(number(all.saturating_sub(new)));
}

/// A connection ended, or got no place.
#[cfg(feature = "serve")]
pub(crate) fn connection_ended(outcome: &'static str) {
    counter!("portcullis_connections_total", "outcome" => outcome).increment(1);
}

/// No connection is accepted until there are places or descriptors again.
#[cfg(feature = "serve")]
pub(crate) fn accepting_paused(reason: &'static str) {
    counter!("portcullis_accepting_pauses_total", "reason" => reason).increment(1);
}

/// A connection could not be accepted, for a reason of its own or of the system.
#[cfg(feature = "serve")]
pub(crate) fn accept_failed(reason: &'static str) {
    counter!("portcullis_accept_errors_total", "reason" => reason).increment(1);
}

/// The body of a request was waited for too long.
#[cfg(feature = "serve")]
pub(crate) fn body_timed_out(reason: &'static str) {
    counter!("portcullis_request_bodies_timed_out_total", "reason" => reason).increment(1);
}

/// A stream of HTTP/2 was reset whose client took nothing of the answer.
#[cfg(feature = "serve")]
pub(crate) fn stream_stalled() {
    counter!("portcullis_stalled_streams_total").increment(1);
}

/// A request was refused because its source had too many in flight.
#[cfg(feature = "serve")]
pub(crate) fn request_crowded() {
    counter!("portcullis_crowded_requests_total").increment(1);
}

/// The service panicked.
#[cfg(feature = "serve")]
pub(crate) fn service_panicked() {
    counter!("portcullis_service_panics_total").increment(1);
}

/// Makes the series that alerts watch, so that their first count is seen as growth.
#[cfg(feature = "metrics")]
pub(super) fn begin_at_zero() {
    for refusal in [
        Refusal::CertificateRevoked,
        Refusal::CertificateDenied,
        Refusal::Unavailable,
    ] {
        counter!("portcullis_refusals_total", "reason" => refusal.label()).increment(0);
    }
    counter!("portcullis_digest_saves_total", "outcome" => "failed").increment(0);
    for outcome in ["certificate_revoked", "certificate_denied"] {
        counter!("portcullis_handshakes_total", "outcome" => outcome).increment(0);
    }
    #[cfg(feature = "serve")]
    {
        counter!("portcullis_service_panics_total").increment(0);
        counter!("portcullis_stalled_streams_total").increment(0);
        counter!("portcullis_crowded_requests_total").increment(0);
        for reason in ["silent", "slow"] {
            counter!("portcullis_request_bodies_timed_out_total", "reason" => reason).increment(0);
        }
        counter!("portcullis_accept_errors_total", "reason" => "system").increment(0);
        for reason in ["connections", "descriptors"] {
            counter!("portcullis_accepting_pauses_total", "reason" => reason).increment(0);
        }
        for outcome in ["displaced", "source_full", "network_full", "cut"] {
            counter!("portcullis_connections_total", "outcome" => outcome).increment(0);
        }
    }
    for outcome in ["service_error", "body_error", "panicked"] {
        counter!("portcullis_requests_unfinished_total", "outcome" => outcome).increment(0);
    }
}

/// A request did not end as it should.
#[cfg(feature = "metrics")]
pub(crate) fn ended_early(outcome: &'static str) {
    counter!("portcullis_requests_unfinished_total", "outcome" => outcome).increment(1);
}

fn is_authentication(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::CredentialsMalformed
            | Refusal::CredentialsUnknown
            | Refusal::CredentialsExpired
            | Refusal::CredentialsNotYetValid
            | Refusal::CredentialsWrongNetwork
            | Refusal::CredentialsWrongIdentity
            | Refusal::ScopeInsufficient
            | Refusal::CertificateMissing
            | Refusal::CertificateRevoked
            | Refusal::CertificateDenied
            | Refusal::CertificateExpired
            | Refusal::CertificateInvalid
            | Refusal::RevocationUnknown
            | Refusal::AuthThrottled { .. }
    )
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}
