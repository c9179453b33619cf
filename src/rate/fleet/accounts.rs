use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use hashbrown::HashTable;

use super::account::{Account, Report, Server, Stir, Terms};
use super::rounds::Rounds;
use super::{Fleet, bookkeeper};
use crate::rate::Quota;
use crate::rate::meter::Standing;
use crate::rate::quota::{Calendar, Span};
use crate::rate::starter::Starter;

const SHARDS: usize = 64;
const KEYS_PER_SHARD: usize = 1024;

/// Of how many replicas there is thought to be one, before the server has told.
const REPLICAS: u64 = 8;

/// The keys of a quota that a fleet shares. Bounded: what does not fit has one account together.
#[derive(Debug)]
pub(in crate::rate) struct Accounts {
    limit: Arc<str>,
    rules: ArcSwap<Rules>,
    shards: Box<[Mutex<Shard>]>,
    most: usize,
    others: Arc<Account>,
    listed: Mutex<Vec<Arc<Account>>>,
    rounds: Arc<Rounds>,
    last: LastReports,
    down: AtomicBool,
    replicas: AtomicU64,
    calendar: Calendar,
    bookkeeper: Starter<Self>,
}

/// What may change while the books stay.
#[derive(Clone, Debug)]
pub(in crate::rate) struct Rules {
    pub(super) fleet: Fleet,
    pub(in crate::rate) quota: Quota,
}

/// What is left to tell when nobody uses the accounts any more.
pub(super) type LastReports = Arc<Mutex<Vec<(Arc<Account>, Report)>>>;

#[derive(Debug, Default)]
struct Shard {
    accounts: HashTable<(u64, Arc<Account>)>,
    // The window in which it was last looked for what is over.
    swept: u64,
}

impl Accounts {
    pub(in crate::rate) fn new(
        limit: Arc<str>,
        fleet: Fleet,
        quota: Quota,
        keys: usize,
        calendar: Calendar,
    ) -> Self {
        let shards = SHARDS.min((keys / KEYS_PER_SHARD).next_power_of_two());
        Self {
            limit,
            rules: ArcSwap::from_pointee(Rules { fleet, quota }),
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            most: keys.div_ceil(shards),
            others: Arc::new(Account::new("others".into())),
            listed: Mutex::default(),
            rounds: Arc::default(),
            last: Arc::default(),
            down: AtomicBool::new(false),
            replicas: AtomicU64::new(REPLICAS),
            calendar,
            bookkeeper: Starter::new(bookkeeper::keep),
        }
    }

    /// Goes on by other rules.
    pub(in crate::rate) fn change(&self, fleet: Fleet, quota: Quota) {
        let old = self.rules.load();
        let fleet = fleet.in_place_of(&old.fleet);
        if !fleet.is(&old.fleet) || quota != old.quota {
            self.rules.store(Arc::new(Rules { fleet, quota }));
        }
    }

    /// The account of `key`, which in every replica has the name that `name` gives.
    pub(in crate::rate) fn open(
        self: &Arc<Self>,
        key: u64,
        name: impl FnOnce() -> Box<str>,
    ) -> Arc<Account> {
        self.bookkeeper.start(self);
        let index = (key >> 32) as usize & (self.shards.len() - 1);
        let mut shard = lock(&self.shards[index]);
        if let Some((_, account)) = shard.accounts.find(key, |entry| entry.0 == key) {
            return Arc::clone(account);
        }
        if shard.accounts.len() >= self.most {
            let begins = self.span().begins;
            if shard.swept < begins {
                shard.swept = begins;
                shard.accounts.retain(|(_, account)| {
                    Arc::strong_count(account) > 1 || !account.is_over(begins)
                });
            }
            if shard.accounts.len() >= self.most {
                return Arc::clone(&self.others);
            }
        }
        let account = Arc::new(Account::new(name()));
        let entry = (key, Arc::clone(&account));
        shard.accounts.insert_unique(key, entry, |entry| entry.0);
        account
    }

    pub(in crate::rate) fn poll_take(
        &self,
        cx: &mut Context<'_>,
        account: &Arc<Account>,
        bytes: u64,
    ) -> Poll<u64> {
        let (taken, stir) = account.poll_take(cx, bytes, &self.terms());
        self.stir(account, stir);
        taken
    }

    pub(in crate::rate) fn add(&self, account: &Arc<Account>, bytes: u64) {
        let stir = account.add(bytes, &self.terms());
        self.stir(account, stir);
    }

    pub(in crate::rate) fn give_back(&self, account: &Arc<Account>, bytes: u64) {
        let stir = account.give_back(bytes, &self.terms());
        self.stir(account, stir);
    }

    pub(in crate::rate) fn standing(&self, account: &Arc<Account>) -> Standing {
        let (standing, stir) = account.standing(&self.terms());
        self.stir(account, stir);
        standing
    }

    pub(in crate::rate) fn poll_standing(
        &self,
        cx: &mut Context<'_>,
        account: &Arc<Account>,
    ) -> Poll<Standing> {
        let (standing, stir) = account.poll_standing(cx, &self.terms());
        self.stir(account, stir);
        standing
    }

    pub(in crate::rate) fn left(&self, account: &Account) -> u64 {
        account.left(&self.terms())
    }

    pub(super) fn limit(&self) -> Arc<str> {
        Arc::clone(&self.limit)
    }

    pub(in crate::rate) fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    pub(super) fn rounds(&self) -> Arc<Rounds> {
        Arc::clone(&self.rounds)
    }

    pub(super) fn last(&self) -> LastReports {
        Arc::clone(&self.last)
    }

    /// Waits until all is told that was sent before.
    pub(in crate::rate) async fn flush(&self) {
        if self.bookkeeper.is_started() {
            self.rounds.flush().await;
        }
    }

    pub(super) fn terms(&self) -> Terms {
        let rules = self.rules.load();
        let server = if self.down.load(Ordering::Acquire) {
            let replicas = self.replicas.load(Ordering::Relaxed);
            Server::Down(rules.fleet.unreachable, replicas)
        } else {
            Server::Up
        };
        Terms {
            quota: rules.quota,
            span: self.calendar.span(rules.quota.window),
            server,
        }
    }

    fn span(&self) -> Span {
        self.calendar.span(self.rules.load().quota.window)
    }

    /// Those that have something to tell.
    pub(super) fn take_listed(&self) -> Vec<Arc<Account>> {
        std::mem::take(&mut *lock(&self.listed))
    }

    /// Puts back one that was listed and has nothing to tell yet.
    pub(super) fn list(&self, account: Arc<Account>) {
        lock(&self.listed).push(account);
    }

    /// Does what an account wants done.
    pub(super) fn stir(&self, account: &Arc<Account>, stir: Stir) {
        if stir.list {
            lock(&self.listed).push(Arc::clone(account));
        }
        if stir.urgent {
            self.rounds.hurry();
        }
    }

    pub(super) fn seen(&self, replicas: u64) {
        self.replicas.store(replicas.max(1), Ordering::Relaxed);
    }

    /// Lists whatever a server has to know that has lost everything.
    pub(super) fn list_all(&self) {
        for account in self.all() {
            self.stir(&account, account.owes());
        }
    }

    /// Whether the operator's choice for a server that does not answer is in force.
    pub(super) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    pub(super) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Release);
        for account in lock(&self.listed).iter() {
            account.wake();
        }
    }

    fn all(&self) -> Vec<Arc<Account>> {
        let mut all = vec![Arc::clone(&self.others)];
        for shard in &self.shards {
            let shard = lock(shard);
            all.extend(shard.accounts.iter().map(|entry| Arc::clone(&entry.1)));
        }
        all
    }
}

impl Drop for Accounts {
    fn drop(&mut self) {
        let mut last = lock(&self.last);
        for account in self.all() {
            let reports = account.last_reports().into_iter();
            last.extend(reports.map(|report| (Arc::clone(&account), report)));
        }
        drop(last);
        self.rounds.hurry();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
