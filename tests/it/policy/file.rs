//! The policy file: its errors, its warnings, what explains it, and its reload.

use portcullis::policy::{Actions, Caller, Pattern, Policy, Rule, Who};
use portcullis::reload::WatchOptions;

use super::support::{
    ANONYMOUS_PROBE, ANONYMOUS_WRITE, OFFICE, never_allows, office, redundant, route, token,
};

#[test]
fn an_error_in_the_file_has_its_place() {
    for (text, expected) in [
        (
            "rule = []",
            "policy:1:1: rule: unknown field `rule`, expected `rules`",
        ),
        (
            "[[rules]]\nname = \"x\"\nwho = [\"anyone\", \"root\"]\nactions = [\"pull\"]\n",
            "policy:3:7: rules[0].who[1]: \"root\" is nobody",
        ),
        (
            "[[rules]]\nname = \"x\"\nwho = [\"anyone\"]\nactions = [\"read\"]\n",
            "policy:4:11: rules[0].actions[0]: \"read\" is no action",
        ),
        (
            "[[rules]]\nname = \"x\"\nwho = [\"anyone\"]\nactions = [\"pull\"]\nrepositories = [\"Team/*\"]\n",
            "policy:5:16: rules[0].repositories[0]: \"Team/*\" matches no repository name",
        ),
        (
            "[[rules]]\nname = \"x\"\nwho = [\"anyone\"]\nactions = [\"pull\"]\nrepos = [\"a\"]\n",
            "policy:5:1: rules[0].repos: unknown field `repos`",
        ),
        (
            "\n[[rules]]\nname = \"x\"\nwho = [\"anyone\"]\nactions = [\"pull\"]\n",
            "policy:2:1: rules[0]: `repositories` is missing",
        ),
        (
            "[[rules]]\nname = \"x\"\nwho = []\nactions = [\"probe\"]\n",
            "policy:1:1: rules[0]: `who` is empty",
        ),
        (
            "[[rules]]\nname = \"x\"\neffect = \"maybe\"\nwho = [\"anyone\"]\nactions = [\"probe\"]\n",
            "policy:3:10: rules[0].effect: \"allow\" or \"deny\" is expected, not \"maybe\"",
        ),
        ("[[rules]\n", "policy:1:9: "),
        ("", "policy:1:1: missing field `rules`"),
    ] {
        let error = Policy::from_toml(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}\n{expected}");
    }
    let twice = "[[rules]]\nname = \"x\"\nwho = [\"anyone\"]\nactions = [\"probe\"]\n".repeat(2);
    let error = Policy::from_toml(&twice).unwrap_err().to_string();
    let expected = "policy:6:8: rules[1].name: rules 1 and 2 are both named \"x\"";
    assert_eq!(error, expected);
}

#[test]
fn what_was_probably_not_meant_is_warned_of() {
    let rule = |name: &str, effect: &str, who: &str, actions: &str, repositories: &str| {
        format!(
            "[[rules]]\nname = \"{name}\"\neffect = \"{effect}\"\nwho = [\"{who}\"]\n\
             actions = [\"{actions}\"]\nrepositories = [\"{repositories}\"]\n"
        )
    };
    let doubts = |rules: &[String]| {
        let policy = Policy::from_toml(&rules.concat()).unwrap();
        let warnings = policy.warnings().iter();
        warnings
            .map(|warning| (warning.line.unwrap(), warning.doubt.clone()))
            .collect::<Vec<_>>()
    };
    let wide = rule("wide", "allow", "authenticated", "any", "team/**");
    let narrow = rule("narrow", "allow", "token:ci", "pull", "team/app");
    let deny = rule("deny", "deny", "anyone", "any", "**");
    assert_eq!(
        doubts(&[wide.clone(), narrow.clone()]),
        [(7, redundant("wide"))]
    );
    assert_eq!(
        doubts(&[narrow.clone(), wide.clone()]),
        [(1, redundant("wide"))]
    );
    assert_eq!(doubts(&[narrow.clone(), deny]), [(1, never_allows("deny"))]);
    let other = rule("other", "deny", "token:ci", "pull", "team/b*");
    assert_eq!(doubts(&[wide, other]), []);
    let write = rule("write", "allow", "anyone", "push", "a");
    assert_eq!(doubts(&[write]), [(1, ANONYMOUS_WRITE.to_owned())]);
    let probe = rule("probe", "allow", "anyone", "any", "**");
    let doubts = doubts(&[narrow, probe]);
    let of_probe = |(line, doubt): &(_, String)| *line == 7 && doubt.starts_with(ANONYMOUS_PROBE);
    assert!(doubts.iter().any(of_probe), "{doubts:?}");
    let policy = office();
    assert_eq!(policy.warnings(), []);
    let unknown = policy.unknown_groups(&["writers"]);
    assert_eq!(
        unknown
            .iter()
            .map(|(rule, group)| (rule.name(), *group))
            .collect::<Vec<_>>(),
        [("readers", "readers"), ("catalog", "readers")]
    );
    assert_eq!(policy.unknown_groups(&["readers"]).len(), 0);
}

#[test]
fn rules_about_no_repository_are_compared_too() {
    let rule = |name: &str, effect: &str, who: &str, about: &str| {
        format!("[[rules]]\nname = \"{name}\"\neffect = \"{effect}\"\nwho = [\"{who}\"]\n{about}\n")
    };
    let catalog = "actions = [\"catalog\"]";
    let health = "actions = [\"other\"]\npaths = [\"/healthz\"]";
    let paths = "actions = [\"other\"]\npaths = [\"/**\"]";
    let extension = "actions = [\"extension\"]\npaths = [\"/v2/**\"]";
    let some = "actions = [\"pull\", \"extension\"]\npaths = [\"/v2/**\"]\nrepositories = [\"a\"]";
    let everything = "actions = [\"any\"]\nrepositories = [\"**\"]\npaths = [\"/**\"]";
    let (deny, redundant) = (never_allows("b"), redundant("b"));
    for (first, effect, second, doubt) in [
        (catalog, "deny", catalog, Some(&deny)),
        (catalog, "allow", catalog, Some(&redundant)),
        (health, "deny", paths, Some(&deny)),
        (health, "allow", everything, Some(&redundant)),
        (paths, "deny", health, None),
        (catalog, "deny", health, None),
        // Of all repositories, and of one.
        (extension, "deny", some, None),
    ] {
        let text =
            rule("a", "allow", "token:ci", first) + &rule("b", effect, "authenticated", second);
        let policy = Policy::from_toml(&text).unwrap();
        let told: Vec<_> = policy
            .warnings()
            .iter()
            .map(|warning| &warning.doubt)
            .collect();
        assert_eq!(told, doubt.into_iter().collect::<Vec<_>>(), "{text}");
    }
}

/// Each of them could cover each other one.
#[test]
fn many_rules_alike_are_loaded_in_time() {
    let rules = (0..10_000).map(|number| {
        portcullis::policy::Rule::allow(
            number.to_string(),
            portcullis::policy::Who::Authenticated,
            portcullis::policy::Actions::PULL,
        )
        .on_repositories([
            portcullis::policy::Pattern::repository(&format!("*/app-{number}")).unwrap(),
        ])
    });
    let policy = Policy::new(rules).unwrap();
    let [told] = policy.warnings() else {
        panic!("{:?}", policy.warnings());
    };
    assert!(told.doubt.contains("were not compared"), "{told}");
}

#[test]
fn a_warning_has_its_place() {
    let rule = |name: &str, who: &str| {
        format!(
            "{{ name = {name:?}, who = [{who:?}], actions = [\"pull\"], repositories = [\"x\"] }}"
        )
    };
    let (first, second) = (rule("a", "anyone"), rule("b", "token:b"));
    let text = format!("rules = [\n  {first}, # é\n  {second},\n]\n");
    let policy = Policy::from_toml(&text).unwrap();
    let told: Vec<String> = policy.warnings().iter().map(ToString::to_string).collect();
    let expected = "line 3, column 3: rule \"b\" is redundant: all of it is in \"a\" already";
    assert_eq!(told, [expected]);
}

#[test]
fn an_explanation_tells_which_rule_decided_and_why_others_did_not() {
    let policy = office();
    let ci = token("ci");
    let caller = Caller::new(Some(&ci), Some("192.0.2.1".parse().unwrap()));
    let route = route("PUT", "/v2/team/app/manifests/v1.0");
    let explanation = policy.explain(caller, &route, None);
    let mismatches: Vec<_> = explanation.mismatches().collect();
    assert_eq!(
        mismatches,
        [
            ("public", Some("other actions")),
            ("home", Some("other repositories")),
            ("ci", Some("other networks")),
            ("readers", Some("other actions")),
            ("catalog", Some("other actions")),
            ("frozen", None),
            ("health", Some("other actions")),
        ]
    );
    let text = explanation.to_string();
    assert!(
        text.starts_with(
            "refused\ntoken:ci to create team/app:v1.0: denied by rule \"frozen\" (line 32)\n"
        ),
        "{text}"
    );
    assert!(
        text.contains("\n  allow rule \"ci\" (line 14) is about other networks\n"),
        "{text}"
    );
}

#[test]
fn a_broken_file_leaves_the_last_policy_active() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    assert!(Policy::watch(&file, WatchOptions::default()).is_err());
    std::fs::write(&file, "").unwrap();
    assert!(Policy::watch(&file, WatchOptions::default()).is_err());
    std::fs::write(&file, OFFICE).unwrap();
    let options = WatchOptions::default()
        .with_poll_interval(std::time::Duration::from_millis(20))
        .with_settle(std::time::Duration::from_millis(1));
    let watched = Policy::watch(&file, options).unwrap();
    // In one step: of a file that is written in place, the empty beginning could be seen.
    let next = folder.path().join("next.toml");
    std::fs::write(&next, "[[rules]]\nname = 1").unwrap();
    std::fs::rename(&next, &file).unwrap();
    let mut failure = None;
    for _ in 0..1000 {
        failure = watched.health().failure;
        if failure.is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let failure = failure.unwrap();
    assert!(failure.contains("policy.toml:2:8"), "{failure}");
    assert_eq!(watched.load().rules().len(), 7);
}

#[test]
fn an_empty_list_is_no_list_of_everything() {
    for (list, actions) in [
        ("networks", "pull"),
        ("registries", "pull"),
        ("tags", "pull"),
        ("repositories", "extension"),
        ("paths", "extension"),
    ] {
        let repositories = if list == "repositories" {
            ""
        } else {
            "repositories = [\"**\"]\n"
        };
        let text = format!(
            "[[rules]]\nname = \"a\"\nwho = [\"anyone\"]\nactions = [\"{actions}\"]\n\
             {repositories}{list} = []\n"
        );
        let message = Policy::from_toml(&text).unwrap_err().to_string();
        assert!(message.contains(&format!("`{list}` is empty")), "{message}");
    }
    let rule = Rule::allow("a", Who::Anyone, Actions::PULL)
        .on_repositories([Pattern::repository("**").unwrap()]);
    assert!(Policy::new([rule.clone().in_networks([])]).is_err());
    let network = "10.0.0.0/8".parse().unwrap();
    // Several calls add up.
    let some = rule.in_networks([]).in_networks([network]).in_networks([]);
    assert!(Policy::new([some]).is_ok());
}
