//! The index, beside a look at every rule.

use std::sync::LazyLock;

use portcullis::policy::{Actions, Caller, Pattern, Policy, Rule};
use portcullis::{PeerIdentity, Principal};
use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};

use super::support::{route, token};

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

/// Methods and targets that need every action, of few repositories, tags and registries.
fn requests() -> impl Strategy<Value = (&'static str, String)> {
    let repository = "[abc](/[abc]){0,2}";
    let tag = prop::sample::select(vec!["v1", "v2", "x"]);
    let registry = prop::sample::select(vec!["", "?ns=r1", "?ns=r1:443", "?ns=r2"]);
    let endpoint = prop::sample::select(vec![
        ("GET", "manifests/$T"),
        ("PUT", "manifests/$T"),
        ("DELETE", "manifests/$T"),
        ("DELETE", "manifests/$D"),
        ("GET", "blobs/$D"),
        ("DELETE", "blobs/$D"),
        ("POST", "blobs/uploads/"),
        ("GET", "tags/list"),
        ("GET", "referrers/$D"),
    ]);
    let on_repository = (endpoint, repository, tag, registry).prop_map(
        |((method, tail), repository, tag, registry)| {
            let tail = tail.replace("$T", tag);
            (method, format!("/v2/{repository}/{tail}{registry}"))
        },
    );
    let elsewhere = prop::sample::select(vec![
        ("GET", "/v2/_catalog"),
        ("GET", "/healthz"),
        ("GET", "/v2/_x/y/z"),
    ]);
    prop_oneof![
        9 => on_repository,
        1 => elsewhere.prop_map(|(method, target)| (method, target.to_owned())),
    ]
}

/// Few rules are all looked at; of many those that a caller's names lead to.
#[test]
fn among_many_rules_the_one_for_a_caller_is_found_by_each_of_its_names() {
    let everywhere = || [Pattern::repository("**").unwrap()];
    let others = (0..40).map(|at| {
        let who = format!("token:other{at}").parse().unwrap();
        Rule::allow(format!("other {at}"), who, Actions::PULL).on_repositories(everywhere())
    });
    let route = route("GET", "/v2/a/manifests/v1");
    let callers = [
        Some(Principal::from_peer(PEER.clone())),
        Some(token("a")),
        Some(token("c").in_groups(["g"])),
        None,
    ];
    let mut found = 0;
    for who in who_there_is() {
        let rule = Rule::allow("this", who.parse().unwrap(), Actions::PULL);
        let rule = rule.on_repositories(everywhere());
        let alone = Policy::new([rule.clone()]).unwrap();
        let among_many = Policy::new(others.clone().chain([rule])).unwrap();
        for principal in &callers {
            let caller = Caller::new(principal.as_ref(), None);
            let [one, many] = [&alone, &among_many]
                .map(|policy| policy.decide(&caller, &route, None).is_allowed());
            assert_eq!(many, one, "{who} {principal:?}");
            found += usize::from(one);
        }
    }
    assert_eq!(found, 20);
}

proptest! {
    #[test]
    fn the_index_finds_what_a_look_at_every_rule_finds(
        rules in prop::collection::vec(
            (
                any::<bool>(),
                prop::sample::select(who_there_is()),
                prop::sample::select(vec!["any", "pull", "push", "create", "delete", "untag", "list", "catalog"]),
                "(a|b|\\*|\\*\\*|\\{principal\\.id\\})(/(a|b|\\*|\\*\\*)){0,2}",
                prop::option::weighted(0.2, prop::sample::select(vec!["v1", "v*", "x"])),
                prop::option::weighted(0.2, prop::sample::select(vec!["r1", "r*", "r2"])),
                prop::option::weighted(0.2, prop::sample::select(vec!["10.0.0.0/8", "::ffff:192.0.2.0/120", "::/0"])),
            ),
            0..60,
        ),
        who in prop::option::of((prop::sample::select(vec!["a", "b", "c", "cert"]), any::<bool>())),
        from in prop::option::of(prop::sample::select(vec!["10.1.1.1", "192.0.2.1", "2001:db8::1"])),
        (method, target) in requests(),
    ) {
        let rules: Vec<Rule> = rules.iter().enumerate().map(|(at, rule)| {
            let (deny, who, actions, pattern, tag, registry, network) = rule;
            let make = if *deny { Rule::deny } else { Rule::allow };
            let actions: Actions = actions.parse().unwrap();
            let mut rule = make(at.to_string(), who.parse().unwrap(), actions);
            if let Some(tag) = tag {
                rule = rule.with_tags([Pattern::tag(tag).unwrap()]);
            }
            if let Some(registry) = registry {
                rule = rule.of_registries([Pattern::registry(registry).unwrap()]);
            }
            if let Some(network) = network {
                rule = rule.in_networks([network.parse().unwrap()]);
            }
            if actions == Actions::ANY {
                rule = rule.at_paths([Pattern::path("/**").unwrap()]);
            }
            if actions == Actions::CATALOG { rule } else {
                rule.on_repositories([Pattern::repository(pattern).unwrap()])
            }
        }).collect();
        let policy = Policy::new(rules).unwrap();
        let principal = who.map(|(id, member)| {
            let principal = if id == "cert" { Principal::from_peer(PEER.clone()) } else { token(id) };
            principal.in_groups(member.then_some("g"))
        });
        let from = from.map(|from| from.parse().unwrap());
        let caller = Caller::new(principal.as_ref(), from);
        let route = route(method, &target);
        // A tag that is known not to be there makes one access of a push.
        let absent = |_: Option<&str>, _: &str, _: &str| Some(false);
        let explanation = policy.explain(caller, &route, Some(&absent));
        let find = |denies| {
            explanation.mismatches().enumerate().find(|(at, (_, mismatch))| {
                mismatch.is_none() && policy.rules()[*at].denies() == denies
            }).map(|(at, _)| at)
        };
        let denied = find(true);
        let expected = denied.or_else(|| find(false));
        let verdict = explanation.verdict();
        prop_assert_eq!(verdict.rule(), expected);
        prop_assert_eq!(verdict.is_allowed(), expected.is_some() && denied.is_none());
    }
}
