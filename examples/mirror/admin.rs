//! What probes and Prometheus ask, on an address of its own: nothing here goes through the gate.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use portcullis::admin::{Admin, Readiness};
use portcullis::serve::{Server, Unfinished};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Collects the metrics of the whole process from now on.
///
/// # Errors
/// Another task does already.
pub(crate) fn recorder() -> Result<PrometheusHandle, BuildError> {
    // Seconds from a manifest out of the page cache to a layer over a slow line.
    let buckets = [0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0];
    let metrics = PrometheusBuilder::new()
        .set_buckets(&buckets)?
        .install_recorder()?;
    portcullis::telemetry::describe_metrics();
    Ok(metrics)
}

/// Answers until the process ends, so that a scrape sees the drain too.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: PrometheusHandle,
    admin: Admin,
    stopping: CancellationToken,
) -> Result<(), Unfinished> {
    let rendered = metrics.clone();
    let draining = move || {
        if stopping.is_cancelled() {
            Readiness::NotReady("stopping".to_owned())
        } else {
            Readiness::Ready
        }
    };
    let admin = admin
        .with_check("drain", draining)
        .with_metrics(move || rendered.render());
    // Few ask, and they ask often.
    let server = Server::unguarded().with_max_connections(256);
    tokio::select! {
        ended = server.serve(listener, admin) => ended,
        () = upkeep(metrics) => Ok(()),
    }
}

/// Keeps the histograms from growing between two scrapes.
async fn upkeep(metrics: PrometheusHandle) {
    let mut interval = tokio::time::interval(Duration::from_secs(5));
    loop {
        interval.tick().await;
        metrics.run_upkeep();
    }
}
