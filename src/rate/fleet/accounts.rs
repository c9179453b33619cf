use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use hashbrown::HashTable;

use super::Fleet;
use super::account::Account;
use super::report::{QuotaTerms, Report, Server, Stir};
use super::rounds::Rounds;
use crate::rate::options::Quota;
use crate::rate::quota::{Calendar, Span};
use crate::rate::quota_status::QuotaStatus;
use crate::rate::starter::Starter;
use crate::util::hex;

const SHARDS: usize = 64;
const KEYS_PER_SHARD: usize = 1024;

/// Of how many replicas there is thought to be one, before the server has answered.
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
    sync: Starter<Self>,
}

/// What may change while the books stay.
#[derive(Clone, Debug)]
pub(in crate::rate) struct Rules {
    pub(super) fleet: Fleet,
    pub(in crate::rate) quota: Quota,
}

/// The bytes of which an account's name is the hexadecimal form.
type Name = [u8; 16];

/// What is left to report when the accounts are not used any more.
pub(super) type LastReports = Arc<Mutex<Vec<(Arc<Account>, Report)>>>;

#[derive(Debug, Default)]
struct Shard {
    accounts: HashTable<(u64, Arc<Account>)>,
    // Of idle keys, their name and what they have sent in the window that began then: 24 bytes each.
    rested: HashTable<(Name, u64)>,
    begins: u64,
    // The window in which it was last looked for what is over.
    swept: u64,
}

impl Accounts {
    /// Makes them; `keep` starts the task that keeps them, when the first is opened.
    pub(in crate::rate) fn new(
        limit: Arc<str>,
        fleet: Fleet,
        quota: Quota,
        keys: usize,
        calendar: Calendar,
        keep: impl FnOnce(Weak<Self>) + Send + 'static,
    ) -> Self {
        let shards = SHARDS.min((keys / KEYS_PER_SHARD).next_power_of_two());
        Self {
            limit,
            rules: ArcSwap::from_pointee(Rules { fleet, quota }),
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            most: keys.div_ceil(shards),
            others: Arc::new(Account::new(0, "others".into())),
            listed: Mutex::default(),
            rounds: Arc::default(),
            last: Arc::default(),
            down: AtomicBool::new(false),
            replicas: AtomicU64::new(REPLICAS),
            calendar,
            sync: Starter::new(keep),
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
        self.sync.start(self);
        let index = (key >> 32) as usize & (self.shards.len() - 1);
        let mut shard = lock(&self.shards[index]);
        if let Some((_, account)) = shard.accounts.find(key, |entry| entry.0 == key) {
            return Arc::clone(account);
        }
        let (name, span) = (name(), self.span());
        let sent = shard.wake(&name, span);
        if sent.is_none() && shard.len() >= self.most {
            let begins = span.begins;
            if shard.swept < begins {
                shard.swept = begins;
                shard.accounts.retain(|(_, account)| {
                    Arc::strong_count(account) > 1 || !account.is_over(begins)
                });
            }
            if shard.len() >= self.most {
                return Arc::clone(&self.others);
            }
        }
        let account = match sent {
            Some(sent) => Account::resumed(key, name, span, sent),
            None => Account::new(key, name),
        };
        let account = Arc::new(account);
        let entry = (key, Arc::clone(&account));
        shard.accounts.insert_unique(key, entry, |entry| entry.0);
        account
    }

    /// Keeps of an account only what it has sent, if the caller alone uses it.
    pub(super) fn rest(&self, account: &Arc<Account>) {
        let key = account.key();
        let index = (key >> 32) as usize & (self.shards.len() - 1);
        let mut shard = lock(&self.shards[index]);
        // A new user takes the account under this lock.
        let is_it = |entry: &(u64, Arc<Account>)| Arc::ptr_eq(&entry.1, account);
        if Arc::strong_count(account) > 2 {
            return;
        }
        if let Some((begins, sent)) = account.at_rest()
            && let Ok(entry) = shard.accounts.find_entry(key, is_it)
        {
            entry.remove();
            shard.keep(account.name(), begins, sent);
        }
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

    pub(in crate::rate) fn status(&self, account: &Arc<Account>) -> QuotaStatus {
        let (status, stir) = account.status(&self.terms());
        self.stir(account, stir);
        status
    }

    pub(in crate::rate) fn poll_status(
        &self,
        cx: &mut Context<'_>,
        account: &Arc<Account>,
    ) -> Poll<QuotaStatus> {
        let (status, stir) = account.poll_status(cx, &self.terms());
        self.stir(account, stir);
        status
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

    /// Waits until everything that was sent before is reported.
    pub(in crate::rate) async fn flush(&self) {
        if self.sync.is_started() {
            self.rounds.flush().await;
        }
    }

    pub(super) fn terms(&self) -> QuotaTerms {
        let rules = self.rules.load();
        let server = if self.down.load(Ordering::Acquire) {
            let replicas = self.replicas.load(Ordering::Relaxed);
            Server::Down(rules.fleet.unreachable, replicas)
        } else {
            Server::Up
        };
        QuotaTerms {
            quota: rules.quota,
            span: self.calendar.span(rules.quota.window),
            server,
        }
    }

    fn span(&self) -> Span {
        self.calendar.span(self.rules.load().quota.window)
    }

    /// Those that have something to report.
    pub(super) fn take_listed(&self) -> Vec<Arc<Account>> {
        std::mem::take(&mut *lock(&self.listed))
    }

    /// Puts back one that was listed and has nothing to report yet.
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
        let span = self.span();
        for shard in &self.shards {
            for account in lock(shard).rested(span) {
                let account = Arc::new(account);
                self.stir(&account, account.owes());
            }
        }
    }

    /// Whether the operator's choice for a server that does not answer is active.
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

impl Shard {
    fn len(&self) -> usize {
        self.accounts.len() + self.rested.len()
    }

    /// What an idle key has sent; the key is idle no more.
    fn wake(&mut self, name: &str, span: Span) -> Option<u64> {
        if self.begins != span.begins {
            return None;
        }
        let name = bytes_of(name)?;
        let entry = self.rested.find_entry(hash(&name), |kept| kept.0 == name);
        entry.ok().map(|entry| entry.remove().0.1)
    }

    /// Keeps what a key has sent in a window. Of windows before, the server knows, and of one that
    /// has sent nothing there is nothing to keep.
    fn keep(&mut self, name: &str, begins: u64, sent: u64) {
        if begins > self.begins {
            self.rested.clear();
            self.begins = begins;
        }
        if begins == self.begins
            && sent > 0
            && let Some(name) = bytes_of(name)
        {
            let entry = (name, sent);
            self.rested
                .insert_unique(hash(&name), entry, |kept| hash(&kept.0));
        }
    }

    /// The idle keys that have sent something in this window.
    fn rested(&self, span: Span) -> Vec<Account> {
        if self.begins != span.begins {
            return Vec::new();
        }
        let account = |(name, sent): &(Name, u64)| {
            let name = format!("{:032x}", u128::from_be_bytes(*name));
            Account::resumed(0, name.into(), span, *sent)
        };
        self.rested.iter().map(account).collect()
    }
}

fn bytes_of(name: &str) -> Option<Name> {
    hex::decode_array(name)
}

/// A part of the name, which is a digest.
fn hash(name: &Name) -> u64 {
    let first = name.iter().take(size_of::<u64>());
    first.fold(0, |hash, byte| hash << 8 | u64::from(*byte))
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tokio::time::Instant;

    use super::super::report::Answer;
    use super::*;
    use crate::rate::{Exhausted, Window};

    const PERIOD: Duration = Duration::from_millis(100);

    fn accounts(keys: usize) -> Arc<Accounts> {
        let fleet = Fleet::new("redis://127.0.0.1:1").unwrap();
        let quota = Quota {
            bytes: 1 << 40,
            window: Window::Hour,
            exhausted: Exhausted::Finish,
        };
        let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(472_222 * 60 * 60);
        let calendar = Calendar::new(move || noon);
        let keep = super::super::quota_sync::keep;
        Arc::new(Accounts::new(
            "a".into(),
            fleet,
            quota,
            keys,
            calendar,
            keep,
        ))
    }

    fn spread(key: u64) -> u64 {
        key.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn open(accounts: &Arc<Accounts>, key: u64) -> Arc<Account> {
        let name = u128::from(spread(key)) << 64 | u128::from(key);
        accounts.open(spread(key), || format!("{name:032x}").into())
    }

    /// Reports an account until it has no lease, and lets it rest.
    fn settle(accounts: &Accounts, account: &Arc<Account>) {
        let (mut now, terms) = (Instant::now(), accounts.terms());
        loop {
            let (_, report) = account.report(now, PERIOD, &terms);
            let answer = Answer {
                may: report.sent + report.want,
                left: 1 << 40,
                replicas: 1,
            };
            account.answered(report, answer, &terms);
            if report.want == 0 {
                break;
            }
            now += Duration::from_secs(60 * 60);
        }
        accounts.rest(account);
    }

    fn live(accounts: &Accounts) -> usize {
        let shards = accounts.shards.iter();
        shards.map(|shard| lock(shard).accounts.len()).sum()
    }

    fn rested(accounts: &Accounts) -> (usize, usize) {
        let shards = accounts.shards.iter();
        shards.fold((0, 0), |(keys, bytes), shard| {
            let shard = lock(shard);
            let rested = &shard.rested;
            (keys + rested.len(), bytes + rested.allocation_size())
        })
    }

    #[tokio::test]
    async fn a_key_at_rest_is_small_and_goes_on_where_it_was() {
        let accounts = accounts(1 << 20);
        let keys = 200_000;
        for key in 0..keys {
            let account = open(&accounts, key);
            account.add(key + 1, &accounts.terms());
            settle(&accounts, &account);
        }
        assert_eq!(live(&accounts), 0);
        let (rested, bytes) = rested(&accounts);
        assert_eq!(rested, 200_000);
        assert!(bytes <= 64 * rested, "{bytes} bytes");
        let account = open(&accounts, 7);
        let (_, report) = account.report(Instant::now(), PERIOD, &accounts.terms());
        assert_eq!(report.sent, 8);
        assert_eq!(live(&accounts), 1);
        // Everything is reported to a server that has lost everything.
        accounts.list_all();
        assert_eq!(accounts.take_listed().len(), 200_000);
    }

    #[tokio::test]
    async fn who_only_asks_is_forgotten_and_who_is_in_use_is_not() {
        let accounts = accounts(1);
        let asking = open(&accounts, 1);
        asking.status(&accounts.terms());
        let held = Arc::clone(&asking);
        settle(&accounts, &asking);
        assert_eq!(live(&accounts), 1, "somebody uses it");
        drop(held);
        settle(&accounts, &asking);
        drop(asking);
        assert_eq!((live(&accounts), rested(&accounts).0), (0, 0));
        assert_eq!(open(&accounts, 2).key(), spread(2), "there is room");
    }
}
