use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, HeaderName, PROXY_AUTHORIZATION};
use tower::Layer;

use super::Guard;
use crate::Refusal;
use crate::middleware::wiring;
use crate::middleware::{Body, Check, Checked, Head, Kept, Outcome, Parts, Wraps, mark_sensitive};
use crate::oci::{BasePath, check_host};

/// A service behind a [`Guard`]. It runs the guard's checks in their order, and then calls the inner service
/// once. Its type is the same whatever is enforced, and with whichever cargo features.
pub type Guarded<S> = Checked<S, Guard>;

/// What a [`Guard`] decides by.
#[derive(Clone, Copy)]
enum Step {
    AccessLog,
    Wiring,
    Source,
    ForwardedCertificate,
    Authentication,
    Revocation,
    Policy,
    DigestBinding,
    ByteRate,
    ClientWarnings,
}

/// The order is a security property: what is refused is in the log, and what takes long to find out is
/// asked of those only who may ask at all.
const ORDER: [Step; 10] = [
    Step::AccessLog,
    // Before anything else is asked of what may not be there.
    Step::Wiring,
    Step::Source,
    // Not before the network is known to be allowed: a chain takes long to verify.
    Step::ForwardedCertificate,
    Step::Authentication,
    Step::Revocation,
    Step::Policy,
    Step::DigestBinding,
    Step::ByteRate,
    // Of what the others let pass, by what they have noticed.
    Step::ClientWarnings,
];

static SECRETS: [HeaderName; 3] = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE];

impl<S> Guarded<S> {
    /// Puts `inner` behind `guard`.
    pub fn new(inner: S, guard: Guard) -> Self {
        Self::with(inner, guard)
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded::new(inner, self.clone())
    }
}

impl<B> Wraps<B> for Guard {
    type Body = Body<B>;
}

impl<B: http_body::Body<Data = Bytes>> Check<B> for Guard {
    fn check(&self, head: &mut Head, body: &B, kept: &mut Kept) -> Outcome {
        // First, so that nothing can show them.
        mark_sensitive(head.headers_mut(), &SECRETS);
        BasePath::apply(self.base_path.as_ref(), head);
        self.forwarded.apply(head);
        self.resume(head, body, kept)
    }

    fn resume(&self, head: &mut Head, body: &B, kept: &mut Kept) -> Outcome {
        for step in ORDER.iter().skip(kept.next) {
            kept.next += 1;
            match self.ask(*step, head, body, kept) {
                Outcome::Pass => {}
                other => return other,
            }
        }
        Outcome::Pass
    }

    fn wrap(body: B, parts: Parts) -> Body<B> {
        Body::with(body, parts)
    }
}

impl Guard {
    /// Whether there is what the checks decide by.
    fn check_wiring(&self, head: &Head) -> Result<(), Refusal> {
        check_host(head)?;
        if self.needs_connection {
            wiring::connection(head.extensions())?;
        }
        Ok(())
    }

    #[inline]
    fn ask<B: http_body::Body<Data = Bytes>>(
        &self,
        step: Step,
        head: &mut Head,
        body: &B,
        kept: &mut Kept,
    ) -> Outcome {
        match step {
            Step::AccessLog => self.access_log.check(head, body, kept),
            Step::Wiring => Outcome::of(self.check_wiring(head), &self.responder, head),
            Step::Source => self.source.check(head, body, kept),
            #[cfg(feature = "tls")]
            Step::ForwardedCertificate => self.forwarded_certificate.check(head, body, kept),
            #[cfg(feature = "auth")]
            Step::Authentication => self.auth.check(head, body, kept),
            #[cfg(feature = "crl")]
            Step::Revocation => self.revocation.check(head, body, kept),
            #[cfg(feature = "policy")]
            Step::Policy => self.policy.check(head, body, kept),
            #[cfg(feature = "digest-binding")]
            Step::DigestBinding => self.digest_binding.check(head, body, kept),
            #[cfg(feature = "rate")]
            Step::ByteRate => self.rate.check(head, body, kept),
            #[cfg(feature = "auth")]
            Step::ClientWarnings => self.client_warnings.check(head, body, kept),
            // The step of a feature that is off.
            #[allow(unreachable_patterns, reason = "none is, with all features")]
            _ => Outcome::Pass,
        }
    }
}
