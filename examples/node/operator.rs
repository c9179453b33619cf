//! What the operator's port says of the node: checks, and metrics of its own.

use portcullis::Guard;
use portcullis::admin::{Admin, Readiness};

use crate::holdings::{Holdings, READS};

/// The checks of the guard, and whether containerd is followed.
pub(crate) fn checks(guard: &Guard, holdings: &Holdings) -> Admin {
    let holdings = holdings.clone();
    let containerd = move || match holdings.problem() {
        Some(problem) => Readiness::NotReady(problem),
        None => Readiness::Ready,
    };
    Admin::new()
        .with_checks(guard.checks())
        .with_check("containerd", containerd)
}

/// Describes the metrics, and returns what sets the gauges among them, which are looked at only when they are
/// asked for.
pub(crate) fn metrics(holdings: &Holdings) -> impl Fn() + Send + Sync + use<> {
    metrics::describe_counter!(
        READS,
        "Times that all of containerd's content was listed, or could not be."
    );
    for (name, what) in [
        (
            "node_containerd_followed",
            "1 if what containerd holds is known, else 0; while it is not, nothing is served.",
        ),
        (
            "node_content_objects",
            "Blobs and manifests that containerd holds in the namespace.",
        ),
    ] {
        metrics::describe_gauge!(name, what);
    }
    let holdings = holdings.clone();
    move || {
        let objects = holdings.objects();
        let followed = f64::from(u8::from(objects.is_some()));
        metrics::gauge!("node_containerd_followed").set(followed);
        // Beyond 2^53 objects the last digits do not matter.
        #[expect(clippy::cast_precision_loss, reason = "said above")]
        metrics::gauge!("node_content_objects").set(objects.unwrap_or_default() as f64);
    }
}
