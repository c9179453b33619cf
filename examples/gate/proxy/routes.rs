use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use portcullis::admin::Readiness;
use portcullis::oci::Route;
use portcullis::policy::Pattern;

use super::{Health, Proxy, ProxyBody};

/// How often a registry is asked whether it answers, and how long its answer may take.
const PROBE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(2));

/// Which registry gets which requests. `Clone` costs an `Arc`.
#[derive(Debug)]
pub(crate) struct Routes<B>(Arc<[Served<B>]>);

/// A registry with the requests that it gets. Without patterns it gets all that no other does.
#[derive(Debug)]
pub(crate) struct Served<B> {
    pub(crate) repositories: Vec<Pattern>,
    pub(crate) registries: Vec<Pattern>,
    pub(crate) proxy: Proxy<B>,
    pub(crate) health: Health,
}

/// There must be one registry for what no other is for.
#[derive(Debug, thiserror::Error)]
#[error(
    "there must be one registry for all that no other is for: name it with --upstream, or by one \
     [[program.upstream]] without `repositories` and `registries`"
)]
pub(crate) struct NoRest;

impl<B> Clone for Routes<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> Served<B> {
    fn is_rest(&self) -> bool {
        self.repositories.is_empty() && self.registries.is_empty()
    }

    fn gets(&self, route: &Route) -> bool {
        let any = |patterns: &[Pattern], named: Option<&str>| {
            let matches = |named| patterns.iter().any(|it| it.matches(named, None));
            patterns.is_empty() || named.is_some_and(matches)
        };
        any(&self.repositories, route.repository()) && any(&self.registries, route.registry())
    }
}

impl<B> Routes<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Asks the first of these that a request is for, in their order.
    ///
    /// # Errors
    /// There is not just one for the rest.
    pub(crate) fn new(served: impl IntoIterator<Item = Served<B>>) -> Result<Self, NoRest> {
        let (rest, mut routes): (Vec<_>, Vec<_>) = served.into_iter().partition(Served::is_rest);
        if rest.len() != 1 {
            return Err(NoRest);
        }
        routes.extend(rest);
        Ok(Self(routes.into()))
    }

    /// Passes a request on to the registry that it is for.
    pub(crate) async fn call(self, mut request: Request<B>) -> Response<ProxyBody> {
        let proxy = match Route::of(&mut request) {
            Ok(route) => self.0.iter().find(|served| served.gets(&route)),
            // Answered with what is wrong with it.
            Err(_) => None,
        };
        let proxy = proxy.map_or_else(|| self.rest().clone(), |served| served.proxy.clone());
        proxy.call(request).await
    }

    /// The registry of all that no other is for.
    pub(crate) fn rest(&self) -> &Proxy<B> {
        &self.0[self.0.len() - 1].proxy
    }

    pub(crate) fn proxies(&self) -> impl Iterator<Item = &Proxy<B>> {
        self.0.iter().map(|served| &served.proxy)
    }

    /// Asks each registry again and again whether it answers.
    pub(crate) async fn probe(self) {
        let (pause, timeout) = PROBE;
        let mut interval = tokio::time::interval(pause);
        loop {
            interval.tick().await;
            let probes = self.0.iter().map(|served| async move {
                let found = served.proxy.probe(timeout).await;
                served.health.note(served.proxy.upstream(), found);
            });
            futures_util::future::join_all(probes).await;
        }
    }

    /// Whether every registry answered last time.
    pub(crate) fn readiness(&self) -> Readiness {
        let mut problems = String::new();
        for served in self.0.iter() {
            if let Readiness::NotReady(problem) = served.health.readiness() {
                let between = if problems.is_empty() { "" } else { "; " };
                // Writing to a string cannot fail.
                let _ = write!(problems, "{between}{}: {problem}", served.proxy.upstream());
            }
        }
        if problems.is_empty() {
            return Readiness::Ready;
        }
        Readiness::NotReady(problems)
    }
}
