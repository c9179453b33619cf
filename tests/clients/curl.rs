use crate::refused::{gate, handshake_failed, logged, only_without};
use crate::support::commands::{curl, curl_pull, curl_pull_by_tls_1_2, curl_push};
use crate::support::gate::{Demands, Shown, WRONG_TOKEN};
use crate::support::image::{Image, read_json};
use crate::support::process::run;

/// That it is the error body of the distribution-spec, with this code.
#[track_caller]
fn assert_error(body: &str, code: &str) {
    let body = read_json(body.as_bytes());
    assert_eq!(body["errors"][0]["code"], code, "{body}");
}

#[test]
fn without_a_token_nothing_comes() {
    let gate = gate("mirror");
    let said = only_without(&gate, curl_pull, Shown::without_token);
    let said = said.failed_saying(&["The requested URL returned error: 401"]);
    assert_error(&said.out, "UNAUTHORIZED");
    let entry = logged(&gate, "/manifests/1", "credentials_missing", 401);
    assert_eq!(entry.text("network.protocol.version"), "2", "{entry:?}");
}

#[test]
fn with_a_wrong_token_nothing_comes() {
    let gate = gate("mirror");
    let said = only_without(&gate, curl_pull, |shown| {
        shown.with_token("ci", WRONG_TOKEN)
    });
    let said = said.failed_saying(&["The requested URL returned error: 401"]);
    assert_error(&said.out, "UNAUTHORIZED");
    logged(&gate, "/manifests/1", "credentials_unknown", 401);
}

#[test]
fn a_warning_is_in_the_answer_of_one_that_is_authenticated() {
    let demands = Demands {
        more: "[[policy.rules]]\nname = \"old\"\nwho = [\"token:reader\"]\nactions = [\"pull\"]\n\
               repositories = [\"old/**\"]\ndeprecated = \"use \\\"lib\\\"\"\n"
            .to_owned(),
        ..Demands::token()
    };
    let gate = demands.start();
    let image = Image::small();
    curl_push(&gate, gate.ci().without_pair(), &image, "old/busybox:1");
    let warned = |shown| {
        let mut curl = curl(&gate, shown, "/v2/old/busybox/manifests/1");
        let path = format!("{}/v2/old/busybox/manifests/1", gate.mirror.url());
        curl.args(["--output", "/dev/null", "--output", "/dev/null"]);
        // Of each of two answers on one connection.
        run(curl
            .args(["--write-out", "%{http_code} %header{warning}\\n"])
            .arg(path))
        .out
    };
    let expected =
        "200 299 - \"the repository old/busybox is deprecated: use \\\"lib\\\"\"\n200 \n";
    assert_eq!(warned(gate.reader().without_pair()), expected);
    let none = gate.reader().without_pair().without_token();
    assert_eq!(warned(none), "401 \n401 \n");
}

#[test]
fn without_a_certificate_nothing_comes() {
    let gate = gate("mirror");
    let said = only_without(&gate, curl_pull_by_tls_1_2, Shown::without_pair);
    said.failed_saying(&["alert certificate required"]);
    handshake_failed(&gate, "certificate_missing");
}

#[test]
fn with_a_revoked_certificate_nothing_comes() {
    let gate = gate("mirror");
    let revoked = &gate.keys.revoked;
    let said = only_without(&gate, curl_pull_by_tls_1_2, |shown| {
        shown.with_pair(revoked)
    });
    said.failed_saying(&["alert certificate revoked"]);
    handshake_failed(&gate, "certificate_revoked");
}

#[test]
fn with_a_certificate_of_another_ca_nothing_comes() {
    let gate = gate("mirror");
    let stranger = &gate.keys.stranger;
    let said = only_without(&gate, curl_pull_by_tls_1_2, |shown| {
        shown.with_pair(stranger)
    });
    said.failed_saying(&["alert unknown ca"]);
    handshake_failed(&gate, "unknown_issuer");
}

#[test]
fn a_repository_that_is_not_allowed_is_denied() {
    let gate = gate("mirror");
    let said = curl_pull(&gate, gate.reader(), "secret/busybox:1");
    let said = said.failed_saying(&["The requested URL returned error: 403"]);
    assert_error(&said.out, "DENIED");
    let entry = logged(&gate, "/manifests/1", "policy_denied", 403);
    assert!(entry.text("principal").contains("reader"), "{entry:?}");
}

#[test]
fn from_a_network_that_is_not_allowed_nothing_comes() {
    let gate = Demands {
        denied_networks: &["127.0.0.0/8"],
        ..Demands::default()
    };
    let gate = gate.start();
    let said = curl_pull(&gate, gate.reader(), "lib/busybox:1");
    let said = said.failed_saying(&["The requested URL returned error: 403"]);
    assert_error(&said.out, "DENIED");
    logged(&gate, "/v2/", "source_denied", 403);
}

#[test]
fn only_the_registry_preset_asks_for_credentials() {
    for (preset, challenges) in [("mirror", 0), ("registry", 1)] {
        let gate = Demands {
            preset,
            ..Demands::token()
        };
        let gate = gate.start();
        let shown = gate.reader().without_pair().without_token();
        let said = run(curl(&gate, shown, "/v2/").arg("--include")).succeeded();
        assert!(said.out.contains("HTTP/2 401"), "{said}");
        let challenge = said
            .out
            .to_lowercase()
            .matches("www-authenticate: basic realm=\"")
            .count();
        assert_eq!(challenge, challenges, "{said}");
        assert!(
            said.out
                .contains("docker-distribution-api-version: registry/2.0"),
            "{said}"
        );
    }
}

#[test]
fn an_upload_that_is_refused_sends_no_byte_of_its_body() {
    let gate = gate("mirror");
    let file = gate.mirror.folder().join("large");
    std::fs::write(&file, vec![7; 4 << 20]).unwrap();
    for (shown, reason, status) in [
        (gate.ci().without_token(), "credentials_missing", 401),
        (gate.reader(), "policy_denied", 403),
    ] {
        let path = "/v2/lib/busybox/manifests/x";
        let mut curl = curl(&gate, shown, path);
        curl.args(["--http1.1", "--header", "Expect: 100-continue"])
            .args(["--expect100-timeout", "60"])
            .args([
                "--write-out",
                "%{stderr}sent %{size_upload}",
                "--upload-file",
            ])
            .arg(&file);
        let said = run(&mut curl).succeeded();
        assert!(said.err.contains("sent 0"), "{said}");
        let entry = logged(&gate, path, reason, status);
        assert_eq!(entry.number("http.request.body.size"), 0, "{entry:?}");
    }
}

#[test]
fn parts_of_a_blob_come_by_range() {
    let gate = Demands::default().start();
    let image = Image::small();
    curl_push(&gate, gate.ci(), &image, "lib/busybox:1");
    let digest = image.layout().layers()[0].clone();
    let blob = image.layout().blob(&digest);
    let path = format!("/v2/lib/busybox/blobs/{digest}");
    let out = gate.mirror.folder().join("part");
    for (range, part) in [
        ("0-99".to_owned(), &blob[..100]),
        ("1000-".to_owned(), &blob[1000..]),
        ("-17".to_owned(), &blob[blob.len() - 17..]),
    ] {
        let mut curl = curl(&gate, gate.reader(), &path);
        curl.args(["--range", &range, "--write-out", "%{http_code}", "--output"])
            .arg(&out);
        let said = run(&mut curl).succeeded();
        assert_eq!(said.out, "206", "{range}: {said}");
        assert!(
            std::fs::read(&out).unwrap() == part,
            "other bytes for {range}"
        );
    }
    let beyond = format!("{}-", blob.len());
    let mut curl = curl(&gate, gate.reader(), &path);
    curl.args([
        "--range",
        &beyond,
        "--write-out",
        "%{http_code}",
        "--output",
    ])
    .arg(&out);
    assert_eq!(run(&mut curl).succeeded().out, "416");
}

/// A shared cache that finds content by its digest alone gives it under any name.
#[test]
fn a_secret_layer_is_not_had_under_a_public_name() {
    let gate = Demands::default().start();
    let (public, secret) = (Image::small(), Image::build(1000));
    curl_push(&gate, gate.ci(), &public, "lib/busybox:1");
    curl_push(&gate, gate.ci(), &secret, "secret/busybox:1");
    let layer = &secret.layout().layers()[1];
    for (name, shown, status) in [
        ("secret/busybox", gate.ci(), "200"),
        ("secret/busybox", gate.reader(), "403"),
        ("lib/busybox", gate.reader(), "404"),
    ] {
        let mut curl = curl(&gate, shown, &format!("/v2/{name}/blobs/{layer}"));
        curl.args(["--write-out", "%{http_code}", "--output", "/dev/null"]);
        assert_eq!(run(&mut curl).succeeded().out, status, "{name}");
    }
}
