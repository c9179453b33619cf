use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;

use super::admission::{Denied, admit, admit_transfer};
use super::engine::{Compiled, Engine};
use super::meter::Meter;
use super::pace::Paced;
use super::pacer::Pacer;
use super::permits::Permits;
use super::subject::Subject;
use super::watcher::Stay;
use super::{Direction, Key, headers};
use crate::Responder;
use crate::middleware::{self, Head, Kept, Pace, RefusalResponse};
use crate::oci::asked;
use crate::record::Record;

/// What is to be done with a request that was let in.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) engine: Arc<Engine>,
    pub(super) subject: Subject,
    /// Whether any limit has a quota or a lease.
    pub(super) asks: bool,
    pub(super) permits: Permits,
    pub(super) record: Option<Record>,
    pub(super) method: Method,
    /// Whether the request has no body.
    pub(super) bodiless: bool,
    /// Whether the request is admitted only once its answer is known to be none that is exempt.
    pub(super) later: bool,
    /// With what a response is refused.
    pub(super) shedder: Option<Box<Shedder>>,
}

/// A responder, and of the request what an answer needs to know.
#[derive(Debug)]
pub(super) struct Shedder {
    responder: Responder,
    request: Head,
}

impl Plan {
    /// Limits the request's body, and keeps the plan for the answer.
    pub(super) fn begin(self, kept: &mut Kept) {
        if !self.bodiless {
            let (engine, subject) = (Arc::clone(&self.engine), self.subject.clone());
            let compiled = engine.compiled();
            let record = self.record.clone();
            let pacer = Pacer::new(engine, &compiled, subject, Direction::Request, record);
            kept.request.pace = Some(Box::new(Paced::new(Some(pacer), Stay::default())));
        }
        kept.answering.plan = Some(Box::new(self));
    }

    /// Whether nine tenths of a quota are used that counts the request, of the caller's own or of its group.
    pub(super) fn is_near_quota(&self) -> bool {
        let compiled = self.engine.compiled();
        let direction = Direction::of(&self.method);
        let mut own = compiled
            .counting(&self.subject, direction)
            .filter(|rule| matches!(rule.limit.key, Key::Principal | Key::Group));
        own.any(|rule| {
            let meters = rule.meters(&self.subject, &compiled.limits);
            let is_near =
                |meter: &Meter| meter.left(&self.engine.calendar) <= meter.quota().bytes / 10;
            meters.iter().any(is_near)
        })
    }

    /// Decides whether a pull's response may begin.
    fn admit(&mut self, compiled: &Compiled, length: Option<u64>) -> Result<(), Denied> {
        let (engine, subject) = (&self.engine, &self.subject);
        if self.later {
            // What had to be asked has been.
            let (permits, _) = admit(engine, compiled, subject, Direction::Response, true)?;
            self.permits = permits;
        }
        match length {
            Some(length) => admit_transfer(compiled, subject, length),
            None => Ok(()),
        }
    }
}

impl middleware::Plan for Plan {
    fn answered(
        mut self: Box<Self>,
        head: &mut Response<()>,
        length: Option<u64>,
        ended: bool,
    ) -> Result<Option<Box<dyn Pace>>, RefusalResponse> {
        let compiled = self.engine.compiled();
        let status = head.status();
        let bodiless = self.method == Method::HEAD
            || ended
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        let small = self.subject.is_small(length, &compiled.limits.exempt);
        if !bodiless
            && !small
            && let Some(shedder) = self.shedder.take()
            && let Err(denied) = self.admit(&compiled, length)
        {
            return Err(Box::new(shedder.refuse(denied)));
        }
        if compiled.limits.headers {
            headers::insert(head.headers_mut(), &self.engine, &compiled, &self.subject);
        }
        if bodiless {
            return Ok(None);
        }
        let Self {
            engine,
            subject,
            permits,
            record,
            ..
        } = *self;
        let stay = match compiled.limits.min_progress {
            Some(least) => engine.watcher.watch(least, permits, record.clone()),
            None if small && permits.are_none() => return Ok(None),
            None => Stay::Counted(permits),
        };
        let response = Direction::Response;
        let pacer = (!small).then(|| Pacer::new(engine, &compiled, subject, response, record));
        Ok(Some(Box::new(Paced::new(pacer, stay))))
    }
}

impl Shedder {
    pub(super) fn new(responder: &Responder, request: &Head) -> Self {
        let mut stand_in = Request::new(());
        stand_in.method_mut().clone_from(request.method());
        stand_in.uri_mut().clone_from(asked(request));
        if responder.reads_headers() {
            stand_in.headers_mut().clone_from(request.headers());
        }
        if let Some(record) = Record::of(request.extensions()) {
            stand_in.extensions_mut().insert(record.clone());
        }
        Self {
            responder: responder.clone(),
            request: stand_in,
        }
    }

    fn refuse(&self, denied: Denied) -> Response<Full<Bytes>> {
        denied.answer(&self.responder, &self.request)
    }
}
