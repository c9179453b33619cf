//! Several registries behind one gate.

use std::fmt::Write as _;

use portcullis::admin::Readiness;

use crate::pki::Files;
use crate::support::{BY_TOKEN, Program, Registry, request, within};

#[tokio::test]
async fn a_request_goes_to_the_first_registry_that_it_is_for() {
    let files = Files::new();
    files.put("team.authorization", "Bearer the-teams");
    let own = files.put("own", "Bearer the-flags");
    let mut config = BY_TOKEN.to_owned();
    let mut seen = Vec::new();
    for section in [
        "repositories = [\"team/**\"]\nauthorization_file = \"team.authorization\"",
        "registries = [\"*.gcr.io\"]",
        "repositories = [\"lib/*\"]\nregistries = [\"docker.io\"]",
    ] {
        let registry = Registry::start().await;
        let url = registry.url();
        writeln!(config, "[[program.upstream]]\nurl = {url:?}\n{section}").unwrap();
        seen.push(registry.answers(200));
    }
    let rest = Registry::start().await;
    let url = rest.url();
    seen.push(rest.answers(200));
    let own = own.to_str().unwrap();
    let flags = ["--upstream", &url, "--authorization-file", own];
    let gate = Program::start(files, &config, &flags).await;
    let mut client = gate.connect(0).await;
    for (target, number, authorization) in [
        ("/v2/team/app/manifests/1", 0, Some("Bearer the-teams")),
        (
            "/v2/team/app/manifests/1?ns=eu.gcr.io",
            0,
            Some("Bearer the-teams"),
        ),
        ("/v2/team/a/b/tags/list", 0, Some("Bearer the-teams")),
        ("/v2/lib/a/manifests/1?ns=eu.gcr.io", 1, None),
        ("/v2/lib/a/manifests/1?ns=docker.io", 2, None),
        ("/v2/lib/a/manifests/1", 3, Some("Bearer the-flags")),
        ("/v2/team/manifests/1", 3, Some("Bearer the-flags")),
        (
            "/v2/lib/a/b/manifests/1?ns=docker.io",
            3,
            Some("Bearer the-flags"),
        ),
        ("/v2/", 3, Some("Bearer the-flags")),
        ("/v2/_catalog", 3, Some("Bearer the-flags")),
    ] {
        client.send(request("GET", target, "")).await;
        let (head, body) = client.answer().await;
        let line = format!("GET {target} HTTP/1.1");
        assert_eq!((head.status(), &body), (200, &line));
        for (at, heads) in seen.iter().enumerate() {
            let mut heads = heads.lock().unwrap();
            // The gate's own probes apart.
            let asked = heads
                .iter()
                .filter(|head| head.get("x-forwarded-for").is_some());
            let asked: Vec<_> = asked.cloned().collect();
            heads.clear();
            assert_eq!(asked.len(), usize::from(at == number), "{target} at {at}");
            for head in asked {
                assert_eq!(head.get("authorization"), authorization, "{target}");
            }
        }
    }
}

#[tokio::test]
async fn the_gate_is_ready_once_every_registry_answers() {
    let (up, broken) = (Registry::start().await, Registry::start().await);
    let (rest, url) = (up.url(), broken.url());
    up.answers(200);
    broken.answers(503);
    let config =
        format!("{BY_TOKEN}\n[[program.upstream]]\nurl = {url:?}\nrepositories = [\"team/**\"]\n");
    let files = Files::new();
    let setup = Program::read(&files, &config, &["--upstream", &rest]).unwrap();
    let routes = setup.routes;
    let probing = tokio::spawn(routes.clone().probe());
    let said = within(async {
        loop {
            match routes.readiness() {
                Readiness::NotReady(said) if !said.contains("not asked yet") => break said,
                _ => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        }
    })
    .await;
    probing.abort();
    assert!(said.starts_with(&format!("{url}: ")), "{said}");
    assert!(said.contains("503") && !said.contains(&rest), "{said}");
}

#[tokio::test]
async fn registries_that_leave_requests_over_are_an_error() {
    let files = Files::new();
    let some = "[[program.upstream]]\nurl = \"http://127.0.0.1:1\"\nrepositories = [\"a/**\"]\n";
    let rest = "[[program.upstream]]\nurl = \"http://127.0.0.1:1\"\n";
    let flags = ["--upstream", "http://127.0.0.1:2"];
    for (sections, flags, said) in [
        (String::new(), &[][..], Some("--upstream")),
        (some.to_owned(), &[][..], Some("--upstream")),
        (rest.to_owned(), &flags[..], Some("one registry")),
        (format!("{rest}{rest}"), &[][..], Some("one registry")),
        (format!("{some}{rest}"), &[][..], None),
        (some.to_owned(), &flags[..], None),
        (
            some.replace("a/**", "A/**"),
            &flags[..],
            Some("repository name"),
        ),
    ] {
        let read = Program::read(&files, &format!("{BY_TOKEN}\n{sections}"), flags);
        let error = read.err().map(|error| error.to_string());
        match said {
            None => assert_eq!(error, None),
            Some(said) => assert!(error.as_ref().unwrap().contains(said), "{error:?}"),
        }
    }
}
