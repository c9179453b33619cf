use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::Unreachable;
use super::report::{Answer, QuotaTerms, Report, Server, Stir};
use super::state::{AccountState, FRESH, Known, least};
use crate::rate::quota::Span;
use crate::rate::quota_status::QuotaStatus;

/// What one key of a fleet's quota has sent in the current window, and what it may send without asking: its
/// lease.
#[derive(Debug)]
pub(in crate::rate) struct Account {
    key: u64,
    name: Box<str>,
    state: Mutex<AccountState>,
}

impl Account {
    /// The key of this name, which is the same in every replica, and is `key` here.
    pub(super) fn new(key: u64, name: Box<str>) -> Self {
        Self {
            key,
            name,
            state: Mutex::default(),
        }
    }

    /// One that has sent so much in this window, which the server knows.
    pub(super) fn resumed(key: u64, name: Box<str>, span: Span, sent: u64) -> Self {
        let state = AccountState {
            begins: span.begins,
            ends: span.ends,
            sent,
            may: sent,
            reported: sent,
            ..AccountState::default()
        };
        Self {
            key,
            name,
            state: Mutex::new(state),
        }
    }

    pub(super) fn key(&self) -> u64 {
        self.key
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Counts as many of `bytes` as may be sent; none if the quota is used up.
    pub(super) fn poll_take(
        &self,
        cx: &mut Context<'_>,
        bytes: u64,
        terms: &QuotaTerms,
    ) -> (Poll<u64>, Stir) {
        let mut state = self.lock(terms);
        if let Server::Down(Unreachable::Open, _) = terms.server {
            return (Poll::Ready(bytes), state.count(bytes));
        }
        let bytes = bytes.min(state.may.saturating_sub(state.sent));
        if bytes > 0 {
            return (Poll::Ready(bytes), state.count(bytes));
        }
        match state.status(terms) {
            QuotaStatus::Exhausted => (Poll::Ready(0), Stir::default()),
            _ => (Poll::Pending, state.ask(cx, terms)),
        }
    }

    /// Counts `bytes`, however many were sent.
    pub(super) fn add(&self, bytes: u64, terms: &QuotaTerms) -> Stir {
        self.lock(terms).count(bytes)
    }

    /// Counts bytes out that were counted and not sent.
    pub(super) fn give_back(&self, bytes: u64, terms: &QuotaTerms) -> Stir {
        let mut state = self.lock(terms);
        state.sent = state.sent.saturating_sub(bytes);
        state.stir(false)
    }

    /// Whether a request may begin, as far as is known.
    pub(super) fn status(&self, terms: &QuotaTerms) -> (QuotaStatus, Stir) {
        let mut state = self.lock(terms);
        let status = state.status(terms);
        let stir = match status {
            // Others may have given something back: the next one will know.
            QuotaStatus::Exhausted if terms.server == Server::Up => {
                state.asked = true;
                state.stir(false)
            }
            QuotaStatus::Open if terms.server != Server::Up || state.sent < state.may => {
                Stir::default()
            }
            QuotaStatus::Open | QuotaStatus::Unknown => {
                state.asked = true;
                state.stir(true)
            }
            _ => Stir::default(),
        };
        (status, stir)
    }

    /// Whether a request may begin, once that is known.
    pub(super) fn poll_status(
        &self,
        cx: &mut Context<'_>,
        terms: &QuotaTerms,
    ) -> (Poll<QuotaStatus>, Stir) {
        let mut state = self.lock(terms);
        match state.status(terms) {
            QuotaStatus::Unknown => (Poll::Pending, state.ask(cx, terms)),
            known => (Poll::Ready(known), Stir::default()),
        }
    }

    /// What is left, as far as is known.
    pub(super) fn left(&self, terms: &QuotaTerms) -> u64 {
        let state = self.lock(terms);
        if state.known == Known::Nothing {
            terms.quota.bytes.saturating_sub(state.sent)
        } else {
            state.may.saturating_sub(state.sent) + state.left
        }
    }

    /// What to report to the server: of windows that are over, if that is not reported yet, and of the current
    /// one. A window to be given up is given up first.
    pub(super) fn report(
        &self,
        now: Instant,
        period: Duration,
        terms: &QuotaTerms,
    ) -> (Vec<Report>, Report) {
        let mut state = self.lock(terms);
        state.listed = false;
        let leasing = terms.server == Server::Up;
        let want = if leasing {
            state.size(now, period, terms.quota)
        } else {
            0
        };
        if leasing {
            state.may = state.may.min(state.sent.saturating_add(want));
        }
        state.reported = state.sent;
        state.since = Some(now);
        state.asked = false;
        let report = Report {
            begins: state.begins,
            ends: state.ends,
            sent: state.sent,
            want,
        };
        (mem::take(&mut state.closed), report)
    }

    /// What is left to report of an account that is not used any more; its lease is given up.
    pub(super) fn last_reports(&self) -> Vec<Report> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = mem::take(&mut state.closed);
        if state.sent != state.reported || state.may > state.sent {
            last.push(Report {
                begins: state.begins,
                ends: state.ends,
                sent: state.sent,
                want: 0,
            });
        }
        last
    }

    /// A report that the server has not got.
    pub(super) fn not_reported(&self, closed: Option<Report>) -> Stir {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match closed {
            Some(closed) => state.close(closed),
            None => state.reported = u64::MAX,
        }
        state.stir(false)
    }

    /// Whether nothing is worth a report: the account sends nothing, and has only lately reported.
    pub(super) fn rests(&self, now: Instant, terms: &QuotaTerms) -> bool {
        let state = self.lock(terms);
        let lately = |at| now.saturating_duration_since(at) < FRESH;
        state.known == Known::Told
            && terms.server == Server::Up
            && state.sent == state.reported
            && (1..=least(terms.quota)).contains(&state.lease)
            && state.waiting.is_empty()
            && state.closed.is_empty()
            && !state.asked
            && state.since.is_some_and(lately)
    }

    /// Takes the lease that the server gave; whether there will be more to report.
    pub(super) fn answered(&self, report: Report, answer: Answer, terms: &QuotaTerms) -> Stir {
        let mut state = self.lock(terms);
        if terms.server != Server::Up {
            return state.stir(false);
        }
        if state.begins == report.begins {
            (state.left, state.replicas) = (answer.left, answer.replicas);
            (state.known, state.nudged, state.may) = (Known::Told, false, answer.may);
            let none = report.want > 0 && answer.may <= report.sent && answer.left == 0;
            state.dry = none.then_some(terms.quota.bytes);
            if none {
                state.lease = 0;
            }
        }
        let waited = mem::take(&mut state.waiting);
        let more = !waited.is_empty() || state.lease > 0 || state.may > state.sent;
        let stir = if more {
            state.stir(false)
        } else {
            Stir::default()
        };
        // No task is woken under the lock.
        drop(state);
        waited.into_iter().for_each(Waker::wake);
        stir
    }

    /// Has all who wait look again.
    pub(super) fn wake(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = mem::take(&mut state.waiting);
        drop(state);
        waited.into_iter().for_each(Waker::wake);
    }

    /// Whether there is something that the server has to know if it has lost everything.
    pub(super) fn owes(&self) -> Stir {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = state.known == Known::Alone;
        if state.sent > 0 || shared || !state.closed.is_empty() || !state.waiting.is_empty() {
            state.stir(false)
        } else {
            Stir::default()
        }
    }

    /// When its window began and what it sent in it, if nothing else would be lost with it.
    pub(super) fn at_rest(&self) -> Option<(u64, u64)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = !state.listed
            && !state.asked
            && state.sent == state.reported
            && state.may <= state.sent
            && state.known != Known::Alone
            && state.dry.is_none()
            && state.waiting.is_empty()
            && state.closed.is_empty();
        rests.then_some((state.begins, state.sent))
    }

    /// Whether nothing would be lost with it.
    pub(super) fn is_over(&self, begins: u64) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.begins < begins && !state.listed && state.closed.is_empty()
    }

    /// What may be sent without asking.
    pub(super) fn leased(&self) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.may.saturating_sub(state.sent)
    }

    fn lock(&self, terms: &QuotaTerms) -> MutexGuard<'_, AccountState> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.roll(terms.span);
        match terms.server {
            Server::Down(Unreachable::Local, replicas) if state.known != Known::Alone => {
                state.go_alone(terms.quota, replicas);
            }
            // What the share had left is not leased.
            Server::Up if state.known == Known::Alone => {
                state.known = Known::Nothing;
                state.may = state.may.min(state.sent);
            }
            _ => {}
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::{CLOSED, QUIET};
    use super::*;
    use crate::rate::options::Quota;
    use crate::rate::quota::Calendar;
    use crate::rate::{Exhausted, Window};

    const PERIOD: Duration = Duration::from_millis(100);

    fn quota(bytes: u64) -> Quota {
        Quota {
            bytes,
            window: Window::Hour,
            exhausted: Exhausted::Cut,
        }
    }

    fn terms(bytes: u64, hour: u64, server: Server) -> QuotaTerms {
        let time = std::time::UNIX_EPOCH + Duration::from_secs(hour * 60 * 60);
        QuotaTerms {
            quota: quota(bytes),
            span: Calendar::new(move || time).span(Window::Hour),
            server,
        }
    }

    fn up(bytes: u64) -> QuotaTerms {
        terms(bytes, 1, Server::Up)
    }

    fn take(account: &Account, bytes: u64, terms: &QuotaTerms) -> Poll<u64> {
        let mut cx = Context::from_waker(Waker::noop());
        account.poll_take(&mut cx, bytes, terms).0
    }

    /// Reports, and is answered with all that it wants and so much left.
    fn lease(account: &Account, now: Instant, left: u64, terms: &QuotaTerms) -> Report {
        let (_, report) = account.report(now, PERIOD, terms);
        let answer = Answer {
            may: report.sent + report.want,
            left,
            replicas: 2,
        };
        account.answered(report, answer, terms);
        report
    }

    #[test]
    fn the_lease_follows_the_rate_and_ends_with_it() {
        let (account, terms) = (Account::new(1, "a".into()), up(1 << 40));
        let mut now = Instant::now();
        assert_eq!(take(&account, 1_000_000, &terms), Poll::Pending);
        assert_eq!(lease(&account, now, 1 << 40, &terms).want, 64 * 1024);
        assert_eq!(take(&account, 1_000_000, &terms), Poll::Ready(64 * 1024));
        for _ in 0..50 {
            now += PERIOD;
            let free = account.leased().min(1_000_000);
            if free > 0 {
                assert_eq!(take(&account, free, &terms), Poll::Ready(free));
            } else {
                assert_eq!(take(&account, 1_000_000, &terms), Poll::Pending);
            }
            lease(&account, now, 1 << 40, &terms);
        }
        // A second's worth, so that no request waits.
        assert_eq!(account.leased(), 10_000_000);
        for _ in 0..10 {
            now += PERIOD;
            lease(&account, now, 1 << 40, &terms);
        }
        // What is kept for the next request.
        assert_eq!(account.leased(), 64 * 1024);
        assert_eq!(account.status(&terms).0, QuotaStatus::Open);
        assert!(account.rests(now, &terms));
        assert!(!account.rests(now + FRESH, &terms));
        now += 189 * PERIOD;
        lease(&account, now, 1 << 40, &terms);
        assert_eq!(account.leased(), 64 * 1024);
        now += QUIET;
        lease(&account, now, 1 << 40, &terms);
        assert_eq!(account.leased(), 0);
        assert!(!account.rests(now, &terms));
    }

    #[test]
    fn a_key_that_sends_nothing_gives_its_lease_back_when_little_is_left() {
        let (account, terms) = (Account::new(1, "a".into()), up(1 << 40));
        let now = Instant::now();
        assert_eq!(take(&account, 1, &terms), Poll::Pending);
        lease(&account, now, 1 << 40, &terms);
        lease(&account, now + PERIOD, 7 * 64 * 1024, &terms);
        assert_eq!(account.leased(), 64 * 1024);
        lease(&account, now + 2 * PERIOD, 7 * 64 * 1024, &terms);
        assert_eq!(account.leased(), 0);
    }

    #[test]
    fn alone_a_replica_has_its_part_of_what_was_left_once() {
        let account = Account::new(1, "a".into());
        assert_eq!(take(&account, 10, &up(1000)), Poll::Pending);
        lease(&account, Instant::now(), 600, &up(1000));
        let leased = account.leased();
        let down = terms(1000, 1, Server::Down(Unreachable::Local, 8));
        assert_eq!(take(&account, 1000, &down), Poll::Ready(leased + 300));
        assert_eq!(take(&account, 1000, &down), Poll::Ready(0));
        assert_eq!(account.status(&down).0, QuotaStatus::Exhausted);
        // The next hour nothing is known of.
        let next = terms(1000, 2, Server::Down(Unreachable::Local, 8));
        assert_eq!(take(&account, 1000, &next), Poll::Ready(125));
        // What the share had left is no lease.
        let back = terms(1000, 3, Server::Down(Unreachable::Local, 8));
        assert_eq!(take(&account, 1, &back), Poll::Ready(1));
        assert_eq!(
            take(&account, 1, &terms(1000, 3, Server::Up)),
            Poll::Pending
        );
    }

    #[test]
    fn what_is_not_told_of_a_window_is_told_in_the_next_one() {
        let account = Account::new(1, "a".into());
        account.add(70, &up(1000));
        let next = terms(1000, 2, Server::Up);
        account.add(5, &next);
        let next = terms(1000, 3, Server::Up);
        account.add(6, &next);
        let (closed, report) = account.report(Instant::now(), PERIOD, &next);
        let told = |closed: &[Report]| -> Vec<_> {
            let told = closed.iter().map(|closed| (closed.begins, closed.sent));
            told.collect()
        };
        assert_eq!(told(&closed), [(3600, 70), (7200, 5)]);
        assert_eq!((report.begins, report.sent), (10_800, 6));
        for closed in &closed {
            account.not_reported(Some(*closed));
        }
        let (again, _) = account.report(Instant::now(), PERIOD, &next);
        assert_eq!(again, closed);
        assert_eq!(account.report(Instant::now(), PERIOD, &next).0, []);
    }

    #[test]
    fn of_many_windows_that_are_not_told_no_byte_is_lost() {
        let account = Account::new(1, "a".into());
        for hour in 1..=100 {
            account.add(hour, &terms(1000, hour, Server::Up));
        }
        let last = terms(1000, 101, Server::Up);
        let (closed, _) = account.report(Instant::now(), PERIOD, &last);
        assert_eq!(closed.len(), CLOSED);
        let sum: u64 = closed.iter().map(|closed| closed.sent).sum();
        assert_eq!(sum, 5050);
        assert_eq!((closed[23].begins, closed[23].sent), (360_000, 100));
    }

    #[test]
    fn a_clock_that_leapt_ahead_and_is_put_back_goes_on_where_it_was() {
        let account = Account::new(1, "a".into());
        account.add(70, &up(1000));
        account.add(5, &terms(1000, 90_000, Server::Up));
        account.add(7, &up(1000));
        let (closed, report) = account.report(Instant::now(), PERIOD, &up(1000));
        assert_eq!((report.begins, report.sent), (3600, 77));
        assert_eq!((closed.len(), closed[0].sent), (1, 5));
        // By an hour it stays where it was.
        account.add(1, &terms(1000, 2, Server::Up));
        account.add(1, &up(1000));
        let (_, report) = account.report(Instant::now(), PERIOD, &up(1000));
        assert_eq!((report.begins, report.sent), (7200, 2));
    }

    #[test]
    fn what_is_used_up_is_refused_until_the_quota_grows_or_the_window_ends() {
        let account = Account::new(1, "a".into());
        assert_eq!(take(&account, 10, &up(1000)), Poll::Pending);
        let (_, report) = account.report(Instant::now(), PERIOD, &up(1000));
        let none = Answer {
            may: 0,
            left: 0,
            replicas: 3,
        };
        account.answered(report, none, &up(1000));
        assert_eq!(take(&account, 10, &up(1000)), Poll::Ready(0));
        assert_eq!(account.status(&up(1000)).0, QuotaStatus::Exhausted);
        assert_eq!(account.status(&up(2000)).0, QuotaStatus::Unknown);
        let next = terms(1000, 2, Server::Up);
        assert_eq!(account.status(&next).0, QuotaStatus::Unknown);
        assert!(!account.is_over(7200));
    }
}
