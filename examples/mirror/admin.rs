//! What probes and Prometheus ask, on an address of its own: nothing here goes through the gate.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use portcullis::Guard;
use portcullis::admin::{Admin, Readiness};
use portcullis::serve::{Server, Unfinished};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::routes::Registry;
use crate::store::Store;
use crate::upstream::{Condition, PullThrough};

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
    metrics::describe_counter!(
        "mirror_upstream_requests_total",
        "Questions to the upstream registry, by how they ended."
    );
    for (name, what) in [
        (
            "mirror_upstream_usable",
            "1 if the upstream answers and accepts the credentials, as far as is known, else 0.",
        ),
        (
            "mirror_store_bytes",
            "What blobs and manifests take on the disk.",
        ),
        (
            "mirror_store_full",
            "1 if nothing can be kept now because no space is left, else 0.",
        ),
    ] {
        metrics::describe_gauge!(name, what);
    }
    Ok(metrics)
}

/// Sets what is looked at only when it is asked for.
fn gauges(store: &Store, pull: Option<&PullThrough>) {
    if let Some(pull) = pull {
        let usable = pull.upstream().condition() == Condition::Good;
        metrics::gauge!("mirror_upstream_usable").set(f64::from(u8::from(usable)));
    }
    let disk = store.disk();
    // Beyond 2^53 bytes the last digits do not matter.
    #[expect(clippy::cast_precision_loss, reason = "said above")]
    metrics::gauge!("mirror_store_bytes").set(disk.used() as f64);
    let full = disk.problem().is_some();
    metrics::gauge!("mirror_store_full").set(f64::from(u8::from(full)));
}

/// Answers until the process ends, so that a scrape sees the drain too.
pub(crate) fn serve(
    listener: TcpListener,
    metrics: PrometheusHandle,
    guard: &Guard,
    registry: &Registry,
    stopping: CancellationToken,
) -> impl Future<Output = Result<(), Unfinished>> + use<> {
    let (store, pull) = (registry.store.clone(), registry.pull.clone());
    let disk = registry.store.clone();
    let disk = move || match disk.disk().problem() {
        Some(problem) => Readiness::NotReady(problem),
        None => Readiness::Ready,
    };
    let draining = move || {
        if stopping.is_cancelled() {
            Readiness::NotReady("stopping".to_owned())
        } else {
            Readiness::Ready
        }
    };
    let upstream = pull.iter().map(PullThrough::readiness);
    let checks: Vec<_> = guard.checks().chain(upstream).collect();
    let rendered = metrics.clone();
    let admin = Admin::new()
        .with_checks(checks)
        .with_check("disk", disk)
        .with_check("drain", draining)
        .with_metrics(move || {
            gauges(&store, pull.as_ref());
            rendered.render()
        });
    // Few ask, and they ask often.
    let server = Server::unguarded().with_max_connections(256);
    async move {
        tokio::select! {
            ended = server.serve(listener, admin) => ended,
            () = upkeep(metrics) => Ok(()),
        }
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
