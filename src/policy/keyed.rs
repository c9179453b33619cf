use super::hash::Map;
use super::{Rule, Who};
use crate::identity::Method;
use crate::{PeerIdentity, Principal};

/// Rules by the callers that they name.
#[derive(Debug, Default)]
pub(super) struct Keyed {
    /// Rules that name callers by more than the maps below.
    open: Vec<u32>,
    principals: Map<Method, Names>,
    groups: Names,
    /// By the leading segments of a SPIFFE ID.
    spiffe: Names,
    /// By a whole name of a certificate.
    dns: Names,
    emails: Names,
    uris: Names,
    subjects: Names,
    issuers: Names,
    fingerprints: Names,
}

type Names = Map<Box<str>, Vec<u32>>;

impl Keyed {
    /// These of `rules`.
    pub(super) fn new(rules: &[Rule], numbers: &[u32]) -> Self {
        let mut keyed = Self::default();
        for &number in numbers {
            let Some(rule) = rules.get(number as usize) else {
                continue;
            };
            if !rule.who.iter().all(is_key) {
                keyed.open.push(number);
                continue;
            }
            for who in &rule.who {
                let (names, key) = match who {
                    Who::Principal(method, id) => {
                        (keyed.principals.entry(*method).or_default(), &**id)
                    }
                    Who::Group(group) => (&mut keyed.groups, &**group),
                    Who::Spiffe(pattern) => (&mut keyed.spiffe, pattern.prefix()),
                    Who::Dns(pattern) => (&mut keyed.dns, pattern.as_str()),
                    Who::Email(pattern) => (&mut keyed.emails, pattern.as_str()),
                    Who::Uri(pattern) => (&mut keyed.uris, pattern.as_str()),
                    Who::Subject(name) => (&mut keyed.subjects, &**name),
                    Who::Issuer(name) => (&mut keyed.issuers, &**name),
                    Who::Fingerprint(digits) => (&mut keyed.fingerprints, &**digits),
                    Who::Anyone | Who::Anonymous | Who::Authenticated => continue,
                };
                names.entry(key.into()).or_default().push(number);
            }
        }
        keyed
    }

    /// Tells `visit` every rule that can be about `principal`, some of them twice.
    pub(super) fn visit(&self, principal: Option<&Principal>, visit: &mut impl FnMut(u32)) {
        let mut all = |rules: &[u32]| rules.iter().copied().for_each(&mut *visit);
        all(&self.open);
        let Some(principal) = principal else {
            return;
        };
        let mut named = |names: Option<&Names>, name: &str| {
            if let Some(rules) = names.and_then(|names| names.get(name)) {
                all(rules);
            }
        };
        named(self.principals.get(&principal.method()), principal.id());
        if !self.groups.is_empty() {
            for group in principal.groups() {
                named(Some(&self.groups), group);
            }
        }
        if let Some(peer) = principal.peer() {
            self.of_certificate(peer, named);
        }
    }

    fn of_certificate(&self, peer: &PeerIdentity, mut named: impl FnMut(Option<&Names>, &str)) {
        if !self.spiffe.is_empty()
            && let Some(id) = peer.spiffe_id()
        {
            for prefix in prefixes(id) {
                named(Some(&self.spiffe), prefix);
            }
        }
        let several = [
            (&self.dns, peer.dns_names()),
            (&self.emails, peer.emails()),
            (&self.uris, peer.uris()),
        ];
        for (names, of_peer) in several {
            if names.is_empty() {
                continue;
            }
            for name in of_peer {
                named(Some(names), name);
            }
        }
        if !self.subjects.is_empty() {
            named(Some(&self.subjects), peer.subject());
        }
        if !self.issuers.is_empty() {
            named(Some(&self.issuers), peer.issuer());
        }
        if !self.fingerprints.is_empty() {
            named(Some(&self.fingerprints), &peer.fingerprint_hex());
        }
    }
}

fn is_key(who: &Who) -> bool {
    match who {
        Who::Principal(..)
        | Who::Group(_)
        | Who::Spiffe(_)
        | Who::Subject(_)
        | Who::Issuer(_)
        | Who::Fingerprint(_) => true,
        Who::Dns(pattern) | Who::Email(pattern) | Who::Uri(pattern) => pattern.literal().is_some(),
        Who::Anyone | Who::Anonymous | Who::Authenticated => false,
    }
}

/// The leading segments of a name, from the first alone to all of them.
pub(super) fn prefixes(name: &str) -> impl Iterator<Item = &str> {
    let ends = name.bytes().enumerate().filter(|(_, byte)| *byte == b'/');
    ends.map(|(at, _)| &name[..at]).chain([name])
}
