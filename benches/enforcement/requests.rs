use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use portcullis::Connection;
use portcullis::crl::{Revocation, RevocationLayer};
use tokio::time::{MissedTickBehavior, interval};
use tower::{Layer, ServiceExt, service_fn};

use crate::pki::Pki;

const REQUESTS: usize = 3_000;

/// Microseconds from when a request was due to when its answer was there, in order, of some requests
/// a millisecond apart, which is also how finely the runtime's timer wakes.
pub(crate) struct Waits {
    pub(crate) in_peace: Vec<f64>,
    /// Beside as many threads as a load has, which do nothing but count.
    pub(crate) beside_work: Vec<f64>,
    /// While the list is loaded without a pause.
    pub(crate) during_loads: Vec<f64>,
}

/// Threads of a load: one indexes and the other checks the signature.
const THREADS: usize = 2;

pub(crate) async fn waits(pki: &Pki, revocation: &Revocation, list: &[u8]) -> Waits {
    let connection = Connection::builder("10.0.0.1:1".parse().unwrap())
        .state(pki.tracked(revocation))
        .build();
    let in_peace = one_after_another(&connection).await;
    let over = Arc::new(AtomicBool::new(false));
    let counting = (0..THREADS).map(|_| {
        let over = Arc::clone(&over);
        std::thread::spawn(move || {
            let mut count = 0_u64;
            while !over.load(Ordering::Relaxed) {
                count = std::hint::black_box(count + 1);
            }
        })
    });
    let counting: Vec<_> = counting.collect();
    let beside_work = one_after_another(&connection).await;
    over.store(true, Ordering::Relaxed);
    for thread in counting {
        thread.join().unwrap();
    }
    let over = Arc::new(AtomicBool::new(false));
    let loader = {
        let (revocation, list, over) = (revocation.clone(), list.to_vec(), Arc::clone(&over));
        std::thread::spawn(move || {
            let mut loads = 0;
            while !over.load(Ordering::Relaxed) {
                revocation.publish([&*list]).unwrap();
                loads += 1;
            }
            loads
        })
    };
    let during_loads = one_after_another(&connection).await;
    over.store(true, Ordering::Relaxed);
    let loads = loader.join().unwrap();
    assert!(loads > 3, "the requests were over before the loads");
    eprintln!("{loads} loads beside {REQUESTS} requests");
    Waits {
        in_peace,
        beside_work,
        during_loads,
    }
}

/// On a worker of the runtime, as requests are.
async fn one_after_another(connection: &Connection) -> Vec<f64> {
    let connection = connection.clone();
    let asking = tokio::spawn(async move {
        let service = RevocationLayer::new().layer(service_fn(|_request| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("a manifest"))))
        }));
        let mut ticks = interval(Duration::from_millis(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut waits = Vec::with_capacity(REQUESTS);
        for _ in 0..REQUESTS {
            let due = ticks.tick().await;
            let mut request = Request::get("/v2/")
                .header("host", "registry.example")
                .body(Full::<Bytes>::default())
                .unwrap();
            request.extensions_mut().insert(connection.clone());
            let response = service.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 200);
            response.into_body().collect().await.unwrap();
            waits.push(due.elapsed().as_secs_f64() * 1e6);
        }
        waits
    });
    let mut waits = asking.await.unwrap();
    waits.sort_by(f64::total_cmp);
    waits
}
