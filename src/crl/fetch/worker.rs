use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use reqwest::{Client, Url};
use rustls::pki_types::CertificateDer;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::super::authority::Authorities;
use super::super::{CrlSet, LoadError};
use super::cache::{self, Kept};
use super::point::Point;
use super::{Fetch, points};
use crate::Watched;
use crate::crl::FetchError;
use crate::fetch::HttpError;
use crate::fetch::address::{self, Hosts};
use crate::fetch::client;

/// How many lists are fetched at once.
const AT_ONCE: usize = 8;

/// The least wait after a fetch that panicked.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// Lists that were fetched, or kept from before, and the means to fetch newer ones.
#[derive(Debug)]
pub(in super::super) struct Fetched {
    points: Vec<Point>,
    means: Means,
}

#[derive(Clone, Debug)]
struct Means {
    hosts: Hosts,
    timeout: Duration,
    interval: Duration,
    max_size: u64,
}

/// Fetching that goes on until this is dropped.
#[derive(Debug)]
pub(in super::super) struct Fetching {
    /// How many.
    pub(in super::super) urls: usize,
    /// Closed by being dropped.
    _stop: oneshot::Sender<()>,
}

impl Fetched {
    /// Takes up what is kept, fetches what is not or is over, and waits for that as long as it may.
    ///
    /// # Errors
    /// A list that is neither there nor to be had.
    pub(in super::super) fn begin(
        fetch: &Fetch,
        certificates: &[CertificateDer<'_>],
        authorities: &Arc<Authorities>,
        max_size: u64,
    ) -> Result<Self, LoadError> {
        let mut urls = Vec::new();
        for text in &fetch.urls {
            urls.push(address::parse(text).map_err(|error| {
                LoadError::not_fetched(address::shown_text(text), &error.into())
            })?);
        }
        if fetch.from_authorities {
            urls.extend(certificates.iter().flat_map(|one| points::named_in(one)));
        }
        let mut seen = HashSet::new();
        urls.retain(|url: &Url| seen.insert(url.clone()));
        if urls.is_empty() {
            return Err(failed(&FetchError::NoPoint));
        }
        let means = Means {
            hosts: Hosts::new(&urls, &fetch.allowed_hosts)
                .map_err(|error| failed(&error.into()))?,
            timeout: fetch.timeout,
            interval: fetch.interval,
            max_size,
        };
        cache::prepare(&fetch.directory).map_err(|error| failed(&error))?;
        let mut ready = Vec::new();
        let mut wanting = Vec::new();
        for url in urls {
            let kept = Kept::new(&fetch.directory, &url);
            let mut point = Point::new(url, kept, fetch.retry);
            if point.resume(authorities, max_size) {
                ready.push(point);
            } else {
                wanting.push(point);
            }
        }
        let mut fetched = Self {
            points: ready,
            means,
        };
        if !wanting.is_empty() {
            let got = fetched
                .means
                .fetch_all(wanting, authorities, fetch.start_timeout)?;
            fetched.points.extend(got);
        }
        Ok(fetched)
    }

    /// Where the lists are.
    pub(in super::super) fn files(&self) -> Vec<PathBuf> {
        let files = self.points.iter().map(|point| point.kept.file.clone());
        files.collect()
    }

    /// Fetches newer ones from now on. The files are watched, so that they come into force.
    pub(in super::super) fn go_on(self, lists: Watched<CrlSet>) -> Result<Fetching, LoadError> {
        let (stop, stopped) = oneshot::channel();
        let urls = self.points.len();
        let runtime = runtime().map_err(|error| failed(&error))?;
        let work = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = self.run(lists) => {}
                    _ = stopped => {}
                }
            });
        };
        thread::Builder::new()
            .name("portcullis-fetch".to_owned())
            .spawn(work)
            .map_err(|error| failed(&HttpError::NoClient(error.to_string()).into()))?;
        Ok(Fetching { urls, _stop: stop })
    }

    async fn run(self, lists: Watched<CrlSet>) {
        let client = match self.means.client() {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(reason = %error, "CRLs are not fetched any more");
                return;
            }
        };
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        for mut point in self.points {
            let (client, lists, turns) = (client.clone(), lists.clone(), Arc::clone(&turns));
            let means = self.means.clone();
            tasks.spawn(async move {
                loop {
                    sleep(point.wait).await;
                    let _turn = turns.acquire().await;
                    let authorities = Arc::clone(&lists.load().authorities);
                    // A failure is logged, and the list fetched again.
                    let asking = means.ask(&mut point, &client, &authorities);
                    if unless_panicking(asking).await.is_none() {
                        tracing::error!(
                            url = point.url(),
                            "a fetch of a CRL panicked, the last good one stays in force"
                        );
                        point.wait = point.wait.max(AFTER_PANIC);
                    }
                }
            });
        }
        // None of them ends.
        while tasks.join_next().await.is_some() {}
    }
}

impl Means {
    /// Fetches a first list for each, at most for this long.
    fn fetch_all(
        &self,
        points: Vec<Point>,
        authorities: &Arc<Authorities>,
        patience: Duration,
    ) -> Result<Vec<Point>, LoadError> {
        let fetch = move || {
            let runtime = runtime().map_err(|error| failed(&error))?;
            runtime.block_on(async {
                let client = self.client().map_err(|error| failed(&error))?;
                let turns = Arc::new(Semaphore::new(AT_ONCE));
                let end = Instant::now() + patience;
                let mut tasks = JoinSet::new();
                for point in points {
                    let (means, client) = (self.clone(), client.clone());
                    let (authorities, turns) = (Arc::clone(authorities), Arc::clone(&turns));
                    tasks.spawn(async move {
                        means.first(point, &client, &authorities, &turns, end).await
                    });
                }
                let mut fetched = Vec::new();
                while let Some(task) = tasks.join_next().await {
                    let task = task
                        .map_err(|error| failed(&HttpError::NoClient(error.to_string()).into()))?;
                    fetched.push(task?);
                }
                Ok(fetched)
            })
        };
        // On a thread of its own: the caller may be in a runtime, where another cannot be entered.
        thread::scope(|scope| {
            let panicked =
                |_| failed(&HttpError::NoClient("the first fetch panicked".to_owned()).into());
            scope.spawn(fetch).join().map_err(panicked)?
        })
    }

    async fn first(
        &self,
        mut point: Point,
        client: &Client,
        authorities: &Authorities,
        turns: &Semaphore,
        end: Instant,
    ) -> Result<Point, LoadError> {
        let mut last = FetchError::from(HttpError::TimedOut);
        let tries = async {
            loop {
                let turn = turns.acquire().await;
                match self.ask(&mut point, client, authorities).await {
                    Ok(()) => return,
                    Err(error) => last = error,
                }
                drop(turn);
                sleep(point.wait).await;
            }
        };
        let in_time = timeout_at(end, tries).await.is_ok();
        // One that is over still lists revocations, and the grace may let it count.
        if in_time || point.has_list() {
            return Ok(point);
        }
        Err(LoadError::not_fetched(point.url(), &last))
    }

    async fn ask(
        &self,
        point: &mut Point,
        client: &Client,
        authorities: &Authorities,
    ) -> Result<(), FetchError> {
        point
            .ask(client, authorities, self.interval, self.max_size)
            .await
    }

    fn client(&self) -> Result<Client, FetchError> {
        Ok(client::client(self.hosts.clone(), self.timeout)?)
    }
}

/// Returns a future's output, or `None` if it panics: a server's answer must not end the fetching by what no
/// test has seen.
async fn unless_panicking<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| {
        let poll = AssertUnwindSafe(|| future.as_mut().poll(context));
        match panic::catch_unwind(poll) {
            Ok(polled) => polled.map(Some),
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}

fn runtime() -> Result<Runtime, FetchError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| HttpError::NoClient(error.to_string()).into())
}

fn failed(error: &FetchError) -> LoadError {
    LoadError::not_fetched("the distribution points of CRLs".to_owned(), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_one_try_and_nothing_else() {
        assert_eq!(unless_panicking(async { 7 }).await, Some(7));
        let panicking = async {
            tokio::task::yield_now().await;
            panic!("as a parser might");
        };
        assert_eq!(unless_panicking::<_>(panicking).await, None::<()>);
        assert_eq!(unless_panicking(async { 8 }).await, Some(8));
    }
}
