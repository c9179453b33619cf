//! What is measured.

use std::collections::HashMap;
use std::time::Duration;

use crate::clients::{self, Seen, Server};
use crate::figures::Figures;
use crate::servers::Kind;
use crate::{picture, proxies};

const MEGA: u64 = 1_000_000;

/// How long a run is looked at, its first half second apart, which the burst falls in.
const SETTLE: f64 = 0.5;

struct Case<'a> {
    figures: &'a mut Figures,
    full: bool,
    only: &'a str,
    // What a server without a limit takes, in CPU seconds a GB, by its number of streams.
    bare: HashMap<usize, f64>,
}

/// One run's figures.
struct Judged {
    ratio: f64,
    jain: f64,
    jain_each_second: f64,
    silence: f64,
    above_bursts: f64,
    cpu_per_gb: f64,
}

/// Measures everything, or what a quick run has time for.
pub(crate) async fn run(figures: &mut Figures, full: bool, only: &str) {
    let mut case = Case {
        figures,
        full,
        only,
        bare: HashMap::new(),
    };
    for rate in [1, 10, 100, 1000] {
        case.accuracy(rate, 1).await;
        case.accuracy(rate, 64).await;
    }
    case.weights().await;
    case.greedy().await;
    case.scale().await;
}

impl Case<'_> {
    fn wanted(&self, name: &str) -> bool {
        name.contains(self.only)
    }

    fn seconds(&self) -> f64 {
        if self.full { 5.0 } else { 3.0 }
    }

    /// One total limit, some streams of one tenant.
    async fn accuracy(&mut self, megabytes: u64, streams: usize) {
        let name = format!("{megabytes} MB/s, {streams} streams");
        if !self.wanted(&name) {
            return;
        }
        let rate = megabytes * MEGA;
        let ours = self
            .judge(&Server::start(Kind::Portcullis, rate, false), rate, streams)
            .await;
        let mut peers = Vec::new();
        if streams > 1 && (self.full || megabytes == 100) {
            for (name, kind) in [
                ("governor", Kind::Governor),
                ("leaky-bucket", Kind::LeakyBucket),
                ("async-speed-limit", Kind::AsyncSpeedLimit),
            ] {
                let server = Server::start(kind, rate, false);
                peers.push((name, self.judge(&server, rate, streams).await));
            }
        }
        if streams > 1 {
            self.measure_bare(streams).await;
        }
        let mut unmeasured = None;
        if streams > 1 && self.full {
            if let Some(server) = proxies::nginx(rate / streams as u64) {
                peers.push(("nginx, each", self.judge(&server, rate, streams).await));
            }
            let behind = Server::start(Kind::Bare, 0, false);
            match proxies::haproxy(rate, behind.port()) {
                Some(server) => {
                    peers.push(("HAProxy bwlim", self.judge(&server, rate, streams).await));
                }
                // Debian 12's is 2.6.
                None => unmeasured = Some("HAProxy bwlim (of 2.7 or later)"),
            }
        }
        self.rows(&name, megabytes, streams, &ours, &peers, unmeasured);
    }

    async fn judge(&self, server: &Server, rate: u64, streams: usize) -> Judged {
        let paths = vec!["all".to_owned(); streams];
        let time = Duration::from_secs_f64(SETTLE + self.seconds());
        judge(&server.watch(&paths, time).await, rate, self.seconds())
    }

    /// What the same streams cost without a limit.
    async fn measure_bare(&mut self, streams: usize) {
        if self.bare.contains_key(&streams) {
            return;
        }
        let server = Server::start(Kind::Bare, 0, false);
        let paths = vec!["all".to_owned(); streams];
        let seen = server.watch(&paths, Duration::from_secs(2)).await;
        self.bare
            .insert(streams, seen.cpu / (float(seen.sent) / 1e9));
    }

    fn rows(
        &mut self,
        name: &str,
        megabytes: u64,
        streams: usize,
        ours: &Judged,
        peers: &[(&str, Judged)],
        unmeasured: Option<&str>,
    ) {
        let bare = self.bare.get(&streams).copied();
        let burst = 0.05_f64.max(16384.0 / float(megabytes * MEGA)) / self.seconds();
        let mut row = |what: &str, unit, of: &dyn Fn(&Judged) -> f64, bound: Bound| {
            let row = self.figures.row(format!("{name}: {what}"), unit, of(ours));
            for (peer, judged) in peers {
                row.peer(*peer, of(judged));
            }
            if let Some(bare) = bare.filter(|_| what == "CPU") {
                row.peer("bare", bare);
            }
            if let Some(peer) = unmeasured {
                row.unmeasured(peer);
            }
            match bound {
                Bound::Within(least, most) => row.within(least, most),
                Bound::AtLeast(bound) => row.at_least(bound),
                Bound::AtMost(bound) => row.at_most(bound),
                Bound::None => row,
            };
        };
        let least = if megabytes == 1000 { 0.97 } else { 0.99 };
        row(
            "achieved",
            "of the rate",
            &|judged| judged.ratio,
            // No more than the rate, but for the burst.
            Bound::Within(least, 1.0 + burst),
        );
        let above = "most above the rate in a window";
        row(
            above,
            "bursts",
            &|judged| judged.above_bursts,
            Bound::AtMost(1.0),
        );
        if streams > 1 {
            let least = if megabytes == 1 { 0.95 } else { 0.99 };
            let bound = Bound::AtLeast(least);
            row(
                "worst Jain of a second",
                "",
                &|judged| judged.jain_each_second,
                bound,
            );
            row("Jain", "", &|judged| judged.jain, Bound::AtLeast(0.99));
            let bound = match megabytes {
                1 => Bound::AtMost(15.0),
                100 => Bound::AtMost(0.8),
                1000 => Bound::AtMost(0.45),
                _ => Bound::None,
            };
            row("CPU", "s/GB", &|judged| judged.cpu_per_gb, bound);
        }
        let silence = format!("{name}: longest silence");
        let row = self.figures.row(silence, "ms", ours.silence);
        for (peer, judged) in peers {
            row.peer(*peer, judged.silence);
        }
        if streams == 1 {
            // By arithmetic: a bucket of Envoy's is filled once in so long, by default and at the
            // least, and silent in between.
            row.peer("Envoy, by default", 50.0);
            row.peer("Envoy, at the least", 20.0);
        }
        if (megabytes, streams) == (1, 1) {
            row.at_most(25.0);
        }
    }

    /// Tenants of weight 1, 2 and 4, with 3, 2 and 1 streams.
    async fn weights(&mut self) {
        if !self.wanted("weights") {
            return;
        }
        let rates: &[u64] = if self.full {
            &[1, 10, 100, 1000]
        } else {
            &[10, 100]
        };
        for &megabytes in rates {
            let rate = megabytes * MEGA;
            let server = Server::start(Kind::Portcullis, rate, true);
            let paths = ["w-1", "w-1", "w-1", "w-2", "w-2", "w-4"].map(str::to_owned);
            let time = Duration::from_secs_f64(SETTLE + self.seconds());
            let seen = server.watch(&paths, time).await;
            let bytes = seen.between(SETTLE, SETTLE + self.seconds());
            let sum: u64 = bytes.iter().sum();
            let parts = [&bytes[..3], &bytes[3..5], &bytes[5..]];
            let off = parts.iter().zip([1.0, 2.0, 4.0]).map(|(part, weight)| {
                let part: u64 = part.iter().sum();
                (float(part) / float(sum) / (weight / 7.0) - 1.0).abs() * 100.0
            });
            let name = format!("{megabytes} MB/s: weights 1:2:4, furthest off");
            let off = off.fold(0.0, f64::max);
            self.figures.row(name, "%", off).at_most(2.0);
        }
    }

    /// A tenant with 100 streams against nine with one each.
    async fn greedy(&mut self) {
        if !self.wanted("greedy") {
            return;
        }
        let rate = 100 * MEGA;
        let mut paths: Vec<String> = (0..9).map(|tenant| format!("tenant-{tenant}")).collect();
        paths.extend(vec!["greedy".to_owned(); 100]);
        let server = Server::start(Kind::Portcullis, rate, true);
        let time = Duration::from_secs_f64(SETTLE + self.seconds());
        let seen = server.watch(&paths, time).await;
        let bytes = seen.between(SETTLE, SETTLE + self.seconds());
        let all = float(rate) * self.seconds();
        let part = |bytes: &[u64]| float(bytes.iter().sum()) / all;
        let greedy = part(&bytes[9..]);
        let off = bytes[..9]
            .iter()
            .map(|&bytes| (part(&[bytes]) / 0.1 - 1.0).abs() * 100.0);
        let off = off.fold(0.0, f64::max);
        let unlimited = Server::start(Kind::AsyncSpeedLimit, rate, false);
        let before = unlimited.watch(&paths, time).await;
        let before_bytes = before.between(SETTLE, SETTLE + self.seconds());
        self.figures
            .row("greedy tenant: its part", "of the rate", greedy)
            .peer("async-speed-limit", part(&before_bytes[9..]))
            .within(0.098, 0.102);
        self.figures
            .row("greedy tenant: the others' furthest off a tenth", "%", off)
            .at_most(2.0);
        if self.full {
            picture::draw(&seen, &before, 9);
        }
    }

    /// As many streams as a busy mirror has.
    async fn scale(&mut self) {
        if !self.wanted("20000 streams") {
            return;
        }
        // A connection is a file, on both sides, and each process has some others.
        let wanted = if self.full { 20_000 } else { 2_000 };
        let streams = wanted.min(clients::most_files(wanted + 200).saturating_sub(100));
        let cut = if streams < wanted {
            " (no more files may be open here)"
        } else {
            ""
        };
        let rate = 100 * MEGA;
        let seconds = if self.full { 10.0 } else { 3.0 };
        let paths: Vec<String> = (0..streams)
            .map(|stream| format!("t-{}", stream % 500))
            .collect();
        let bare = Server::start(Kind::Bare, 0, false);
        let idle = bare.watch(&paths, Duration::from_secs_f64(2.0)).await;
        drop(bare);
        let server = Server::start(Kind::Portcullis, rate, true);
        let seen = server.watch(&paths, Duration::from_secs_f64(seconds)).await;
        let name = |what: &str| format!("{streams} streams{cut}, 100 MB/s: {what}");
        let each = |seen: &Seen| float(seen.memory) / float(streams) / 1024.0;
        self.figures
            .row(
                name("memory, connection and socket buffers of hyper included"),
                "KiB/stream",
                each(&seen),
            )
            .peer("bare", each(&idle));
        let cpu = seen.cpu / (float(seen.sent) / 1e9);
        self.figures
            .row(name("CPU"), "s/GB", cpu)
            .peer("bare", idle.cpu / (float(idle.sent) / 1e9));
        self.figures
            .row(
                name("context switches, slept and woken"),
                "/s",
                seen.wakeups,
            )
            .peer("bare", idle.wakeups);
        self.figures
            .row(
                name("wake-ups of the runtime, by timers and sockets"),
                "/s",
                seen.parks,
            )
            .peer("bare", idle.parks);
        let total: u64 = seen.between(1.0, seconds).iter().sum();
        let ratio = float(total) / (float(rate) * (seconds - 1.0));
        self.figures
            .row(name("achieved"), "of the rate", ratio)
            .at_least(0.97);
        let moved = seen
            .bins
            .iter()
            .filter(|bins| bins.iter().sum::<u64>() > 1000)
            .count();
        let moved = float(moved as u64) / float(streams);
        self.figures
            .row(name("streams that moved"), "of all", moved)
            .at_least(1.0);
    }
}

enum Bound {
    Within(f64, f64),
    AtLeast(f64),
    AtMost(f64),
    None,
}

fn judge(seen: &Seen, rate: u64, seconds: f64) -> Judged {
    let bytes = seen.between(SETTLE, SETTLE + seconds);
    let mut worst = 1.0_f64;
    let mut from = SETTLE;
    while from + 1.0 <= SETTLE + seconds + 0.001 {
        worst = worst.min(jain(&seen.between(from, from + 1.0)));
        from += 1.0;
    }
    let burst = (float(rate) / 20.0).max(16384.0);
    Judged {
        ratio: float(bytes.iter().sum()) / (float(rate) * seconds),
        jain: jain(&bytes),
        jain_each_second: worst,
        silence: seen.silence.as_secs_f64() * 1000.0,
        above_bursts: seen.above(float(rate)) / burst,
        cpu_per_gb: seen.cpu / (float(seen.sent) / 1e9),
    }
}

fn jain(values: &[u64]) -> f64 {
    let sum: f64 = values.iter().map(|&value| float(value)).sum();
    let squares: f64 = values.iter().map(|&value| float(value).powi(2)).sum();
    if squares == 0.0 {
        return 0.0;
    }
    sum * sum / (float(values.len() as u64) * squares)
}

#[allow(clippy::cast_precision_loss, reason = "figures")]
fn float(value: u64) -> f64 {
    value as f64
}
