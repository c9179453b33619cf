//! Files as operators, editors, other programs and attackers leave them.
#![cfg(all(unix, feature = "config", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::guard::readiness;
use crate::pki;
use crate::waiting::until;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use pki::{Ca, Files, swap_secret};
use portcullis::auth::{CredentialSource, Credentials};
use portcullis::config::Config;
use portcullis::crl::{LoadError, Options, Revocation};
use portcullis::reload::WatchOptions;
use portcullis::tls::{TlsError, certificates_in};
use portcullis::{Guard, Watched};
use tower::ServiceExt;

const TOKEN: &str = "2Vb8Qx4nTz9rLw6kHs3mJd7p";
const OTHER: &str = "9mKc4Wq7bZx2Rt6vNs8yPf3h";

fn polled() -> WatchOptions {
    WatchOptions::default().with_poll_interval(Duration::from_millis(20))
}

fn fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

fn failure<T>(watched: &Watched<T>) -> String {
    watched.health().failure.unwrap_or_default()
}

fn lists(content: &[u8]) -> Result<usize, LoadError> {
    let revocation = Revocation::from_bytes([content], Options::default())?;
    Ok(revocation.lists().load().len())
}

#[test]
fn lists_are_all_read_however_they_were_joined() {
    let (first, second) = (Ca::new("A"), Ca::new("B"));
    let (first, second) = (
        first.crl(1, &[]).pem().unwrap(),
        second.crl(1, &[]).pem().unwrap(),
    );
    for joined in [
        // `cat a.pem b.pem`, where a.pem lacks its last newline.
        first.trim_end().to_owned() + &second,
        format!("\u{feff}{first}{second}"),
        format!("{first}\u{feff}{second}"),
        format!("{first}{second}").replace('\n', "\r\n"),
        format!("Certificate Revocation List (CRL):\n{first}\n# the other\n{second}"),
    ] {
        assert_eq!(lists(joined.as_bytes()).unwrap(), 2, "{joined}");
    }
}

#[test]
fn a_list_that_cannot_be_read_is_an_error_with_its_line() {
    let (first, second) = (Ca::new("A"), Ca::new("B"));
    let (first, second) = (
        first.crl(1, &[]).pem().unwrap(),
        second.crl(1, &[]).pem().unwrap(),
    );
    let line = first.lines().count() + 1;
    for (damaged, problem) in [
        (
            second.replace("-----BEGIN X509 CRL-----", "----BEGIN X509 CRL-----"),
            "this BEGIN or END line is damaged",
        ),
        (
            second.replace("-----END X509 CRL-----", ""),
            "this section has no END line",
        ),
        (
            second.replace("X509 CRL", "X509 CLR"),
            "a section \"X509 CLR\" is of an unknown kind",
        ),
    ] {
        let error = lists((first.clone() + &damaged).as_bytes()).unwrap_err();
        assert!(matches!(error, LoadError::Pem { line: at, .. } if at == line));
        assert!(error.to_string().contains(problem), "{error}");
    }
}

#[test]
fn a_list_that_loses_its_line_end_is_not_forgotten_at_a_reload() {
    let (first, second) = (Ca::new("A"), Ca::new("B"));
    let files = Files::new();
    let [first, second] = [first, second].map(|ca| ca.crl(1, &[7]).pem().unwrap());
    let path = files.put("both.pem", format!("{first}{second}"));
    let revocation = Revocation::from_files([&path], Options::default(), polled()).unwrap();
    files.put("both.pem", format!("{}{second}", first.trim_end()));
    until("reloaded", || revocation.lists().generation() > 1);
    assert_eq!(revocation.lists().load().len(), 2);
}

#[test]
fn certificates_are_read_in_each_form_that_others_write() {
    let ca = Ca::new("A");
    let files = Files::new();
    let x509 = ca.pem.replace("CERTIFICATE", "X509 CERTIFICATE");
    let trusted = ca.pem.replace("CERTIFICATE", "TRUSTED CERTIFICATE");
    let all = format!("\u{feff}{}{x509}{trusted}", ca.pem.trim_end()).replace('\n', "\r\n");
    assert_eq!(
        certificates_in(files.put("all.pem", all)).unwrap(),
        [&ca.der; 3].map(Clone::clone)
    );
    assert_eq!(
        certificates_in(files.put("ca.cer", &ca.der)).unwrap(),
        std::slice::from_ref(&ca.der)
    );
    let key = files.put("tls.key", ca.server(&["a"]).key_pem);
    assert!(matches!(
        certificates_in(key),
        Err(TlsError::NoCertificate { .. })
    ));
    let cut = files.put("cut.pem", &ca.pem[..ca.pem.len() - 30]);
    let error = certificates_in(&cut).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("{}:1: ", cut.display())),
        "{error}"
    );
}

fn config(folder: &Path, text: &str) -> PathBuf {
    let file = folder.join("gate.toml");
    fs::write(&file, text).unwrap();
    file
}

fn tls(rest: &str) -> String {
    format!(
        "[reload]\npoll_interval = \"20ms\"\n[tls]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"\n{rest}"
    )
}

#[test]
fn a_mounted_secret_is_a_folder_of_client_cas_and_of_lists() {
    let ca = Ca::new("CA");
    let (server, files) = (ca.server(&["gate"]), Files::new());
    files.pair(&server);
    let volume = files.path("secret");
    fs::create_dir(&volume).unwrap();
    let crl = ca.crl(1, &[]).pem().unwrap();
    let secret: [(&str, &[u8]); 4] = [
        ("ca.crt", ca.pem.as_bytes()),
        ("tls.key", server.key_pem.as_bytes()),
        ("ca.crl", crl.as_bytes()),
        ("keystore.jks", b"\xfe\xed\xfe\xed"),
    ];
    swap_secret(&volume, "v1", &secret);
    let text =
        tls("client_ca = [\"secret\"]\n[crl]\nfiles = [\"secret\"]\nsigners = [\"secret\"]\n");
    let file = config(files.directory.path(), &text);
    let guard = Guard::from_config(&Config::load(&file).unwrap()).unwrap();
    assert!(
        guard.report().to_string().contains("1 CRL"),
        "{}",
        guard.report()
    );

    // What is damaged in it is an error all the same, and so is a folder without what is asked for.
    let mut damaged = secret;
    damaged[2].1 = b"";
    swap_secret(&volume, "v2", &damaged);
    let error = Guard::from_config(&Config::load(&file).unwrap()).unwrap_err();
    assert!(error.to_string().contains("ca.crl"), "{error}");
    swap_secret(&volume, "v3", &secret[..2]);
    fs::remove_file(volume.join("ca.crl")).unwrap();
    fs::remove_file(volume.join("keystore.jks")).unwrap();
    let error = Guard::from_config(&Config::load(&file).unwrap()).unwrap_err();
    assert!(error.to_string().contains("no CRL"), "{error}");
}

#[test]
fn a_fifo_in_the_place_of_a_token_is_told_at_once() {
    let files = Files::new();
    let token = files.put("token", TOKEN);
    let source = CredentialSource::file("ci", &token);
    let options = polled();
    let watched = Credentials::watch([source], options).unwrap();
    fs::remove_file(&token).unwrap();
    fifo(&token);
    until("told", || {
        failure(&watched).contains("it is a FIFO, not a regular file")
    });
    fs::remove_file(&token).unwrap();
    files.put("token", OTHER);
    until("mended", || watched.health().failure.is_none());
}

#[test]
fn a_token_that_cannot_be_read_does_not_hold_up_the_others() {
    let files = Files::new();
    let [first, second] = ["first", "second"].map(|name| files.path(name));
    fs::write(&first, TOKEN).unwrap();
    fs::write(&second, OTHER).unwrap();
    let text = "[reload]\npoll_interval = \"20ms\"\n[auth]\nrequire = \"token\"\n\
                [[auth.token]]\nid = \"first\"\nfile = \"first\"\n\
                [[auth.token]]\nid = \"second\"\nfile = \"second\"\n";
    let file = config(files.directory.path(), text);
    let guard = Guard::from_config(&Config::load(file).unwrap()).unwrap();
    fs::remove_file(&first).unwrap();
    fifo(&first);
    until("told", || readiness(&guard).contains("a FIFO"));
    // The first still has what it had, which no other may have.
    fs::write(&second, TOKEN).unwrap();
    until("read", || readiness(&guard).contains("the same token"));
    fs::write(&second, OTHER).unwrap();
    until("told again", || readiness(&guard).contains("a FIFO"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_taken_out_of_the_configuration_does_not_wait_for_one_that_cannot_be_read()
{
    let files = Files::new();
    let lasting = files.put("lasting", TOKEN);
    let head = "[reload]\npoll_interval = \"20ms\"\n[auth]\nrequire = \"token\"\n\
                [[auth.token]]\nid = \"lasting\"\nfile = \"lasting\"\n";
    let withdrawn = "[[auth.token]]\nid = \"withdrawn\"\nfile = \"withdrawn\"\n";
    files.put("withdrawn", OTHER);
    let file = files.put("gate.toml", format!("{head}{withdrawn}"));
    let guard = Guard::from_config(&Config::load(file).unwrap()).unwrap();
    let [right, other] = [TOKEN, OTHER].map(|token| format!("Bearer {token}"));
    assert_eq!(answer(&guard, &other).await.0, 200);
    fs::remove_file(&lasting).unwrap();
    until("told", || readiness(&guard).contains("lasting"));
    files.put("gate.toml", head);
    let begun = Instant::now();
    while answer(&guard, &other).await.0 != 401 {
        assert!(begun.elapsed() < Duration::from_secs(60), "never withdrawn");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(answer(&guard, &right).await.0, 200);
    assert!(readiness(&guard).contains("lasting"));
}

#[test]
fn what_is_no_file_or_too_large_does_not_hang_the_start() {
    let files = Files::new();
    let ca = Ca::new("CA");
    files.pair(&ca.server(&["gate"]));
    files.put("ca.crt", &ca.pem);
    symlink("/dev/zero", files.path("zero")).unwrap();
    fifo(&files.path("fifo"));
    let sparse = fs::File::create(files.path("sparse")).unwrap();
    sparse.set_len(2 << 30).unwrap();
    let lists = "client_ca = [\"ca.crt\"]\n[crl]\nfiles = ";
    for (path, words) in [
        ("zero", "it is a device"),
        ("fifo", "it is a FIFO"),
        ("sparse", "it is larger than"),
    ] {
        let each = [
            tls(&format!("{lists}[\"{path}\"]")),
            tls(&format!("client_ca = [\"{path}\"]")),
            tls("").replace("tls.key", path),
            format!(
                "[auth]\nrequire = \"token\"\n[[auth.token]]\nid = \"ci\"\nfile = \"{path}\"\n"
            ),
            format!("[auth]\nrequire = \"token\"\nhtpasswd = [\"{path}\"]\n"),
            format!("[auth]\nrequire = \"token\"\ncredentials = [\"{path}\"]\n"),
            format!("[policy]\nfile = \"{path}\"\n"),
        ];
        for text in each {
            let loaded = Config::load(config(files.directory.path(), &text));
            let error = loaded
                .and_then(|config| Guard::from_config(&config))
                .unwrap_err();
            let mut told = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                told = format!("{told}: {cause}");
                source = cause.source();
            }
            assert!(
                told.contains(words) && told.contains(path),
                "{text}\n{told}"
            );
        }
        let error = Config::load(files.path(path)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_token_or_a_document() {
    let files = Files::new();
    files.put("token", format!("\u{feff}{TOKEN}\r\n"));
    files.put(
        "policy.toml",
        "\u{feff}[[rules]]\nname = \"all\"\nactions = [\"pull\"]\nwho = [\"anyone\"]\nrepositories = [\"**\"]\n",
    );
    let text = "\u{feff}[auth]\nrequire = \"token\"\n[[auth.token]]\nid = \"ci\"\nfile = \"token\"\n\
                [policy]\nfile = \"policy.toml\"\n";
    let file = config(files.directory.path(), text);
    Guard::from_config(&Config::load(file).unwrap()).unwrap();
}

#[test]
fn a_token_that_cannot_be_read_ends_after_the_time_that_is_set_and_comes_back() {
    let files = Files::new();
    let token = files.put("token", TOKEN);
    let source = CredentialSource::file("ci", &token);
    let watch = polled().with_stale_after(Duration::from_millis(1));
    let options = watch;
    let watched = Credentials::watch([source], options).unwrap();
    let before = watched.generation();
    fs::remove_file(&token).unwrap();
    until("ended", || watched.health().lapsed);
    assert!(watched.generation() > before);
    assert!(watched.load().is_empty());
    let readiness = portcullis::admin::Readiness::of(&watched);
    assert!(matches!(
        readiness,
        portcullis::admin::Readiness::NotReady(_)
    ));
    files.put("token", OTHER);
    until("back", || !watched.health().lapsed);
    assert!(!watched.load().is_empty());
    assert!(watched.health().failure.is_none());
}

/// What the gate answers to a pull with this token.
async fn answer(guard: &Guard, authorization: &str) -> (u16, String) {
    use tower::Layer;

    let service = guard.layer(tower::service_fn(async |_: http::Request<_>| {
        Ok::<_, std::convert::Infallible>(http::Response::new(
            http_body_util::Empty::<bytes::Bytes>::new(),
        ))
    }));
    let mut request = http::Request::get("/v2/team/app/manifests/v1")
        .header("host", "registry.example")
        .header("authorization", authorization)
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .unwrap();
    let client = "127.0.0.1:1".parse().unwrap();
    let client = portcullis::ClientAddr::new(client);
    request.extensions_mut().insert(client);
    let response = service.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let Ok(body) = response.into_body().collect().await else {
        panic!("a body of the gate's own fails");
    };
    let body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    (status, body)
}

/// Whether a token, a password, a network and a repository are allowed is not known any more, and what is
/// not known is not answered with "no".
#[tokio::test(flavor = "multi_thread")]
async fn what_ended_is_answered_with_503_until_its_files_are_good_again() {
    let files = Files::new();
    let text = "[reload]\npoll_interval = \"20ms\"\nstale_after = \"1s\"\n\
                [source]\nallow = [\"127.0.0.0/8\"]\n\
                [auth]\nrequire = \"token\"\nhtpasswd = [\"htpasswd\"]\n\
                [auth.throttle]\nenabled = false\n\
                [[auth.token]]\nid = \"ci\"\nfile = \"token\"\n\
                [policy]\nfile = \"policy.toml\"\n";
    let policy = "[[rules]]\nname = \"all\"\nwho = [\"token:ci\"]\nactions = [\"pull\"]\n\
                  repositories = [\"team/**\"]\n";
    // `alice` and `open sesame`.
    let hash = bcrypt::hash("open sesame", 4).unwrap();
    files.put("token", TOKEN);
    files.put("htpasswd", format!("alice:{hash}\n"));
    files.put("policy.toml", policy);
    let file = config(files.directory.path(), text);
    let guard = Guard::from_config(&Config::load(file).unwrap()).unwrap();
    let (right, wrong) = (format!("Bearer {TOKEN}"), format!("Bearer {OTHER}"));
    let password = "Basic YWxpY2U6b3BlbiBzZXNhbWU=";
    let statuses = async || {
        let mut statuses = Vec::new();
        for authorization in [&*right, &wrong, password, "Basic !"] {
            statuses.push(answer(&guard, authorization).await.0);
        }
        statuses
    };
    // The policy is about `ci` alone.
    let good = [200, 401, 403, 401];
    assert_eq!(statuses().await, good);
    for (name, content, ended) in [
        ("token", TOKEN, [503, 503, 503, 401]),
        ("policy.toml", policy, [503, 401, 503, 401]),
        ("gate.toml", text, [503, 503, 503, 401]),
    ] {
        let broken = if name == "gate.toml" { "[" } else { "=" };
        files.put(name, broken);
        let begun = Instant::now();
        while answer(&guard, &right).await.0 != 503 {
            assert!(begun.elapsed() < Duration::from_secs(60), "never: {name}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The configuration file has more than one part of it, which end one after another.
        until("ended", || {
            readiness(&guard).matches("it has ended").count() >= 1
        });
        let (_, body) = answer(&guard, &right).await;
        assert!(body.contains("\"code\":\"UNAVAILABLE\""), "{name}: {body}");
        if name != "gate.toml" {
            assert_eq!(statuses().await, ended, "{name}");
        }
        files.put(name, content);
        while statuses().await != good {
            assert!(begun.elapsed() < Duration::from_secs(90), "never: {name}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[test]
fn what_stays_for_ever_by_default_stays() {
    let files = Files::new();
    let token = files.put("token", TOKEN);
    let options = polled();
    let watched = Credentials::watch([CredentialSource::file("ci", &token)], options).unwrap();
    fs::remove_file(&token).unwrap();
    until("told", || watched.health().failure.is_some());
    assert!(!watched.health().lapsed && !watched.load().is_empty());
}

#[tokio::test]
async fn client_cas_and_lists_that_cannot_be_read_let_no_client_in_after_the_time_that_is_set() {
    use portcullis::crl::Verdict;
    let ca = Ca::new("CA");
    let (server, client, files) = (ca.server(&["localhost"]), ca.client("ci"), Files::new());
    let bundle = files.put("ca.crt", &ca.pem);
    let list = files.put("ca.crl", ca.crl(1, &[]).pem().unwrap());
    let watch = polled().with_stale_after(Duration::from_millis(1));
    let allowing = Options::default().with_unknown_allowed(true);
    let material = files
        .server(&server)
        .require_client_certificates(portcullis::tls::ClientCas::new([&bundle]))
        .with_crls(Revocation::builder().with_options(allowing), [&list])
        .watch(watch.clone())
        .unwrap();
    let alone = Revocation::builder()
        .with_options(allowing)
        .with_authorities([ca.der.clone()])
        .from_files([&list], watch)
        .unwrap();
    let acceptor = portcullis::tls::Acceptor::new(material.clone());
    let config = pki::client(&ca, Some((&client, &[])));
    pki::accepted(&acceptor, config.clone()).await;

    fs::remove_file(&list).unwrap();
    fs::write(&list, "nothing").unwrap();
    until("ended", || {
        material.health().lapsed && alone.lists().health().lapsed
    });
    pki::refused(&acceptor, config.clone()).await;
    let anchor = webpki::anchor_from_trusted_cert(&ca.der).unwrap();
    let path = portcullis::crl::CertPath::new(&client.der, &[], &anchor).unwrap();
    let verdict = alone.examine(&path, std::time::SystemTime::now());
    assert!(matches!(verdict, Verdict::Unknown { .. }), "{verdict}");
    assert_eq!(verdict.refusal(), Some(portcullis::Refusal::Unavailable));

    files.put("ca.crl", ca.crl(2, &[]).pem().unwrap());
    until("back", || {
        !material.health().lapsed && !alone.lists().health().lapsed
    });
    pki::accepted(&acceptor, config).await;
    let verdict = alone.examine(&path, std::time::SystemTime::now());
    assert_eq!(verdict, Verdict::Good);
}

#[tokio::test]
async fn a_server_key_that_cannot_be_read_locks_no_client_out_and_holds_up_no_revocation() {
    let (ca, files) = (Ca::new("CA"), Files::new());
    let server = ca.server(&["localhost"]);
    let node = |serial: u64| ca.client_with("node", |one| one.serial_number = Some(serial.into()));
    let (good, revoked) = (node(7), node(8));
    let bundle = files.put("ca.crt", &ca.pem);
    let list = files.put("ca.crl", ca.crl(1, &[]).pem().unwrap());
    let material = files
        .server(&server)
        .require_client_certificates(portcullis::tls::ClientCas::new([&bundle]))
        .with_crls(Revocation::builder(), [&list])
        .watch(polled().with_stale_after(Duration::from_millis(1)))
        .unwrap();
    let acceptor = portcullis::tls::Acceptor::new(material.clone());
    let shows = |leaf| pki::client(&ca, Some((leaf, &[])));
    pki::accepted(&acceptor, shows(&revoked)).await;
    let other = ca.server(&["localhost"]);
    for broken in ["nothing", &other.key_pem] {
        files.put("tls.key", broken);
        until("told", || material.health().failure.is_some());
        let told = material.health().failure.unwrap();
        assert!(told.contains("tls.key"), "{told}");
        pki::accepted(&acceptor, shows(&good)).await;
        assert!(!material.health().lapsed);
    }
    let before = material.generation();
    let newer = ca.crl_with(2, &[8], |list| list.this_update += time::Duration::MINUTE);
    files.put("ca.crl", newer.pem().unwrap());
    until("the list is taken", || material.generation() > before);
    pki::refused(&acceptor, shows(&revoked)).await;
    pki::accepted(&acceptor, shows(&good)).await;
    assert!(material.health().failure.is_some() && !material.health().lapsed);
    // What withdraws ends all the same, once it fails itself.
    files.put("ca.crt", "nothing");
    until("ended", || material.health().lapsed);
    pki::refused(&acceptor, shows(&good)).await;
    files.put("ca.crt", &ca.pem);
    until("back", || !material.health().lapsed);
    pki::accepted(&acceptor, shows(&good)).await;
    files.put("tls.key", &server.key_pem);
    until("mended", || material.health().failure.is_none());
}

/// Whether the server takes the client's certificate.
async fn gets_in(acceptor: &portcullis::tls::Acceptor, config: rustls::ClientConfig) -> bool {
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let config = std::sync::Arc::new(config);
    let (is_taken, _) = tokio::join!(
        async {
            let (tcp, _) = tcp.accept().await.unwrap();
            acceptor.accept(tcp).await.is_ok()
        },
        async {
            let mut stream = pki::connect(&config, address, "localhost").await?;
            // To its end, which comes in either case.
            tokio::io::AsyncReadExt::read_u8(&mut stream).await
        }
    );
    is_taken
}

async fn becomes(
    what: &str,
    acceptor: &portcullis::tls::Acceptor,
    client: impl Fn() -> rustls::ClientConfig,
    expected: bool,
) {
    let begun = Instant::now();
    while gets_in(acceptor, client()).await != expected {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn neither_a_removed_ca_nor_a_renewed_server_certificate_waits_for_a_list_that_cannot_be_read()
 {
    let [first, second, third] = ["first", "second", "third"].map(Ca::new);
    let files = Files::new();
    let (server, renewed) = (
        first.server(&["localhost"]),
        first.server(&["renewed", "localhost"]),
    );
    let cas = files.put("ca.crt", first.pem.clone() + &second.pem);
    let lists = [("first", &first), ("second", &second)]
        .map(|(name, ca)| files.put(&format!("{name}.crl"), ca.crl(1, &[]).pem().unwrap()));
    let material = files
        .server(&server)
        .require_client_certificates(portcullis::tls::ClientCas::new([&cas]))
        .with_crls(Revocation::builder(), &lists)
        .watch(polled())
        .unwrap();
    let acceptor = portcullis::tls::Acceptor::new(material.clone());
    let trusted = &first;
    let of = |ca: &Ca| {
        let leaf = ca.client("node");
        move || pki::client(trusted, Some((&leaf, &[])))
    };
    let [by_first, by_second, by_third] = [&first, &second, &third].map(of);
    let subject = || {
        let current = material.load();
        let own = current.expiries().iter().find(|one| one.kind == "server");
        own.unwrap().subject.to_string()
    };
    becomes("served", &acceptor, &by_second, true).await;
    fs::write(&lists[0], "nothing").unwrap();
    until("told", || failure(&material).contains("first.crl"));
    files.pair(&renewed);
    until("renewed", || subject() == "CN=renewed");
    until("still told", || failure(&material).contains("first.crl"));
    // A CA that is new waits for its list.
    fs::write(&cas, first.pem.clone() + &third.pem).unwrap();
    becomes("removed", &acceptor, &by_second, false).await;
    assert!(gets_in(&acceptor, by_first()).await);
    assert!(!gets_in(&acceptor, by_third()).await);
    assert!(failure(&material).contains("first.crl"));
    fs::write(
        &lists[0],
        first.crl(2, &[]).pem().unwrap() + &third.crl(1, &[]).pem().unwrap(),
    )
    .unwrap();
    becomes("mended", &acceptor, &by_third, true).await;
    until("good", || material.health().failure.is_none());
}

#[tokio::test]
async fn what_a_list_revokes_and_a_renewed_certificate_do_not_wait_for_a_client_ca_that_cannot_be_read()
 {
    let (ca, files) = (Ca::new("CA"), Files::new());
    let node = |serial: u64| ca.client_with("node", |one| one.serial_number = Some(serial.into()));
    let (good, revoked) = (node(7), node(8));
    let cas = files.put("ca.crt", &ca.pem);
    let list = files.put("ca.crl", ca.crl(1, &[]).pem().unwrap());
    let material = files
        .server(&ca.server(&["localhost"]))
        .require_client_certificates(portcullis::tls::ClientCas::new([&cas]))
        .with_crls(Revocation::builder(), [&list])
        .watch(polled())
        .unwrap();
    let acceptor = portcullis::tls::Acceptor::new(material.clone());
    let trusted = &ca;
    let shows = |leaf| move || pki::client(trusted, Some((leaf, &[])));
    becomes("served", &acceptor, shows(&revoked), true).await;
    files.put("ca.crt", "nothing");
    until("told", || failure(&material).contains("ca.crt"));
    let newer = ca.crl_with(2, &[8], |list| list.this_update += time::Duration::MINUTE);
    files.put("ca.crl", newer.pem().unwrap());
    becomes("revoked", &acceptor, shows(&revoked), false).await;
    assert!(gets_in(&acceptor, shows(&good)()).await);
    let own = ca.server(&["renewed", "localhost"]);
    files.pair(&own);
    until("renewed", || {
        let current = material.load();
        current
            .expiries()
            .iter()
            .any(|one| &*one.subject == "CN=renewed")
    });
    until("still told", || failure(&material).contains("ca.crt"));
    assert!(gets_in(&acceptor, shows(&good)()).await);
    files.put("ca.crt", &ca.pem);
    until("mended", || material.health().failure.is_none());
}

#[test]
fn a_list_in_a_servers_chain_is_an_error_with_its_line() {
    let (ca, files) = (Ca::new("CA"), Files::new());
    let server = ca.server(&["localhost"]);
    let pair = files.pair(&server);
    let list = ca.crl(1, &[7]).pem().unwrap();
    let load = || {
        let builder = portcullis::tls::Builder::with_certificate(pair.clone());
        builder.without_client_certificates().load()
    };
    load().unwrap();
    files.put("tls.crt", format!("{}{list}", server.pem));
    let error = load().unwrap_err().to_string();
    let line = server.pem.lines().count() + 1;
    let place = format!("tls.crt:{line}: a CRL is among the certificates");
    assert!(error.contains(&place), "{error}");
}

#[test]
fn what_a_file_holds_besides_what_it_is_read_for_is_logged_once_with_its_line_and_its_place() {
    let (ca, other) = (Ca::new("CA"), Ca::new("other CA"));
    let (server, files) = (ca.server(&["gate"]), Files::new());
    files.pair(&server);
    let list = ca.crl(1, &[7]).pem().unwrap();
    let key = &server.key_pem;
    let after = |text: &str, rest: &str| (text.lines().count() + 1, format!("{text}{rest}"));
    fs::create_dir(files.path("cas")).unwrap();
    files.put("cas/ca.crt", ca.pem.clone() + &list);
    files.put("cas/tls.key", key);
    files.put("list.pem", &list);
    let lists = |name: &str| format!("client_ca = [\"ca.crt\"]\n[crl]\nfiles = [\"{name}\"]\n");
    let parameters = "-----BEGIN DH PARAMETERS-----\nMAMCAQA=\n-----END DH PARAMETERS-----\n";
    for (name, (line, content), rest, says) in [
        (
            "ca.crt",
            after(&ca.pem, &list),
            lists("list.pem"),
            Some("`crl.files`"),
        ),
        // It is read for both.
        ("ca.crt", after(&ca.pem, &list), lists("ca.crt"), None),
        (
            "ca.crt",
            after(&ca.pem, key),
            lists("list.pem"),
            Some("a private key"),
        ),
        (
            "ca.crt",
            after(&ca.pem, parameters),
            lists("list.pem"),
            None,
        ),
        (
            "cas/ca.crt",
            after(&ca.pem, &list),
            "client_ca = [\"cas\"]\n".to_owned(),
            Some("`crl.files`"),
        ),
        (
            "both.pem",
            after(&list, &other.pem),
            lists("both.pem"),
            Some("`crl.signers`"),
        ),
        (
            "more.pem",
            after(&other.pem, &list),
            lists("list.pem") + "signers = [\"more.pem\"]\n",
            Some("`crl.files`"),
        ),
        (
            "tls.crt",
            after(&server.pem, key),
            String::new(),
            Some("a private key"),
        ),
        (
            "tls.key",
            after(key, &server.pem),
            String::new(),
            Some("`tls.certificate`"),
        ),
    ] {
        for (name, plain) in [
            ("ca.crt", &ca.pem),
            ("tls.crt", &server.pem),
            ("tls.key", key),
        ] {
            files.put(name, plain);
        }
        files.put(name, content);
        let captured = crate::captured::Captured::from(tracing::Level::WARN);
        let file = config(files.directory.path(), &tls(&rest));
        // The second start finds what is known.
        for _ in 0..2 {
            Guard::from_config(&Config::load(&file).unwrap()).unwrap();
        }
        let log = captured.text();
        let of_parts = |one: &&str| one.contains("a part of this file is not used");
        let logged: Vec<_> = log.lines().filter(of_parts).collect();
        assert_eq!(
            logged.len(),
            usize::from(says.is_some()),
            "{name} {rest}: {log}"
        );
        let place = [format!("/{name}\""), format!("\"line\":{line},")];
        for (line, says) in logged.iter().zip(says) {
            assert!(
                line.contains(says) && place.iter().all(|part| line.contains(part)),
                "{line}"
            );
        }
        fs::remove_file(files.path(name)).unwrap();
    }
}

#[test]
fn a_list_of_denials_that_is_cut_off_takes_nothing_back() {
    let files = Files::new();
    let denied = files.put("denied", "spiffe://example.org/ns/a/sa/b 2026-11-30 lost\n");
    let list = portcullis::crl::DenyList::watch([&denied], polled()).unwrap();
    for nothing in ["", "\n", "\u{feff} \n\n"] {
        files.put("denied", nothing);
        until("told", || list.health().failure.is_some());
        assert_eq!(list.load().len(), 1);
        // Nor does a server start with one.
        assert!(portcullis::crl::DenyList::watch([&denied], polled()).is_err());
        files.put(
            "denied",
            "# none yet\nspiffe://example.org/ns/a/sa/c 2026-11-30 lost\n",
        );
        until("mended", || list.health().failure.is_none());
    }
    files.put("denied", "# none is denied\n");
    until("taken back", || list.load().is_empty());
}

#[test]
fn what_counts_only_from_the_next_start_on_is_said_and_does_not_pass_for_done() {
    let files = Files::new();
    let head = "[reload]\npoll_interval = \"20ms\"\nsettle = \"5ms\"\n";
    let rule = |action: &str| {
        format!(
            "[[policy.rules]]\nname = \"a\"\nwho = [\"anyone\"]\nactions = [\"{action}\"]\nrepositories = [\"**\"]\n"
        )
    };
    let auth = "[auth]\nrequire = \"token\"\n[[auth.token]]\nid = \"ci\"\nsha256 = \
                [\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"]\n";
    let started = format!("{head}{auth}{}", rule("pull"));
    let file = files.put("gate.toml", &started);
    let guard = Guard::from_config(&Config::load(&file).unwrap()).unwrap();
    let told = || readiness(&guard);
    assert!(!told().contains("restart"), "{}", told());
    for (now, keys) in [
        (
            format!("{started}[source]\ndeny = [\"127.0.0.0/8\"]\n"),
            "source",
        ),
        (
            started.replace(
                "require = \"token\"",
                "require = \"token\"\nanonymous = true",
            ),
            "auth.anonymous",
        ),
        (format!("preset = \"registry\"\n{started}"), "preset"),
        (
            started.replace("[reload]\n", "[reload]\nread_timeout = \"1s\"\n"),
            "reload.read_timeout",
        ),
    ] {
        fs::write(&file, &now).unwrap();
        let expected = format!("without effect until a restart: {keys}");
        until(&expected, || told().contains(&expected));
        // What is followed counts at once, and is not told.
        let followed = started
            .replace("\"pull\"", "\"list\"")
            .replace("id = \"ci\"", "id = \"other\"");
        fs::write(&file, followed).unwrap();
        until("nothing is left", || !told().contains("restart"));
        fs::write(&file, &started).unwrap();
    }
}

/// Who was in it is let in no more, which is the closed side; the file of one token says nothing when it is empty.
#[test]
fn a_file_of_users_that_is_emptied_lets_none_of_them_in_any_more() {
    let files = Files::new();
    let hash = "$2y$04$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u";
    let digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let users = files.put("users", format!("alice:{hash}\n"));
    let farm = files.put(
        "credentials.toml",
        format!("[[credential]]\nid = \"farm\"\n[[credential.secret]]\ndigest = \"{digest}\"\n"),
    );
    let token = files.put("token", TOKEN);
    let sources = [
        CredentialSource::htpasswd(&users),
        CredentialSource::credentials_file(&farm),
        CredentialSource::file("ci", &token),
    ];
    let watched = Credentials::watch(sources, polled()).unwrap();
    assert_eq!(watched.load().len(), 3);
    for (file, left) in [(&users, 2), (&farm, 1)] {
        fs::write(file, "").unwrap();
        until("withdrawn", || watched.load().len() == left);
        assert_eq!(watched.health().failure, None);
    }
    fs::write(&token, "").unwrap();
    until("told", || watched.health().failure.is_some());
    assert_eq!(watched.load().len(), 1);
}
