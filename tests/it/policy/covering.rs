//! Which rule covers which: what a policy warns of, and which callers it asks for credentials.

use portcullis::policy::{Actions, Pattern, Policy, Rule, Who};

use super::support::{ANONYMOUS_PROBE, ANONYMOUS_WRITE, ask, never_allows, redundant, token};

fn patterns(
    make: fn(&str) -> Result<Pattern, portcullis::policy::PolicyError>,
    texts: &[&str],
) -> Vec<Pattern> {
    texts.iter().map(|text| make(text).unwrap()).collect()
}

fn networks(texts: &[&str]) -> Vec<ipnet::IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn repositories(texts: &[&str]) -> Vec<Pattern> {
    patterns(Pattern::repository, texts)
}

fn ci() -> Who {
    "token:ci".parse().unwrap()
}

/// What is doubtful, each with the rule's name.
fn doubts(rules: impl IntoIterator<Item = Rule>) -> Vec<(String, String)> {
    let policy = Policy::new(rules).unwrap();
    let warnings = policy.warnings().iter();
    warnings
        .map(|warning| (warning.rule.to_string(), warning.doubt.clone()))
        .collect()
}

#[test]
fn a_rule_is_covered_only_by_one_that_is_wider_in_every_respect() {
    let narrow =
        || Rule::allow("a", ci(), Actions::PULL).on_repositories(repositories(&["team/app"]));
    let wide = || {
        Rule::deny("b", Who::Authenticated, Actions::PULL)
            .on_repositories(repositories(&["team/**"]))
    };
    let registries = |texts: &[&str]| patterns(Pattern::registry, texts);
    let tags = |texts: &[&str]| patterns(Pattern::tag, texts);
    let many = || Rule::deny("b", Who::Authenticated, Actions::PULL | Actions::LIST);
    let certificates = |theirs: &str, ours: &str, covered| {
        let rule = |rule: fn(&'static str, Who, Actions) -> Rule, name, who: &str| {
            rule(name, who.parse().unwrap(), Actions::PULL)
                .on_repositories(repositories(&["team/app"]))
        };
        (
            rule(Rule::allow, "a", theirs),
            rule(Rule::deny, "b", ours),
            covered,
        )
    };
    let names = |theirs: &str, ours: &str, covered| {
        (
            Rule::allow("a", ci(), Actions::PULL).on_repositories(repositories(&[theirs])),
            Rule::deny("b", ci(), Actions::PULL).on_repositories(repositories(&[ours])),
            covered,
        )
    };
    let cases = vec![
        (narrow(), wide(), true),
        // Who.
        (
            narrow(),
            Rule::deny("b", ci(), Actions::PULL).on_repositories(repositories(&["**"])),
            true,
        ),
        (narrow().or_who(["token:x".parse().unwrap()]), wide(), true),
        names("team/app", "team/*", true),
        names("team/*", "team/*", true),
        names("team/*", "team/**", true),
        names("team/*/b", "team/**", true),
        names("team/*", "team/*/**", false),
        names("team/*", "other/**", false),
        names("team/**", "team/*", false),
        certificates("dns:a.example", "dns:a.example", true),
        certificates("dns:a.example", "dns:*.example", true),
        certificates("dns:*.example", "dns:a.example", false),
        certificates("dns:a.example", "dns:b.example", false),
        certificates(
            "spiffe://example.org/a/b",
            "spiffe://example.org/a/**",
            true,
        ),
        certificates(
            "spiffe://example.org/a/b",
            "spiffe://example.org/b/**",
            false,
        ),
        // The same text of another field.
        certificates("dns:a.example", "uri:a.example", false),
        (narrow().or_who([Who::Anonymous]), wide(), false),
        (
            narrow(),
            Rule::deny("b", "token:x".parse().unwrap(), Actions::PULL)
                .on_repositories(repositories(&["**"])),
            false,
        ),
        // What.
        (
            narrow(),
            many().on_repositories(repositories(&["team/**"])),
            true,
        ),
        (
            Rule::allow("a", ci(), Actions::PULL | Actions::LIST)
                .on_repositories(repositories(&["team/app"])),
            wide(),
            false,
        ),
        // On what.
        (
            narrow().on_repositories(repositories(&["team/x"])),
            wide(),
            true,
        ),
        (
            narrow().on_repositories(repositories(&["other"])),
            wide(),
            false,
        ),
        // From where.
        (
            narrow(),
            wide().in_networks(networks(&["10.0.0.0/8"])),
            false,
        ),
        (
            narrow().in_networks(networks(&["10.1.0.0/16"])),
            wide(),
            true,
        ),
        (
            narrow().in_networks(networks(&["10.1.0.0/16"])),
            wide().in_networks(networks(&["192.0.2.0/24", "10.0.0.0/8"])),
            true,
        ),
        (
            narrow().in_networks(networks(&["10.1.0.0/16", "192.0.2.0/24"])),
            wide().in_networks(networks(&["10.0.0.0/8"])),
            false,
        ),
        // Of which registry.
        (
            narrow(),
            wide().of_registries(registries(&["docker.io"])),
            false,
        ),
        (
            narrow().of_registries(registries(&["docker.io"])),
            wide(),
            true,
        ),
        (
            narrow().of_registries(registries(&["docker.io"])),
            wide().of_registries(registries(&["quay.io", "docker.io"])),
            true,
        ),
        (
            narrow().of_registries(registries(&["docker.io", "ghcr.io"])),
            wide().of_registries(registries(&["docker.io"])),
            false,
        ),
        // Which tags: compared as they are written.
        (narrow().with_tags(tags(&["v1"])), wide(), true),
        (narrow(), wide().with_tags(tags(&["v*"])), false),
        (
            narrow().with_tags(tags(&["v*"])),
            wide().with_tags(tags(&["v*"])),
            true,
        ),
        (
            narrow().with_tags(tags(&["x"])),
            wide().with_tags(tags(&["v*"])),
            false,
        ),
    ];
    for (narrow, wide, covered) in cases {
        let told = doubts([narrow.clone(), wide.clone()]);
        let never = ("a".to_owned(), never_allows("b"));
        let expected = if covered { vec![never] } else { vec![] };
        assert_eq!(told, expected, "{narrow:?} {wide:?}");
        // In the other order too; and what is allowed takes nothing from what is denied.
        assert_eq!(doubts([wide.clone(), narrow.clone()]), expected);
    }
}

#[test]
fn a_path_is_covered_only_by_a_pattern_of_paths() {
    let at = |name: &str, paths: &[&str]| {
        Rule::allow(name, Who::Authenticated, Actions::OTHER)
            .at_paths(patterns(Pattern::path, paths))
    };
    let redundant = |rule: &str, by: &str| vec![(rule.to_owned(), redundant(by))];
    let extension = |name: &str, on: &[&str]| {
        let paths = patterns(Pattern::path, &["/v2/**"]);
        let rule = |actions| Rule::allow(name, Who::Authenticated, actions).at_paths(paths);
        if on.is_empty() {
            rule(Actions::EXTENSION)
        } else {
            rule(Actions::EXTENSION | Actions::PULL).on_repositories(repositories(on))
        }
    };
    let pull = |name: &str, on: &[&str]| {
        Rule::allow(name, Who::Authenticated, Actions::PULL).on_repositories(repositories(on))
    };
    for (first, second, expected) in [
        // Paths say nothing of what has none.
        (
            pull("a", &["team/app"]),
            extension("b", &["team/**"]),
            redundant("a", "b"),
        ),
        (
            extension("a", &["team/app"]),
            pull("b", &["team/**"]),
            vec![],
        ),
        (at("a", &["/x"]), at("b", &["/**"]), redundant("a", "b")),
        // Without repositories an extension is of every one.
        (
            extension("a", &[]),
            extension("b", &[]),
            redundant("b", "a"),
        ),
        (
            extension("a", &[]),
            extension("b", &["**"]),
            redundant("a", "b"),
        ),
        (extension("a", &[]), extension("b", &["team/**"]), vec![]),
        (
            extension("a", &["team/app"]),
            extension("b", &["team/**"]),
            redundant("a", "b"),
        ),
        (
            at("a", &["/x", "/y"]),
            at("b", &["/y"]),
            redundant("b", "a"),
        ),
        (at("a", &["/x"]), at("b", &["/y"]), vec![]),
        (at("a", &["/x", "/z"]), at("b", &["/x", "/y"]), vec![]),
    ] {
        assert_eq!(doubts([first, second]), expected);
    }
}

#[test]
fn of_two_rules_that_say_the_same_the_later_one_is_told() {
    let rule = |name: &str, pattern: &str| {
        Rule::allow(name, ci(), Actions::PULL).on_repositories(repositories(&[pattern]))
    };
    let told = |rules: [Rule; 2]| doubts(rules);
    let by = |rule: &str, by: &str| vec![(rule.to_owned(), redundant(by))];
    assert_eq!(told([rule("a", "x"), rule("b", "x")]), by("b", "a"));
    assert_eq!(told([rule("a", "x/**"), rule("b", "x/y")]), by("b", "a"));
    assert_eq!(told([rule("a", "x/y"), rule("b", "x/**")]), by("a", "b"));
    assert_eq!(told([rule("a", "x/y"), rule("b", "x/z")]), vec![]);
    // A denial is redundant beside a denial, and never because of what is allowed.
    let deny = |name: &str, pattern: &str| {
        Rule::deny(name, ci(), Actions::PULL).on_repositories(repositories(&[pattern]))
    };
    assert_eq!(told([deny("a", "x/y"), deny("b", "x/**")]), by("a", "b"));
    assert_eq!(told([deny("a", "x/y"), rule("b", "x/**")]), vec![]);
}

#[test]
fn only_a_rule_that_lets_the_anonymous_write_is_warned_of() {
    let on = |rule: Rule| rule.on_repositories(repositories(&["a"]));
    for (rule, doubtful) in [
        (Rule::allow("a", Who::Anyone, Actions::UPLOAD), true),
        (Rule::allow("a", Who::Anonymous, Actions::UNTAG), true),
        (
            Rule::allow("a", ci(), Actions::PUSH).or_who([Who::Anonymous]),
            true,
        ),
        (Rule::allow("a", Who::Anyone, Actions::PULL), false),
        (Rule::allow("a", Who::Authenticated, Actions::PUSH), false),
        (Rule::deny("a", Who::Anyone, Actions::PUSH), false),
    ] {
        let expected = doubtful.then(|| ("a".to_owned(), ANONYMOUS_WRITE.to_owned()));
        assert_eq!(doubts([on(rule)]), Vec::from_iter(expected));
    }
}

#[test]
fn an_open_probe_is_warned_of_only_where_credentials_make_a_difference() {
    let probe = |who| Rule::allow("probe", who, Actions::PROBE);
    let pull = |who| Rule::allow("pull", who, Actions::PULL).on_repositories(repositories(&["a"]));
    let deny = |who| Rule::deny("deny", who, Actions::LIST).on_repositories(repositories(&["a"]));
    for (rules, doubtful) in [
        (vec![probe(Who::Anyone), pull(ci())], true),
        (vec![probe(Who::Anonymous), pull(Who::Authenticated)], true),
        (vec![probe(Who::Anyone), pull(Who::Anyone)], false),
        (vec![probe(Who::Anyone), pull(Who::Anonymous)], false),
        (vec![probe(Who::Authenticated), pull(ci())], false),
        // A denial that the known are not under.
        (
            vec![probe(Who::Anyone), pull(Who::Anyone), deny(Who::Anonymous)],
            true,
        ),
        (
            vec![probe(Who::Anyone), pull(Who::Anyone), deny(Who::Anyone)],
            false,
        ),
        (
            vec![probe(Who::Anyone), pull(Who::Anyone), deny(ci())],
            false,
        ),
    ] {
        let told = doubts(rules.clone());
        assert_eq!(told.len(), usize::from(doubtful), "{rules:?}");
        assert!(
            told.iter()
                .all(|(rule, doubt)| rule == "probe" && doubt.starts_with(ANONYMOUS_PROBE)),
            "{told:?}"
        );
    }
}

#[test]
fn the_anonymous_are_asked_for_credentials_only_where_some_would_help() {
    use portcullis::Refusal::{PolicyDenied as Denied, PolicyNeedsCredentials as Asked};

    let allow =
        |who| Rule::allow("allow", who, Actions::PULL).on_repositories(repositories(&["a"]));
    let deny = |who| Rule::deny("deny", who, Actions::PULL).on_repositories(repositories(&["a"]));
    let here = || networks(&["192.0.2.0/24"]);
    for (rules, target, refusal) in [
        (vec![allow(ci())], "a", Some(Asked)),
        (vec![allow(Who::Authenticated)], "b", Some(Asked)),
        (vec![allow(Who::Anonymous)], "a", None),
        (vec![allow(Who::Anonymous)], "b", Some(Denied)),
        (vec![allow(Who::Anyone)], "b", Some(Denied)),
        // A denial of the anonymous alone ends with credentials, one of all does not.
        (
            vec![allow(Who::Anyone), deny(Who::Anonymous)],
            "a",
            Some(Asked),
        ),
        (
            vec![allow(Who::Anyone), deny(Who::Anyone)],
            "a",
            Some(Denied),
        ),
        (
            vec![allow(Who::Anonymous), deny(Who::Anonymous)],
            "a",
            Some(Denied),
        ),
        // Elsewhere the known may be let in.
        (
            vec![allow(Who::Anyone), deny(Who::Anyone).in_networks(here())],
            "a",
            Some(Asked),
        ),
        (
            vec![allow(ci()).in_networks(here()), deny(Who::Anonymous)],
            "a",
            Some(Asked),
        ),
    ] {
        let policy = Policy::new(rules.clone()).unwrap();
        let target = format!("/v2/{target}/manifests/v1");
        let answer = ask(&policy, None, "192.0.2.1", "GET", &target);
        assert_eq!(answer.err(), refusal, "{rules:?}");
        // Who has shown something is never asked again.
        let known = ask(&policy, Some(&token("x")), "192.0.2.1", "GET", &target);
        assert_ne!(known.err(), Some(Asked), "{rules:?}");
    }
}
