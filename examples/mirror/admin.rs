//! What the operator's port says of the mirror: checks, and metrics of its own.

use portcullis::Guard;
use portcullis::admin::{Admin, Readiness};

use crate::routes::Registry;
use crate::upstream::{Condition, PullThrough};

/// The checks of the guard, of the upstream and of the disk.
pub(crate) fn checks(guard: &Guard, registry: &Registry) -> Admin {
    let store = registry.store.clone();
    let disk = move || match store.disk().problem() {
        Some(problem) => Readiness::NotReady(problem),
        None => Readiness::Ready,
    };
    let upstream = registry.pull.iter().map(PullThrough::readiness);
    Admin::new()
        .with_checks(guard.checks().chain(upstream))
        .with_check("disk", disk)
}

/// Describes the metrics, and returns what sets the gauges among them, which are looked at only when they are
/// asked for.
pub(crate) fn metrics(registry: &Registry) -> impl Fn() + Send + Sync + use<> {
    for (name, what) in [
        (
            "mirror_upstream_requests_total",
            "Questions to the upstream registry, by how they ended.",
        ),
        (
            "mirror_store_damaged_total",
            "What was found on the disk and is not what it should be: it was healed or removed.",
        ),
        (
            "mirror_store_checked_bytes_total",
            "Bytes of blobs that were read because they were asked for and had not been read since the start.",
        ),
    ] {
        metrics::describe_counter!(name, what);
    }
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
    let (store, pull) = (registry.store.clone(), registry.pull.clone());
    move || {
        if let Some(pull) = &pull {
            let usable = pull.upstream().condition() == Condition::Good;
            metrics::gauge!("mirror_upstream_usable").set(f64::from(u8::from(usable)));
        }
        let (disk, checked) = (store.disk(), store.checked());
        metrics::counter!("mirror_store_damaged_total").absolute(checked.damaged());
        metrics::counter!("mirror_store_checked_bytes_total").absolute(checked.read());
        // Beyond 2^53 bytes the last digits do not matter.
        #[expect(clippy::cast_precision_loss, reason = "said above")]
        metrics::gauge!("mirror_store_bytes").set(disk.used() as f64);
        let full = disk.problem().is_some();
        metrics::gauge!("mirror_store_full").set(f64::from(u8::from(full)));
    }
}
