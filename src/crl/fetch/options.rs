use std::path::PathBuf;
use std::time::Duration;

/// From where CRLs are fetched, how often, and where they are kept.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use = "it does nothing until it is given to a builder"]
pub struct Fetch {
    pub(super) directory: PathBuf,
    pub(super) urls: Vec<String>,
    pub(super) from_authorities: bool,
    pub(super) allowed_hosts: Vec<String>,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) start_timeout: Duration,
    pub(super) retry: (Duration, Duration),
}

impl Fetch {
    /// Keeps what it fetches in this directory, which is made if it is not there, for its owner alone.
    /// Each process needs one of its own.
    pub fn into_directory(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            urls: Vec::new(),
            from_authorities: false,
            allowed_hosts: Vec::new(),
            interval: Duration::from_secs(15 * 60),
            timeout: Duration::from_secs(60),
            start_timeout: Duration::from_secs(30),
            retry: (Duration::from_secs(1), Duration::from_secs(5 * 60)),
        }
    }

    /// Fetches from these `http://` or `https://` URLs, each of which gives one CRL, in DER or PEM,
    /// compressed by gzip or not. A delta has a URL of its own.
    pub fn with_urls<U: Into<String>>(mut self, urls: impl IntoIterator<Item = U>) -> Self {
        self.urls.extend(urls.into_iter().map(Into::into));
        self
    }

    /// Fetches too from the distribution points named in the certificates of the
    /// [authorities](crate::crl::Builder::with_authorities), as they are when this begins. A CA's own
    /// certificate names the lists that it could be on, which are its issuer's.
    pub fn and_from_authorities(mut self) -> Self {
        self.from_authorities = true;
        self
    }

    /// Follows redirects to these hosts, `name` or `name:port`, besides the hosts of the URLs.
    pub fn with_allowed_hosts<H: Into<String>>(
        mut self,
        hosts: impl IntoIterator<Item = H>,
    ) -> Self {
        self.allowed_hosts.extend(hosts.into_iter().map(Into::into));
        self
    }

    /// Asks for each list this often, and before its `nextUpdate`. Default 15 min: a CA that revokes
    /// out of turn publishes a list before the last one ends.
    pub fn with_interval(mut self, interval: Duration) -> Self {
        // Without any pause a server would be asked all the time.
        self.interval = interval.max(Duration::from_millis(10));
        self
    }

    /// Gives an answer this long to come whole. Default 1 min.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Waits this long at the start for lists of which no current one is kept. Default 30 s.
    pub fn with_start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Waits so long after a failure at first and at most, with jitter. Default 1 s and 5 min.
    pub fn with_retry(mut self, first: Duration, longest: Duration) -> Self {
        self.retry = (first, longest);
        self
    }
}
