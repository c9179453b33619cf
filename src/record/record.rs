use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Extensions, HeaderValue};

use crate::{ClientAddr, Principal, Refusal, oci::Route};

/// What the layers find out about one request. `Clone` costs an `Arc`; each fact is noted once, and the first
/// note stays.
#[derive(Clone, Debug, Default)]
pub struct Record(Arc<Inner>);

/// Why a layer ended a transfer in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Cut {
    /// The client certificate was revoked.
    #[error("the client certificate was revoked")]
    Revoked,
    /// The client read too slowly.
    #[error("the client was too slow")]
    TooSlow,
    /// The byte quota ran out.
    #[error("the byte quota ran out")]
    QuotaExceeded,
    /// A timeout was over: the connection's, or one that the program notes itself.
    #[error("it took too long")]
    TimedOut,
}

/// The verdict of a shadow policy, where it differs from that of the active policy.
#[derive(Debug)]
pub(crate) struct Shadow {
    pub(crate) allows: bool,
    pub(crate) detail: Box<str>,
}

#[derive(Debug, Default)]
struct Inner {
    request_id: Option<HeaderValue>,
    client: OnceLock<ClientAddr>,
    principal: OnceLock<Principal>,
    route: OnceLock<Route>,
    refusal: OnceLock<Refusal>,
    detail: OnceLock<Box<str>>,
    revocation: OnceLock<&'static str>,
    cut: OnceLock<Cut>,
    shadow: OnceLock<Shadow>,
    mount_declined: OnceLock<Box<str>>,
    throttled_nanos: AtomicU64,
    received: AtomicU64,
}

impl Record {
    /// Returns the record of the request with these extensions; `None` where no access log keeps one.
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    pub(crate) fn with_request_id(id: HeaderValue) -> Self {
        Self(Arc::new(Inner {
            request_id: Some(id),
            ..Inner::default()
        }))
    }

    /// Notes where a trusted proxy says that the request came from.
    pub fn came_from(&self, client: ClientAddr) {
        self.0.client.get_or_init(|| client);
    }

    /// Notes who the caller is.
    pub fn identified(&self, principal: &Principal) {
        self.0.principal.get_or_init(|| principal.clone());
    }

    /// Notes what the request asks for.
    pub fn routed(&self, route: &Route) {
        self.0.route.get_or_init(|| route.clone());
    }

    /// Notes why the request was turned away.
    pub fn refused(&self, refusal: Refusal) {
        self.0.refusal.get_or_init(|| refusal);
    }

    /// Notes in an operator's words what decided: a policy rule, a CRL, a limit.
    pub fn explained(&self, detail: impl Into<Box<str>>) {
        let detail = detail.into();
        self.0.detail.get_or_init(|| detail);
    }

    /// Notes what the revocation check of the client's certificate said, as a closed-set label.
    pub fn revocation_checked(&self, verdict: &'static str) {
        self.0.revocation.get_or_init(|| verdict);
    }

    /// Notes that the verdict of a shadow policy differs from that of the active policy, and why.
    #[cfg_attr(
        not(feature = "policy"),
        allow(dead_code, reason = "a policy notes it")
    )]
    pub(crate) fn shadowed(&self, allows: bool, detail: impl Into<Box<str>>) {
        let detail = detail.into();
        self.0.shadow.get_or_init(|| Shadow { allows, detail });
    }

    /// Notes why a mount was taken off the request, which went on as an ordinary upload.
    #[cfg(any(feature = "policy", feature = "jwt"))]
    pub(crate) fn mount_declined(&self, why: impl Into<Box<str>>) {
        let why = why.into();
        self.0.mount_declined.get_or_init(|| why);
    }

    /// Returns in an operator's words why a mount was taken off the request; `None` if none was.
    pub fn declined_mount(&self) -> Option<&str> {
        self.0.mount_declined.get().map(AsRef::as_ref)
    }

    pub(crate) fn shadow(&self) -> Option<&Shadow> {
        self.0.shadow.get()
    }

    /// Notes why the transfer was ended. A program with a timeout of its own, which drops the request, notes
    /// [`Cut::TimedOut`] before.
    pub fn cut(&self, cut: Cut) {
        self.0.cut.get_or_init(|| cut);
    }

    /// Adds time that a limit held a body back.
    pub fn throttled(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.throttled_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: u64) {
        self.0.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns the id by which the access log names the request, also returned in the answer.
    pub fn request_id(&self) -> Option<&str> {
        // Ids are checked or made to be ASCII.
        self.0.request_id.as_ref().and_then(|id| id.to_str().ok())
    }

    /// Returns where the request came from, if a trusted proxy reported it.
    pub fn client(&self) -> Option<ClientAddr> {
        self.0.client.get().copied()
    }

    /// Returns the caller, once it is known.
    pub fn principal(&self) -> Option<&Principal> {
        self.0.principal.get()
    }

    /// Returns what the request asks for, once it is known.
    pub fn route(&self) -> Option<&Route> {
        self.0.route.get()
    }

    /// Returns why the request was refused, if it was.
    pub fn refusal(&self) -> Option<Refusal> {
        self.0.refusal.get().copied()
    }

    /// Returns what decided, in an operator's words.
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.get().map(AsRef::as_ref)
    }

    /// Returns the outcome of the revocation check as a closed-set label, if there was one.
    pub fn revocation(&self) -> Option<&'static str> {
        self.0.revocation.get().copied()
    }

    /// Returns how many bytes of the request's body were read so far.
    pub fn received_bytes(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// Returns why the transfer was ended, if a layer ended it.
    pub fn cut_by(&self) -> Option<Cut> {
        self.0.cut.get().copied()
    }

    /// Returns how long the bodies were held back so far.
    pub fn throttled_time(&self) -> Duration {
        Duration::from_nanos(self.0.throttled_nanos.load(Ordering::Relaxed))
    }
}

impl Cut {
    /// Returns the reason as a closed-set label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::TooSlow => "too_slow",
            Self::QuotaExceeded => "quota_exceeded",
            Self::TimedOut => "timed_out",
        }
    }
}
