//! Keys that come over TLS, from a server that one CA alone says who it is.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis::auth::CredentialError;
use portcullis::auth::jwt::KeySetFetch;
use rcgen::date_time_ymd;
use rustls::ServerConfig;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{Key, authentication, set, status, until};
use crate::captured::Sink;
use crate::http_server::{Answer, Server};
use crate::pki::{Ca, Files, Leaf};

/// TLS in front of a server, by a certificate that can be changed.
struct Front {
    address: SocketAddr,
    config: Arc<Mutex<Arc<ServerConfig>>>,
}

impl Front {
    async fn of(server: &Server, leaf: &Leaf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = Self {
            address: listener.local_addr().unwrap(),
            config: Arc::new(Mutex::new(shown(leaf))),
        };
        let (config, behind) = (Arc::clone(&front.config), server.address());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = TlsAcceptor::from(Arc::clone(&config.lock().unwrap()));
                tokio::spawn(async move {
                    let mut client = acceptor.accept(client).await?;
                    let mut server = TcpStream::connect(behind).await?;
                    copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        front
    }

    fn shows(&self, leaf: &Leaf) {
        *self.config.lock().unwrap() = shown(leaf);
    }

    fn url(&self) -> String {
        format!("https://{}/keys", self.address)
    }

    fn fetch(&self, ca: &Path) -> KeySetFetch {
        KeySetFetch::new(self.url())
            .with_ca_file(ca)
            .with_interval(Duration::from_millis(30))
            .with_pause(Duration::from_millis(20))
            .with_timeout(Duration::from_secs(20))
    }
}

fn shown(leaf: &Leaf) -> Arc<ServerConfig> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let builder = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    let config = builder.with_single_cert(vec![leaf.der.clone()], leaf.key());
    Arc::new(config.unwrap())
}

fn expired(ca: &Ca) -> Leaf {
    ca.leaf("late", |params| {
        let ip = "127.0.0.1".parse().unwrap();
        params.subject_alt_names = vec![rcgen::SanType::IpAddress(ip)];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    })
}

/// What a server may show that must not be believed, and how it is reported.
fn unbelievable(ca: &Ca) -> [(&'static str, Leaf); 4] {
    let stranger = Ca::new("Another CA");
    // Whose name the right one has.
    let impostor = Ca::new("Keys CA");
    [
        ("UnknownIssuer", stranger.server(&["127.0.0.1"])),
        ("BadSignature", impostor.server(&["127.0.0.1"])),
        ("expired", expired(ca)),
        ("not valid for name", ca.server(&["localhost", "127.0.0.2"])),
    ]
}

fn keys_server(key: &Key, number: &str) -> Server {
    let server = Server::start();
    server.answer(Answer::list(&set(&[key]), number));
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keys_come_from_a_server_of_the_ca_in_the_file_alone() {
    let (files, ca, key) = (Files::new(), Ca::new("Keys CA"), Key::new("one"));
    let server = keys_server(&key, "1");
    let file = files.put("ca.crt", &ca.pem);
    let front = Front::of(&server, &ca.server(&["127.0.0.1"])).await;
    let keys = front.fetch(&file).begin().unwrap();
    assert_eq!(status(&authentication(keys), &key).await, 200);

    for (reason, leaf) in unbelievable(&ca) {
        let server = keys_server(&key, "1");
        let front = Front::of(&server, &leaf).await;
        let error = front.fetch(&file).begin().unwrap_err();
        assert!(matches!(error, CredentialError::Fetch { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&front.url()), "{reason}: {text}");
        assert!(text.contains(reason), "{reason}: {text}");
        assert_eq!(server.requests().len(), 0, "{reason}");
    }
    // The system's CAs do not know it, and none is trusted besides those in the file.
    let other = files.put("other.crt", Ca::new("Another CA").pem);
    assert!(front.fetch(&other).begin().is_err());
    assert!(KeySetFetch::new(front.url()).begin().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_of_the_ca_cannot_lead_to_where_there_is_no_tls() {
    let (files, ca, key) = (Files::new(), Ca::new("Keys CA"), Key::new("one"));
    let (server, elsewhere) = (keys_server(&key, "1"), keys_server(&key, "1"));
    let front = Front::of(&server, &ca.server(&["127.0.0.1"])).await;
    server.answer(Answer::Redirect(elsewhere.url("/keys")));
    let file = files.put("ca.crt", &ca.pem);
    assert!(front.fetch(&file).begin().is_err());
    assert_eq!(elsewhere.requests().len(), 0);
    server.answer(Answer::Redirect(front.url()));
    let error = front.fetch(&file).begin().unwrap_err().to_string();
    assert!(error.contains("too many redirects"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_not_believed_any_more_leaves_the_last_good_keys_and_is_told() {
    // Keys are fetched by threads of their own.
    let log = Sink::errors_everywhere();
    let (files, ca) = (Files::new(), Ca::new("Keys CA"));
    let (key, evil) = (Key::new("one"), Key::new("evil"));
    let server = keys_server(&key, "1");
    let good = ca.server(&["127.0.0.1"]);
    let front = Front::of(&server, &good).await;
    let file = files.put("ca.crt", &ca.pem);
    let keys = front.fetch(&file).begin().unwrap();
    let authentication = authentication(keys.clone());
    let generation = keys.generation();
    for (number, (reason, leaf)) in unbelievable(&ca).into_iter().enumerate() {
        front.shows(&leaf);
        server.answer(Answer::list(&set(&[&evil]), &format!("evil{number}")));
        until(reason, async || {
            let failure = keys.health().failure;
            failure.is_some_and(|failure| failure.contains(reason))
        })
        .await;
        assert_eq!(status(&authentication, &key).await, 200, "{reason}");
        assert_eq!(status(&authentication, &evil).await, 401, "{reason}");
        assert_eq!(keys.generation(), generation, "{reason}");
        let text = log.text();
        let mut lines = text.lines();
        let told = lines.any(|line| line.contains(&front.url()) && line.contains(reason));
        assert!(told, "{reason}: {text}");
        server.answer(Answer::list(&set(&[&key]), "1"));
        front.shows(&good);
        until("healed", async || keys.health().failure.is_none()).await;
    }
}

#[cfg(feature = "metrics")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_ca_that_is_replaced_in_its_file_is_the_one_that_counts() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new();
    let metrics = recorder.install_recorder().unwrap();
    let (files, old, new) = (Files::new(), Ca::new("Keys CA"), Ca::new("Keys CA 2"));
    let (key, next) = (Key::new("one"), Key::new("next"));
    let server = keys_server(&key, "1");
    let front = Front::of(&server, &old.server(&["127.0.0.1"])).await;
    let file = files.put("ca.crt", &old.pem);
    let keys = front.fetch(&file).begin().unwrap();
    let authentication = authentication(keys.clone());
    server.answer(Answer::list(&set(&[&next]), "2"));
    files.put("ca.crt", &new.pem);
    until("another CA", async || keys.health().failure.is_some()).await;
    let failed = "portcullis_reloads_total{what=\"jwt_keys\",outcome=\"failed\"}";
    assert!(metrics.render().contains(failed), "{}", metrics.render());

    front.shows(&new.server(&["127.0.0.1"]));
    until("the next keys", async || {
        status(&authentication, &next).await == 200
    })
    .await;
    assert_eq!(status(&authentication, &key).await, 401);
    assert_eq!(keys.health().failure, None);
}

#[cfg(feature = "config")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_configuration_whose_keys_are_at_a_server_of_another_ca_starts_no_gate() {
    use portcullis::{Guard, config::Config};

    let (files, ca, key) = (Files::new(), Ca::new("Keys CA"), Key::new("one"));
    let server = keys_server(&key, "1");
    let front = Front::of(&server, &ca.server(&["127.0.0.1"])).await;
    let url = front.url();
    let config = files.put(
        "gate.toml",
        format!(
            "[auth]\nrequire = \"token\"\n[[auth.jwt]]\nkind = \"registry\"\nissuer = \"hub\"\n\
             audiences = [\"us\"]\nkeys = \"{url}\"\nca = \"ca.crt\"\n"
        ),
    );
    let guard = || Guard::from_config(&Config::load(&config).unwrap());
    files.put("ca.crt", Ca::new("Another CA").pem);
    let error = guard().unwrap_err();
    let reason = error.to_string();
    assert!(reason.contains("UnknownIssuer"), "{reason}");
    files.put("ca.crt", &ca.pem);
    assert!(guard().is_ok());
}
