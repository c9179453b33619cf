//! --config and --check.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::support::{Mirror, run};

async fn check(data: &Path, config: &Path) -> (bool, String) {
    let output = run(data, &["--check", "--config", config.to_str().unwrap()]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.success(), said)
}

/// A mirror's data with its demo keys and configuration, stopped.
async fn demo(data: &TempDir) -> Mirror {
    let mut mirror = Mirror::start(data).await;
    mirror.signal("-TERM");
    assert!(mirror.ended().await.success());
    mirror
}

#[tokio::test]
async fn the_demo_configuration_is_good_and_checking_it_serves_nothing() {
    let data = TempDir::new().unwrap();
    let mirror = demo(&data).await;
    let config = mirror.demo("mirror.toml");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/mirror.toml");
    assert_eq!(fs::read(&config).unwrap(), fs::read(example).unwrap());
    let fresh = data.path().join("fresh");
    assert_eq!(check(&fresh, &config).await, (true, String::new()));
    assert!(!fresh.exists());
}

#[tokio::test]
async fn a_wrong_configuration_is_told_with_file_line_and_key() {
    let data = TempDir::new().unwrap();
    let mirror = demo(&data).await;
    let config = mirror.demo("mirror.toml");
    let good = fs::read_to_string(&config).unwrap();
    for (wrong, parts) in [
        ("preset = \"mirrors\"", ["mirror.toml:1", "preset"]),
        ("presett = \"mirror\"", ["mirror.toml:1", "presett"]),
    ] {
        fs::write(
            &config,
            format!("{wrong}\n{}", good.replace("\npreset", "\n#")),
        )
        .unwrap();
        let (success, said) = check(mirror.data(), &config).await;
        assert!(!success, "{wrong}");
        for part in parts {
            assert!(said.contains(part), "{part:?} in {said:?}");
        }
    }
}

#[tokio::test]
async fn a_configuration_whose_files_are_not_there_is_refused() {
    let data = TempDir::new().unwrap();
    let mirror = demo(&data).await;
    let config = mirror.demo("mirror.toml");
    for file in ["server.key", "ca.crt", "crl.pem", "token"] {
        let path = mirror.demo(file);
        let content = fs::read(&path).unwrap();
        for broken in [None, Some("")] {
            fs::remove_file(&path).unwrap();
            if let Some(text) = broken {
                fs::write(&path, text).unwrap();
            }
            let (success, said) = check(mirror.data(), &config).await;
            assert!(!success, "{file} {broken:?}");
            assert!(said.contains(file), "{file} in {said:?}");
            fs::write(&path, &content).unwrap();
        }
    }
    let (success, _) = check(mirror.data(), &config).await;
    assert!(success);
}

#[tokio::test]
async fn everything_that_the_example_has_commented_out_is_right_too() {
    let data = TempDir::new().unwrap();
    let mirror = demo(&data).await;
    let config = mirror.demo("mirror.toml");
    let text = fs::read_to_string(&config).unwrap();
    let is_key = |line: &str| {
        let name = line.split(" = ").next().unwrap();
        let word = |c: char| c.is_ascii_lowercase() || c == '_';
        line.starts_with('[') || (name != line && name.chars().all(word))
    };
    let mut said = 0;
    let mut lines = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("# ").filter(|rest| is_key(rest)) {
            Some(rest) => {
                said += 1;
                lines.push(rest);
            }
            None => lines.push(line),
        }
    }
    assert!(said > 30, "{said}");
    fs::write(&config, lines.join("\n")).unwrap();
    let denied =
        "key:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b 2026-11-30 lost\n";
    fs::write(mirror.demo("denied"), denied).unwrap();
    let (success, said) = check(mirror.data(), &config).await;
    assert!(success, "{said}");
}

/// When content was last used is known to the second.
#[tokio::test]
async fn a_lifetime_of_uploads_in_which_a_push_cannot_end_is_refused() {
    let data = TempDir::new().unwrap();
    for (time, taken) in [("9s", false), ("0s", false), ("10s", true)] {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("none.toml");
        let config = config.to_str().unwrap();
        let output = run(
            data.path(),
            &["--upload-ttl", time, "--check", "--config", config],
        )
        .await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert_eq!(said.contains("write 10s or more"), !taken, "{time}: {said}");
    }
}
