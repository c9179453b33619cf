//! `portcullisctl credential-provider`, asked as a kubelet asks its exec plugins.
#![cfg(feature = "config")]

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::portcullisctl::program;

/// As a kubelet of 1.34 wrote it, but for the token.
const RECORDED: &str = r#"{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"registry.example.org/team/app:1","serviceAccountToken":"TOKEN","serviceAccountAnnotations":{"example.org/team":"shop"}}
"#;

/// As one wrote it that sends no tokens.
const WITHOUT_TOKEN: &str = r#"{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"registry.example.org/team/app:1"}
"#;

/// A token that ends in so many seconds, whose signature nothing looks at here.
fn token(seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let end = i64::try_from(now.as_secs()).unwrap() + seconds;
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let header = encode(&json!({ "alg": "RS256", "kid": "one" }));
    let claims = json!({
        "iss": "https://kubernetes.default.svc", "aud": ["registry.example.org"], "exp": end,
        "sub": "system:serviceaccount:shop:web",
        "kubernetes.io": { "namespace": "shop", "serviceaccount": { "name": "web" } },
    });
    format!("{header}.{}.c2lnbmF0dXJl", encode(&claims))
}

/// The exit code, standard output and standard error.
fn ask(request: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut child = Command::new(program())
        .arg("credential-provider")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A child that has ended before it read all has said why by its exit code.
    let _ = child.stdin.take().unwrap().write_all(request.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn answered(request: &str, arguments: &[&str]) -> Value {
    let (code, out, error) = ask(request, arguments);
    assert_eq!((code, &*error), (0, ""));
    serde_json::from_str(&out).unwrap()
}

/// Of a `metav1.Duration`, as Go reads it.
fn seconds(answer: &Value) -> u64 {
    let text = answer["cacheDuration"].as_str().unwrap();
    text.strip_suffix('s').unwrap().parse().unwrap()
}

#[test]
fn a_pods_token_is_the_password_for_the_registry_of_its_image() {
    let token = token(3600);
    let answer = answered(&RECORDED.replace("TOKEN", &token), &[]);
    assert_eq!(
        answer,
        json!({
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "kind": "CredentialProviderResponse",
            "cacheKeyType": "Registry",
            "cacheDuration": "600s",
            "auth": { "registry.example.org": { "username": "kubelet", "password": token } },
        })
    );
    for (image, registry) in [
        ("localhost/app", "localhost"),
        ("localhost:5000/app", "localhost:5000"),
        ("[2001:db8::1]:5000/app", "[2001:db8::1]:5000"),
        ("team/app", "docker.io"),
        ("busybox:1", "docker.io"),
    ] {
        let request = RECORDED.replace("TOKEN", &token);
        let request = request.replace("registry.example.org/team/app:1", image);
        let answer = answered(&request, &[]);
        let images = answer["auth"].as_object().unwrap();
        assert_eq!(images.keys().collect::<Vec<_>>(), [registry]);
    }
}

#[test]
fn each_pattern_that_is_named_has_the_token_and_the_answer_is_kept_as_long_as_is_said() {
    let request = |seconds| RECORDED.replace("TOKEN", &token(seconds));
    let arguments = [
        "--image=*.example.org",
        "--image=registry.example.org:5000/team",
        "--user=shop",
        "--cache=5m",
        "--cache-key=image",
    ];
    let answer = answered(&request(3600), &arguments);
    let images = answer["auth"].as_object().unwrap();
    let expected = ["*.example.org", "registry.example.org:5000/team"];
    assert_eq!(images.keys().collect::<Vec<_>>(), expected);
    assert!(images.values().all(|one| one["username"] == "shop"));
    assert_eq!(
        (&answer["cacheKeyType"], seconds(&answer)),
        (&json!("Image"), 300)
    );
    // Never longer than the token is good, and a minute less.
    let answer = answered(&request(200), &arguments);
    assert!((100..=140).contains(&seconds(&answer)), "{answer}");
    assert_eq!(seconds(&answered(&request(50), &arguments)), 0);
}

#[test]
fn what_cannot_be_answered_says_why_and_never_shows_the_token() {
    let (good, over) = (token(3600), token(-1));
    let recorded = RECORDED.replace("TOKEN", &good);
    let changed = |from: &str, to: &str| recorded.replace(from, to);
    for (request, code, expected) in [
        (WITHOUT_TOKEN.to_owned(), 1, "serviceAccountTokenAudience"),
        (changed(&good, ""), 1, "serviceAccountTokenAudience"),
        (changed(&good, &over), 1, "has expired"),
        (changed(&good, "s3cr3t-and-opaque"), 1, "is no signed token"),
        (
            changed("/v1\"", "/v1beta1\""),
            2,
            "apiVersion: credentialprovider.kubelet.k8s.io/v1",
        ),
        (
            changed("ProviderRequest", "ProviderResponse"),
            2,
            "CredentialProviderRequest",
        ),
        (
            changed("registry.example.org/team/app:1", ""),
            2,
            "names no image",
        ),
        // A parser would quote what it did not expect.
        (format!("{good:?}"), 2, "is no CredentialProviderRequest"),
        (
            recorded.replace("\"image\":", &format!("\"kind\":{good:?},\"image\":")),
            2,
            "line 1",
        ),
        (
            changed("\"registry.example.org/team/app:1\"", "7"),
            2,
            "is no CredentialProviderRequest",
        ),
        (recorded[..recorded.len() / 2].to_owned(), 2, "Eof error"),
        (String::new(), 2, "Eof error"),
        (" ".repeat(2 * 1024 * 1024), 2, "Eof error"),
    ] {
        let (is, out, error) = ask(&request, &[]);
        assert_eq!((is, &*out), (code, ""), "{error}");
        assert!(
            error.starts_with("portcullisctl: ") && error.contains(expected),
            "{error}"
        );
        for secret in [&*good, &over, "s3cr3t"] {
            assert!(!error.contains(secret), "{error}");
        }
    }
    for wrong in [
        ["--user=a:b"],
        ["--user="],
        ["--image=https://registry.example.org"],
        ["--image=registry.example.org/app@sha256:00"],
        ["--image=registry.example.org:port"],
        ["--image=registry.example.org/*"],
        ["--image="],
        ["--cache=soon"],
    ] {
        assert_eq!(ask(&recorded, &wrong).0, 2, "{wrong:?}");
    }
}

#[test]
fn the_kubelets_configuration_starts_the_plugin_as_it_can_be_started() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/kubernetes/credential-provider.yaml"
    );
    let text = std::fs::read_to_string(file).unwrap();
    let config: Value = serde_norway::from_str(&text).unwrap();
    assert_eq!(config["apiVersion"], "kubelet.config.k8s.io/v1");
    assert_eq!(config["kind"], "CredentialProviderConfig");
    let [provider] = config["providers"].as_array().unwrap().as_slice() else {
        panic!("one provider: {config}");
    };
    // A kubelet refuses what it does not know.
    let known = [
        "name",
        "apiVersion",
        "matchImages",
        "defaultCacheDuration",
        "args",
        "tokenAttributes",
    ];
    assert!(
        provider
            .as_object()
            .unwrap()
            .keys()
            .all(|key| known.contains(&&**key))
    );
    assert_eq!(
        provider["name"].as_str(),
        program().file_name().and_then(|name| name.to_str())
    );
    let default = humantime::parse_duration(provider["defaultCacheDuration"].as_str().unwrap());
    assert_eq!(default, Ok(Duration::from_secs(600)));
    let attributes = &provider["tokenAttributes"];
    assert_eq!(
        attributes["serviceAccountTokenAudience"],
        "registry.example.org"
    );
    assert_eq!(attributes["requireServiceAccount"], true);
    assert!(["Token", "ServiceAccount"].contains(&attributes["cacheType"].as_str().unwrap()));

    let strings = |value: &Value| -> Vec<String> {
        let all = value.as_array().unwrap().iter();
        all.map(|one| one.as_str().unwrap().to_owned()).collect()
    };
    let arguments = strings(&provider["args"]);
    let (command, flags) = arguments.split_first().unwrap();
    assert_eq!(command, "credential-provider");
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let answer = answered(&RECORDED.replace("TOKEN", &token(3600)), &flags);
    assert_eq!(answer["apiVersion"], provider["apiVersion"]);
    // The token is for the images for which the kubelet asks, each of them and no others.
    let mut asked = strings(&provider["matchImages"]);
    asked.sort();
    let given: Vec<_> = answer["auth"].as_object().unwrap().keys().collect();
    assert_eq!(given, asked.iter().collect::<Vec<_>>());
}

/// The section of the gate's configuration in the page and the kubelet's file are about one audience and one user.
#[test]
fn the_page_has_the_section_that_takes_what_the_plugin_gives() {
    let read = |name: &str| {
        std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name))
            .unwrap()
    };
    let page = read("docs/kubernetes.md");
    let mut blocks = page.split("```toml\n").skip(1);
    let section = blocks.find(|block| block.contains("[[auth.jwt]]")).unwrap();
    let section = section.split("```").next().unwrap();
    portcullis::config::Config::from_toml(section, "/etc/gate").unwrap();
    let section: toml::Table = section.parse().unwrap();
    let issuer = &section["auth"]["jwt"][0];
    let kubelet: Value =
        serde_norway::from_str(&read("examples/kubernetes/credential-provider.yaml")).unwrap();
    let provider = &kubelet["providers"][0];
    assert_eq!(
        issuer["audiences"][0].as_str(),
        provider["tokenAttributes"]["serviceAccountTokenAudience"].as_str()
    );
    let user = format!("--user={}", issuer["basic_users"][0].as_str().unwrap());
    let arguments = provider["args"].as_array().unwrap();
    assert!(
        arguments.iter().any(|argument| *argument == *user),
        "{user}"
    );
}
