use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use http::HeaderValue;
use http::header::AUTHORIZATION;
use reqwest::{Client, Url};
use rustls::RootCertStore;
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::KeySet;
use super::failing::Failing;
use crate::Watched;
use crate::auth::CredentialError;
use crate::auth::authorization::is_b64token;
use crate::fetch::HttpError;
use crate::fetch::address::{Hosts, parse, shown};
use crate::fetch::client::{Answer, Validators, send, strict_client};
use crate::reload::Publisher;
use crate::util::file::{self, CERTIFICATES, SECRET};
use crate::util::{left_out, text, x509_file};

/// The largest key set, in bytes.
const MAX_SIZE: u64 = 1024 * 1024;

/// How often a thread looks whether anybody still holds the keys.
const STEP: Duration = Duration::from_millis(500);

/// A URL that gives an issuer's key set, and how often it is asked.
///
/// The URL is fetched at the interval, and sooner if a token names a key that is not in the set; but never
/// before the [pause](KeySetFetch::with_pause) is over, however many such tokens come. If the answer cannot be
/// had, or is no key set, the last good one stays active, for the [time that is
/// set](KeySetFetch::with_stale_after).
#[derive(Clone, Debug)]
pub struct KeySetFetch {
    url: String,
    interval: Duration,
    pause: Duration,
    timeout: Duration,
    stale_after: Option<Duration>,
    ca: Option<PathBuf>,
    token: Option<PathBuf>,
}

/// What the threads need.
struct Source {
    client: Client,
    /// What the client trusts, as its file has it.
    ca: Option<Vec<u8>>,
    url: Url,
    validators: Validators,
    // What the last set was read from: a server that sends no validators sends it each time.
    digest: Option<[u8; 32]>,
    wanted: Arc<Notify>,
    options: KeySetFetch,
}

impl KeySetFetch {
    /// Fetches from this `https://` URL, or an `http://` one of this machine: elsewhere an attacker on the way
    /// would choose the keys.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            interval: Duration::from_secs(5 * 60),
            pause: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
            stale_after: None,
            ca: None,
            token: None,
        }
    }

    /// Trusts the CA certificates in this PEM file to say who the server is, and no others; read again
    /// for each question. Default: those of the system.
    pub fn with_ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca = Some(file.into());
        self
    }

    /// Sends the Bearer token in this file, read again for each fetch: a Kubernetes API server gives its keys
    /// to authenticated clients only, and a pod's token changes within the hour. Default: none.
    pub fn with_token_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.token = Some(file.into());
        self
    }

    /// Asks this often. Default 5 min.
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Waits at least this long between two questions. Default 30 s.
    pub fn with_pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Waits this long for an answer. Default 10 s.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Ends the last good keys once newer ones could not be had for this long: one of them may have been
    /// withdrawn since. Tokens of the issuer are answered with 503 from then on, until its keys are fetched
    /// again. Default: they stay.
    pub fn with_stale_after(mut self, time: Duration) -> Self {
        self.stale_after = Some(time);
        self
    }

    /// Fetches the keys once, and again until the last clone of the value is dropped. Blocks until the first
    /// answer is there.
    ///
    /// # Errors
    /// Returns an error if no key set can be had now.
    pub fn begin(self) -> Result<Watched<KeySet>, CredentialError> {
        let url = parse(&self.url).map_err(|error| self.failed(&error))?;
        if url.scheme() != "https" && !is_loopback(&url) {
            return Err(CredentialError::InTheClear { url: shown(&url) });
        }
        let begun = thread::scope(|scope| {
            // On a thread of its own: the caller may be in a runtime, where another cannot be entered.
            let first = scope.spawn(|| -> Result<_, CredentialError> {
                let runtime = runtime()?;
                let mut source = Source::new(self.clone(), url)?;
                let keys = runtime.block_on(source.ask())?;
                Ok((runtime, source, keys))
            });
            first.join().ok()
        });
        let lost = || CredentialError::Runtime(io::Error::other("the first fetch panicked"));
        let (runtime, source, keys) = begun.ok_or_else(lost)??;
        let keys = keys.ok_or_else(|| self.failed(&HttpError::Status(304)))?;
        let watched = Watched::published("jwt_keys", keys);
        let publisher = watched.publisher();
        let work = move || runtime.block_on(source.go_on(&publisher));
        thread::Builder::new()
            .name("portcullis-keys".to_owned())
            .spawn(work)
            .map_err(CredentialError::Runtime)?;
        Ok(watched)
    }

    fn read_ca(&self) -> Result<Option<Vec<u8>>, CredentialError> {
        let ca = self.ca.as_deref();
        ca.map(|file| read(file, CERTIFICATES)).transpose()
    }

    fn read_token(&self) -> Result<Option<HeaderValue>, CredentialError> {
        let Some(file) = &self.token else {
            return Ok(None);
        };
        let token = Zeroizing::new(read(file, SECRET)?);
        let token = text::unmarked(&token).trim_ascii();
        if !is_b64token(token) {
            return Err(CredentialError::NoToken { file: file.clone() });
        }
        let value = Zeroizing::new([b"Bearer ", token].concat());
        let value = HeaderValue::from_bytes(&value);
        let mut value = value.map_err(|_| CredentialError::NoToken { file: file.clone() })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn client(&self, url: &Url, ca: Option<&[u8]>) -> Result<Client, CredentialError> {
        let roots = ca.zip(self.ca.as_deref());
        let roots = roots.map(|(pem, file)| roots_of(pem, file)).transpose()?;
        let hosts = Hosts::new([url], &[]).map_err(|error| self.failed(&error))?;
        let https = url.scheme() == "https";
        strict_client(hosts, self.timeout, https, roots).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &HttpError) -> CredentialError {
        let url = parse(&self.url).map_or_else(|_| "the URL".to_owned(), |url| shown(&url));
        let problem = error.to_string().into();
        CredentialError::Fetch { url, problem }
    }
}

impl Source {
    fn new(options: KeySetFetch, url: Url) -> Result<Self, CredentialError> {
        let ca = options.read_ca()?;
        Ok(Self {
            client: options.client(&url, ca.as_deref())?,
            ca,
            url,
            validators: Validators::default(),
            digest: None,
            wanted: Arc::default(),
            options,
        })
    }

    /// The keys, if they are others than before.
    async fn ask(&mut self) -> Result<Option<KeySet>, CredentialError> {
        let ca = self.options.read_ca()?;
        if ca != self.ca {
            self.client = self.options.client(&self.url, ca.as_deref())?;
            self.ca = ca;
        }
        let mut request = self.client.get(self.url.clone());
        if let Some(token) = self.options.read_token()? {
            request = request.header(AUTHORIZATION, token);
        }
        let answer = send(request, &self.validators, MAX_SIZE).await;
        match answer.map_err(|error| self.options.failed(&error))? {
            Answer::Unchanged => Ok(None),
            Answer::New(json, validators) => {
                let digest = Some(Sha256::digest(&json).into());
                if self.digest == digest {
                    self.validators = validators;
                    return Ok(None);
                }
                let keys = KeySet::from_json(&json)?.wanting(Arc::clone(&self.wanted));
                keys.warn(&shown(&self.url));
                (self.validators, self.digest) = (validators, digest);
                Ok(Some(keys))
            }
        }
    }

    async fn go_on(mut self, publisher: &Publisher<KeySet>) {
        let mut failing = None;
        loop {
            let url = shown(&self.url);
            let stale_after = self.options.stale_after;
            let turn = self.turn(publisher);
            let Some(outcome) = Failing::watch(&mut failing, stale_after, turn, |reason| {
                tracing::error!(
                    what = "jwt_keys",
                    url,
                    reason,
                    "the last good keys have ended: newer ones could not be fetched for `stale_after`, so \
                     tokens of their issuer are refused until they can"
                );
                publisher.lapse(KeySet::ended(), reason.to_owned());
            })
            .await
            else {
                return;
            };
            let have_ended = failing.as_ref().is_some_and(|failing| failing.has_lapsed);
            match outcome {
                Ok(Some(keys)) => {
                    failing = None;
                    publisher.publish(keys);
                }
                Ok(None) if !have_ended => {
                    failing = None;
                    publisher.confirmed();
                }
                Ok(None) => self.ask_anew(),
                Err(error) => {
                    tracing::error!(
                        what = "jwt_keys", url, reason = %error,
                        "the keys cannot be fetched: the last good ones stay, until `stale_after` if that \
                         is set"
                    );
                    publisher.failed(error.to_string());
                    Failing::note(&mut failing, error.to_string());
                    if have_ended {
                        self.ask_anew();
                    } else {
                        // It is asked for again after the pause, and not only at the interval.
                        self.wanted.notify_one();
                    }
                }
            }
        }
    }

    /// Waits until it is time to ask, and asks; `None` when nothing holds the keys any more.
    async fn turn(
        &mut self,
        publisher: &Publisher<KeySet>,
    ) -> Option<Result<Option<KeySet>, CredentialError>> {
        sleep(jittered(self.options.pause)).await;
        let rest = self.options.interval.saturating_sub(self.options.pause);
        if !self.wait(jittered(rest), publisher).await {
            return None;
        }
        Some(self.ask().await)
    }

    /// Asks for the whole set after the pause, unchanged or not: the one before has ended.
    fn ask_anew(&mut self) {
        (self.validators, self.digest) = (Validators::default(), None);
        self.wanted.notify_one();
    }

    /// Waits until newer keys are wanted; false when nothing holds them any more.
    async fn wait(&self, most: Duration, publisher: &Publisher<KeySet>) -> bool {
        let wanted = async {
            let mut left = most;
            while publisher.is_wanted() && !left.is_zero() {
                let step = left.min(STEP);
                if timeout(step, self.wanted.notified()).await.is_ok() {
                    return;
                }
                left -= step;
            }
        };
        wanted.await;
        publisher.is_wanted()
    }
}

fn read(file: &Path, max: u64) -> Result<Vec<u8>, CredentialError> {
    file::read(file, max).map_err(|error| CredentialError::Unreadable {
        file: file.to_owned(),
        error,
    })
}

fn roots_of(pem: &[u8], file: &Path) -> Result<RootCertStore, CredentialError> {
    let none = || CredentialError::NoCa {
        file: file.to_owned(),
    };
    let mut roots = RootCertStore::empty();
    let certificates = x509_file::certificates(pem).map_err(|error| CredentialError::Pem {
        file: file.to_owned(),
        line: error.line,
        problem: error.problem.to_string().into(),
    })?;
    left_out::warn(file, "CAs", &certificates.others, |_| false);
    for item in certificates.wanted {
        roots
            .add(item.der.into_owned().into())
            .map_err(|_| none())?;
    }
    if roots.is_empty() {
        return Err(none());
    }
    Ok(roots)
}

/// Whether a URL leads to this machine by its address, or by the name that no DNS is asked for (RFC 6761
/// §6.3).
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address = address
        .parse()
        .map(|address: IpAddr| address.to_canonical());
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn runtime() -> Result<Runtime, CredentialError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CredentialError::Runtime)
}

/// Up to a tenth more, so that replicas do not ask all at once.
fn jittered(time: Duration) -> Duration {
    time + time.mul_f64(fastrand::f64() / 10.0)
}
