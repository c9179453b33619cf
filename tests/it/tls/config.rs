//! What a configuration file says of TLS, proxies and identities, over real sockets.
#![cfg(all(feature = "config", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::pki;

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use pki::{Ca, Files, Leaf, client};
use portcullis::config::{Config, ConfigError};
use portcullis::connection::AddConnection;
use portcullis::guard::SecurityWarning;
use portcullis::tls::Reason;
use portcullis::{ClientAddr, Guard, Principal};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, service_fn};

const HEAD: &str = "[reload]\npoll_interval = \"50ms\"\nsettle = \"5ms\"\n\
    [auth]\nrequire = \"certificate\"\n";
const TLS: &str = "[tls]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"\nclient_ca = [\"ca.crt\"]\n";
const CRL: &str = "[crl]\nfiles = [\"crl.pem\"]\n";

struct Scene {
    files: Files,
    ca: Ca,
}

impl Scene {
    fn new() -> Self {
        let (files, ca) = (Files::new(), Ca::new("Nodes 2026"));
        files.pair(&ca.server(&["localhost"]));
        files.put("ca.crt", &ca.pem);
        files.put("crl.pem", ca.crl(1, &[]).pem().unwrap());
        Self { files, ca }
    }

    fn load(&self, sections: &[&str]) -> Result<Guard, ConfigError> {
        let file = self
            .files
            .put("gate.toml", format!("{HEAD}{}", sections.concat()));
        Guard::from_config(&Config::load(file).unwrap())
    }

    /// A server that tells its callers who they are, and the address it is at.
    async fn serve(&self, sections: &[&str]) -> (Guard, SocketAddr) {
        let guard = self.load(sections).unwrap();
        let address = serve(&guard).await;
        (guard, address)
    }

    fn shows(&self, leaf: &Leaf) -> Arc<rustls::ClientConfig> {
        Arc::new(client(&self.ca, Some((leaf, &[]))))
    }
}

async fn serve(guard: &Guard) -> SocketAddr {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = tcp.local_addr().unwrap();
    let acceptor = guard.acceptor().unwrap().clone();
    let service = guard.layer(service_fn(whoami));
    tokio::spawn(async move {
        loop {
            let (tcp, _) = tcp.accept().await.unwrap();
            let (acceptor, service) = (acceptor.clone(), service.clone());
            tokio::spawn(async move {
                let Ok(accepted) = acceptor.accept(tcp).await else {
                    return;
                };
                let service = AddConnection::new(service, accepted.connection);
                let io = TokioIo::new(accepted.stream);
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(io, TowerToHyperService::new(service))
                    .await;
            });
        }
    });
    address
}

/// Who asks and from where, and the headers that were left.
async fn whoami<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let extensions = request.extensions();
    let principal = Principal::of(extensions).unwrap();
    let mut text = format!(
        "{principal} {:?} {}",
        principal.groups(),
        ClientAddr::of(extensions).unwrap().ip()
    );
    for name in [
        "x-forwarded-for",
        "forwarded",
        "x-forwarded-client-cert",
        "x-client-id",
    ] {
        if request.headers().contains_key(name) {
            text.push(' ');
            text.push_str(name);
        }
    }
    Ok(Response::new(Full::new(text.into())))
}

struct Asking<'a> {
    config: &'a Arc<rustls::ClientConfig>,
    address: SocketAddr,
    first: &'a [u8],
    name: &'a str,
    headers: &'a [(&'a str, &'a str)],
}

impl Asking<'_> {
    async fn answer(&self) -> io::Result<(StatusCode, String)> {
        let mut tcp = TcpStream::connect(self.address).await?;
        tcp.write_all(self.first).await?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(self.config));
        let name = rustls::pki_types::ServerName::try_from(self.name.to_owned()).unwrap();
        let io = TokioIo::new(connector.connect(name, tcp).await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(connection);
        let mut request = Request::get("/v2/").header("host", "localhost");
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = sender
            .send_request(request)
            .await
            .map_err(io::Error::other)?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(io::Error::other)?;
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Ok((status, body))
    }
}

fn asking(config: &Arc<rustls::ClientConfig>, address: SocketAddr) -> Asking<'_> {
    Asking {
        config,
        address,
        first: b"",
        name: "localhost",
        headers: &[],
    }
}

async fn told(asking: Asking<'_>) -> String {
    let (status, body) = asking.answer().await.unwrap();
    if status.is_success() {
        body
    } else {
        status.as_str().to_owned()
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn node(scene: &Scene) -> Leaf {
    scene.ca.client_with("system:node:n7", |params| {
        let name = &mut params.distinguished_name;
        name.push(rcgen::DnType::OrganizationName, "system:nodes");
    })
}

const MAP: &str = "[[identity.map]]\nid = \"node:{name}\"\ngroups = [\"nodes\", \"on-{name}\"]\n\
    when = { \"subject.O\" = \"system:nodes\", \"subject.CN\" = \"system:node:{name}\" }\n";

#[tokio::test]
async fn certificates_are_mapped_to_ids_and_groups_and_the_rules_follow_the_file() {
    let scene = Scene::new();
    let (node, other) = (
        scene.shows(&node(&scene)),
        scene.shows(&scene.ca.client("x")),
    );
    let (guard, address) = scene.serve(&[TLS, CRL, MAP]).await;
    let mapped = "cert:node:n7 [\"nodes\", \"on-n7\"] 127.0.0.1";
    assert_eq!(told(asking(&node, address)).await, mapped);
    assert_eq!(
        told(asking(&other, address)).await,
        "cert:CN=x [] 127.0.0.1"
    );
    let told_of = "1 rule says who the holder of a certificate is";
    assert!(
        guard.report().to_string().contains(told_of),
        "{}",
        guard.report()
    );

    let common = format!("{HEAD}{TLS}{CRL}[identity]\ncommon_name = true\n");
    scene.files.put("gate.toml", common);
    until("the common name", async || {
        told(asking(&other, address)).await == "cert:x [] 127.0.0.1"
    })
    .await;
    assert_eq!(
        told(asking(&node, address)).await,
        "cert:system:node:n7 [] 127.0.0.1"
    );
}

#[tokio::test]
async fn an_open_connection_is_mapped_anew_when_the_rules_change() {
    let scene = Scene::new();
    let node = scene.shows(&node(&scene));
    let (_guard, address) = scene.serve(&[TLS, CRL, MAP]).await;
    let tls = pki::connect(&node, address, "localhost").await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut who = async || {
        let request = Request::get("/v2/").header("host", "localhost");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let body = sender.send_request(request).await.unwrap().into_body();
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    };
    for _ in 0..3 {
        assert!(who().await.starts_with("cert:node:n7 [\"nodes\""));
    }
    let ungrouped = MAP.replace("\"nodes\", ", "");
    scene
        .files
        .put("gate.toml", format!("{HEAD}{TLS}{CRL}{ungrouped}"));
    until("the group is taken away", async || {
        who().await == "cert:node:n7 [\"on-n7\"] 127.0.0.1"
    })
    .await;
}

#[tokio::test]
async fn a_rule_that_cannot_be_is_told_with_its_place() {
    let scene = Scene::new();
    let good = "[[identity.map]]\nid = \"x\"\nwhen = { dns = \"x\" }\n";
    for (rule, says) in [
        (
            "id = \"x\"\nwhen = {}\n",
            ":6:8: identity.map[1].when: a rule needs a condition",
        ),
        (
            "id = \"x\"\nwhen = { cn = \"x\" }\n",
            ":6:15: identity.map[1].when.cn: \"cn\" is no field of a certificate",
        ),
        (
            "id = \"{y}\"\nwhen = { dns = \"x\" }\n",
            ":5:6: identity.map[1].id: {y} is used, but no condition of the rule captures it",
        ),
        (
            "id = \"x\"\nwhen = { dns = \"x\" }\ngroups = [\"a\", \"{y}\"]\n",
            ":7:16: identity.map[1].groups[1]: {y} is used",
        ),
        (
            "id = \"x\"\nwhen = { ip = \"here\" }\n",
            ":6:15: identity.map[1].when.ip: \"here\" is no IP address or network",
        ),
        (
            "id = \"x\"\nwhen = { subject.CN = \"x\" }\n",
            "a field with a dot is quoted",
        ),
    ] {
        let text = format!("{good}[[identity.map]]\n{rule}");
        let file = scene.files.put("gate.toml", text);
        let error = Config::load(file).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[tokio::test]
async fn a_listed_proxy_tells_the_address_and_anyone_else_does_not() {
    let scene = Scene::new();
    let node = scene.shows(&scene.ca.client("x"));
    let section =
        |proxies: &str, rest: &str| format!("[forwarded]\nproxies = [\"{proxies}\"]\n{rest}");
    let both = [
        ("x-forwarded-for", "192.0.2.7"),
        ("forwarded", "for=192.0.2.8"),
    ];
    let plain = "cert:CN=x [] 127.0.0.1";
    for (sections, expected) in [
        (String::new(), plain),
        (
            section("10.0.0.0/8", "address = \"x-forwarded-for\"\n"),
            plain,
        ),
        (
            section("127.0.0.0/8", "address = \"x-forwarded-for\"\n"),
            "cert:CN=x [] 192.0.2.7 x-forwarded-for",
        ),
        (
            section("127.0.0.0/8", "address = \"forwarded\"\n"),
            "cert:CN=x [] 192.0.2.8 forwarded",
        ),
        // What proxies say in a header that is not asked for, their clients may have written.
        (section("127.0.0.0/8", ""), plain),
        (
            section("127.0.0.0/8", "address = \"forwarded\"\n")
                + "[source]\ndeny = [\"192.0.2.8/32\"]\n",
            "403",
        ),
    ] {
        let (_guard, address) = scene.serve(&[TLS, CRL, &sections]).await;
        let headers = &both;
        let asking = Asking {
            headers,
            ..asking(&node, address)
        };
        assert_eq!(told(asking).await, expected, "{sections}");
    }
}

#[tokio::test]
async fn headers_of_ones_own_that_tell_of_a_client_are_removed_as_the_file_says() {
    let scene = Scene::new();
    let node = scene.shows(&scene.ca.client("x"));
    let plain = "cert:CN=x [] 127.0.0.1";
    let section = |proxies: &str, remove: &str| {
        format!("[forwarded]\nproxies = [{proxies}]\nremove = [{remove}]\n")
    };
    for (sections, expected) in [
        (section("", ""), "cert:CN=x [] 127.0.0.1 x-client-id"),
        (section("", "\"x-client-id\""), plain),
        (section("\"127.0.0.0/8\"", "\"X-Client-Id\""), plain),
    ] {
        let (_guard, address) = scene.serve(&[TLS, CRL, &sections]).await;
        let asking = Asking {
            headers: &[("x-client-id", "admin")],
            ..asking(&node, address)
        };
        assert_eq!(told(asking).await, expected, "{sections}");
    }
}

#[tokio::test]
async fn svids_and_the_cas_of_trust_domains_are_asked_for_as_the_file_says() {
    let scene = Scene::new();
    let svid = scene.ca.leaf("x", |params| {
        let id = "spiffe://example.org/x".try_into().unwrap();
        params.subject_alt_names = vec![rcgen::SanType::URI(id)];
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    });
    let (svid, plain) = (scene.shows(&svid), scene.shows(&scene.ca.client("x")));
    for (line, svid_is_in, plain_is_in) in [
        ("", true, true),
        ("svid = \"strict\"\n", true, false),
        (
            "trust_domains = { \"example.org\" = [\"CN=Nodes 2026\"] }\n",
            true,
            true,
        ),
        (
            "trust_domains = { \"example.org\" = [\"CN=Nodes 2027\"] }\n",
            false,
            true,
        ),
        (
            "trust_domains = { \"example.com\" = [\"CN=Nodes 2026\"] }\n",
            false,
            true,
        ),
    ] {
        let (_guard, address) = scene.serve(&[TLS, line, CRL]).await;
        let is_in = async |config| asking(config, address).answer().await.is_ok();
        assert_eq!(is_in(&svid).await, svid_is_in, "{line}");
        assert_eq!(is_in(&plain).await, plain_is_in, "{line}");
    }
}

/// The header's value for a certificate.
type Value<'a> = &'a dyn Fn(&Leaf) -> String;

fn escaped(pem: &str) -> String {
    let bytes = pem.bytes().map(|byte| format!("%{byte:02X}"));
    bytes.collect::<Vec<_>>().concat()
}

#[tokio::test]
async fn a_listed_proxy_tells_the_certificate_in_each_form_and_it_is_verified() {
    let scene = Scene::new();
    let behind = scene.ca.client_with("behind", |params| {
        params.serial_number = Some(7_u64.into());
    });
    let stranger = Ca::new("Strangers").client("behind");
    let proxy = scene.shows(&scene.ca.client("proxy"));
    let base64 = |leaf: &Leaf| {
        let lines = leaf.pem.lines().filter(|line| !line.starts_with("---"));
        format!(":{}:", lines.collect::<String>())
    };
    let xfcc = |leaf: &Leaf| format!("Cert=\"{}\"", escaped(&leaf.pem));
    let nginx = |leaf: &Leaf| escaped(&leaf.pem);
    // AWS leaves these as they are.
    let aws = |leaf: &Leaf| {
        let letters = leaf.pem.chars().map(|letter| match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '+' | '=' | '/' | '-' => letter.to_string(),
            other => escaped(&other.to_string()),
        });
        letters.collect::<String>()
    };
    let forms: [(&str, &str, Value<'_>); 5] = [
        (
            "{ form = \"alb\", mode = \"passthrough\" }",
            "x-amzn-mtls-clientcert",
            &aws,
        ),
        (
            "{ form = \"alb\", mode = \"verify\" }",
            "x-amzn-mtls-clientcert-leaf",
            &aws,
        ),
        ("{ form = \"xfcc\" }", "x-forwarded-client-cert", &xfcc),
        ("{ form = \"client-cert\" }", "client-cert", &base64),
        (
            "{ form = \"escaped\", header = \"ssl-client-cert\" }",
            "ssl-client-cert",
            &nginx,
        ),
    ];
    for (form, header, value) in forms {
        scene
            .files
            .put("crl.pem", scene.ca.crl(1, &[]).pem().unwrap());
        let section = format!("[forwarded]\nproxies = [\"127.0.0.1/32\"]\ncertificate = {form}\n");
        let (guard, address) = scene.serve(&[TLS, CRL, &section]).await;
        let ask = async |value: &str| {
            // What a client wrote in the header of another mode counts for nothing.
            let other = match header {
                "x-amzn-mtls-clientcert" => "x-amzn-mtls-clientcert-leaf",
                _ => "x-amzn-mtls-clientcert",
            };
            let headers = &[(header, value), (other, "rubbish")];
            told(Asking {
                headers,
                ..asking(&proxy, address)
            })
            .await
        };
        let good = value(&behind);
        assert!(
            ask(&good).await.starts_with("cert:CN=behind [] 127.0.0.1"),
            "{form}"
        );
        assert_eq!(ask(&value(&stranger)).await, "403", "{form}");
        assert_eq!(ask("rubbish").await, "403", "{form}");
        // A proxy's own certificate is not its client's.
        let (status, _) = asking(&proxy, address).answer().await.unwrap();
        assert_eq!(status, 401, "{form}");
        let list = scene
            .ca
            .crl_with(2, &[7], |list| list.this_update += time::Duration::MINUTE);
        scene.files.put("crl.pem", list.pem().unwrap());
        let headers = &[(header, &*good)];
        until("revoked", async || {
            let asking = Asking {
                headers,
                ..asking(&proxy, address)
            };
            // An answer that the revocation meets on its way is cut off.
            asking.answer().await.is_ok_and(|(status, _)| status == 403)
        })
        .await;
        assert!(
            guard.report().to_string().contains(header),
            "{}",
            guard.report()
        );

        let unlisted = section.replace("127.0.0.1/32", "10.0.0.0/8");
        let (_guard, address) = scene.serve(&[TLS, CRL, &unlisted]).await;
        let headers = &[(header, &*good)];
        let answer = told(Asking {
            headers,
            ..asking(&proxy, address)
        })
        .await;
        assert_eq!(answer, "cert:CN=proxy [] 127.0.0.1", "{form}");
    }
}

#[tokio::test]
async fn fields_count_only_where_the_operator_says_so_and_that_is_dangerous() {
    let scene = Scene::new();
    let proxy = scene.shows(&scene.ca.client("proxy"));
    for (trusted, expected) in [(true, "cert:spiffe://a/b [] "), (false, "403")] {
        let section = format!(
            "[forwarded]\nproxies = [\"127.0.0.1/32\"]\n\
             certificate = {{ form = \"xfcc\", trusted_fields = {trusted} }}\n"
        );
        let (guard, address) = scene.serve(&[TLS, CRL, &section]).await;
        let headers = &[("x-forwarded-client-cert", "URI=spiffe://a/b")];
        let answer = told(Asking {
            headers,
            ..asking(&proxy, address)
        })
        .await;
        assert!(answer.starts_with(expected), "{answer}");
        let warned = guard
            .report()
            .warnings
            .contains(&SecurityWarning::FieldsBelieved);
        assert_eq!(warned, trusted);
    }
}

#[tokio::test]
async fn forwarded_certificates_without_client_cas_are_an_error() {
    let scene = Scene::new();
    let section = "[forwarded]\nproxies = []\ncertificate = { form = \"xfcc\" }\n";
    let tls = TLS.replace("client_ca = [\"ca.crt\"]\n", "");
    let error = scene.load(&[&tls, section]).unwrap_err().to_string();
    assert!(
        error.contains("forwarded.certificate: verifying forwarded certificates needs client CAs"),
        "{error}"
    );
}

#[tokio::test]
async fn a_proxy_header_is_needed_from_listed_peers_and_tells_the_address() {
    let scene = Scene::new();
    let node = scene.shows(&scene.ca.client("x"));
    let tls = format!("{TLS}proxy_protocol = [\"127.0.0.0/8\"]\n");
    let (guard, address) = scene.serve(&[&tls, CRL]).await;
    let first = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n";
    let answer = told(Asking {
        first,
        ..asking(&node, address)
    })
    .await;
    assert_eq!(answer, "cert:CN=x [] 192.0.2.7");
    assert!(asking(&node, address).answer().await.is_err());
    let line = "peers in 1 network must begin with a PROXY protocol header";
    assert!(
        guard.report().to_string().contains(line),
        "{}",
        guard.report()
    );

    let everyone = TLS.to_owned() + "proxy_protocol = [\"0.0.0.0/0\"]\n";
    let warning = ": tls.proxy_protocol[0]: it has every address in it";
    let report = scene.load(&[&everyone, CRL]).unwrap().report().to_string();
    assert!(report.contains(warning), "{report}");
}

#[tokio::test]
async fn a_source_has_no_more_connections_than_the_file_says() {
    let scene = Scene::new();
    let node = scene.shows(&scene.ca.client("x"));
    let tls = format!("{TLS}max_connections_per_source = 1\n");
    let (guard, address) = scene.serve(&[&tls, CRL]).await;
    let kept = pki::connect(&node, address, "localhost").await.unwrap();
    assert!(asking(&node, address).answer().await.is_err());
    drop(kept);
    until("another one", async || {
        asking(&node, address).answer().await.is_ok()
    })
    .await;
    let line = "a source has at most 1 connection\n";
    assert!(
        guard.report().to_string().contains(line),
        "{}",
        guard.report()
    );
}

#[tokio::test]
async fn certificates_are_chosen_by_name_and_versions_protocols_and_sessions_are_as_the_file_says()
{
    let scene = Scene::new();
    let other = scene.ca.server(&["other.example.org"]);
    scene.files.put("other.crt", &other.pem);
    scene.files.put("other.key", &other.key_pem);
    let tls = format!(
        "{TLS}min_version = \"1.3\"\nalpn = [\"http/1.1\"]\nresumption = false\n\
         handshake_timeout = \"5s\"\nmax_handshakes = 7\n\
         [[tls.sni]]\ncertificate = \"other.crt\"\nkey = \"other.key\"\n"
    );
    let (guard, address) = scene.serve(&[&tls, CRL]).await;
    assert!(
        guard
            .report()
            .enforced
            .contains(&"connections are TLS 1.3".to_owned())
    );
    let leaf = scene.ca.client("x");
    let node = scene.shows(&leaf);
    for (name, served) in [
        ("localhost", true),
        ("other.example.org", true),
        ("a.b", false),
    ] {
        let answer = Asking {
            name,
            ..asking(&node, address)
        }
        .answer()
        .await;
        assert_eq!(answer.is_ok(), served, "{name}");
    }
    let old = pki::client_at(&scene.ca, Some((&leaf, &[])), &[&rustls::version::TLS12]);
    assert!(asking(&Arc::new(old), address).answer().await.is_err());
    let mut h2 = client(&scene.ca, Some((&leaf, &[])));
    h2.alpn_protocols = vec![b"h2".to_vec()];
    assert!(asking(&Arc::new(h2), address).answer().await.is_err());
    for _ in 0..2 {
        let tls = pki::connect(&node, address, "localhost").await.unwrap();
        let kind = tls.get_ref().1.handshake_kind();
        assert_eq!(kind, Some(rustls::HandshakeKind::Full));
        drop(tls);
        assert!(asking(&node, address).answer().await.is_ok());
    }
}

#[tokio::test]
async fn a_handshake_that_takes_longer_than_the_file_says_is_ended() {
    let scene = Scene::new();
    let tls = format!("{TLS}handshake_timeout = \"100ms\"\nmax_handshakes = 1\n");
    let guard = scene.load(&[&tls, CRL]).unwrap();
    let acceptor = guard.acceptor().unwrap();
    let (_silent, ours) = tokio::io::duplex(64);
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let error = acceptor.accept_from(ours, peer).await.unwrap_err();
    assert_eq!(error.reason(), Reason::TimedOut);
}

#[tokio::test]
async fn connections_of_a_removed_ca_stay_or_end_as_the_file_says() {
    let scene = Scene::new();
    let other = Ca::new("Nodes 2027");
    let node = scene.shows(&scene.ca.client("x"));
    for (policy, ends) in [("recheck", true), ("keep", false)] {
        scene
            .files
            .put("ca.crt", format!("{}{}", scene.ca.pem, other.pem));
        let tls = format!(
            "{TLS}removed_ca = \"{policy}\"\nending = {{ idle = \"20ms\", drain = \"1s\" }}\n"
        );
        let (guard, address) = scene.serve(&[&tls]).await;
        let material = guard.acceptor().unwrap().material().clone();
        let mut kept = pki::connect(&node, address, "localhost").await.unwrap();
        scene.files.put("ca.crt", &other.pem);
        until("the reload", async || material.generation() > 1).await;
        let mut byte = [0; 1];
        let read = tokio::io::AsyncReadExt::read(&mut kept, &mut byte);
        let read = tokio::time::timeout(Duration::from_millis(700), read).await;
        assert_eq!(read.is_ok(), ends, "{policy}");
        let open = guard.report().to_string();
        assert_eq!(open.contains("that is removed stay until their end"), !ends);
    }
}

/// A CA's certificate and its list, changed as one; the server's own key is for itself.
#[tokio::test]
async fn client_cas_and_crls_are_swapped_together_or_not_at_all_and_wait_for_no_key() {
    let scene = Scene::new();
    let next = Ca::new("Nodes 2027");
    let old = scene.shows(&scene.ca.client("x"));
    let new = Arc::new(client(&scene.ca, Some((&next.client("y"), &[]))));
    let (guard, address) = scene.serve(&[TLS, CRL]).await;
    let material = guard.acceptor().unwrap().material().clone();
    let is_in = async |config| asking(config, address).answer().await.is_ok();
    let failure = async |what: &str| {
        until(what, async || material.health().failure.is_some()).await;
        assert_eq!(material.generation(), 1, "{what}");
        assert!(is_in(&old).await && !is_in(&new).await, "{what}");
    };

    // A new CA with a list that is broken: the CA does not count either.
    scene.files.put(
        "crl.pem",
        "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
    );
    scene
        .files
        .put("ca.crt", format!("{}{}", scene.ca.pem, next.pem));
    failure("a broken list").await;

    // Good lists, with a key that does not fit: both count, and the last good pair is shown.
    let (list, its) = (next.crl(1, &[]), scene.ca.crl(2, &[]));
    let lists = [list.pem().unwrap(), its.pem().unwrap()].concat();
    fs::write(scene.files.path("tls.key"), &scene.ca.client("z").key_pem).unwrap();
    scene.files.put("crl.pem", &lists);
    until("the other failure", async || {
        let failure = material.health().failure;
        failure.is_some_and(|reason| reason.contains("is not the key of"))
    })
    .await;
    until("old and new", async || {
        is_in(&old).await && is_in(&new).await
    })
    .await;

    scene.files.pair(&scene.ca.server(&["localhost"]));
    until("all is good", async || material.health().failure.is_none()).await;
    until("old and new", async || {
        is_in(&old).await && is_in(&new).await
    })
    .await;
}

/// What holds up the new CA of a broken list holds up no revocation in another.
#[tokio::test]
async fn who_is_revoked_is_refused_while_a_new_client_ca_waits_for_its_list() {
    let scene = Scene::new();
    let next = Ca::new("Nodes 2027");
    let numbered = |params: &mut rcgen::CertificateParams| params.serial_number = Some(7.into());
    let revoked = scene.shows(&scene.ca.client_with("r", numbered));
    let old = scene.shows(&scene.ca.client("x"));
    let new = Arc::new(client(&scene.ca, Some((&next.client("y"), &[]))));
    let list = next.crl(1, &[]).pem().unwrap();
    scene.files.put("next.pem", &list);
    let crls = "[crl]\nfiles = [\"crl.pem\", \"next.pem\"]\n";
    let (guard, address) = scene.serve(&[TLS, crls]).await;
    let material = guard.acceptor().unwrap().material().clone();
    let is_in = async |config| asking(config, address).answer().await.is_ok();
    assert!(is_in(&revoked).await);

    scene.files.put("next.pem", &list[..list.len() / 2]);
    let both = format!("{}{}", scene.ca.pem, next.pem);
    scene.files.put("ca.crt", both);
    let crl = scene.ca.crl(2, &[7]).pem().unwrap();
    scene.files.put("crl.pem", crl);
    until("the revocation", async || !is_in(&revoked).await).await;
    assert!(is_in(&old).await && !is_in(&new).await);
    assert_eq!(material.generation(), 1);
    let names_the_list = || {
        let failure = material.health().failure;
        failure.is_some_and(|reason| reason.contains("next.pem"))
    };
    until("the reason", async || names_the_list()).await;

    scene.files.put("next.pem", &list);
    until("the new CA", async || is_in(&new).await).await;
    assert!(is_in(&old).await && !is_in(&revoked).await);
}

#[tokio::test]
async fn no_client_is_refused_for_a_list_that_has_not_come_yet() {
    let scene = Scene::new();
    let mut bundle = scene.ca.pem.clone();
    let mut lists = scene.ca.crl(1, &[]).pem().unwrap();
    let (guard, address) = scene.serve(&[TLS, CRL]).await;
    let material = guard.acceptor().unwrap().material().clone();
    for at in 0..20 {
        let ca = Ca::new(&format!("Nodes {at}"));
        let node = Arc::new(client(&scene.ca, Some((&ca.client("y"), &[]))));
        bundle.push_str(&ca.pem);
        lists.push_str(&ca.crl(1, &[]).pem().unwrap());
        let before = material.generation();
        scene.files.put("crl.pem", &lists);
        scene.files.put("ca.crt", &bundle);
        // The very first handshake under the new CA is a good one.
        until("the new CA", async || {
            material.generation() > before && material.load().expiries().len() == at + 3
        })
        .await;
        assert!(asking(&node, address).answer().await.is_ok(), "{at}");
    }
}

#[tokio::test]
async fn a_request_for_another_host_than_its_handshake_is_refused_where_the_operator_says_so() {
    let scene = Scene::new();
    let node = scene.ca.client("node");
    for (strict, answers) in [
        ("strict_host = true\n", [200, 200, 421, 421, 400]),
        ("", [200, 200, 200, 200, 400]),
    ] {
        let guard = scene.load(&[&format!("{TLS}{strict}")]).unwrap();
        let acceptor = guard.acceptor().unwrap();
        let config = client(&scene.ca, Some((&node, &[])));
        let (server, _client) = pki::accepted(acceptor, config).await;
        let service = guard.layer(service_fn(whoami));
        let hosts = [
            ("/v2/", &["localhost:5000"][..]),
            ("https://LOCALHOST./v2/", &[]),
            ("/v2/", &["other.example.org"]),
            ("https://other.example.org/v2/", &["localhost"]),
            ("/v2/", &["localhost", "other.example.org"]),
        ];
        for ((target, hosts), expected) in hosts.into_iter().zip(answers) {
            let mut request = Request::get(target).body(Empty::<Bytes>::new()).unwrap();
            if target.starts_with("https:") {
                *request.version_mut() = http::Version::HTTP_2;
            }
            for host in hosts {
                request.headers_mut().append("host", host.parse().unwrap());
            }
            request.extensions_mut().insert(server.connection.clone());
            let answer = tower::ServiceExt::oneshot(service.clone(), request).await;
            assert_eq!(
                answer.unwrap().status(),
                expected,
                "{strict}{target} {hosts:?}"
            );
        }
    }
}
