use ipnet::IpNet;

use super::{Config, PolicyRules, Requirement, SourceSection};
use crate::Preset;
use crate::access_log::AccessLogLayer;
use crate::policy::{Policy, PolicyError, PolicyFile};
use crate::reload::Load;
use crate::source::Networks;

/// What a program that explains a configuration asks of it.
impl Config {
    /// Returns the preset: which clients the answers are made for.
    pub fn preset(&self) -> Preset {
        self.preset
    }

    /// Returns the access log of the section `[access_log]`, for a program that writes it into a sink of its own:
    /// [`Builder::access_log`](crate::guard::Builder::access_log) after `configure`.
    pub fn access_log(&self) -> AccessLogLayer {
        self.access_log.sampled()
    }

    /// Returns the networks that may send requests; `None` without a section `[source]`: all of them.
    pub fn networks(&self) -> Option<Networks> {
        self.source.as_ref().map(SourceSection::networks)
    }

    /// Returns the proxies that may say whose requests they forward, by a header or by the PROXY protocol.
    pub fn proxies(&self) -> impl Iterator<Item = IpNet> {
        let forwarded = self.forwarded.iter().flat_map(|section| &section.proxies);
        let tls = self.tls.iter().flat_map(|section| &section.proxy_protocol);
        let serve = self.serve.proxy_protocol.iter();
        forwarded.chain(tls).chain(serve).copied()
    }

    /// Returns what callers must send; `None` without a section `[auth]`.
    pub fn requirement(&self) -> Option<Requirement> {
        self.auth.as_ref().map(|section| section.require)
    }

    /// Returns whether a caller without credentials goes on to the policy.
    pub fn takes_anonymous(&self) -> bool {
        self.auth.as_ref().is_none_or(|section| section.anonymous)
    }

    /// Returns whether a token is needed for all that does not only read.
    pub fn wants_token_for_writes(&self) -> bool {
        let auth = self.auth.as_ref();
        auth.is_some_and(|section| section.token_for_writes)
    }

    /// Reads the policy of the section `[policy]`, which may be in a file of its own; `None` without the section:
    /// everything is allowed.
    pub fn policy(&self) -> Option<Result<Policy, PolicyError>> {
        self.policy.as_ref().map(|section| match &section.rules {
            PolicyRules::File(file) => PolicyFile::new(self.document.resolve(file)).load(None),
            PolicyRules::Here(rules) => Policy::new(rules.iter().cloned()),
        })
    }

    /// Returns whether content is served only through repositories that lead to it.
    pub fn binds_digests(&self) -> bool {
        #[cfg(feature = "digest-binding")]
        return self
            .policy
            .as_ref()
            .is_some_and(|section| section.digest_binding.is_some());
        #[cfg(not(feature = "digest-binding"))]
        false
    }
}
