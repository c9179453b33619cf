use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Script};
use tokio::time::Instant;

use super::connection::{connect, pause};
use super::health::Health;
use super::rounds::Rounds;
use super::{Fleet, Unreachable};
use crate::rate::lease::Lease;
use crate::rate::{Limit, MAX_BURST, MAX_RATE};
use crate::telemetry::metrics;

/// How long a replica that came back may not take more than half as much again each time: the
/// others may not have reported yet.
const CAUTIOUS_LEASES: u32 = 20;

/// Keeps a limit's lease until it is not used any more.
#[derive(Debug)]
pub(in crate::rate) struct RateSync {
    fleet: Fleet,
    health: Health,
    rate: u64,
    burst: u64,
    lease: Weak<Lease>,
    rounds: Arc<Rounds>,
    sent: Arc<AtomicU64>,
    script: Script,
    part: u64,
    reported: u64,
    cautious: u32,
}

/// Starts the task that keeps `lease`: one for each limit of a fleet, not for each request.
pub(in crate::rate) fn keep(fleet: Fleet, limit: &Limit, lease: Weak<Lease>) {
    let Some(held) = lease.upgrade() else {
        return;
    };
    let rate = limit.rate.unwrap_or(1);
    let sync = RateSync {
        fleet,
        health: Health::new(Arc::clone(&limit.name), "rate"),
        rate,
        burst: limit.burst(),
        lease,
        rounds: held.rounds(),
        sent: held.total(),
        script: Script::new(include_str!("lease.lua")),
        part: rate / 8,
        reported: 0,
        cautious: 0,
    };
    tokio::spawn(sync.run());
}

impl RateSync {
    async fn run(mut self) {
        while self.lease.strong_count() > 0 {
            let failed = match connect(&self.fleet).await {
                Ok(connection) => self.renew(connection).await,
                Err(error) => Some(error),
            };
            let Some(error) = failed else {
                return;
            };
            self.lost(&error);
            pause(&self.fleet).await;
        }
    }

    /// Renews the lease until the server fails; returns `None` when the lease is not used any more.
    async fn renew(&mut self, mut connection: MultiplexedConnection) -> Option<redis::RedisError> {
        loop {
            let next = Instant::now() + self.fleet.period;
            let sent = self.sent.load(Ordering::Relaxed);
            let Some(lease) = self.lease.upgrade() else {
                // What was sent last belongs on the books.
                let demand = self.demand(sent, false);
                return self.ask(&mut connection, sent, demand, 1).await.err();
            };
            let (streams, waiting) = lease.load();
            let demand = self.demand(sent, waiting);
            match self.ask(&mut connection, sent, demand, streams).await {
                Ok(part) => self.got(&lease, part, sent),
                Err(error) => return Some(error),
            }
            drop(lease);
            self.rounds.done();
            self.rounds.next(next).await;
        }
    }

    /// What this replica could use, in bytes per second: everything if a stream waits, else half as
    /// much again as it used.
    fn demand(&self, sent: u64, waiting: bool) -> u64 {
        if waiting {
            return self.rate;
        }
        let used = u128::from(sent.saturating_sub(self.reported)) * 1_500_000_000;
        let used = used / self.fleet.period.as_nanos().max(1);
        let least = self.rate / 64;
        u64::try_from(used)
            .unwrap_or(self.rate)
            .clamp(least, self.rate)
    }

    async fn ask(
        &self,
        connection: &mut MultiplexedConnection,
        sent: u64,
        demand: u64,
        streams: usize,
    ) -> RedisResult<u64> {
        let (prefix, limit) = (&self.fleet.prefix, self.health.limit());
        // In a cluster, what is in braces keeps both keys on one node.
        let mut call = self.script.key(format!("{prefix}:{{{limit}}}:state"));
        let life = self.fleet.period.as_micros() * 5;
        call.key(format!("{prefix}:{{{limit}}}:replicas"))
            .arg(&*self.fleet.replica)
            .arg(sent)
            .arg(demand)
            .arg(streams.max(1))
            .arg(self.rate)
            .arg(self.burst)
            .arg(u64::try_from(life).unwrap_or(u64::MAX));
        call.invoke_async(connection).await
    }

    fn got(&mut self, lease: &Lease, part: u64, sent: u64) {
        if self.health.answered() {
            self.cautious = CAUTIOUS_LEASES;
        }
        let mut part = part.clamp(1, self.rate.saturating_mul(5) / 4);
        if self.cautious > 0 {
            self.cautious -= 1;
            part = part.min((self.part.saturating_mul(3) / 2).max(self.rate / 64));
        }
        self.part = part.max(1);
        self.reported = sent;
        metrics::fleet_rate(self.health.limit(), self.part);
        // The burst is divided as the rate is.
        let burst = u128::from(self.burst) * u128::from(part) / u128::from(self.rate.max(1));
        let burst = u64::try_from(burst).unwrap_or(self.burst);
        lease.set(part, burst.max(part / 50).max(1024), Instant::now());
    }

    /// Does what the operator chose.
    fn lost(&mut self, error: &redis::RedisError) {
        let Some(lease) = self.lease.upgrade() else {
            return;
        };
        if !self.health.failed(error, self.fleet.unreachable) {
            return;
        }
        match self.fleet.unreachable {
            Unreachable::Local => {}
            Unreachable::Open => lease.set(MAX_RATE, MAX_BURST, Instant::now()),
            Unreachable::Refuse => lease.refuse(Instant::now()),
        }
    }
}
