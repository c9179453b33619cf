//! The index, beside a look at every rule.

use std::sync::LazyLock;

use portcullis::policy::{Actions, Caller, Pattern, Policy, Rule};
use portcullis::{PeerIdentity, Principal};
use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};

use crate::support::{route, token};

/// A certificate with a name of every kind.
static PEER: LazyLock<PeerIdentity> = LazyLock::new(|| {
    let mut params = CertificateParams::new(vec!["n1.example.org".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "n1");
    let names = [
        SanType::URI("spiffe://example.org/ns/a/sa/b".try_into().unwrap()),
        SanType::Rfc822Name("n1@example.org".try_into().unwrap()),
    ];
    params.subject_alt_names.extend(names);
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    PeerIdentity::from_der(certificate.der()).unwrap()
});

fn who_there_is() -> Vec<String> {
    let fingerprint = PEER.fingerprint().map(|byte| format!("{byte:02x}"));
    let mut all = vec![format!("fingerprint:{}", fingerprint.concat())];
    all.extend(
        [
            "anyone",
            "authenticated",
            "anonymous",
            "token:a",
            "token:b",
            "group:g",
            "spiffe://example.org/ns/a/sa/b",
            "spiffe://example.org/ns/*/sa/b",
            "spiffe://example.org/**",
            "spiffe://example.org/ns/a/sa/c",
            "dns:n1.example.org",
            "dns:*.example.org",
            "dns:n2.example.org",
            "email:n1@example.org",
            "uri:spiffe://example.org/ns/a/sa/b",
            "subject:CN=n1",
            "issuer:CN=n1",
            "issuer:CN=n2",
        ]
        .map(str::to_owned),
    );
    all
}

proptest! {
    #[test]
    fn the_index_finds_what_a_look_at_every_rule_finds(
        rules in prop::collection::vec(
            (
                any::<bool>(),
                prop::sample::select(who_there_is()),
                prop::sample::select(vec!["any", "pull", "push", "list", "catalog"]),
                "(a|b|\\*|\\*\\*|\\{principal\\.id\\})(/(a|b|\\*|\\*\\*)){0,2}",
            ),
            0..60,
        ),
        who in prop::option::of((prop::sample::select(vec!["a", "b", "c", "cert"]), any::<bool>())),
        target in "/v2/[abc](/[abc]){0,2}/(manifests/x|tags/list)|/v2/_catalog",
    ) {
        let rules: Vec<Rule> = rules.iter().enumerate().map(|(at, (deny, who, actions, pattern))| {
            let make = if *deny { Rule::deny } else { Rule::allow };
            let actions: Actions = actions.parse().unwrap();
            let rule = make(at.to_string(), who.parse().unwrap(), actions);
            if actions == Actions::CATALOG { rule } else {
                rule.on_repositories([Pattern::repository(pattern).unwrap()])
            }
        }).collect();
        let policy = Policy::new(rules).unwrap();
        let principal = who.map(|(id, member)| {
            let principal = if id == "cert" { Principal::from_peer(PEER.clone()) } else { token(id) };
            principal.in_groups(member.then_some("g"))
        });
        let caller = Caller::new(principal.as_ref(), None);
        let route = route("GET", &target);
        let explanation = policy.explain(caller, &route, None);
        let find = |effect| {
            explanation.mismatches().enumerate().find(|(at, (_, mismatch))| {
                mismatch.is_none() && policy.rules()[*at].effect() == effect
            }).map(|(at, _)| at)
        };
        let denied = find(portcullis::policy::Effect::Deny);
        let expected = denied.or_else(|| find(portcullis::policy::Effect::Allow));
        let verdict = explanation.verdict();
        prop_assert_eq!(verdict.rule(), expected);
        prop_assert_eq!(verdict.is_allowed(), expected.is_some() && denied.is_none());
    }
}
