use portcullis::admin::{Check, Readiness};

use super::{Condition, PullThrough, Upstream, UpstreamError};

/// The metric of the questions to the upstream, by how they ended.
#[cfg(feature = "metrics")]
pub(super) const QUESTIONS: &str = "mirror_upstream_requests_total";

/// The words for that.
#[cfg(feature = "metrics")]
pub(super) const OUTCOMES: [&str; 10] = [
    "answered",
    "unknown",
    "refused",
    "credentials",
    "busy",
    "silent",
    "unreachable",
    "not_public",
    "given_up",
    "invalid",
];

impl Upstream {
    /// What is asked, as whom, and for which registry's names.
    pub(crate) fn describe(&self, namespace: Option<&str>) -> String {
        let url = self.url();
        let user = match self.username() {
            Some(user) => format!("as user {user:?}"),
            None => "without credentials".to_owned(),
        };
        let names = match namespace {
            Some(namespace) => format!("for the names of {namespace}"),
            None => "for the names of every registry, because --namespace is not given".to_owned(),
        };
        format!("what is not here is pulled from {url} {user}, {names}")
    }
}

impl PullThrough {
    /// How the upstream is, for a readiness probe. What is kept here can be served without it, so the
    /// mirror is ready all the same.
    pub(crate) fn readiness(&self) -> Check {
        let upstream = self.upstream().clone();
        Check::new("upstream", move || match upstream.condition() {
            Condition::Good => Readiness::Ready,
            Condition::Silent => Readiness::Degraded(format!(
                "{} does not answer; what is kept is served",
                upstream.url()
            )),
            Condition::RefusesCredentials => {
                Readiness::Degraded(UpstreamError::Credentials.to_string())
            }
        })
    }
}

/// Logs what the mirror pulls from where, and whether the upstream answers, once it does.
pub(crate) fn announce(pull: &PullThrough, namespace: Option<&str>) {
    let upstream = pull.upstream().clone();
    #[cfg(feature = "metrics")]
    for outcome in OUTCOMES {
        metrics::counter!(QUESTIONS, "outcome" => outcome).increment(0);
    }
    tracing::info!("{}", upstream.describe(namespace));
    if namespace.is_none() {
        tracing::warn!(
            "an image of any registry (?ns=) is taken from the upstream; name the one that it is with \
             --namespace"
        );
    }
    tokio::spawn(async move {
        let url = upstream.url();
        match upstream.probe().await {
            // That the registry wants to be asked for something else is an answer.
            Ok(()) | Err(UpstreamError::Refused | UpstreamError::Unknown) => {
                tracing::info!(url, "the upstream answers");
            }
            Err(error) => {
                tracing::warn!(url, %error, "the upstream cannot be used now; what is kept is served");
            }
        }
    });
}
