use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult, Script};
use tokio::time::Instant;

use super::account::Account;
use super::accounts::{Accounts, LastReports, Rules};
use super::connection::{connect, pause};
use super::health::Health;
use super::report::{Answer, Report};
use super::rounds::Rounds;
use super::state::least;
use crate::telemetry::metrics;

/// How many keys are reported at a time.
const BATCH: usize = 128;

/// How long replicas only report to a server that is back, until all have found out and reported what they
/// sent in the meantime.
const CAUTION: Duration = Duration::from_secs(1);

/// How long a window's figures stay after its end, in seconds.
const KEPT: u64 = 3600;

/// A lease whose replica has been silent for so long is free again.
const LIFE: Duration = Duration::from_secs(2);

/// Keeps the accounts of one quota until they are not used any more.
#[derive(Debug)]
struct QuotaSync {
    accounts: Weak<Accounts>,
    rounds: Arc<Rounds>,
    last: LastReports,
    health: Health,
    script: Script,
}

/// One account's exchange with the server.
struct Exchange {
    account: Arc<Account>,
    /// Whether it is of a window that is over.
    closed: bool,
    report: Report,
}

/// Why a connection was given up.
enum End {
    /// The accounts are not used any more.
    Unused,
    /// There is another server, or another way to use it.
    Changed,
    Failed(RedisError),
}

/// Starts the task that keeps `accounts`: one for each quota of a fleet.
pub(in crate::rate) fn keep(accounts: Weak<Accounts>) {
    let Some(held) = accounts.upgrade() else {
        return;
    };
    let sync = QuotaSync {
        accounts,
        rounds: held.rounds(),
        last: held.last(),
        health: Health::new(held.limit(), "quota"),
        script: Script::new(include_str!("quota.lua")),
    };
    tokio::spawn(sync.run());
}

impl QuotaSync {
    async fn run(mut self) {
        while let Some(rules) = self.rules() {
            let end = match connect(&rules.fleet).await {
                Ok(connection) => self.renew(connection, &rules).await,
                Err(error) => End::Failed(error),
            };
            match end {
                End::Unused => return,
                End::Changed => {}
                End::Failed(error) => {
                    self.lost(&error);
                    pause(&rules.fleet).await;
                }
            }
        }
    }

    fn rules(&self) -> Option<Arc<Rules>> {
        Some(self.accounts.upgrade()?.rules())
    }

    /// Renews leases until the server fails or there is no more need.
    async fn renew(&mut self, mut connection: MultiplexedConnection, rules: &Arc<Rules>) -> End {
        let mut cautious = None;
        if let Some(accounts) = self.accounts.upgrade() {
            // It may have lost what it knew.
            accounts.list_all();
            let down = accounts.is_down();
            cautious = down.then(|| Instant::now() + CAUTION.max(3 * rules.fleet.period));
        }
        let mut next = Instant::now();
        loop {
            let Some(accounts) = self.accounts.upgrade() else {
                return match self.report_last(rules, &mut connection).await {
                    Ok(()) => End::Unused,
                    Err(error) => End::Failed(error),
                };
            };
            if !Arc::ptr_eq(&accounts.rules(), rules) {
                return End::Changed;
            }
            if cautious.is_some_and(|until| Instant::now() >= until) {
                cautious = None;
                accounts.list_all();
                accounts.set_down(false);
            }
            if let Err(error) = self.report(&accounts, rules, &mut connection).await {
                return End::Failed(error);
            }
            self.health.answered();
            drop(accounts);
            self.rounds.done();
            // Early if a request waits for a lease.
            if next <= Instant::now() {
                next = Instant::now() + rules.fleet.period;
            }
            self.rounds.next(next).await;
        }
    }

    /// Reports to the server every account that has something to report.
    async fn report(
        &mut self,
        accounts: &Accounts,
        rules: &Rules,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<()> {
        let (mut exchanges, mut idle, mut leased) = (Vec::new(), Vec::new(), 0);
        let (now, terms) = (Instant::now(), accounts.terms());
        for account in accounts.take_listed() {
            if account.rests(now, &terms) {
                leased += account.leased();
                accounts.list(account);
                continue;
            }
            let (closed, report) = account.report(now, rules.fleet.period, &terms);
            let exchange = |report, closed| Exchange {
                account: Arc::clone(&account),
                closed,
                report,
            };
            exchanges.extend(closed.into_iter().map(|report| exchange(report, true)));
            exchanges.push(exchange(report, false));
        }
        if exchanges.is_empty() {
            metrics::fleet_leased(self.health.limit(), leased);
            return redis::cmd("PING").query_async(connection).await;
        }
        for (index, batch) in exchanges.chunks(BATCH).enumerate() {
            let answers = self.ask(rules, batch, terms.span.begins, connection);
            let answers = match answers.await {
                Ok(answers) if answers.len() == batch.len() => answers,
                failed => {
                    for exchange in &exchanges[index * BATCH..] {
                        let closed = exchange.closed.then_some(exchange.report);
                        accounts.stir(&exchange.account, exchange.account.not_reported(closed));
                    }
                    let strange = (redis::ErrorKind::UnexpectedReturnType, "not what was asked");
                    return Err(failed.err().unwrap_or_else(|| RedisError::from(strange)));
                }
            };
            let terms = accounts.terms();
            for (exchange, answer) in batch.iter().zip(answers) {
                accounts.seen(answer.replicas);
                if !exchange.closed {
                    leased += answer.may.saturating_sub(exchange.report.sent);
                    let stir = exchange.account.answered(exchange.report, answer, &terms);
                    accounts.stir(&exchange.account, stir);
                    if !stir.list {
                        idle.push(Arc::clone(&exchange.account));
                    }
                }
            }
        }
        drop(exchanges);
        for account in &idle {
            accounts.rest(account);
        }
        metrics::fleet_leased(self.health.limit(), leased);
        Ok(())
    }

    /// Reports to the server what was left to report when the accounts went.
    async fn report_last(
        &self,
        rules: &Rules,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<()> {
        let last = std::mem::take(&mut *self.last.lock().unwrap_or_else(PoisonError::into_inner));
        let begins = last.iter().map(|(_, report)| report.begins).max();
        let exchange = |(account, report)| Exchange {
            account,
            closed: true,
            report,
        };
        let exchanges: Vec<_> = last.into_iter().map(exchange).collect();
        for batch in exchanges.chunks(BATCH) {
            self.ask(rules, batch, begins.unwrap_or(0), connection)
                .await?;
        }
        Ok(())
    }

    async fn ask(
        &self,
        rules: &Rules,
        batch: &[Exchange],
        begins: u64,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<Vec<Answer>> {
        let (prefix, limit) = (&rules.fleet.prefix, self.health.limit());
        let life = LIFE.max(5 * rules.fleet.period).as_micros();
        let mut call = self.script.prepare_invoke();
        call.arg(&*rules.fleet.replica)
            .arg(rules.quota.bytes)
            .arg(u64::try_from(life).unwrap_or(u64::MAX))
            .arg(least(rules.quota));
        for Exchange {
            account, report, ..
        } in batch
        {
            // In a cluster, what is in braces keeps all keys on one node.
            let key = format!("{prefix}:{{{limit}}}:{}:{}", report.begins, account.name());
            let kept = report.ends.saturating_sub(begins).saturating_add(KEPT);
            call.key(key).arg(report.sent).arg(report.want).arg(kept);
        }
        let figures: Vec<u64> = call.invoke_async(connection).await?;
        let answers = figures.chunks_exact(3).map(|figures| Answer {
            may: figures[0],
            left: figures[1],
            replicas: figures[2],
        });
        Ok(answers.collect())
    }

    /// Does what the operator chose.
    fn lost(&mut self, error: &RedisError) {
        let Some(accounts) = self.accounts.upgrade() else {
            return;
        };
        if self
            .health
            .failed(error, accounts.rules().fleet.unreachable)
        {
            accounts.set_down(true);
        }
    }
}
