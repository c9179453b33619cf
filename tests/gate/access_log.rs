//! The access log of the gate in a file of its own, by `--access-log`.
#![cfg(feature = "json-log")]

use serde_json::Value;

use crate::pki::Files;
use crate::support::{BY_TOKEN, MANIFEST, Program, Registry, request, within};

/// The lines that are in the file, once there are this many.
async fn lines(gate: &Program, count: usize) -> Vec<Value> {
    let path = gate.files.path("access.jsonl");
    within(async {
        loop {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            // The last may be in part.
            let lines = text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            let lines: Vec<Value> = lines
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            if lines.len() >= count {
                return lines;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await
}

#[tokio::test]
async fn each_request_is_a_line_at_the_end_of_the_file_that_the_flag_names() {
    let registry = Registry::start().await;
    let url = registry.url();
    let _heads = registry.answers(200);
    let files = Files::new();
    let file = files.put("access.jsonl", "{\"before\":1}\n");
    let flags = ["--upstream", &url, "--access-log", file.to_str().unwrap()];
    let gate = Program::start(files, BY_TOKEN, &flags).await;
    let mut client = gate.connect(0).await;
    client.send(request("GET", MANIFEST, "")).await;
    assert_eq!(client.answer().await.0.status(), 200);
    let anonymous = format!("GET {MANIFEST} HTTP/1.1\r\nhost: registry.example\r\n\r\n");
    client.send(anonymous).await;
    assert_eq!(client.answer().await.0.status(), 401);
    let lines = lines(&gate, 3).await;
    assert_eq!(lines.len(), 3, "{lines:?}");
    // What was in the file stays.
    assert_eq!(lines[0]["before"], 1);
    for (line, status) in lines[1..].iter().zip([200, 401]) {
        assert_eq!(line["http.response.status_code"], status, "{line}");
        assert_eq!(line["url.path"], MANIFEST, "{line}");
    }
    assert_eq!(lines[2]["refusal.reason"], "credentials_missing");
    let text = std::fs::read_to_string(gate.files.path("access.jsonl")).unwrap();
    for secret in ["authorization", "Bearer"] {
        assert!(!text.contains(secret), "{text}");
    }
    // As log rotation does.
    std::fs::rename(&file, gate.files.path("access.1")).unwrap();
    client.send(request("GET", MANIFEST, "")).await;
    assert_eq!(client.answer().await.0.status(), 200);
    let rotated = self::lines(&gate, 1).await;
    assert_eq!(rotated[0]["http.response.status_code"], 200, "{rotated:?}");
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_an_error_with_its_name() {
    let files = Files::new();
    let path = files.path("none/access.jsonl");
    let flags = [
        "--upstream",
        "http://127.0.0.1:1",
        "--access-log",
        path.to_str().unwrap(),
    ];
    let error = Program::read(&files, BY_TOKEN, &flags).err().unwrap();
    assert!(error.to_string().contains("none/access.jsonl: "), "{error}");
}

#[tokio::test]
async fn a_fifo_that_nothing_reads_is_an_error_at_once() {
    let files = Files::new();
    let path = files.path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let path = path.to_str().unwrap();
    let flags = ["--upstream", "http://127.0.0.1:1", "--access-log", path];
    let error = Program::read(&files, BY_TOKEN, &flags).err().unwrap();
    assert!(error.to_string().contains("nothing reads"), "{error}");
}
