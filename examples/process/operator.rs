use std::error::Error;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use portcullis::admin::{Admin, Readiness};
use portcullis::serve::{Server, Unfinished, bind};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Flags, log};

const LOST_LINES: &str = "log_lines_lost_total";

/// The operator's port, for probes and Prometheus. Nothing on it passes the guard.
pub(crate) struct Operator {
    listener: TcpListener,
    metrics: PrometheusHandle,
}

impl Operator {
    /// Binds the port, if there is an address for it and more to do than a check, and collects the metrics of the whole process from now on:
    /// before the guard is made, so that they see its files loaded.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) async fn open(flags: &Flags) -> Result<Option<Self>, Box<dyn Error>> {
        let Some(address) = flags.admin.filter(|_| !flags.check) else {
            return Ok(None);
        };
        Ok(Some(Self {
            listener: bind(address).await?,
            metrics: recorder()?,
        }))
    }

    /// Answers until the process ends, so that a scrape sees the drain too. `look` sets what is looked at only
    /// when metrics are asked for.
    pub(crate) fn serve(
        self,
        admin: Admin,
        look: impl Fn() + Send + Sync + 'static,
        stopping: CancellationToken,
    ) {
        let Self { listener, metrics } = self;
        let rendered = metrics.clone();
        let admin = draining(admin, stopping).with_metrics(move || {
            look();
            metrics::counter!(LOST_LINES).absolute(log::lost());
            rendered.render()
        });
        tokio::spawn(async move {
            tokio::select! {
                ended = answer(listener, admin) => ended,
                () = upkeep(metrics) => Ok(()),
            }
        });
    }
}

/// Adds the check by which a process that stops is not ready.
pub(crate) fn draining(admin: Admin, stopping: CancellationToken) -> Admin {
    admin.with_check("drain", move || {
        if stopping.is_cancelled() {
            Readiness::NotReady("stopping".to_owned())
        } else {
            Readiness::Ready
        }
    })
}

async fn answer(listener: TcpListener, admin: Admin) -> Result<(), Unfinished> {
    // Few clients ask, and they ask often.
    let server = Server::unguarded().with_max_connections(256);
    server.serve(listener, admin).await
}

fn recorder() -> Result<PrometheusHandle, BuildError> {
    // Seconds from a manifest out of the page cache to a layer over a slow line.
    let buckets = [0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0];
    let recorder = PrometheusBuilder::new()
        .set_buckets(&buckets)?
        .install_recorder()?;
    portcullis::telemetry::describe_metrics();
    metrics::describe_counter!(
        LOST_LINES,
        "Lines of the program's log that were lost because standard error did not take them."
    );
    Ok(recorder)
}

/// Keeps the histograms from growing between two scrapes.
async fn upkeep(metrics: PrometheusHandle) {
    let mut interval = tokio::time::interval(Duration::from_secs(5));
    loop {
        interval.tick().await;
        metrics.run_upkeep();
    }
}
