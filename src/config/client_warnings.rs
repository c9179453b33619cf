use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;

use super::bounds::{Bounds, LONG, NOTHING};
use super::{ConfigError, HumanDuration};
use crate::client_warning::ClientWarningLayer;

/// `[client_warnings]`: what callers that are authenticated are warned of, in `Warning` headers of answers to requests
/// that are allowed.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientWarningsSection {
    /// Whether they are warned: of credentials within `auth.warn_before`, of certificates, of what `policy.shadow` would
    /// refuse, of quotas of their own that are nearly used up, and of repositories that a rule calls deprecated. Default
    /// true.
    #[serde(default = "yes")]
    enabled: bool,
    /// How long before the end of a client certificate, and then in the last tenth of its validity. Default `"7days"`.
    certificate_before: Option<HumanDuration>,
}

const SPANS: RangeInclusive<Duration> = NOTHING..=LONG;

fn yes() -> bool {
    true
}

impl Default for ClientWarningsSection {
    fn default() -> Self {
        Self {
            enabled: yes(),
            certificate_before: None,
        }
    }
}

impl ClientWarningsSection {
    pub(super) fn check(&self, check: &Bounds<'_>) -> Result<(), ConfigError> {
        let key = "client_warnings.certificate_before";
        check.span(key, self.certificate_before, SPANS)
    }

    /// `credential_before` is when the log warns of a credential.
    pub(crate) fn layer(&self, credential_before: Option<HumanDuration>) -> ClientWarningLayer {
        if !self.enabled {
            return ClientWarningLayer::off();
        }
        let mut layer = ClientWarningLayer::new();
        if let Some(HumanDuration(time)) = credential_before {
            layer = layer.with_credential_before(time);
        }
        if let Some(HumanDuration(time)) = self.certificate_before {
            layer = layer.with_certificate_before(time);
        }
        layer
    }
}
