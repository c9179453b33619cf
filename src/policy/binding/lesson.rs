use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::DigestBinding;
use super::deletions::DeletionCount;
use super::store::Place;
use crate::middleware::{End, Learn, Observe};
use crate::oci::{Action, Endpoint, Route, is_digest};

/// A request whose answer may be learnt from.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) binding: DigestBinding,
    pub(super) route: Route,
    /// When it came.
    pub(super) since: DeletionCount,
    /// Whether it may end a push: of uploads, the spec has it so for POST and PUT.
    pub(super) sends: bool,
}

impl Watched {
    pub(super) fn place(&self) -> Option<Place<'_>> {
        Some(Place {
            registry: self.route.registry(),
            repository: self.route.repository()?,
            since: self.since,
        })
    }
}

/// A manifest, or a list of referrers, that passes.
#[derive(Debug)]
struct Lesson {
    request: Watched,
    digest: Option<Box<str>>,
    media_type: Option<HeaderValue>,
    content: Vec<u8>,
    too_long: bool,
}

/// The longest manifest that registries take and clients accept (distribution-spec, "Pushing
/// manifests").
const MANIFEST_MAX: usize = 4 * 1024 * 1024;

impl Learn for Watched {
    fn answered(self: Box<Self>, head: &Response<()>) -> Option<Box<dyn Observe>> {
        let lesson = learn(*self, head)?;
        Some(Box::new(lesson))
    }
}

impl Observe for Lesson {
    fn data(&mut self, data: &Bytes) {
        if self.too_long {
            return;
        }
        self.content.extend_from_slice(data);
        if self.content.len() > MANIFEST_MAX {
            self.too_long = true;
            self.content = Vec::new();
        }
    }

    fn ended(self: Box<Self>, end: End) {
        if end == End::Finished && !self.too_long {
            self.learn();
        }
    }
}

impl Lesson {
    fn learn(self) {
        let Some(place) = self.request.place() else {
            return;
        };
        let binding = &self.request.binding;
        // One that is no text is none of a manifest's.
        let media_type = self.media_type.as_ref();
        let media_type = media_type.map(|value| value.to_str().unwrap_or_default());
        if self.request.route.endpoint() == Endpoint::Referrers {
            binding.learn_referrers(place, media_type, &self.content);
            return;
        }
        let digest = self.digest.as_deref();
        let learnt = binding.learn_manifest(place, digest, media_type, &self.content);
        // A HEAD, or an answer that something compressed, has nothing to learn from.
        if !learnt && !self.content.is_empty() {
            tracing::warn!(
                repository = place.repository,
                digest,
                "a manifest is not what its digest or its media type says, or can be read in two \
                 ways: nothing is learnt from it"
            );
        }
    }
}

/// Learns what the head of the answer tells, and gives what its body is to be read for.
fn learn(request: Watched, response: &Response<()>) -> Option<Lesson> {
    let (binding, route) = (&request.binding, &request.route);
    let place = request.place()?;
    let told = response
        .headers()
        .get("docker-content-digest")
        .and_then(|digest| digest.to_str().ok())
        .filter(|digest| is_digest(digest));
    let digest = match (route.endpoint(), route.action(), response.status()) {
        (Endpoint::Manifest, Action::Pull, StatusCode::OK) if binding.learns_from_pulls() => {
            // By its tag a manifest is found by name, so its digest belongs to that name.
            if let (Some(_), Some(digest)) = (route.tag(), told) {
                binding.learn_digest(place, digest);
            }
            route.digest().or(told).map(Box::from)
        }
        (Endpoint::Referrers, Action::Pull, StatusCode::OK)
            if binding.learns_from_pulls() && binding.learns_from_referrers() =>
        {
            None
        }
        (endpoint, Action::Push, StatusCode::CREATED)
            if request.sends && binding.learns_from_pushes() =>
        {
            let asked = match endpoint {
                Endpoint::Manifest => route.digest(),
                Endpoint::UploadStart => route.mount().or(route.upload_digest()),
                _ => route.upload_digest(),
            };
            // What the service says that it took counts only if it is what was asked for.
            let pushed = match (asked, told) {
                (Some(asked), Some(told)) if asked != told => None,
                (None, told) if endpoint == Endpoint::Manifest => told,
                (asked, _) => asked,
            };
            binding.learn_digest(place, pushed?);
            return None;
        }
        // distribution CVE-2026-35172: what was deleted stayed readable by what remembered it.
        (_, Action::Delete, status) if status.is_success() => {
            binding.unbind(place.repository, route.digest()?);
            return None;
        }
        _ => return None,
    };
    let media_type = media_type(response.headers());
    Some(Lesson {
        request,
        digest,
        media_type,
        content: Vec::new(),
        too_long: false,
    })
}

/// The one `Content-Type`; of several, none that is known.
fn media_type(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut told = headers.get_all(CONTENT_TYPE).iter();
    match (told.next(), told.next()) {
        (Some(_), Some(_)) => Some(HeaderValue::from_static("")),
        (told, _) => told.cloned(),
    }
}
