use std::collections::BTreeMap;

use super::rejection::Cause;
use crate::PeerIdentity;
use crate::identity::Anchor;

/// What is asked of a client's certificate besides a path.
#[derive(Clone, Debug, Default)]
pub(super) struct Requirements {
    /// Whether it must be an X.509-SVID.
    pub(super) svid: bool,
    /// Which client CAs, by name or key, vouch for a trust domain; without any, all vouch for all.
    pub(super) trust_domains: BTreeMap<Box<str>, Box<[Box<str>]>>,
}

impl Requirements {
    pub(super) fn check(&self, identity: &PeerIdentity) -> Result<(), Cause> {
        if self.svid {
            identity
                .x509_svid()
                .map_err(|error| Cause::Svid(error, identity.clone()))?;
        }
        let domain = identity.trust_domain();
        match domain.filter(|_| !self.trust_domains.is_empty()) {
            Some(domain) if !self.may_vouch(identity.anchor(), domain) => {
                Err(Cause::TrustDomain(identity.clone()))
            }
            _ => Ok(()),
        }
    }

    fn may_vouch(&self, anchor: Option<&Anchor>, domain: &str) -> bool {
        let cas = self.trust_domains.get(domain);
        let (Some(cas), Some(anchor)) = (cas, anchor) else {
            return false;
        };
        let mut cas = cas.iter();
        cas.any(|ca| **ca == *anchor.subject() || ca.eq_ignore_ascii_case(anchor.key_hex()))
    }
}
