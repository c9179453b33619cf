use std::time::Duration;

use http::Response;
use http::header::WARNING;
use tower::Layer;

use super::ClientWarningLayer;
use super::header;
use super::said::Said;
use crate::identity::Method;
use crate::middleware::{Advise, Check, Checked, Head, Kept, Outcome, Parts, Wraps};
use crate::oci::Route;
use crate::record::Notices;
use crate::telemetry::metrics;
use crate::util::counted::counted;
use crate::{Connection, PeerIdentity, Principal};

/// The service of [`ClientWarningLayer`].
pub type WarnClient<S> = Checked<S, ClientWarningLayer>;

impl<S> WarnClient<S> {
    /// Puts `inner` behind [`ClientWarningLayer::new`].
    pub fn new(inner: S) -> Self {
        Self::with(inner, ClientWarningLayer::new())
    }
}

impl<S> Layer<S> for ClientWarningLayer {
    type Service = WarnClient<S>;

    fn layer(&self, inner: S) -> WarnClient<S> {
        WarnClient::with(inner, self.clone())
    }
}

/// A kind of warning, as a closed-set label, and its text.
type Text = (&'static str, String);

/// What the answer to a request warns its caller of.
#[derive(Debug)]
struct Warnings {
    caller: String,
    connection: Option<Connection>,
    texts: Vec<Text>,
}

impl ClientWarningLayer {
    /// What there is to warn the caller of; `None` mostly.
    fn warnings(&self, head: &mut Head) -> Option<Warnings> {
        let extensions = head.extensions();
        let principal = Principal::of(extensions)?;
        // An unauthenticated caller learns nothing.
        if principal.method() == Method::Anonymous {
            return None;
        }
        let mut texts = Vec::new();
        self.credential(principal, &mut texts);
        let own = extensions.get::<PeerIdentity>();
        let peer = principal.peer().or(own);
        let peer = peer.or_else(|| Connection::of(extensions)?.identity());
        if let Some(peer) = peer {
            self.certificate(peer, &mut texts);
        }
        if extensions.get::<Notices>().is_some() {
            noticed(head, &mut texts);
        }
        if texts.is_empty() {
            return None;
        }
        let extensions = head.extensions();
        Some(Warnings {
            caller: Principal::of(extensions)?.to_string(),
            connection: Connection::of(extensions).cloned(),
            texts,
        })
    }

    fn credential(&self, principal: &Principal, texts: &mut Vec<Text>) {
        let Some(end) = principal.ends() else { return };
        let left = end.duration_since(self.now()).unwrap_or_default();
        if left <= self.credential_before {
            let left = words(left);
            texts.push(("credential", format!("your credential expires in {left}")));
        }
    }

    fn certificate(&self, peer: &PeerIdentity, texts: &mut Vec<Text>) {
        let (begin, end) = (peer.not_before(), peer.not_after());
        let left = end.duration_since(self.now()).unwrap_or_default();
        if left > self.certificate_before {
            return;
        }
        // What a proxy vouches for without its dates begins in 1970, and ends where a certificate can.
        let whole = end.duration_since(begin).unwrap_or_default();
        if left <= whole / 10 {
            let left = words(left);
            texts.push((
                "certificate",
                format!("your client certificate expires in {left}"),
            ));
        }
    }
}

/// What the layers outside have noticed.
fn noticed(head: &mut Head, texts: &mut Vec<Text>) {
    let Some(notices) = head.extensions_mut().remove::<Notices>() else {
        return;
    };
    if notices.shadow_refuses {
        let text = "a stricter policy is being tried out here, which would refuse this request";
        texts.push(("shadow", text.to_owned()));
    }
    if notices.near_quota {
        let text = "nine tenths of a byte quota of yours or of your group are used";
        texts.push(("quota", text.to_owned()));
    }
    if let Some(deprecated) = notices.deprecated
        && let Ok(route) = Route::read(head)
        && let Some(repository) = route.repository()
    {
        let text = format!("the repository {repository} is deprecated: {deprecated}");
        texts.push(("deprecated", text));
    }
}

/// A span in the unit that a person would use.
fn words(left: Duration) -> String {
    let minutes = left.as_secs() / 60;
    match minutes {
        0..120 => counted(minutes, "minute"),
        120..2_880 => counted(minutes / 60, "hour"),
        _ => counted(minutes / 1_440, "day"),
    }
}

impl Advise for Warnings {
    fn answered(self: Box<Self>, head: &mut Response<()>) {
        let connection = self.connection.as_ref();
        let said = connection.and_then(Connection::kept::<Said>);
        for (kind, text) in &self.texts {
            let Some(value) = header::value(text) else {
                continue;
            };
            let is_new = header::has_room(head.headers(), &value)
                && said.is_none_or(|said| said.is_new(&self.caller, text));
            if is_new {
                head.headers_mut().append(WARNING, value);
                metrics::client_warned(kind);
            }
        }
    }
}

impl<B> Wraps<B> for ClientWarningLayer {
    type Body = B;
}

impl<B> Check<B> for ClientWarningLayer {
    fn check(&self, head: &mut Head, _: &B, kept: &mut Kept) -> Outcome {
        if self.is_on
            && let Some(warnings) = self.warnings(head)
        {
            kept.answering.advise = Some(Box::new(warnings));
        }
        Outcome::Pass
    }

    fn wrap(body: B, _: Parts) -> B {
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_in_the_unit_that_a_person_would_use() {
        let hour = 60 * 60;
        for (seconds, expected) in [
            (0, "0 minutes"),
            (119, "1 minute"),
            (2 * hour - 1, "119 minutes"),
            (2 * hour, "2 hours"),
            (48 * hour - 1, "47 hours"),
            (48 * hour, "2 days"),
            (24 * hour * 13 + 5, "13 days"),
        ] {
            assert_eq!(words(Duration::from_secs(seconds)), expected);
        }
    }
}
