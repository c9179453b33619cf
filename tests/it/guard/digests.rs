//! `[policy.digest_binding]` of the configuration file.
#![cfg(all(feature = "config", feature = "digest-binding"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::convert::Infallible;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use portcullis::Guard;
use portcullis::admin::Admin;
use portcullis::config::{Config, ConfigError};
use portcullis::guard::{Builder, SecurityWarning};
use tempfile::TempDir;
use tower::{Layer, ServiceExt, service_fn};

const RULES: &str = "[[policy.rules]]\nname = \"all\"\nwho = [\"anyone\"]\nactions = [\"any\"]\n\
    repositories = [\"**\"]\n";

fn config(folder: &Path, section: &str) -> Result<Config, ConfigError> {
    let file = folder.join("gate.toml");
    fs::write(&file, format!("{RULES}{section}")).unwrap();
    Config::load(&file)
}

fn configured(builder: Builder, folder: &Path, section: &str) -> Result<Guard, ConfigError> {
    Ok(builder.configure(&config(folder, section)?)?.build())
}

fn guard(folder: &Path, section: &str) -> Result<Guard, ConfigError> {
    configured(Guard::builder(), folder, section)
}

fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

/// What a cache says that has everything.
async fn status(guard: &Guard, method: &str, target: &str) -> u16 {
    let service = guard.layer(service_fn(|_request| async {
        let response = http::Response::builder().header("docker-content-digest", digest('c'));
        Ok::<_, Infallible>(response.body(Full::new(Bytes::from("yes"))).unwrap())
    }));
    let request = Request::builder()
        .header("host", "registry.example")
        .method(method)
        .uri(target);
    let request = request.body(Full::<Bytes>::default()).unwrap();
    service.oneshot(request).await.unwrap().status().as_u16()
}

async fn pull(guard: &Guard, digit: char) -> u16 {
    status(
        guard,
        "GET",
        &format!("/v2/lib/x/manifests/{}", digest(digit)),
    )
    .await
}

#[tokio::test]
async fn what_is_pushed_and_not_learnt_from_is_told_as_a_danger() {
    let folder = TempDir::new().unwrap();
    let pulls = RULES.replace("\"any\"", "\"pull\", \"delete\"");
    for (rules, learn, asks, dangerous) in [
        (RULES, "", false, true),
        (RULES, "learn = \"pulls\"\n", false, true),
        (RULES, "learn = \"pushes\"\n", false, false),
        (RULES, "learn = \"both\"\n", false, false),
        // The service is asked about what was not learnt.
        (RULES, "unknown = \"ask\"\n", true, false),
        (&pulls, "", false, false),
    ] {
        let file = folder.path().join("gate.toml");
        fs::write(&file, format!("{rules}[policy.digest_binding]\n{learn}")).unwrap();
        let builder = Guard::builder();
        let builder = if asks {
            builder.digest_oracle(|_: Option<&str>, _: &str, _: &str| Some(true))
        } else {
            builder
        };
        let guard = builder
            .configure(&Config::load(&file).unwrap())
            .unwrap()
            .build();
        let warnings = &guard.report().warnings;
        let told = warnings.iter().find_map(|warning| match warning {
            SecurityWarning::PushesNotLearnt { rule, line, .. } => Some((&**rule, *line)),
            _ => None,
        });
        assert_eq!(told.is_some(), dangerous, "{learn} {asks}: {warnings:?}");
        if let Some((rule, _)) = told {
            assert_eq!(rule, "all");
            assert!(guard.report().to_string().contains("set it to \"both\""));
        }
    }
}

#[tokio::test]
async fn the_section_turns_it_on_and_a_key_in_it_off() {
    let folder = TempDir::new().unwrap();
    for (section, expected, told) in [
        ("", 200, "any repository gives it"),
        (
            "[policy.digest_binding]\nenabled = false\n",
            200,
            "any repository gives it",
        ),
        (
            "[policy.digest_binding]\n",
            404,
            "digests of which nothing was seen are not given",
        ),
        (
            "[policy.digest_binding]\nenabled = true\ncapacity = 10\n",
            404,
            "forgotten at a restart",
        ),
    ] {
        let guard = guard(folder.path(), section).unwrap();
        assert_eq!(pull(&guard, 'a').await, expected, "{section}");
        let report = guard.report().to_string();
        assert!(report.contains(told), "{section}: {report}");
    }
}

#[tokio::test]
async fn a_capacity_that_nobody_means_is_refused() {
    let folder = TempDir::new().unwrap();
    for capacity in ["0", "100000001", "4294967295"] {
        let section = format!("[policy.digest_binding]\ncapacity = {capacity}\n");
        let error = config(folder.path(), &section).unwrap_err().to_string();
        assert!(error.contains("is not from 1 to 100000000"), "{error}");
    }
}

#[tokio::test]
async fn asking_takes_an_oracle() {
    let folder = TempDir::new().unwrap();
    let section = "[policy.digest_binding]\nunknown = \"ask\"\n";
    let error = guard(folder.path(), section).unwrap_err();
    assert!(
        matches!(error, ConfigError::NobodyToAsk { .. }),
        "{error:?}"
    );
    let error = error.to_string();
    assert!(error.contains("policy.digest_binding.unknown: "), "{error}");

    let oracle = |_: Option<&str>, repository: &str, asked: &str| {
        Some(repository == "lib/x" && asked == digest('a'))
    };
    let builder = Guard::builder().digest_oracle(oracle);
    let guard = configured(builder, folder.path(), section).unwrap();
    assert_eq!(pull(&guard, 'a').await, 200);
    assert_eq!(pull(&guard, 'b').await, 404);
    let report = guard.report().to_string();
    assert!(
        report.contains("the service is asked about digests"),
        "{report}"
    );

    // A service that can be asked is not, where the file does not say so.
    let builder = Guard::builder().digest_oracle(oracle);
    let guard = configured(builder, folder.path(), "[policy.digest_binding]\n").unwrap();
    assert_eq!(pull(&guard, 'a').await, 404);
}

#[tokio::test]
async fn what_is_known_is_kept_in_the_file_that_is_named() {
    let folder = TempDir::new().unwrap();
    let section = "[policy.digest_binding]\nfile = \"digests\"\nsave_every = \"1h\"\n";
    let first = guard(folder.path(), section).unwrap();
    assert_eq!(pull(&first, 'c').await, 404);
    // By its tag a manifest belongs to the repository.
    assert_eq!(
        status(&first, "HEAD", "/v2/lib/x/manifests/latest").await,
        200
    );
    assert_eq!(pull(&first, 'c').await, 200);
    first.save().unwrap();
    assert!(folder.path().join("digests").is_file());
    let second = guard(folder.path(), section).unwrap();
    assert_eq!(pull(&second, 'c').await, 200);
    assert_eq!(pull(&second, 'd').await, 404);
    let report = second.report().to_string();
    assert!(report.contains("kept in "), "{report}");
}

#[tokio::test]
async fn a_damaged_file_is_an_error_unless_the_operator_says_otherwise() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("digests"), "nonsense").unwrap();
    let section = "[policy.digest_binding]\nfile = \"digests\"\n";
    let error = guard(folder.path(), section).unwrap_err();
    let key = "policy.digest_binding.file";
    assert!(
        matches!(&error, ConfigError::Unusable { place, .. } if place.key == key),
        "{error:?}"
    );
    let error = error.to_string();
    assert!(
        error.contains(key) && error.contains("digests: it is no file of digests"),
        "{error}"
    );
    let forgiving = format!("{section}damaged = \"forget\"\n");
    let guard = guard(folder.path(), &forgiving).unwrap();
    assert_eq!(pull(&guard, 'c').await, 404);
}

#[tokio::test]
async fn a_file_that_cannot_be_written_any_more_is_told_to_probes() {
    let folder = TempDir::new().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let section = "[policy.digest_binding]\nfile = \"inner/digests\"\nsave_every = \"1h\"\n";
    let guard = guard(folder.path(), section).unwrap();
    let readyz = async || {
        let admin = Admin::new().with_checks(guard.checks());
        let request = Request::get("/readyz").body(()).unwrap();
        let response = admin.oneshot(request).await.unwrap();
        let body = http_body_util::BodyExt::collect(response.into_body()).await;
        String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap()
    };
    assert!(
        readyz().await.contains("[+] digest_binding"),
        "{}",
        readyz().await
    );
    assert_eq!(
        status(&guard, "HEAD", "/v2/lib/x/manifests/latest").await,
        200
    );
    fs::remove_dir(&inner).unwrap();
    guard.save().unwrap_err();
    let told = readyz().await;
    assert!(
        told.contains("[~] digest_binding: what is new is not kept"),
        "{told}"
    );
    fs::create_dir(&inner).unwrap();
    guard.save().unwrap();
    assert!(
        readyz().await.contains("[+] digest_binding"),
        "{}",
        readyz().await
    );
}

#[tokio::test]
async fn callers_of_an_exempt_group_are_not_bound_and_others_learn_from_what_they_get() {
    use http::header::AUTHORIZATION;

    let folder = TempDir::new().unwrap();
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    put("peer.token", "peer-4f1c9a7be03d58264c9e1fa0b7d25836");
    put("ci.token", "ci-4f1c9a7be03d58264c9e1fa0b7d258361");
    let section = "[policy.digest_binding]\nexempt_groups = [\"peers\"]\n\
        [auth]\nrequire = \"token\"\n[[auth.token]]\nid = \"peer\"\ngroups = [\"peers\"]\n\
        file = \"peer.token\"\n[[auth.token]]\nid = \"ci\"\nfile = \"ci.token\"\n";
    let guard = guard(folder.path(), section).unwrap();
    let report = guard.report().to_string();
    assert!(
        report.contains("callers in the group peers get content by any repository"),
        "{report}"
    );
    let layer = digest('b');
    let manifest =
        format!("{{\"schemaVersion\":2,\"config\":{{\"digest\":\"{layer}\"}},\"layers\":[]}}");
    let (kind, known) = (
        "application/vnd.oci.image.manifest.v1+json",
        format!("sha256:{}", hex(&manifest)),
    );
    let ask = async |token: &str, target: String| {
        let answer = (manifest.clone(), known.clone());
        let service = guard.layer(service_fn(move |_| {
            let (manifest, digest) = answer.clone();
            async move {
                let response = http::Response::builder()
                    .header("content-type", kind)
                    .header("docker-content-digest", digest);
                Ok::<_, Infallible>(response.body(Full::new(Bytes::from(manifest))).unwrap())
            }
        }));
        let address = portcullis::ClientAddr::new("192.0.2.1:1".parse().unwrap());
        let request = Request::get(target)
            .header("host", "registry.example")
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .extension(address)
            .body(Full::<Bytes>::default())
            .unwrap();
        let response = service.oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        http_body_util::BodyExt::collect(response.into_body())
            .await
            .unwrap();
        status
    };
    let (peer, ci) = (
        "peer-4f1c9a7be03d58264c9e1fa0b7d25836",
        "ci-4f1c9a7be03d58264c9e1fa0b7d258361",
    );
    let blob = |digest: &str| format!("/v2/lib/x/blobs/{digest}");
    assert_eq!(ask(ci, blob(&layer)).await, 404);
    assert_eq!(ask(peer, blob(&layer)).await, 200);
    assert_eq!(ask(ci, blob(&layer)).await, 404);
    let by_tag = "/v2/lib/x/manifests/1".to_owned();
    assert_eq!(ask(peer, by_tag).await, 200);
    assert_eq!(ask(ci, blob(&layer)).await, 200);

    // A misspelt group would leave the peers bound in silence.
    let misspelt = section.replace("exempt_groups = [\"peers\"]", "exempt_groups = [\"pears\"]");
    let guard = self::guard(folder.path(), &misspelt).unwrap();
    let warnings = guard.report().to_string();
    assert!(warnings.contains("pears"), "{warnings}");
}

fn hex(text: &str) -> String {
    use std::fmt::Write;

    use sha2::{Digest, Sha256};

    let mut hex = String::new();
    for byte in Sha256::digest(text) {
        write!(hex, "{byte:02x}").unwrap();
    }
    hex
}
