//! Decisions of 10,000 rules by us and by cedar-policy, on the same questions with the same answers. Cedar
//! can say far more than these rules do: the figures are about what a gate asks in each request.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

#[path = "../../figures/mod.rs"]
mod figures;
#[path = "../../time/mod.rs"]
mod time;

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::hint::black_box;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityUid, PolicySet, Request,
};
use figures::Figures;
use http::{Method, Uri};
use portcullis::oci::Route;
use portcullis::policy::{Actions, Caller, Pattern, Policy, Rule, Who};
use portcullis::{Principal, identity};
use time::time;

const RULES: usize = 10_000;

/// The caller that a rule names, and the first part of the repositories that it is about.
type RuleOf = fn(usize) -> (String, String);

fn main() {
    let mut figures = Figures::new("policy-cedar");
    let by_repository: RuleOf = |number| (format!("ci-{number}"), format!("team-{number}"));
    let by_caller: RuleOf = |number| (format!("ci-{number}"), "shared".to_owned());
    for (name, rule_of, owner) in [
        ("decision: 10,000 rules by repository", by_repository, "team-7777"),
        ("decision: 10,000 rules by caller", by_caller, "shared"),
    ] {
        for (name, id, allowed) in [
            (name.to_owned(), "ci-7777", true),
            (format!("{name}, refused"), "nobody", false),
        ] {
            let ours = ours(rule_of, id, owner, allowed);
            let theirs = cedar(rule_of, id, owner, allowed);
            let row = figures.row(name, "ns", ours);
            row.peer("cedar-policy", theirs).at_most(1000.0);
        }
    }
    figures.report();
}

fn ours(rule_of: RuleOf, id: &str, owner: &str, allowed: bool) -> f64 {
    let rules = (0..RULES).map(|number| {
        let (id, owner) = rule_of(number);
        let who: Who = format!("token:{id}").parse().unwrap();
        Rule::allow(number.to_string(), who, Actions::PULL)
            .on_repositories([Pattern::repository(&format!("{owner}/**")).unwrap()])
    });
    let policy = Policy::new(rules).unwrap();
    let principal = Principal::new(identity::Method::Token, id);
    let caller = Caller::new(Some(&principal), None);
    let uri: Uri = format!("/v2/{owner}/app/manifests/latest").parse().unwrap();
    let route = Route::parse(&Method::GET, &uri).unwrap();
    let decide = || policy.decide(black_box(&caller), black_box(&route), None);
    assert_eq!(decide().is_allowed(), allowed);
    time(decide)
}

fn cedar(rule_of: RuleOf, id: &str, owner: &str, allowed: bool) -> f64 {
    let mut text = String::new();
    for number in 0..RULES {
        let (id, owner) = rule_of(number);
        writeln!(
            text,
            "permit(principal == User::{id:?}, action == Action::\"pull\", resource in Owner::{owner:?});"
        )
        .unwrap();
    }
    let policies: PolicySet = text.parse().unwrap();
    let uid = |kind: &str, id: &str| -> EntityUid { format!("{kind}::{id:?}").parse().unwrap() };
    let repository = uid("Repository", &format!("{owner}/app"));
    let parents = HashSet::from([uid("Owner", owner)]);
    let entity = Entity::new(repository.clone(), HashMap::new(), parents).unwrap();
    let entities = Entities::from_entities([entity], None).unwrap();
    let request = Request::new(
        uid("User", id),
        uid("Action", "pull"),
        repository,
        Context::empty(),
        None,
    )
    .unwrap();
    let authorizer = Authorizer::new();
    let decide = || authorizer.is_authorized(black_box(&request), &policies, &entities);
    assert_eq!(decide().decision() == Decision::Allow, allowed);
    time(decide)
}
