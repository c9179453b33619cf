//! What the node's containerd holds, followed by its events.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use portcullis::policy::DigestOracle;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::grpc::{Answers, Containerd};
use crate::known::{Held, Known};
use crate::messages::{ContentList, ContentPart, Envelope, Filters, ImageList, ReadContent};

/// How often all of containerd's content was listed.
pub(crate) const READS: &str = "node_containerd_reads_total";

/// How long after a failure containerd is asked again: after each further one twice as long, up to the last.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(15)];

/// containerd says nothing when it has taken a subscription, which it may have after the first list: that is read a
/// second time.
const SUBSCRIBED: Duration = Duration::from_secs(1);

/// How long after an event is read what has changed: one pull makes several.
const SETTLE: Duration = Duration::from_millis(100);

/// How long nothing is read again without an event: there is none for what containerd's garbage collector takes.
const LONGEST: Duration = Duration::from_secs(60);

/// How long containerd may take for a list, or for the next part of content.
const PATIENCE: Duration = Duration::from_secs(30);

/// `Clone` costs an `Arc`.
#[derive(Clone)]
pub(crate) struct Holdings(Arc<Inner>);

struct Inner {
    containerd: Containerd,
    /// `None` while it cannot be found out.
    known: ArcSwapOption<Known>,
    problem: Mutex<Option<String>>,
}

/// What containerd holds cannot be found out now.
#[derive(Debug)]
pub(crate) struct NotFollowed;

impl Holdings {
    /// Of a containerd, of which nothing is known until it is followed.
    pub(crate) fn of(containerd: Containerd) -> Self {
        let problem = Mutex::new(Some("containerd is not asked yet".to_owned()));
        Self(Arc::new(Inner {
            containerd,
            known: ArcSwapOption::empty(),
            problem,
        }))
    }

    /// Follows what there is from now on. Until containerd answers, and whenever it does not, nothing is known.
    pub(crate) fn follow(&self) {
        tokio::spawn(self.clone().keep_following());
    }

    /// Why nothing is served, if so.
    pub(crate) fn problem(&self) -> Option<String> {
        let problem = self.0.problem.lock();
        problem.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many objects there are, if that is known.
    pub(crate) fn objects(&self) -> Option<usize> {
        self.0.known.load().as_deref().map(Known::objects)
    }

    /// What is held by this digest, of this repository.
    pub(crate) fn find(
        &self,
        registry: &str,
        repository: &str,
        digest: &str,
    ) -> Result<Option<Held>, NotFollowed> {
        let known = self.0.known.load();
        let known = known.as_deref().ok_or(NotFollowed)?;
        Ok(known.find(registry, repository, digest))
    }

    /// What is held by this tag, of this repository.
    pub(crate) fn find_tag(
        &self,
        registry: &str,
        repository: &str,
        tag: &str,
    ) -> Result<Option<Held>, NotFollowed> {
        let known = self.0.known.load();
        let known = known.as_deref().ok_or(NotFollowed)?;
        Ok(known.find_tag(registry, repository, tag))
    }

    /// The bytes from `start` up to, not with, `end`. Content that there is not is an error at once.
    pub(crate) async fn content(&self, digest: &str, start: u64, end: u64) -> io::Result<Content> {
        let method = "/containerd.services.content.v1.Content/Read";
        let number = |number: u64| i64::try_from(number).map_err(io::Error::other);
        let message = ReadContent {
            digest: digest.to_owned(),
            offset: number(start)?,
            size: number(end - start)?,
        };
        let begun = async {
            let mut parts = self.0.containerd.call(method, &message).await?;
            // Before the answer, which says that it is there.
            parts.begun().await?;
            Ok(parts)
        };
        Ok(Content {
            parts: in_time(begun).await?,
            left: end - start,
        })
    }

    /// Subscribes before it reads, so that a change meanwhile is read again.
    async fn begin(&self) -> io::Result<Answers<Envelope>> {
        let method = "/containerd.services.events.v1.Events/Subscribe";
        let namespace = self.0.containerd.namespace();
        let filters = ["images", "content"]
            .map(|of| format!("namespace=={namespace:?},topic~=\"^/{of}/\""))
            .to_vec();
        let filters = Filters { filters };
        let events = in_time(self.0.containerd.call(method, &filters)).await?;
        self.read().await?;
        Ok(events)
    }

    async fn keep_following(self) {
        let [first, last] = AGAIN;
        let mut pause = first;
        let mut is_logged = false;
        loop {
            let error = match self.begin().await {
                Ok(mut events) => {
                    if is_logged {
                        tracing::info!("containerd is followed again");
                    }
                    (pause, is_logged) = (first, false);
                    self.keep_reading(&mut events).await
                }
                Err(error) => error,
            };
            self.forget(&error);
            if !is_logged {
                tracing::error!(
                    %error,
                    "containerd cannot be followed, so that nothing is served until it can be: see whether it runs, \
                     and whether this user may open its socket"
                );
                is_logged = true;
            }
            sleep(pause).await;
            pause = (pause * 2).min(last);
        }
    }

    /// Reads again at each change. Returns why that is not possible any more.
    async fn keep_reading(&self, events: &mut Answers<Envelope>) -> io::Error {
        let changed = Notify::new();
        let listen = async {
            loop {
                match events.next().await {
                    Ok(Some(event)) => {
                        tracing::debug!(event.topic, "containerd's content has changed");
                        changed.notify_one();
                    }
                    Ok(None) => return io::ErrorKind::UnexpectedEof.into(),
                    Err(error) => return error,
                }
            }
        };
        let read = async {
            let mut longest = SUBSCRIBED;
            loop {
                if timeout(longest, changed.notified()).await.is_ok() {
                    sleep(SETTLE).await;
                }
                longest = LONGEST;
                if let Err(error) = self.read().await {
                    return error;
                }
            }
        };
        tokio::select! {
            error = listen => error,
            error = read => error,
        }
    }

    /// What is not known to be there still is not given.
    fn forget(&self, error: &io::Error) {
        self.0.known.store(None);
        let problem = format!("containerd cannot be followed: {error}");
        *self
            .0
            .problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(problem);
    }

    async fn read(&self) -> io::Result<()> {
        let listed = in_time(self.list()).await;
        let outcome = if listed.is_ok() { "ok" } else { "failed" };
        metrics::counter!(READS, "outcome" => outcome).increment(1);
        self.0.known.store(Some(Arc::new(listed?)));
        *self
            .0
            .problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    async fn list(&self) -> io::Result<Known> {
        let containerd = &self.0.containerd;
        let mut known = Known::default();
        let method = "/containerd.services.content.v1.Content/List";
        let mut listed: Answers<ContentList> = containerd.call(method, &Filters::default()).await?;
        while let Some(list) = listed.next().await? {
            for info in list.info {
                let size = u64::try_from(info.size).unwrap_or_default();
                known.add(info.digest, size, info.labels);
            }
        }
        let method = "/containerd.services.images.v1.Images/List";
        let mut listed: Answers<ImageList> = containerd.call(method, &Filters::default()).await?;
        while let Some(list) = listed.next().await? {
            for image in list.images {
                if let Some(target) = image.target {
                    known.add_image(image.name, target.digest);
                }
            }
        }
        Ok(known)
    }
}

/// Content as it comes from containerd: of the length that was asked for, or an error.
pub(crate) struct Content {
    parts: Answers<ContentPart>,
    left: u64,
}

impl Content {
    pub(crate) async fn next(&mut self) -> io::Result<Option<bytes::Bytes>> {
        let Some(part) = in_time(self.parts.next()).await? else {
            let whole = self.left == 0;
            return if whole { Ok(None) } else { Err(wrong_length()) };
        };
        let left = self.left.checked_sub(part.data.len() as u64);
        self.left = left.ok_or_else(wrong_length)?;
        Ok(Some(part.data))
    }
}

fn wrong_length() -> io::Error {
    io::Error::other("containerd gives content of another length than it says")
}

async fn in_time<T>(answer: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let waited = timeout(PATIENCE, answer).await;
    waited.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

impl DigestOracle for Holdings {
    fn leads_to(&self, registry: Option<&str>, repository: &str, digest: &str) -> Option<bool> {
        let known = self.0.known.load();
        let known = known.as_deref()?;
        // A request that names no registry leads nowhere.
        Some(registry.is_some_and(|registry| known.leads_to(registry, repository, digest)))
    }
}
