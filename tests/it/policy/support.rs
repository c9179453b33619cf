//! A policy with a bit of everything, and who asks it.

use std::net::IpAddr;

use portcullis::identity::Method;
use portcullis::oci::Route;
use portcullis::policy::{Caller, Policy};
use portcullis::{Principal, Refusal};

pub(crate) const DIGEST: &str =
    "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

pub(crate) const OFFICE: &str = r#"
[[rules]]
name = "public"
who = ["anyone"]
actions = ["pull"]
repositories = ["library/**"]

[[rules]]
name = "home"
who = ["authenticated"]
actions = ["any"]
repositories = ["home/{principal.id}/**"]

[[rules]]
name = "ci"
who = ["token:ci"]
networks = ["10.0.0.0/8"]
actions = ["pull", "push"]
repositories = ["team/*"]

[[rules]]
name = "readers"
who = ["group:readers", "spiffe://example.org/ns/*/sa/reader"]
actions = ["pull", "list"]
repositories = ["team/**"]

[[rules]]
name = "catalog"
who = ["group:readers"]
actions = ["catalog"]

[[rules]]
name = "frozen"
effect = "deny"
who = ["anyone"]
actions = ["push", "delete"]
repositories = ["**"]
tags = ["v1.*"]

[[rules]]
name = "health"
who = ["anyone"]
actions = ["other"]
paths = ["/healthz"]
"#;

pub(crate) fn office() -> Policy {
    Policy::from_toml(OFFICE).unwrap()
}

pub(crate) fn route(method: &str, target: &str) -> Route {
    let target = target.replace("$D", DIGEST);
    Route::parse(&method.parse().unwrap(), &target.parse().unwrap()).unwrap()
}

pub(crate) fn token(id: &str) -> Principal {
    Principal::new(Method::Token, id)
}

/// `Ok` with the rule's name, or the refusal.
pub(crate) fn ask(
    policy: &Policy,
    principal: Option<&Principal>,
    address: &str,
    method: &str,
    target: &str,
) -> Result<String, Refusal> {
    let address: IpAddr = address.parse().unwrap();
    let caller = Caller::new(principal, Some(address));
    let verdict = policy.decide(&caller, &route(method, target), None);
    match verdict.refusal() {
        Some(refusal) => Err(refusal),
        None => Ok(policy.rule_of(&verdict).unwrap().name().to_owned()),
    }
}

/// What a policy warns of a rule of which all is denied by the rule `by`.
pub(crate) fn never_allows(by: &str) -> String {
    format!("never allows anything: all of it is denied by {by:?}")
}

/// What a policy warns of a rule of which all is in the rule `by`.
pub(crate) fn redundant(by: &str) -> String {
    format!("is redundant: all of it is in {by:?} already")
}

/// What a policy warns of a rule that lets callers write without credentials.
pub(crate) const ANONYMOUS_WRITE: &str = "lets callers who showed nothing push or delete";

/// How a policy's warning of an open `/v2/` begins.
pub(crate) const ANONYMOUS_PROBE: &str = "answers `/v2/` to the anonymous";
