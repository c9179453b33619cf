//! What a flood of wrong passwords does to token users.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use portcullis::auth::{PasswordOptions, TokenAuth, TokenAuthLayer};
use tokio::runtime::Builder;
use tower::{Layer, ServiceExt};

use super::figures::Figures;
use super::{Bare, TOKEN, basic, bearer, request, with_password};

/// The 99th percentile of good token requests while 200 clients send wrong passwords, over that without
/// them. In turns, since a machine has its moods. Of so many passwords the machine verifies some 15 a
/// second; what the others cost is measured by as many clients with tokens.
pub(super) fn flood(figures: &mut Figures, rounds: usize) {
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let options = PasswordOptions::default().with_concurrent(NonZeroUsize::MIN);
    let gate = TokenAuthLayer::new(with_password(10).with_passwords(&options)).layer(Bare);
    let wrong = |number| basic(if number % 2 == 0 { "alice" } else { "nobody" }, "wrong");
    for pause in [100, 10] {
        let pause = Duration::from_millis(pause);
        let (mut alone, mut beside, mut flooded) = (Vec::new(), Vec::new(), Vec::new());
        runtime.block_on(async {
            for _ in 0..rounds {
                times(&gate, &mut alone).await;
                times_beside(&gate, pause, |_| bearer(TOKEN), &mut beside).await;
                times_beside(&gate, pause, wrong, &mut flooded).await;
            }
        });
        let (alone, beside, flooded) = (p99(alone), p99(beside), p99(flooded));
        let rate = 200_000 / pause.as_millis();
        figures
            .row(
                format!("p99 of tokens beside 200 clients with {rate} wrong passwords a second"),
                "us",
                flooded,
            )
            .peer("alone", alone)
            .peer("beside as many tokens", beside)
            .ratio_at_most(1.5);
    }
}

/// [`times`] while 200 others ask too.
async fn times_beside(
    gate: &TokenAuth<Bare>,
    pause: Duration,
    header: impl Fn(u32) -> HeaderValue,
    all: &mut Vec<f64>,
) {
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..200)
        .map(|number| {
            let (gate, over) = (gate.clone(), Arc::clone(&over));
            let header = header(number);
            tokio::spawn(async move {
                // Not all in the same moment, as nothing makes them.
                tokio::time::sleep(pause * number / 200).await;
                while !over.load(Ordering::Relaxed) {
                    black_box(gate.clone().oneshot(request(&header)).await.unwrap());
                    // A client needs a moment to send the next.
                    tokio::time::sleep(pause).await;
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    times(gate, all).await;
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
}

/// How long good token requests take, in microseconds.
async fn times(gate: &TokenAuth<Bare>, all: &mut Vec<f64>) {
    let header = bearer(TOKEN);
    for _ in 0..300 {
        let (gate, request) = (gate.clone(), request(&header));
        let begin = Instant::now();
        // On a worker of the runtime, where a blocked one would be felt.
        let answer = tokio::spawn(gate.oneshot(request)).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        all.push(begin.elapsed().as_secs_f64() * 1e6);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn p99(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() * 99 / 100]
}
