use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, Version, header,
};
use tokio::time::Instant;

use super::AccessEvent;
use super::meters::{Direction, Meters, Summary};
use super::outcome::Outcome;
use super::output::Output;
use crate::connection::SocketPeer;
use crate::middleware::{End, Head, Log, Observe};
use crate::oci::{Route, asked};
use crate::record::{Cut, Record};
use crate::{ClientAddr, Connection};

/// One request from its arrival to the end of its answer. Its drop counts it and writes the event,
/// so that there is one however the request ends.
#[derive(Debug)]
pub(super) struct AccessEntry {
    pub(super) record: Record,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) client: Option<ClientAddr>,
    /// The peer that sent the request, also where it speaks for another client.
    pub(super) peer: Option<ClientAddr>,
    pub(super) connection: Option<Connection>,
    pub(super) user_agent: Option<HeaderValue>,
    pub(super) host: Option<HeaderValue>,
    pub(super) status: Option<StatusCode>,
    pub(super) digest: Option<HeaderValue>,
    pub(super) sent: u64,
    pub(super) first_byte: Option<Duration>,
    started: Instant,
    expected: Option<u64>,
    outcome: Option<Outcome>,
    polled: bool,
    output: Output,
    meters: Arc<Meters>,
    /// Whether the metrics know of it.
    metered: bool,
    logged: bool,
}

/// Counts a request's body into the record and the metrics.
#[derive(Debug)]
pub(super) struct Received {
    record: Record,
    meters: Arc<Meters>,
}

impl AccessEntry {
    /// Begins the entry of `request`; `None` where neither the log nor a recorder wants one.
    pub(super) fn begin(
        request: &mut Head,
        request_id: &HeaderValue,
        output: &Output,
        meters: &Arc<Meters>,
    ) -> Option<Box<Self>> {
        let logged = output.sink.is_enabled();
        if !logged && !meters.are_wanted() {
            return None;
        }
        let record = Record::with_request_id(request_id.clone());
        request.extensions_mut().insert(record.clone());
        let extensions = request.extensions();
        let metered = meters.began();
        let sent = |name| request.headers().get(name).filter(|_| logged).cloned();
        Some(Box::new(Self {
            record,
            method: request.method().clone(),
            uri: asked(request).clone(),
            version: request.version(),
            client: ClientAddr::of(extensions),
            peer: SocketPeer::of(extensions),
            connection: Connection::of(extensions).cloned(),
            user_agent: sent(header::USER_AGENT),
            host: sent(header::HOST),
            status: None,
            digest: None,
            sent: 0,
            first_byte: None,
            started: Instant::now(),
            expected: None,
            outcome: None,
            polled: false,
            output: output.clone(),
            meters: Arc::clone(meters),
            metered,
            logged,
        }))
    }

    pub(super) fn count_received(&self) -> Received {
        Received {
            record: self.record.clone(),
            meters: Arc::clone(&self.meters),
        }
    }

    fn outcome(&self) -> Outcome {
        let seen = self.outcome;
        if seen == Some(Outcome::Finished) {
            return Outcome::Finished;
        }
        if let Some(cut) = self.record.cut_by() {
            return Outcome::Cut(cut);
        }
        if let Some(outcome) = seen {
            return outcome;
        }
        if self.polled || thread::panicking() {
            return Outcome::Panicked;
        }
        if self.expected == Some(self.sent) {
            return Outcome::Finished;
        }
        let connection = self.connection.as_ref();
        if connection.is_some_and(Connection::has_timed_out) {
            return Outcome::Cut(Cut::TimedOut);
        }
        Outcome::ClientGone
    }
}

impl Log for AccessEntry {
    fn polling(&mut self, polled: bool) {
        self.polled = polled;
    }

    fn answered(mut self: Box<Self>, head: &Response<()>, length: Option<u64>) -> Box<dyn Observe> {
        self.first_byte = Some(self.started.elapsed());
        self.status = Some(head.status());
        let bodiless = self.method == Method::HEAD
            || head.status().is_informational()
            || matches!(
                head.status(),
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        self.expected = if bodiless {
            Some(0)
        } else {
            length.or_else(|| content_length(head.headers()))
        };
        if self.logged {
            self.digest = head.headers().get(DOCKER_CONTENT_DIGEST).cloned();
        }
        self
    }

    fn failed(mut self: Box<Self>) {
        self.outcome = Some(Outcome::ServiceError);
    }
}

impl Observe for AccessEntry {
    fn polling(&mut self, polled: bool) {
        self.polled = polled;
    }

    fn data(&mut self, data: &Bytes) {
        let bytes = data.len() as u64;
        self.sent = self.sent.saturating_add(bytes);
        self.meters.passed(Direction::Out, bytes);
    }

    fn ended(mut self: Box<Self>, end: End) {
        self.outcome = Some(match end {
            End::Finished => Outcome::Finished,
            End::Failed => Outcome::BodyError,
        });
    }
}

/// A server that knows the length stops there, and never asks the body whether it has ended.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

impl Drop for AccessEntry {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        let parsed;
        // What the layers inside found the request to ask for, else what its target says.
        let route = if let Some(noted) = self.record.route() {
            Some(noted)
        } else {
            parsed = Route::parse(&self.method, &self.uri).ok();
            parsed.as_ref()
        };
        let outcome = self.outcome();
        self.meters.ended(&Summary {
            method: &self.method,
            endpoint: route.map(Route::endpoint),
            status: self.status,
            outcome,
            duration,
            throttled: self.record.throttled_time(),
            begun: self.metered,
        });
        let well = outcome == Outcome::Finished;
        if self.logged && !(well && self.output.health.skips(self.uri.path(), self.status)) {
            let event = AccessEvent::of(self, route, outcome, duration);
            self.output.sink.write(&event);
        }
    }
}

impl Observe for Received {
    fn data(&mut self, data: &Bytes) {
        let bytes = data.len() as u64;
        self.record.received(bytes);
        self.meters.passed(Direction::In, bytes);
    }

    fn ended(self: Box<Self>, _: End) {}
}
