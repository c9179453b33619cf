use std::io;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use reqwest::{Client, Url};

use super::super::authority::Authorities;
use super::super::list::Crl;
use super::cache::Kept;
use super::check::check;
use super::schedule;
use crate::crl::FetchError;
use crate::fetch::address::shown;
use crate::fetch::client::{Answer, Validators, get};
use crate::telemetry::metrics;
use crate::util::clock;

/// A URL that gives a list, and the list that it gave last.
#[derive(Debug)]
pub(super) struct Point {
    url: Url,
    pub(super) kept: Kept,
    known: Option<Known>,
    retry: (Duration, Duration),
    /// How long to wait before asking again.
    pub(super) wait: Duration,
    /// The waits after failures; `None` after a success.
    backoff: Option<ExponentialBackoff>,
}

#[derive(Debug)]
struct Known {
    /// Without its entries.
    head: Crl,
    der: Digest,
    validators: Validators,
}

type Digest = [u8; 32];

/// What came of asking.
#[derive(Clone, Copy, Debug)]
enum Fetched {
    New,
    Unchanged,
}

impl Point {
    pub(super) fn new(url: Url, kept: Kept, retry: (Duration, Duration)) -> Self {
        Self {
            url,
            kept,
            known: None,
            retry,
            wait: Duration::ZERO,
            backoff: None,
        }
    }

    pub(super) fn url(&self) -> String {
        shown(&self.url)
    }

    /// Takes up the list that is kept from before, if it can be used. True if it is current too.
    pub(super) fn resume(&mut self, authorities: &Authorities, max_size: u64) -> bool {
        let (der, validators) = match self.kept.read(max_size) {
            Ok(kept) => kept,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
            Err(error) => {
                tracing::warn!(
                    url = self.url(), file = %self.kept.file.display(), %error,
                    "the CRL kept from before cannot be read"
                );
                return false;
            }
        };
        match check(
            &der,
            &self.url,
            None,
            authorities,
            clock::seconds(),
            max_size,
        ) {
            Ok(checked) => {
                let current = checked.head.next_update >= clock::seconds();
                self.known = Some(Known {
                    der: digest(&der),
                    head: checked.head,
                    validators,
                });
                current
            }
            Err(error) => {
                tracing::warn!(
                    url = self.url(), file = %self.kept.file.display(), %error,
                    "the CRL kept from before cannot be used"
                );
                false
            }
        }
    }

    /// Whether there is a list, be it fetched or kept from before.
    pub(super) fn has_list(&self) -> bool {
        self.known.is_some()
    }

    /// Asks once.
    pub(super) async fn ask(
        &mut self,
        client: &Client,
        authorities: &Authorities,
        interval: Duration,
        max_size: u64,
    ) -> Result<(), FetchError> {
        let outcome = self.fetch(client, authorities, max_size).await;
        let url = self.url();
        match &outcome {
            Ok(fetched) => {
                self.backoff = None;
                metrics::crl_fetched(&url, fetched.label());
                tracing::debug!(url, outcome = fetched.label(), "CRL fetched");
            }
            Err(error) => {
                metrics::crl_fetched(&url, error.label());
                tracing::error!(
                    url, kept = %self.kept.file.display(), reason = %error,
                    "a CRL could not be fetched, the last good one stays in force"
                );
            }
        }
        self.wait = self.next_wait(outcome.is_ok(), interval);
        outcome.map(|_| ())
    }

    async fn fetch(
        &mut self,
        client: &Client,
        authorities: &Authorities,
        max_size: u64,
    ) -> Result<Fetched, FetchError> {
        // The file may have been removed: then the list is needed again, unchanged or not.
        let known = self.known.as_ref().filter(|_| self.kept.is_there());
        // Of one that is over, a cache between might say for ever that there is no newer one.
        let current = known.filter(|known| known.head.next_update >= clock::seconds());
        let none = Validators::default();
        let validators = current.map_or(&none, |known| &known.validators);
        let (content, validators) = match get(client, &self.url, validators, max_size).await? {
            Answer::Unchanged => return Ok(Fetched::Unchanged),
            Answer::New(content, validators) => (content, validators),
        };
        let known_head = self.known.as_ref().map(|known| &known.head);
        let checked = check(
            &content,
            &self.url,
            known_head,
            authorities,
            clock::seconds(),
            max_size,
        )?;
        drop(content);
        let der = digest(&checked.der);
        let same = known.is_some_and(|known| known.der == der);
        if same {
            self.kept.note(&checked.der, &validators)?;
        } else {
            self.kept.write(&checked.der, &validators)?;
        }
        self.known = Some(Known {
            head: checked.head,
            der,
            validators,
        });
        Ok(if same {
            Fetched::Unchanged
        } else {
            Fetched::New
        })
    }

    fn next_wait(&mut self, succeeded: bool, interval: Duration) -> Duration {
        let (first, longest) = self.retry;
        match &self.known {
            Some(known) if succeeded => {
                let times = (known.head.this_update, known.head.next_update);
                let shortest = longest.min(Duration::from_secs(60));
                schedule::wait(clock::seconds(), times, interval, shortest, fastrand::f64())
            }
            _ => {
                let backoff = self.backoff.get_or_insert_with(|| {
                    ExponentialBuilder::default()
                        .with_min_delay(first)
                        .with_max_delay(longest)
                        .without_max_times()
                        .with_jitter()
                        .build()
                });
                let wait = backoff.next().unwrap_or(longest).max(first);
                match &self.known {
                    // One that waits for the end of the active list is to be taken then.
                    Some(known) if !known.head.is_over(clock::seconds()) => {
                        let left = known.head.next_update.saturating_sub(clock::seconds());
                        wait.min(Duration::from_secs(left.saturating_add(1)))
                    }
                    _ => wait,
                }
            }
        }
    }
}

impl Fetched {
    fn label(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Unchanged => "unchanged",
        }
    }
}

fn digest(der: &[u8]) -> Digest {
    use sha2::Digest as _;
    sha2::Sha256::digest(der).into()
}
