use std::error::Error;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Weak;
use std::thread;
use std::time::{Duration, Instant};

use super::failures::Failures;
use super::fingerprint::Fingerprint;
use super::notifications::{Following, Handler, Notifications};
use super::watched::Shared;
use super::{WatchOptions, Watched};
use crate::telemetry::metrics;
use crate::util::error_chain::chain;
use crate::util::{clock, descriptors, patience};

/// Makes a value from files, again and again.
pub trait Load: Send + 'static {
    /// What the files hold.
    type Value: Send + Sync + 'static;
    /// Why they cannot be used. Says which file; never holds a secret.
    type Error: Error + Send + Sync + 'static;

    /// What is loaded, as a closed-set label: `tokens`, `crl`, `policy`…
    fn name(&self) -> &'static str;

    /// The files and directories to watch. Asked again after each load.
    fn paths(&self) -> Vec<PathBuf>;

    /// Reads the files. Runs on a thread of its own, so it may block and take its time.
    ///
    /// # Errors
    /// Returns what is wrong with the files; the active value then stays.
    fn load(&mut self, previous: Option<&Self::Value>) -> Result<Self::Value, Self::Error>;

    /// Makes the value that becomes active, while no other value is published. `current` is the value that it
    /// replaces, which may be another than the one before the load. Default: `value` itself.
    fn replace(&mut self, value: Self::Value, _current: &Self::Value) -> Self::Value {
        value
    }

    /// What of the files could not be used where the rest could: the value comes into force, and the
    /// reload counts as failed all the same. Says which file; never holds a secret.
    fn refused(&self, _value: &Self::Value) -> Option<String> {
        None
    }

    /// Returns whether nothing that the value lets in depends on what [`Load::refused`] reports, so that
    /// [`WatchOptions::stale_after`] does not count from it. Default: false.
    fn refused_can_wait(&self, _value: &Self::Value) -> bool {
        false
    }

    /// Returns the value that replaces the active one once its files could not be used for
    /// [`WatchOptions::stale_after`]: one that lets nothing in that may have been withdrawn since. Default:
    /// `None`; the value stays, for nothing that it allows can be withdrawn.
    fn lapsed(&mut self, _current: &Self::Value) -> Option<Self::Value> {
        None
    }

    /// Runs with the active value after each load and each poll, whether or not anything changed, to report
    /// what depends on the time alone. Default: nothing.
    fn look(&mut self, _current: &Self::Value) {}
}

/// The shortest interval of polls: without any pause a watcher would keep a processor busy.
const SHORTEST: Duration = Duration::from_millis(10);

/// How often a load is tried anew at once because the files changed under it.
const AT_ONCE: usize = 5;

impl<T: Send + Sync + 'static> Watched<T> {
    /// Loads once, then again whenever the files change, until the last clone is dropped.
    ///
    /// # Errors
    /// Returns the error of the first load: without a snapshot there is no service.
    pub fn watch<L>(mut loader: L, options: WatchOptions) -> Result<Self, L::Error>
    where
        L: Load<Value = T>,
    {
        descriptors::hold();
        let load = || load_settled(&mut loader, None);
        let (seen, first) = patience::with_deadline(options.read_timeout, load);
        let watched = Self::named(loader.name(), first?);
        let failure = loader.refused(&watched.load());
        if let Some(reason) = &failure {
            log_refused(&loader, reason);
            watched.shared().failed(reason.clone());
        }
        loader.look(&watched.load());
        let loader_can_wait = loader.refused_can_wait(&watched.load());
        let worker = Worker {
            shared: watched.downgrade(),
            loader,
            options,
            seen,
            can_wait: failure.is_some() && loader_can_wait,
            failing_since: (failure.is_some() && !loader_can_wait).then(clock::instant),
            failures: Failures::begun(failure.as_ref()),
            lapsed_in: None,
        };
        let spawned = thread::Builder::new()
            .name("portcullis-reload".to_owned())
            .spawn(move || worker.run(recommended));
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread to watch files with: they will not be reloaded");
            watched.shared().failed(error.to_string());
        }
        Ok(watched)
    }
}

/// Loads, and again while the files change meanwhile, a few times at most: a pair of which one half is new is no news,
/// and a part of a file that is written in its place is not the file.
fn load_settled<L: Load>(
    loader: &mut L,
    previous: Option<&L::Value>,
) -> (Fingerprint, Result<L::Value, L::Error>) {
    let mut tries = AT_ONCE;
    loop {
        // Before the load, so that a change during it is seen after it.
        let seen = Fingerprint::of(&loader.paths());
        let begun = clock::instant();
        let outcome = loader.load(previous);
        metrics::load_took(loader.name(), begun.elapsed());
        tries -= 1;
        if tries == 0 || Fingerprint::of(&loader.paths()) == seen {
            return (seen, outcome);
        }
    }
}

/// Looks again, with a pause before each time, until two looks find the same or it is over, and returns what was found last.
fn at_rest<S: PartialEq>(
    mut found: S,
    mut look: impl FnMut() -> S,
    mut pause: impl FnMut(),
    is_over: impl Fn() -> bool,
) -> S {
    while !is_over() {
        pause();
        let again = look();
        let rests = again == found;
        found = again;
        if rests {
            break;
        }
    }
    found
}

fn recommended(handler: Handler) -> notify::Result<Following> {
    notify::recommended_watcher(handler).map(|watcher| Box::new(watcher) as Following)
}

struct Worker<L: Load> {
    shared: Weak<Shared<L::Value>>,
    loader: L,
    options: WatchOptions,
    seen: Fingerprint,
    /// Why the newest load failed, if it did.
    failures: Failures,
    /// Whether that ends no value.
    can_wait: bool,
    /// Since when there is a failure for which a value ends.
    failing_since: Option<Instant>,
    /// The generation of the value that took the place of one that ended.
    lapsed_in: Option<u64>,
}

/// Why the files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    /// There was a notification, and then none for as long as a burst of changes must be over.
    ByQuiet,
    /// It is time to, or changes go on.
    ToPoll,
}

impl<L: Load> Worker<L> {
    fn run<M>(mut self, watcher: M)
    where
        M: Fn(Handler) -> notify::Result<Following>,
    {
        let timeout = self.options.read_timeout;
        let mut notifications = Notifications::new(watcher);
        loop {
            let paths = self.loader.paths();
            let more = patience::with_deadline(timeout, || notifications.follow(&paths));
            let is_quiet = if more {
                false
            } else {
                match self.wait(&notifications) {
                    Some(Woken::ByQuiet) => true,
                    Some(Woken::ToPoll) => false,
                    None => return,
                }
            };
            patience::with_deadline(timeout, || {
                let found = self.found(is_quiet);
                self.look(&found);
            });
            descriptors::hold();
        }
    }

    /// What the files are now. Where no notification said that a change is over, they are looked at until it is.
    fn found(&self, is_quiet: bool) -> Fingerprint {
        let look = || Fingerprint::of(&self.loader.paths());
        let found = look();
        if is_quiet || found == self.seen {
            return found;
        }
        let begun = clock::instant();
        let longest = self.options.poll_interval;
        let pause = self.options.settle.min(longest);
        #[expect(
            clippy::disallowed_methods,
            reason = "files are watched on a thread of its own"
        )]
        let rest = || thread::sleep(pause);
        at_rest(found, look, rest, || begun.elapsed() >= longest)
    }

    /// Waits for a change or the next poll; returns `None` when the last clone of the value is dropped.
    fn wait<M>(&self, notifications: &Notifications<M>) -> Option<Woken>
    where
        M: Fn(Handler) -> notify::Result<Following>,
    {
        let interval = self.options.poll_interval.max(SHORTEST);
        // Short waits, so that a dropped `Watched` does not leave its thread behind for long.
        let step = interval.min(Duration::from_millis(500));
        let mut waited = Duration::ZERO;
        while waited < interval {
            if self.shared.strong_count() == 0 {
                return None;
            }
            if notifications.wait(step).is_ok() {
                let woken = self.settle(|quiet| notifications.wait(quiet).is_ok());
                return (self.shared.strong_count() > 0).then_some(woken);
            }
            waited += step.max(Duration::from_millis(1));
        }
        (self.shared.strong_count() > 0).then_some(Woken::ToPoll)
    }

    /// Waits until a burst of changes is over, but no longer than a poll would.
    fn settle(&self, more_within: impl Fn(Duration) -> bool) -> Woken {
        let mut waited = Duration::ZERO;
        while waited < self.options.poll_interval {
            if !more_within(self.options.settle) {
                return Woken::ByQuiet;
            }
            waited += self.options.settle.max(Duration::from_millis(1));
        }
        Woken::ToPoll
    }

    /// Does what is due where the files are as they were `found`.
    fn look(&mut self, found: &Fingerprint) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        self.reload(&shared, found);
        if self.failures.reason().is_some() && !self.can_wait {
            self.failing_since.get_or_insert_with(clock::instant);
            self.lapse(&shared);
        } else {
            (self.failing_since, self.lapsed_in) = (None, None);
        }
        self.loader.look(&shared.value());
    }

    /// Whether the active value has been older than its files for too long.
    fn is_overdue(&self) -> bool {
        let failing = self.failing_since.map(|since| since.elapsed());
        failing
            .zip(self.options.stale_after)
            .is_some_and(|(failing, longest)| failing >= longest)
    }

    /// Ends a value that is overdue.
    fn lapse(&mut self, shared: &Shared<L::Value>) {
        let current = shared.value();
        if !self.is_overdue() || self.lapsed_in == Some(current.generation()) {
            return;
        }
        let Some(lapsed) = self.loader.lapsed(&current) else {
            return;
        };
        drop(current);
        let reason = self.failures.reason().cloned().unwrap_or_default();
        self.lapsed_in = Some(shared.lapse(lapsed, reason.clone()));
        tracing::error!(
            what = shared.name(), files = ?self.loader.paths(), reason,
            "the last good value has ended: its files could not be used for `stale_after`, so what it let \
             in is refused until they can"
        );
    }

    fn reload(&mut self, shared: &Shared<L::Value>, found: &Fingerprint) {
        let changed = *found != self.seen;
        // What failed may succeed without a change of the files: a CA that was not valid yet.
        if !changed && self.failures.reason().is_none() {
            return;
        }
        let name = shared.name();
        let overdue = self.is_overdue();
        let (loader, known, lapsed_in) = (&mut self.loader, &self.failures, &mut self.lapsed_in);
        let before = &self.seen;
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            let previous = shared.value();
            let (seen, outcome) = load_settled(loader, Some(&previous));
            drop(previous);
            // They may have changed since they were looked at.
            let changed = changed || seen != *before;
            let refused = outcome.map(|value| {
                let refused = loader.refused(&value);
                let can_wait = loader.refused_can_wait(&value);
                // The active value is already all that can be used of the same files.
                let is_known = |reason: &String| known.is_known(reason);
                let is_news = changed || !refused.as_ref().is_some_and(is_known);
                if is_news {
                    let lapsed = match &refused {
                        // A part of it is older than the files for too long, which nothing newer beside it
                        // mends.
                        Some(_) if overdue && !can_wait => loader.lapsed(&value),
                        _ => None,
                    };
                    if let (Some(lapsed), Some(reason)) = (lapsed, &refused) {
                        *lapsed_in = Some(shared.lapse(lapsed, reason.clone()));
                        log_refused(loader, reason);
                        return (refused, can_wait, is_news);
                    }
                    let generation = shared.update(|current| loader.replace(value, current));
                    tracing::info!(what = name, generation, "reloaded");
                    if let Some(reason) = &refused {
                        log_refused(loader, reason);
                        shared.failed(reason.clone());
                    }
                }
                (refused, can_wait, is_news)
            });
            (seen, refused)
        }));
        let failure = match outcome {
            Ok((seen, Ok((refused, can_wait, is_news)))) => {
                self.seen = seen;
                self.can_wait = can_wait;
                let Some(reason) = refused else {
                    self.failures.over();
                    return;
                };
                // What is news was logged above.
                if self.failures.note(reason.clone(), is_news) && !is_news {
                    log_refused(&self.loader, &reason);
                }
                return;
            }
            Ok((seen, Err(error))) => {
                self.seen = seen;
                chain(&error)
            }
            Err(_) => "the load panicked".to_owned(),
        };
        self.can_wait = false;
        let is_other = self.failures.reason() != Some(&failure);
        let is_due = self.failures.note(failure.clone(), changed);
        if is_due {
            tracing::error!(
                what = name, files = ?self.loader.paths(), reason = failure,
                "reload failed, the last good value stays in force"
            );
        }
        if is_due || is_other {
            shared.failed(failure);
        }
    }
}

fn log_refused(loader: &impl Load, reason: &str) {
    tracing::error!(
        what = loader.name(), files = ?loader.paths(), reason,
        "some of the files are not used, the rest is in force"
    );
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::path::Path;

    use super::*;

    struct Text(PathBuf);

    impl Load for Text {
        type Value = Vec<u8>;
        type Error = Infallible;

        fn name(&self) -> &'static str {
            "text"
        }

        fn paths(&self) -> Vec<PathBuf> {
            vec![self.0.clone()]
        }

        fn load(&mut self, _: Option<&Vec<u8>>) -> Result<Vec<u8>, Infallible> {
            Ok(std::fs::read(&self.0).unwrap_or_default())
        }
    }

    /// A watcher that can follow no more directories: `fs.inotify.max_user_watches` is reached.
    #[derive(Debug)]
    struct Full;

    impl notify::Watcher for Full {
        fn new<F: notify::EventHandler>(_: F, _: notify::Config) -> notify::Result<Self> {
            Ok(Self)
        }

        fn watch(&mut self, _: &Path, _: notify::RecursiveMode) -> notify::Result<()> {
            Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch))
        }

        fn unwatch(&mut self, _: &Path) -> notify::Result<()> {
            Ok(())
        }

        fn kind() -> notify::WatcherKind {
            notify::WatcherKind::NullWatcher
        }
    }

    fn seen_by_polling(make: fn(Handler) -> notify::Result<Following>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("text");
        std::fs::write(&path, "one").unwrap();
        let mut loader = Text(path.clone());
        let (seen, Ok(value)) = load_settled(&mut loader, None);
        let watched = Watched::named("text", value);
        let worker = Worker {
            shared: watched.downgrade(),
            loader,
            options: WatchOptions::default().with_poll_interval(Duration::from_millis(10)),
            seen,
            failures: Failures::default(),
            can_wait: false,
            failing_since: None,
            lapsed_in: None,
        };
        let thread = thread::spawn(move || worker.run(make));
        std::fs::write(&path, "two").unwrap();
        let begun = Instant::now();
        while *watched.load() != b"two" {
            assert!(begun.elapsed() < Duration::from_secs(60), "never seen");
            thread::sleep(Duration::from_millis(5));
        }
        drop(watched);
        thread.join().unwrap();
    }

    /// A file of which a part can never be used, and which is written again just before it is read.
    struct Written(PathBuf);

    impl Load for Written {
        type Value = Vec<u8>;
        type Error = Infallible;

        fn name(&self) -> &'static str {
            "written"
        }

        fn paths(&self) -> Vec<PathBuf> {
            vec![self.0.clone()]
        }

        fn load(&mut self, previous: Option<&Vec<u8>>) -> Result<Vec<u8>, Infallible> {
            if previous.is_some() {
                std::fs::write(&self.0, "two").unwrap();
            }
            Ok(std::fs::read(&self.0).unwrap_or_default())
        }

        fn refused(&self, _: &Vec<u8>) -> Option<String> {
            Some("a part of it".to_owned())
        }
    }

    #[test]
    fn a_change_after_the_look_and_before_the_read_is_taken_while_a_part_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("text");
        std::fs::write(&path, "one").unwrap();
        let mut loader = Written(path);
        let (seen, Ok(value)) = load_settled(&mut loader, None);
        let watched = Watched::named("written", value);
        let mut worker = Worker {
            shared: watched.downgrade(),
            loader,
            options: WatchOptions::default(),
            seen,
            failures: Failures::begun(Some(&"a part of it".to_owned())),
            can_wait: false,
            failing_since: None,
            lapsed_in: None,
        };
        let found = Fingerprint::of(&worker.loader.paths());
        worker.look(&found);
        assert_eq!(*watched.load(), b"two");
    }

    /// A file that another writes in its place, a part after each time that it is read.
    struct InParts(PathBuf, std::vec::IntoIter<&'static str>);

    impl Load for InParts {
        type Value = Vec<u8>;
        type Error = Infallible;

        fn name(&self) -> &'static str {
            "in parts"
        }

        fn paths(&self) -> Vec<PathBuf> {
            vec![self.0.clone()]
        }

        fn load(&mut self, _: Option<&Vec<u8>>) -> Result<Vec<u8>, Infallible> {
            let read = std::fs::read(&self.0).unwrap();
            if let Some(more) = self.1.next() {
                std::fs::write(&self.0, more).unwrap();
            }
            Ok(read)
        }
    }

    #[test]
    fn a_file_that_is_written_while_it_is_read_is_read_again_and_one_that_never_rests_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list");
        for (parts, read) in [
            (vec![], "a"),
            (vec!["a\nb"], "a\nb"),
            (vec!["a\nb", "a\nb\nc"], "a\nb\nc"),
            (vec!["b", "c", "d", "e", "f", "g"], "e"),
        ] {
            std::fs::write(&path, "a").unwrap();
            let mut loader = InParts(path.clone(), parts.into_iter());
            let (_, Ok(value)) = load_settled(&mut loader, None);
            assert_eq!(String::from_utf8(value).unwrap(), read);
        }
    }

    #[test]
    fn a_change_that_no_notification_ends_is_over_when_two_looks_find_the_same() {
        for (looks, longest, found) in [
            (&[1, 1][..], 9, 1),
            (&[1, 2, 3, 3, 4], 9, 3),
            (&[1, 2, 3, 4, 5], 2, 3),
            (&[1, 2], 0, 1),
        ] {
            let mut looks = looks.iter().copied();
            let first = looks.next().unwrap();
            let pauses = std::cell::Cell::new(0);
            let rest = at_rest(
                first,
                || looks.next().unwrap(),
                || pauses.set(pauses.get() + 1),
                || pauses.get() >= longest,
            );
            assert_eq!(rest, found);
        }
    }

    #[test]
    fn without_inotify_changes_are_seen_by_polling() {
        seen_by_polling(|_| Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch)));
    }

    #[test]
    fn where_no_more_directories_can_be_watched_changes_are_seen_by_polling() {
        seen_by_polling(|_| Ok(Box::new(Full)));
    }
}
