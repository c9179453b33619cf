//! The index, beside a look at every rule.

use portcullis::policy::{Actions, Caller, Pattern, Policy, Rule};
use proptest::prelude::*;

use crate::support::{route, token};

proptest! {
    #[test]
    fn the_index_finds_what_a_look_at_every_rule_finds(
        rules in prop::collection::vec(
            (
                any::<bool>(),
                prop::sample::select(vec!["anyone", "authenticated", "token:a", "token:b", "group:g", "anonymous"]),
                prop::sample::select(vec!["any", "pull", "push", "list", "catalog"]),
                "(a|b|\\*|\\*\\*|\\{principal\\.id\\})(/(a|b|\\*|\\*\\*)){0,2}",
            ),
            0..40,
        ),
        who in prop::option::of((prop::sample::select(vec!["a", "b", "c"]), any::<bool>())),
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
            token(id).in_groups(member.then_some("g"))
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
