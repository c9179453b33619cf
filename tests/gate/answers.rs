//! Answers and requests that two programs could read in two ways, and answers that break off.

use bytes::Bytes;
use clap::Parser;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::pki::{Ca, Files};
use crate::support::{
    BY_TOKEN, CI, Gate, Head, MANIFEST, PEER, Program, Registry, UPLOAD, UPLOADS, assert_problem,
    in_front, request, request_of, within,
};

const SPEGEL: &str = include_str!("../../docs/spegel.md");

/// Has a registry say this, whatever it is asked, and end the connection.
async fn saying(text: &str) -> Gate {
    let registry = Registry::start().await;
    let text = text.to_owned();
    let gate = Gate::start(&registry.url()).await;
    tokio::spawn(async move {
        loop {
            let mut wire = registry.accept().await;
            wire.head().await;
            wire.send(&text).await;
        }
    });
    gate
}

async fn answered(text: &str) -> (Head, String) {
    let gate = saying(text).await;
    let mut client = gate.connect().await;
    client.send(request("GET", MANIFEST, "")).await;
    client.answer().await
}

/// Asks a gate for this target by HTTP/2.
async fn ask_by_http_2(gate: &Gate, target: &str) -> Response<Incoming> {
    let tcp = TcpStream::connect(gate.address).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp));
    let (mut sender, connection) = within(handshake).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(target)
        .header(AUTHORIZATION, format!("Bearer {CI}"))
        .body(Empty::<Bytes>::new())
        .unwrap();
    within(sender.send_request(request)).await.unwrap()
}

async fn assert_refused(text: &str) {
    assert_problem(&answered(text).await, 502, "UNAVAILABLE");
    let gate = saying(text).await;
    let target = format!("http://registry.example{MANIFEST}");
    let answer = ask_by_http_2(&gate, &target).await;
    assert_eq!(answer.status(), 502, "{text:?}");
    let body = within(answer.into_body().collect()).await.unwrap();
    assert!(body.to_bytes().starts_with(b"{\"errors\":"), "{text:?}");
}

#[tokio::test]
async fn an_answer_with_a_length_and_chunks_is_a_502() {
    for head in [
        "content-length: 2\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
    ] {
        assert_refused(&format!(
            "HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        ))
        .await;
    }
    assert_refused("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 2\r\n\r\nhello").await;
}

#[tokio::test]
async fn a_length_that_is_said_twice_is_passed_on_once() {
    for length in ["2\r\ncontent-length: 2", "2, 2", "2,2"] {
        let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{{}}");
        let (head, body) = answered(&text).await;
        assert_eq!(head.status(), 200, "{length:?}");
        assert_eq!(head.get("content-length"), Some("2"));
        assert_eq!(body, "{}");
    }
}

#[tokio::test]
async fn an_answer_in_another_transfer_coding_than_chunked_is_a_502() {
    for coding in [
        "gzip, chunked",
        "gzip",
        "gzip\r\ntransfer-encoding: chunked",
        "chunked, chunked",
        "identity",
    ] {
        assert_refused(&format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: {coding}\r\n\r\n5\r\ncoded\r\n0\r\n\r\n"
        ))
        .await;
    }
}

#[tokio::test]
async fn an_upload_in_another_transfer_coding_than_chunked_is_a_400() {
    for framing in [
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: gzip\r\ntransfer-encoding: chunked",
    ] {
        let (registry, _gate, mut client) = in_front().await;
        let more = format!("{framing}\r\n");
        client.send(request("PATCH", UPLOAD, &more)).await;
        client.send("5\r\ncoded\r\n0\r\n\r\n").await;
        let (head, _) = client.answer().await;
        assert_eq!(head.status(), 400, "{framing}");
        assert!(!registry.is_called().await, "{framing}");
    }
}

/// RFC 9112 §6.3: the chunks count, and nothing says otherwise to the next hop.
#[tokio::test]
async fn an_upload_with_a_length_and_chunks_is_passed_on_in_chunks_or_refused() {
    for framing in [
        "content-length: 2\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 2\r\n",
    ] {
        let (registry, _gate, mut client) = in_front().await;
        client.send(request("PATCH", UPLOAD, framing)).await;
        client.send("5\r\nhello\r\n0\r\n\r\n").await;
        tokio::select! {
            mut wire = registry.accept() => {
                let head = wire.head().await;
                assert_eq!(head.get("transfer-encoding"), Some("chunked"));
                assert_eq!(head.get("content-length"), None, "{framing}");
                assert_eq!(wire.until("0\r\n\r\n").await, "5\r\nhello\r\n0\r\n\r\n");
            }
            head = client.head() => assert_eq!(head.status(), 400, "{framing}"),
        }
    }
}

#[tokio::test]
async fn a_change_of_the_protocol_that_was_not_asked_for_is_a_502() {
    assert_refused("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")
        .await;
}

#[tokio::test]
async fn an_answer_whose_status_is_none_of_http_is_a_502() {
    for status in [600, 999] {
        assert_refused(&format!(
            "HTTP/1.1 {status} Answer\r\ncontent-length: 2\r\n\r\n{{}}"
        ))
        .await;
    }
}

#[tokio::test]
async fn a_request_whose_host_has_no_port_that_there_is_is_a_400() {
    let registry = Registry::start().await;
    let gate = Gate::start(&registry.url()).await;
    for host in [
        "registry.example:99999",
        "registry.example:+80",
        "[::1]:65536",
    ] {
        let mut client = gate.connect().await;
        client
            .send(format!(
                "GET {MANIFEST} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {CI}\r\n\r\n"
            ))
            .await;
        assert_eq!(client.head().await.status(), 400, "{host}");
        if let Ok(target) = format!("http://{host}{MANIFEST}").parse::<http::Uri>() {
            let answer = ask_by_http_2(&gate, &target.to_string()).await;
            assert_eq!(answer.status(), 400, "{host}");
        }
    }
    assert!(!registry.is_called().await);
}

#[tokio::test]
async fn a_registry_at_no_port_that_there_is_is_an_error() {
    for url in [
        "http://registry.example:99999",
        "http://registry.example:+80",
        "http://registry.example:0",
        "https://[::1]:65536",
    ] {
        let read = Program::read(&Files::new(), BY_TOKEN, &["--upstream", url]);
        let error = read.err().unwrap().to_string();
        assert!(error.contains("no address of a registry"), "{url}: {error}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_with_its_head_is_a_502() {
    for rest in [
        "content-length: 100\r\n\r\n",
        "content-length: 100\r\n\r\npart",
        "transfer-encoding: chunked\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\nzz\r\n",
        "transfer-encoding: chunked\r\n\r\n4\r\npart\r\nzz\r\n",
    ] {
        assert_refused(&format!("HTTP/1.1 200 OK\r\n{rest}")).await;
    }
}

/// More than is looked at before the head is passed on.
#[tokio::test]
async fn an_answer_that_breaks_off_later_has_its_head_first() {
    let text =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n1\r\nc\r\nzz\r\n";
    let gate = saying(text).await;
    let mut client = gate.connect().await;
    client.send(request("GET", MANIFEST, "")).await;
    assert_eq!(client.head().await.status(), 200);
    let rest = client.rest().await;
    assert!(
        rest.contains("a\r\n") && !rest.contains("0\r\n"),
        "{rest:?}"
    );

    let target = format!("http://registry.example{MANIFEST}");
    let answer = ask_by_http_2(&gate, &target).await;
    assert_eq!(answer.status(), 200);
    within(answer.into_body().collect()).await.unwrap_err();
}

#[tokio::test]
async fn a_request_by_http_2_that_names_a_user_or_no_host_is_a_400() {
    let registry = Registry::start().await;
    let gate = Gate::start(&registry.url()).await;
    for target in [
        format!("http://u:p@registry.example{MANIFEST}"),
        format!("http://u@registry.example{MANIFEST}"),
        MANIFEST.to_owned(),
    ] {
        let answer = ask_by_http_2(&gate, &target).await;
        assert_eq!(answer.status(), 400, "{target}");
    }
    assert!(!registry.is_called().await);
}

#[tokio::test]
async fn a_location_on_the_registry_stays_on_the_gate_whatever_its_path_is() {
    let registry = Registry::start().await;
    let own = registry.url();
    let network = own.trim_start_matches("http:").to_owned();
    let gate = Gate::start(&own).await;
    for (said, got) in [
        (format!("{own}//evil/x"), "http://registry.example//evil/x"),
        (
            "https://registry.example//evil/x?y".to_owned(),
            "http://registry.example//evil/x?y",
        ),
        (
            format!("{own}///evil/x"),
            "http://registry.example///evil/x",
        ),
        (format!("{own}?x"), "/?x"),
        (own.clone(), "/"),
        (format!("{network}/v2/x"), "/v2/x"),
        (
            format!("{network}//evil/x"),
            "http://registry.example//evil/x",
        ),
        // Elsewhere, as the registry has it.
        ("//cdn.example/x".to_owned(), "//cdn.example/x"),
    ] {
        let mut client = gate.connect().await;
        client
            .send(request("POST", UPLOADS, "content-length: 0\r\n"))
            .await;
        let mut wire = registry.accept().await;
        wire.head().await;
        wire.send(format!(
            "HTTP/1.1 202 Accepted\r\nlocation: {said}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        ))
        .await;
        let (head, _) = client.answer().await;
        assert_eq!(head.get("location"), Some(got), "{said}");
    }
}

/// The registry's answer and the end of its connection come while the gate writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_refused_while_it_comes_gets_the_registrys_answer() {
    let registry = Registry::start().await;
    let gate = Gate::start(&registry.url()).await;
    tokio::spawn(async move {
        loop {
            let mut wire = registry.accept().await;
            wire.head().await;
            wire.bytes(1).await;
            wire.send(
                "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
            )
            .await;
        }
    });
    for round in 0..40 {
        let client = TcpStream::connect(gate.address).await.unwrap();
        let (mut reads, mut writes) = client.into_split();
        let sends = tokio::spawn(async move {
            let length = 3 * 1024 * 1024;
            let more = format!("content-length: {length}\r\n");
            let head = request("PATCH", UPLOAD, &more);
            // The gate need not take all of what was refused.
            let _ = writes.write_all(head.as_bytes()).await;
            let _ = writes.write_all(&vec![b'x'; length]).await;
            // The answer is read before the connection ends.
            std::future::pending::<()>().await;
        });
        let mut line = [0; 12];
        within(reads.read_exact(&mut line)).await.unwrap();
        let line = String::from_utf8_lossy(&line).into_owned();
        assert_eq!(line, "HTTP/1.1 413", "in round {round}");
        sends.abort();
    }
}

#[tokio::test]
async fn only_a_peer_says_that_it_passes_a_request_on_however_it_is_written() {
    for name in [
        "x_spegel_mirrored",
        "X-Spegel_Mirrored",
        "X-SPEGEL-MIRRORED",
    ] {
        for (token, passes) in [(CI, false), (PEER, true)] {
            let registry = Registry::start().await;
            let gate = Gate::with(&registry.url(), |options| {
                options.peer_group = Some("peers".into());
            })
            .await;
            let mut client = gate.connect().await;
            let more = format!("{name}: true\r\n");
            client.send(request_of(token, "GET", MANIFEST, &more)).await;
            let head = registry.accept().await.head().await;
            assert_eq!(head.get(name).is_some(), passes, "{name} {token}");
        }
    }
}

const UPSTREAM: [&str; 2] = ["--upstream", "http://127.0.0.1:1"];

fn refused(flags: [&str; 2]) -> String {
    let flags = [UPSTREAM, flags].concat();
    let read = Program::read(&Files::new(), BY_TOKEN, &flags);
    read.err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

#[tokio::test]
async fn a_principal_header_that_means_something_else_is_an_error() {
    for name in [
        "Host",
        "Content-Length",
        "Content-Type",
        "Authorization",
        "Connection",
        "Keep-Alive",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Transfer_Encoding",
        "Upgrade",
        "Expect",
        "Range",
        "Forwarded",
        "X-Forwarded-For",
        "X_Forwarded_For",
        "X-Forwarded-Host",
        "X-Forwarded-Client-Cert",
        "X-Real-IP",
        "Client-Cert",
        "Client-Cert-Chain",
        "X-Spegel-Mirrored",
        "Via",
    ] {
        let error = refused(["--principal-header", name]);
        assert!(error.contains("--principal-header"), "{name}: {error}");
    }
    for name in ["X-Registry-User", "Remote-User", "X-Forwarded-User"] {
        assert_eq!(refused(["--principal-header", name]), "");
    }
}

#[tokio::test]
async fn a_deadline_of_no_time_is_an_error() {
    for flag in ["--connect-timeout", "--head-timeout", "--stall-timeout"] {
        let error = refused([flag, "0s"]);
        assert!(error.contains(flag), "{flag}: {error}");
        assert_eq!(refused([flag, "1s"]), "");
    }
}

#[tokio::test]
async fn a_peer_group_that_no_caller_is_in_is_a_warning() {
    for (group, warned) in [("peers", false), ("nobodys", true)] {
        let flags = [UPSTREAM, ["--peer-group", group]].concat();
        let report = Program::read(&Files::new(), BY_TOKEN, &flags)
            .unwrap()
            .report;
        let report = report.to_string();
        assert_eq!(report.contains("warning: --peer-group"), warned, "{report}");
    }
}

#[derive(Parser)]
struct NetworkPolicy {
    #[command(flatten)]
    print: crate::network_policy::Print,
}

/// The command of the page, with the section that the page gives.
#[test]
fn the_network_policy_of_the_page_on_spegel_can_be_printed() {
    let (_, part) = SPEGEL.split_once("## 4. The network").unwrap();
    let (part, _) = part.split_once("\n## ").unwrap();
    let block = |language: &str| {
        let (_, rest) = part.split_once(&format!("```{language}\n")).unwrap();
        rest.split_once("```").unwrap().0.to_owned()
    };
    let files = Files::new();
    let config = files.put("gate.toml", block("toml"));
    let command = block("sh").replace("\\\n", " ");
    let words = command.split_whitespace().map(str::to_owned);
    let words = words.map(|word| match &*word {
        "gate.toml" => config.display().to_string(),
        _ => word,
    });
    let words: Vec<String> = words.collect();
    assert_eq!(words[..2], ["portcullisctl", "network-policy"]);
    let parsed = NetworkPolicy::try_parse_from(&words[1..]);
    let parsed = parsed.unwrap_or_else(|error| panic!("{error}"));
    assert!(parsed.print.run().unwrap());
}

/// As of the page on Spegel: kubelet's CA, which has no CRL.
#[tokio::test]
async fn where_no_crl_is_asked_none_is_said_to_be_enforced() {
    let files = Files::new();
    let ca = Ca::new("kubernetes");
    let server = ca.server(&["localhost"]);
    for (name, text) in [
        ("server.crt", &server.pem),
        ("server.key", &server.key_pem),
        ("clients-ca.crt", &ca.pem),
        ("clients.crl", &ca.crl(1, &[]).pem().unwrap()),
    ] {
        files.put(name, text);
    }
    for (lists, revocation, enforced) in [
        ("[]", "none", false),
        ("[]", "if-listed", false),
        ("[\"clients.crl\"]", "required", true),
    ] {
        let config = format!(
            "[tls]\ncertificate = \"server.crt\"\nkey = \"server.key\"\nclient_ca = [\"clients-ca.crt\"]\n\
             [crl]\nfiles = {lists}\n[[crl.authority]]\nca = \"CN=kubernetes\"\nrevocation = {revocation:?}\n\
             [auth]\nrequire = \"certificate\"\n"
        );
        let report = Program::read(&files, &config, &UPSTREAM).unwrap().report;
        let report = report.to_string();
        let said = report.contains("enforced: revoked certificates are refused");
        assert_eq!(said, enforced, "{report}");
        let open = report.contains("left open: no CRL is asked");
        assert_eq!(open, revocation == "none", "{report}");
    }
}
