use ipnet::IpNet;

use super::{Config, PolicyRules, Requirement, SourceSection};
use crate::source::Networks;

/// What a program that explains a configuration asks of it.
impl Config {
    /// The networks that may send requests; `None` without a section `[source]`: all of them.
    pub fn networks(&self) -> Option<Networks> {
        self.source.as_ref().map(SourceSection::networks)
    }

    /// The proxies that may say whose requests they forward, by a header or by the PROXY protocol.
    pub fn proxies(&self) -> impl Iterator<Item = IpNet> {
        let forwarded = self.forwarded.iter().flat_map(|section| &section.proxies);
        let tls = self.tls.iter().flat_map(|section| &section.proxy_protocol);
        let serve = self.serve.proxy_protocol.iter();
        forwarded.chain(tls).chain(serve).copied()
    }

    /// What callers must show; `None` without a section `[auth]`.
    pub fn requirement(&self) -> Option<Requirement> {
        self.auth.as_ref().map(|section| section.require)
    }

    /// Whether a caller that shows nothing goes on to the policy.
    pub fn takes_anonymous(&self) -> bool {
        self.auth.as_ref().is_none_or(|section| section.anonymous)
    }

    /// Whether a token is needed for all that does not only read.
    pub fn wants_token_for_writes(&self) -> bool {
        let auth = self.auth.as_ref();
        auth.is_some_and(|section| section.token_for_writes)
    }

    /// Where the rules of the policy are; `None` without a section `[policy]`: everything is allowed.
    pub fn policy_rules(&self) -> Option<&PolicyRules> {
        self.policy.as_ref().map(|section| &section.rules)
    }

    /// Whether content is given only by repositories that lead to it.
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
