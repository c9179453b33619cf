/// One metric of the crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// The metric's name, in Prometheus' form.
    pub name: &'static str,
    /// The metric's kind: `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of the metric's labels.
    pub labels: &'static [&'static str],
    /// What the metric counts, in one sentence.
    pub help: &'static str,
}

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";
const HISTOGRAM: &str = "histogram";

const fn metric(
    name: &'static str,
    kind: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        help,
    }
}

/// Every metric that this crate emits. The values of labels are closed sets, or bounded by what
/// the operator configured; none comes from a client.
pub const METRICS: &[Metric] = &[
    metric(
        "portcullis_requests_total",
        COUNTER,
        &["endpoint", "method", "status"],
        "Requests that ended, however they ended.",
    ),
    metric(
        "portcullis_requests_unfinished_total",
        COUNTER,
        &["outcome"],
        "Requests whose answer was not handed over whole.",
    ),
    metric(
        "portcullis_requests_in_flight",
        GAUGE,
        &[],
        "Requests, with their transfers, that are in flight.",
    ),
    metric(
        "portcullis_request_duration_seconds",
        HISTOGRAM,
        &["endpoint"],
        "Time from a request's arrival to the end of its answer's body.",
    ),
    metric(
        "portcullis_body_bytes_total",
        COUNTER,
        &["direction"],
        "Bytes of bodies that passed, in from clients and out to them.",
    ),
    metric(
        "portcullis_throttled_seconds",
        HISTOGRAM,
        &[],
        "Time that a request's bodies were held back by limits, of requests that were.",
    ),
    metric(
        "portcullis_limit_transfers",
        GAUGE,
        &["limit"],
        "Bodies in flight that a limit counts.",
    ),
    metric(
        "portcullis_limit_waiting",
        GAUGE,
        &["limit"],
        "Bodies that are held back by a limit now.",
    ),
    metric(
        "portcullis_limit_throttled_seconds_total",
        COUNTER,
        &["limit"],
        "Time that bodies were held back by a limit, in whole seconds.",
    ),
    metric(
        "portcullis_limit_refusals_total",
        COUNTER,
        &["limit", "reason"],
        "Requests that a limit turned away: shed, at its cap on streams, or out of its quota.",
    ),
    metric(
        "portcullis_quota_left_bytes",
        GAUGE,
        &["limit"],
        "What is left of a quota in its last window with traffic, of the key that had least.",
    ),
    metric(
        "portcullis_fleet_reachable",
        GAUGE,
        &["limit", "kind"],
        "1 if the server answers through which replicas share a limit's `rate` or `quota`, else 0.",
    ),
    metric(
        "portcullis_fleet_unreachable_seconds_total",
        COUNTER,
        &["limit", "kind"],
        "Time that the server of a shared limit has not answered, in whole seconds.",
    ),
    metric(
        "portcullis_fleet_rate_bytes_per_second",
        GAUGE,
        &["limit"],
        "This replica's part of a shared rate.",
    ),
    metric(
        "portcullis_fleet_leased_bytes",
        GAUGE,
        &["limit"],
        "What this replica has leased of a shared quota and not used, of all keys.",
    ),
    metric(
        "portcullis_refusals_total",
        COUNTER,
        &["reason"],
        "Requests that were turned away.",
    ),
    metric(
        "portcullis_policy_shadow_differences_total",
        COUNTER,
        &["shadow"],
        "Requests that the shadow policy would have decided otherwise.",
    ),
    metric(
        "portcullis_mounts_declined_total",
        COUNTER,
        &["reason"],
        "Mounts of blobs that were not allowed and went on as ordinary uploads.",
    ),
    metric(
        "portcullis_digest_saves_total",
        COUNTER,
        &["outcome"],
        "Times that what is known of digests was written to its file, or could not be.",
    ),
    metric(
        "portcullis_auth_failures_total",
        COUNTER,
        &["reason"],
        "Requests that were turned away for the credentials or certificate they came with.",
    ),
    metric(
        "portcullis_expiring_credential_uses_total",
        COUNTER,
        &["credential"],
        "Uses of a credential by a secret that expires soon.",
    ),
    metric(
        "portcullis_client_warnings_total",
        COUNTER,
        &["kind"],
        "Warnings to callers, in the heads of answers.",
    ),
    metric(
        "portcullis_handshakes_total",
        COUNTER,
        &["outcome"],
        "TLS handshakes that ended.",
    ),
    metric(
        "portcullis_handshake_duration_seconds",
        HISTOGRAM,
        &[],
        "Time that a TLS handshake took.",
    ),
    metric(
        "portcullis_handshakes_in_flight",
        GAUGE,
        &[],
        "TLS handshakes that are in flight.",
    ),
    metric(
        "portcullis_connections",
        GAUGE,
        &["state"],
        "Open connections: `new` ones have shown nothing yet, neither a finished handshake nor, without TLS, a whole head.",
    ),
    metric(
        "portcullis_connections_total",
        COUNTER,
        &["outcome"],
        "Connections that ended, by what ended them, and those that got no place.",
    ),
    metric(
        "portcullis_accepting_pauses_total",
        COUNTER,
        &["reason"],
        "Times that no connection was accepted, because every place was in use or file descriptors ran out.",
    ),
    metric(
        "portcullis_accept_errors_total",
        COUNTER,
        &["reason"],
        "Connections that could not be accepted.",
    ),
    metric(
        "portcullis_request_bodies_timed_out_total",
        COUNTER,
        &["reason"],
        "Request bodies of which nothing, or too little, came.",
    ),
    metric(
        "portcullis_stalled_streams_total",
        COUNTER,
        &[],
        "HTTP/2 streams that were reset because the client took nothing of the answer.",
    ),
    metric(
        "portcullis_crowded_requests_total",
        COUNTER,
        &[],
        "Requests that were answered with status 503 because their source had as many in flight as it may have.",
    ),
    metric(
        "portcullis_service_panics_total",
        COUNTER,
        &[],
        "Panics of the service.",
    ),
    metric(
        "portcullis_forwarded_removed_total",
        COUNTER,
        &["header"],
        "Headers of proxies, removed because their sender is no listed one.",
    ),
    metric(
        "portcullis_reloads_total",
        COUNTER,
        &["what", "outcome"],
        "Reloads of a snapshot from its files.",
    ),
    metric(
        "portcullis_snapshot_loaded_timestamp_seconds",
        GAUGE,
        &["what"],
        "When the active snapshot was loaded, as a Unix time.",
    ),
    metric(
        "portcullis_snapshot_generation",
        GAUGE,
        &["what"],
        "The number of the active snapshot, from 1 at the start.",
    ),
    metric(
        "portcullis_snapshot_load_duration_seconds",
        GAUGE,
        &["what"],
        "Time that the newest load of the snapshot from its files took.",
    ),
    metric(
        "portcullis_snapshot_stale",
        GAUGE,
        &["what"],
        "1 if the newest reload of the snapshot failed, else 0.",
    ),
    metric(
        "portcullis_snapshot_lapsed",
        GAUGE,
        &["what"],
        "1 if the snapshot ended because its files could not be used for too long, else 0.",
    ),
    metric(
        "portcullis_crl_this_update_timestamp_seconds",
        GAUGE,
        &["issuer", "scope"],
        "When the active CRL was issued, as a Unix time.",
    ),
    metric(
        "portcullis_crl_next_update_timestamp_seconds",
        GAUGE,
        &["issuer", "scope"],
        "When the active CRL is due to be replaced, as a Unix time.",
    ),
    metric(
        "portcullis_crl_entries",
        GAUGE,
        &["issuer", "scope"],
        "Certificates on the active CRL.",
    ),
    metric(
        "portcullis_crl_refused_total",
        COUNTER,
        &["reason"],
        "CRLs that were not taken in place of the active one, being older than it, of a time that has not come, unusable, or a delta over a complete list that is not here.",
    ),
    metric(
        "portcullis_revocation_unknown_allowed_total",
        COUNTER,
        &[],
        "Requests that passed though no CRL says whether their certificate is revoked, which `unknown = \"allow\"` lets them.",
    ),
    metric(
        "portcullis_revocation_exempt_total",
        COUNTER,
        &["reason"],
        "Requests whose certificate needs no CRL: by itself (noRevAvail), being short-lived, or by the rule for its client CA.",
    ),
    metric(
        "portcullis_deny_entries",
        GAUGE,
        &[],
        "Entries of the deny list that count now.",
    ),
    metric(
        "portcullis_crl_fetches_total",
        COUNTER,
        &["url", "outcome"],
        "Requests for CRLs: `new`, `unchanged`, or why they failed.",
    ),
    metric(
        "portcullis_crl_fetched_timestamp_seconds",
        GAUGE,
        &["url"],
        "When a distribution point last answered with a usable CRL, or that there is no newer one, as a Unix time.",
    ),
    metric(
        "portcullis_certificate_not_after_timestamp_seconds",
        GAUGE,
        &["role", "subject"],
        "When a certificate in use ends, as a Unix time.",
    ),
];

/// Gives the installed recorder the kind and the help text of every metric, and sets to zero those counters
/// whose first count an alert must see.
#[cfg(feature = "metrics")]
pub fn describe_metrics() {
    super::metrics::begin_at_zero();
    for metric in METRICS {
        match metric.kind {
            COUNTER => metrics::describe_counter!(metric.name, metric.help),
            GAUGE => metrics::describe_gauge!(metric.name, metric.help),
            _ => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}
