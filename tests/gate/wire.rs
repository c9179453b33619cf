//! Bytes that one side of a proxy may read otherwise than the other (RFC 9112 §11.2): whatever a client sends, the
//! registry gets requests that the gate has let in, each with one framing, and nothing between them.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::support::{CI, Gate, MANIFEST, PATIENCE, SHORT, UPLOADS, request, within};

/// What stands behind each message, as a request of its own or as what the message hides: without a credential.
const HIDDEN: &str = "GET /v2/secret/a/manifests/1 HTTP/1.1\r\nhost: registry.example\r\n\r\n";

/// A registry that reads strictly, and keeps each head.
struct Strict {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Strict {
    async fn start(answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(answers(tcp, Arc::clone(&seen), answer));
            }
        });
        Self { url, heads }
    }
}

/// Answers each message, whose head it keeps. Ends where one cannot be read.
async fn answers(mut tcp: TcpStream, heads: Arc<Mutex<Vec<String>>>, answer: &[u8]) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let head = through(&mut tcp, &mut bytes, b"\r\n\r\n").await?;
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let field = |name: &str| {
            let mut lines = head.lines();
            lines.find_map(|line| line.strip_prefix(name).map(str::trim))
        };
        let (length, chunked) = (field("content-length:"), field("transfer-encoding:"));
        heads.lock().unwrap().push(head.clone());
        if chunked.is_some() {
            loop {
                let size = through(&mut tcp, &mut bytes, b"\r\n").await?;
                let size = String::from_utf8(size).unwrap();
                let size = usize::from_str_radix(size.trim(), 16).expect("a chunk with extensions");
                exactly(&mut tcp, &mut bytes, size + 2).await?;
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = length {
            exactly(&mut tcp, &mut bytes, length.parse().unwrap()).await?;
        }
        tcp.write_all(answer).await.ok()?;
    }
}

async fn through(tcp: &mut TcpStream, bytes: &mut Vec<u8>, end: &[u8]) -> Option<Vec<u8>> {
    loop {
        if let Some(at) = bytes.windows(end.len()).position(|part| part == end) {
            return Some(bytes.drain(..at + end.len()).collect());
        }
        more(tcp, bytes).await?;
    }
}

async fn exactly(tcp: &mut TcpStream, bytes: &mut Vec<u8>, length: usize) -> Option<()> {
    while bytes.len() < length {
        more(tcp, bytes).await?;
    }
    bytes.drain(..length);
    Some(())
}

async fn more(tcp: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    (tcp.read_buf(bytes).await.ok()? > 0).then_some(())
}

/// The statuses of the answers to what is sent, up to the end of the connection or a silence.
async fn statuses(gate: &Gate, message: &[u8]) -> Vec<u16> {
    let mut tcp = TcpStream::connect(gate.address).await.unwrap();
    within(tcp.write_all(message)).await.unwrap();
    let mut answer = Vec::new();
    let mut patience = PATIENCE;
    while let Ok(Ok(1..)) = timeout(patience, tcp.read_buf(&mut answer)).await {
        // There may be another.
        patience = SHORT;
    }
    let answer = String::from_utf8_lossy(&answer);
    let answers = answer.split("HTTP/1.1 ").skip(1);
    answers.map(|answer| answer[..3].parse().unwrap()).collect()
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

/// Messages by what is wrong with them, each with the hidden request behind it or in it.
#[allow(clippy::too_many_lines, reason = "a table")]
fn hiding() -> Vec<(&'static str, String)> {
    let chunked =
        |chunks: &str| request("POST", UPLOADS, "transfer-encoding: chunked\r\n") + chunks + HIDDEN;
    let upload = |fields: &str, body: &str| request("POST", UPLOADS, fields) + body + HIDDEN;
    let get = |fields: &str| request("GET", MANIFEST, fields) + HIDDEN;
    let line = |line: &str| get("").replacen(&format!("GET {MANIFEST} HTTP/1.1"), line, 1);
    Vec::from([
        (
            "both",
            upload(
                "content-length: 5\r\ntransfer-encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
        ),
        (
            "both, the other way",
            upload(
                "transfer-encoding: chunked\r\ncontent-length: 70\r\n",
                "0\r\n\r\n",
            ),
        ),
        (
            "two lengths",
            upload("content-length: 5\r\ncontent-length: 70\r\n", "hello"),
        ),
        (
            "a length twice",
            upload("content-length: 5\r\ncontent-length: 5\r\n", "hello"),
        ),
        (
            "a list of lengths",
            upload("content-length: 5, 5\r\n", "hello"),
        ),
        ("a sign", upload("content-length: +5\r\n", "hello")),
        ("hexadecimal", upload("content-length: 0x5\r\n", "hello")),
        (
            "a blank before the colon",
            upload("content-length : 5\r\n", "hello"),
        ),
        (
            "too long a length",
            upload("content-length: 99999999999999999999\r\n", "hello"),
        ),
        (
            "another coding",
            upload("transfer-encoding: xchunked\r\n", "0\r\n\r\n"),
        ),
        (
            "a vertical tab",
            upload("transfer-encoding: \u{b}chunked\r\n", "0\r\n\r\n"),
        ),
        (
            "a folded coding",
            upload("transfer-encoding:\r\n chunked\r\n", "0\r\n\r\n"),
        ),
        (
            "two codings",
            upload(
                "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
                "0\r\n\r\n",
            ),
        ),
        (
            "chunked twice",
            upload("transfer-encoding: chunked, chunked\r\n", "0\r\n\r\n"),
        ),
        (
            "coded below",
            upload("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        ),
        (
            "coded above",
            upload("transfer-encoding: chunked, gzip\r\n", "0\r\n\r\n"),
        ),
        (
            "an underscore",
            upload(
                "transfer_encoding: chunked\r\ncontent-length: 5\r\n",
                "hello",
            ),
        ),
        (
            "the length named",
            upload(
                "connection: content-length\r\ncontent-length: 5\r\n",
                "hello",
            ),
        ),
        ("an extension", chunked("5;a=b\r\nhello\r\n0\r\n\r\n")),
        (
            "an extension with a line",
            chunked("5;a\nGET /v2/secret HTTP/1.1\r\nhello\r\n0\r\n\r\n"),
        ),
        ("bare line ends in chunks", chunked("5\nhello\n0\n\n")),
        ("a negative chunk", chunked("-1\r\nhello\r\n0\r\n\r\n")),
        (
            "a chunk with a prefix",
            chunked("0x5\r\nhello\r\n0\r\n\r\n"),
        ),
        ("a chunk without an end", chunked("5\r\nhelloXX0\r\n\r\n")),
        (
            "too long a chunk",
            chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ),
        (
            "trailers",
            chunked("5\r\nhello\r\n0\r\nauthorization: Basic eDp5\r\nhost: evil\r\n\r\n"),
        ),
        (
            "a body of a GET",
            request("GET", MANIFEST, "content-length: 5\r\n") + "hello" + HIDDEN,
        ),
        ("bare line ends", get("").replace("\r\n", "\n")),
        ("a folded field", get("x-a: b\r\n c\r\n")),
        ("a NUL", get("x-a: a\0b\r\n")),
        ("a bare CR", get("x-a: a\rx-b: evil\r\n")),
        (
            "a field before the first",
            line(&format!("GET {MANIFEST} HTTP/1.1\r\n x: evil")),
        ),
        ("a tunnel", line("CONNECT 127.0.0.1:5000 HTTP/1.1")),
        (
            "an upgrade",
            get("connection: upgrade\r\nupgrade: websocket\r\n"),
        ),
        (
            "HTTP/2 by upgrade",
            get(
                "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
            ),
        ),
        ("dots", line("GET /v2/lib/../secret/a/manifests/1 HTTP/1.1")),
        (
            "written dots",
            line("GET /v2/lib/%2e%2e/secret/a/manifests/1 HTTP/1.1"),
        ),
        (
            "written slashes",
            line("GET /v2/lib%2f..%2fsecret/a/manifests/1 HTTP/1.1"),
        ),
        (
            "backslashes",
            line("GET /v2/lib\\..\\secret/a/manifests/1 HTTP/1.1"),
        ),
        (
            "a fragment",
            line("GET /v2/lib/a/manifests/1#/../../secret HTTP/1.1"),
        ),
        (
            "a blank in the target",
            line("GET /v2/lib/a/manifests/1 /v2/secret HTTP/1.1"),
        ),
        (
            "a long target",
            line(&format!(
                "GET /v2/lib/{}/manifests/1 HTTP/1.1",
                "a".repeat(70_000)
            )),
        ),
        (
            "another method in a field",
            get("x-http-method-override: delete\r\nx-original-url: /v2/secret/a/manifests/1\r\n"),
        ),
        ("two hosts", get("host: evil\r\n")),
        ("two credentials", get("authorization: Bearer evil\r\n")),
    ])
}

#[tokio::test]
async fn what_hides_a_request_is_refused_or_read_as_the_registry_reads_it() {
    let registry = Strict::start(OK).await;
    let gate = Gate::start(&registry.url).await;
    for (name, message) in hiding() {
        registry.heads.lock().unwrap().clear();
        let statuses = statuses(&gate, message.as_bytes()).await;
        // The one behind it has no credential.
        assert!(!statuses.is_empty(), "{name}");
        assert!(
            statuses[1..]
                .iter()
                .all(|status| *status == 401 || *status == 400),
            "{name}: {statuses:?}"
        );
        let heads = registry.heads.lock().unwrap().clone();
        let asked: Vec<&String> = heads
            .iter()
            .filter(|head| head.contains("x-forwarded-for:"))
            .collect();
        assert!(asked.len() <= 1, "{name}: {asked:?}");
        // A body that breaks off has a head before it, which the registry may have.
        assert!(
            !asked.is_empty() || statuses[0] >= 400,
            "{name}: {statuses:?}"
        );
        for head in asked {
            for word in [
                "secret",
                "evil",
                "upgrade",
                "settings",
                "override",
                "transfer_",
                CI,
            ] {
                assert!(!head.contains(&word.to_lowercase()), "{name}: {head}");
            }
            let framings = ["content-length:", "transfer-encoding:"];
            let framings: usize = framings.iter().map(|name| head.matches(name).count()).sum();
            assert!(framings <= 1, "{name}: {head}");
            let first = head.lines().next().unwrap();
            assert!(
                !first.contains(['%', '\\', '#', '\n']) && !first.contains(".."),
                "{name}: {head}"
            );
        }
    }
}

#[tokio::test]
async fn what_a_registry_sends_besides_its_answer_reaches_no_client() {
    const TWO: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let registry = Strict::start(TWO).await;
    let gate = Gate::start(&registry.url).await;
    let get = request("GET", MANIFEST, "");
    for _ in 0..8 {
        let mut tcp = TcpStream::connect(gate.address).await.unwrap();
        tcp.write_all((get.clone() + &get).as_bytes())
            .await
            .unwrap();
        let mut answer = Vec::new();
        while let Ok(Ok(1..)) = timeout(SHORT, tcp.read_buf(&mut answer)).await {}
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && !answer.contains("evil"),
            "{answer}"
        );
    }

    let early = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(2_000);
    let early: &'static [u8] = Vec::leak([&early[..], OK].concat());
    let registry = Strict::start(early).await;
    let gate = Gate::start(&registry.url).await;
    let found = statuses(&gate, get.as_bytes()).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!([200, 502].contains(&found[0]), "{found:?}");
}

/// RFC 9112 §3.2.2: an absolute target overrides `Host`, also in what is forwarded.
#[tokio::test]
async fn the_host_of_an_absolute_target_counts_and_not_the_field() {
    let registry = Strict::start(OK).await;
    let gate = Gate::start(&registry.url).await;
    let target = format!("http://other.example{MANIFEST}");
    let found = statuses(&gate, request("GET", &target, "").as_bytes()).await;
    assert_eq!(found, [200]);
    let heads = registry.heads.lock().unwrap();
    let asked = heads.iter().find(|head| head.contains("x-forwarded-for:"));
    let asked = asked.unwrap();
    assert!(asked.starts_with(&format!("get {MANIFEST} ")), "{asked}");
    assert!(
        asked.contains("host: other.example") && !asked.contains("registry.example"),
        "{asked}"
    );
}
