//! What a client may send as its chain, and which of several paths is taken.
#![cfg(all(feature = "crl", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::pki;

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pki::worst::{self, Chain};
use pki::{Ca, Files, Leaf, accepted, client, refused};
use portcullis::Watched;
use portcullis::crl::{Options, Revocation};
use portcullis::tls::{Acceptor, Builder, ClientCas, HandshakeError, Reason};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationList, GeneralSubtree, IsCa, KeyPair,
    NameConstraints,
};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

fn by(builder: Builder) -> Acceptor {
    Acceptor::new(Watched::fixed(builder.load().unwrap()))
}

/// A client that shows this, whatever it is.
fn showing(trusts: &Ca, ders: Vec<CertificateDer<'static>>, key: &KeyPair) -> ClientConfig {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let key = provider.key_provider.load_private_key(key.into()).unwrap();
    let certified = rustls::sign::CertifiedKey::new(ders, key);
    let mut config = client(trusts, None);
    config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
    config
}

struct Scene {
    files: Files,
    root: Ca,
    server: Leaf,
}

impl Scene {
    fn new() -> Self {
        let root = Ca::new("Root");
        let server = root.server(&["localhost"]);
        Self {
            files: Files::new(),
            root,
            server,
        }
    }

    fn builder(&self) -> Builder {
        self.files.requiring(&self.server, &self.root)
    }

    async fn refuses(&self, builder: Builder, chain: Chain) -> HandshakeError {
        let config = showing(&self.root, chain.ders, &chain.key);
        refused(&by(builder), config).await.0
    }
}

#[tokio::test]
async fn a_chain_of_more_certificates_than_are_taken_is_refused_unread() {
    let scene = Scene::new();
    let error = scene.refuses(scene.builder(), worst::made_up(6, 1)).await;
    assert_eq!(error.reason(), Reason::ChainTooLarge);
    assert_eq!(
        error.to_string(),
        "the client sent 6 intermediate certificates, and no more than 5 are taken \
         (`tls.max_intermediates`)"
    );
    let presented = error.presented().unwrap();
    assert!(presented.ends_with("; and 1 more"), "{presented}");
    let more = scene.builder().with_max_intermediates(6);
    let error = scene.refuses(more, worst::made_up(6, 1)).await;
    assert_eq!(error.reason(), Reason::UnknownIssuer, "{error}");
}

#[tokio::test]
async fn a_chain_of_more_bytes_than_are_taken_is_refused_unread() {
    let scene = Scene::new();
    let many = || worst::many_names(&scene.root.issuer, 2_000);
    let chain = many();
    let size = chain.ders[0].len();
    let error = scene.refuses(scene.builder(), chain).await;
    assert_eq!(error.reason(), Reason::ChainTooLarge);
    assert_eq!(
        error.to_string(),
        format!(
            "the client sent certificates of {size} bytes, and no more than 32768 are taken \
             (`tls.max_chain_size`)"
        )
    );
    let Chain { ders, key, .. } = many();
    let more = by(scene.builder().with_max_chain_size(48 * 1024));
    accepted(&more, showing(&scene.root, ders, &key)).await;
}

#[tokio::test]
async fn as_many_names_under_as_many_constraints_as_cannot_be_compared_are_refused() {
    let scene = Scene::new();
    let chain = worst::constrained(&scene.root.issuer, 1, 150, 150);
    let error = scene.refuses(scene.builder(), chain).await;
    assert_eq!(error.reason(), Reason::ChainTooLarge);
    assert_eq!(
        error.to_string(),
        "the client's chain has 153 names under 150 name constraints, too many to compare"
    );
    let chain = worst::constrained(&scene.root.issuer, 1, 50, 100);
    let error = scene.refuses(scene.builder(), chain).await;
    assert_eq!(error.reason(), Reason::NameConstraints);
}

/// Those of the client CA count too, whether or not a certificate that is sent has any.
#[tokio::test]
async fn names_under_the_constraints_of_a_client_ca_are_bounded_too() {
    let scene = Scene::new();
    let constrained = |count: usize| {
        Ca::with("Narrow", |ca| {
            let names = (0..count).map(|at| GeneralSubtree::DnsName(format!("{at}.example.org")));
            ca.name_constraints = Some(NameConstraints {
                permitted_subtrees: names.collect(),
                excluded_subtrees: vec![],
            });
        })
    };
    for (count, reason) in [(200, Reason::ChainTooLarge), (1, Reason::NameConstraints)] {
        let ca = constrained(count);
        let bundle = scene.files.put("narrow.crt", &ca.pem);
        let builder = scene
            .files
            .server(&scene.server)
            .require_client_certificates(ClientCas::new([bundle]));
        let chain = worst::many_names(&ca.issuer, 200);
        let error = scene.refuses(builder, chain).await;
        assert_eq!(error.reason(), reason, "{count}: {error}");
    }
}

/// The CPU time of this thread, on which the server's side runs alone.
fn cpu() -> Duration {
    thread::sleep(Duration::from_micros(1));
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

/// What the server spends on a handshake with this chain, and how it refuses it if it does.
fn cost(acceptor: &Acceptor, config: ClientConfig) -> (Duration, Option<HandshakeError>) {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let theirs = thread::spawn(move || {
        runtime().block_on(async {
            let stream = pki::connect(&Arc::new(config), address, "localhost").await;
            let mut stream = stream.unwrap();
            let _ = tokio::io::AsyncReadExt::read_u8(&mut stream).await;
        });
    });
    let (tcp, _) = tcp.accept().unwrap();
    tcp.set_nonblocking(true).unwrap();
    let found = runtime().block_on(async {
        let tcp = tokio::net::TcpStream::from_std(tcp).unwrap();
        let before = cpu();
        let accepted = acceptor.accept(tcp).await;
        (cpu().saturating_sub(before), accepted.err())
    });
    theirs.join().unwrap();
    found
}

#[test]
fn a_volley_of_made_up_certificates_is_ended_by_a_budget_where_the_bounds_let_it_through() {
    let scene = Scene::new();
    let wide = scene.builder().with_max_intermediates(200);
    let acceptor = by(wide.with_max_chain_size(64 * 1024));
    let Chain { ders, key, .. } = worst::made_up(6, 18);
    let (cost, error) = cost(&acceptor, showing(&scene.root, ders, &key));
    let error = error.unwrap();
    assert_eq!(error.reason(), Reason::PathTooLong, "{error}");
    // The search of 200,000 steps took 4 s where the compiler optimizes, and this is where it does not.
    assert!(cost < Duration::from_secs(1), "{cost:?}");
}

#[test]
fn no_chain_within_the_bounds_is_searched_for_long() {
    let scene = Scene::new();
    let acceptor = by(scene.builder());
    let root = &scene.root.issuer;
    for chain in [
        worst::made_up(5, 1),
        worst::made_up(1, 5),
        worst::one_name(5, 32 * 1024),
        worst::beneath(root, &rcgen::PKCS_ECDSA_P384_SHA384, 5, 32 * 1024),
        worst::beneath(root, &rcgen::PKCS_ECDSA_P521_SHA512, 5, 32 * 1024),
        worst::constrained(root, 5, 10, 190),
        worst::many_names(root, 1_300),
    ] {
        let config = showing(&scene.root, chain.ders, &chain.key);
        let (cost, error) = cost(&acceptor, config);
        let error = error.map(|error| error.to_string());
        println!("{cost:?} for {}: {error:?}", chain.what);
        // `cargo bench --bench tls` has the figures of what the compiler optimizes.
        assert!(
            cost < Duration::from_millis(250),
            "{}: {cost:?}, {error:?}",
            chain.what
        );
    }
}

#[tokio::test]
async fn of_intermediates_with_one_name_the_one_that_signed_is_found_wherever_it_stands() {
    let scene = Scene::new();
    let subs: Vec<_> = (0..5).map(|_| scene.root.sub("Sub", |_| {})).collect();
    let acceptor = by(scene.builder());
    for sub in &subs {
        let node = sub.client("node-7");
        let all: Vec<_> = subs.iter().collect();
        accepted(&acceptor, client(&scene.root, Some((&node, &all)))).await;
    }
}

#[tokio::test]
async fn what_a_client_sends_twice_or_needlessly_is_no_reason_to_refuse_it() {
    let scene = Scene::new();
    let sub = scene.root.sub("Sub", |_| {});
    let other = Ca::new("Other").sub("Sub", |_| {});
    let node = sub.client("node-7");
    let acceptor = by(scene.builder());
    for above in [
        [&sub, &sub, &sub, &sub, &scene.root],
        [&scene.root, &other, &other, &scene.root, &sub],
    ] {
        accepted(&acceptor, client(&scene.root, Some((&node, &above)))).await;
    }
}

#[tokio::test]
async fn a_client_ca_is_above_no_more_cas_than_its_path_length_allows() {
    let files = Files::new();
    let root = Ca::with("Root", |ca| {
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    let server = root.server(&["localhost"]);
    let acceptor = by(files.requiring(&server, &root));
    accepted(&acceptor, client(&root, Some((&root.client("x"), &[])))).await;
    let sub = root.sub("Sub", |_| {});
    let config = client(&root, Some((&sub.client("x"), &[&sub])));
    let (error, _) = refused(&acceptor, config).await;
    assert_eq!(error.reason(), Reason::PathTooLong);
}

/// Another certificate of a CA beneath this one, with its name and its key.
fn reissued(above: &Ca, ca: &Ca, serial: u64) -> Ca {
    let key = KeyPair::from_pem(&ca.issuer.key().serialize_pem()).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let name = rcgen::DnType::CommonName;
    params.distinguished_name.push(name, "Sub");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.serial_number = Some(serial.into());
    let certificate = params.signed_by(&key, &above.issuer).unwrap();
    Ca {
        pem: certificate.pem(),
        der: certificate.der().clone(),
        issuer: rcgen::Issuer::new(params, key),
    }
}

fn lists(all: &[&CertificateRevocationList]) -> Revocation {
    Revocation::from_bytes(all.iter().map(|list| &list.der()[..]), Options::default()).unwrap()
}

#[tokio::test]
async fn another_path_is_taken_where_one_is_revoked_whatever_comes_first() {
    let scene = Scene::new();
    let sub = scene
        .root
        .sub("Sub", |ca| ca.serial_number = Some(1.into()));
    let again = reissued(&scene.root, &sub, 2);
    let node = sub.client("node-7");
    let empty = sub.crl(1, &[]);
    for revoked in [1, 2] {
        let revocation = lists(&[&scene.root.crl(1, &[revoked]), &empty]);
        let acceptor = by(scene.builder().with_revocation(revocation));
        for above in [[&sub, &again], [&again, &sub]] {
            // The second time the path is one that was found before.
            for _ in 0..2 {
                accepted(&acceptor, client(&scene.root, Some((&node, &above)))).await;
            }
        }
        let only = [[&sub], [&again]][usize::try_from(revoked).unwrap() - 1];
        let config = client(&scene.root, Some((&node, &only)));
        let (error, _) = refused(&acceptor, config).await;
        assert_eq!(error.reason(), Reason::CertificateRevoked);
    }
    let both = lists(&[&scene.root.crl(1, &[1, 2]), &empty]);
    let acceptor = by(scene.builder().with_revocation(both));
    let config = client(&scene.root, Some((&node, &[&sub, &again])));
    let (error, theirs) = refused(&acceptor, config).await;
    assert_eq!(error.reason(), Reason::CertificateRevoked);
    let words = error.to_string();
    let begin = "the intermediate CA's certificate `CN=Sub` was revoked on ";
    assert!(words.starts_with(begin), "{words}");
    assert!(words.ends_with(" of `CN=Root`"), "{words}");
    assert!(theirs.ends_with("CertificateRevoked"), "{theirs}");
}

#[tokio::test]
async fn a_path_that_was_good_and_is_revoked_now_gives_way_to_another() {
    let scene = Scene::new();
    let sub = scene
        .root
        .sub("Sub", |ca| ca.serial_number = Some(1.into()));
    let again = reissued(&scene.root, &sub, 2);
    let node = sub.client("node-7");
    let empty = sub.crl(1, &[]);
    let revocation = lists(&[&scene.root.crl(1, &[]), &empty]);
    let acceptor = by(scene.builder().with_revocation(revocation.clone()));
    let config = || client(&scene.root, Some((&node, &[&sub, &again])));
    accepted(&acceptor, config()).await;
    for (number, revoked) in [(2, [1]), (3, [2])] {
        let later = [&scene.root.crl(number, &revoked), &empty];
        let later = later.iter().map(|list| &list.der()[..]);
        revocation.publish(later).unwrap();
        accepted(&acceptor, config()).await;
    }
}

#[tokio::test]
async fn two_client_cas_of_one_name_each_have_their_own_list() {
    let (one, other) = (Ca::new("Nodes"), Ca::new("Nodes"));
    let files = Files::new();
    let bundle = files.put("ca.crt", format!("{}{}", one.pem, other.pem));
    let builder = files
        .server(&one.server(&["localhost"]))
        .require_client_certificates(ClientCas::new([bundle]));
    let lists = lists(&[&one.crl(1, &[]), &other.crl(1, &[])]);
    let acceptor = by(builder.with_revocation(lists));
    for ca in [&one, &other] {
        accepted(&acceptor, client(&one, Some((&ca.client("x"), &[])))).await;
    }
}

#[tokio::test]
async fn a_revoked_path_to_one_client_ca_gives_way_to_one_to_another() {
    let (one, other) = (Ca::new("One"), Ca::new("Other"));
    let sub = one.sub("Sub", |ca| ca.serial_number = Some(1.into()));
    let crossed = reissued(&other, &sub, 1);
    let node = sub.client_with("node-7", |node| node.serial_number = Some(9.into()));
    let files = Files::new();
    let bundle = files.put("ca.crt", format!("{}{}", one.pem, other.pem));
    let builder = files
        .server(&one.server(&["localhost"]))
        .require_client_certificates(ClientCas::new([bundle]));
    let revoked = lists(&[&one.crl(1, &[1]), &other.crl(1, &[]), &sub.crl(1, &[])]);
    let acceptor = by(builder.with_revocation(revoked));
    for above in [[&sub, &crossed], [&crossed, &sub]] {
        let (server, _theirs) = accepted(&acceptor, client(&one, Some((&node, &above)))).await;
        let identity = server.connection.identity().unwrap();
        assert_eq!(identity.anchor_subject(), Some("CN=Other"));
    }
    // Without lists of the other there is no good path, and the operator hears of the revoked one.
    let partial = lists(&[&one.crl(1, &[1]), &sub.crl(1, &[])]);
    let builder = files
        .server(&one.server(&["localhost"]))
        .require_client_certificates(ClientCas::new([files.path("ca.crt")]));
    let acceptor = by(builder.with_revocation(partial));
    for (above, reason) in [
        (&[&crossed][..], Reason::RevocationUnknown),
        (&[&sub, &crossed], Reason::CertificateRevoked),
        (&[&crossed, &sub], Reason::CertificateRevoked),
    ] {
        let (error, _) = refused(&acceptor, client(&one, Some((&node, above)))).await;
        assert_eq!(error.reason(), reason, "{error}");
    }
    // The client's own certificate is the same on every path.
    let revoked = lists(&[&one.crl(1, &[]), &other.crl(1, &[]), &sub.crl(1, &[9])]);
    let builder = files
        .server(&one.server(&["localhost"]))
        .require_client_certificates(ClientCas::new([files.path("ca.crt")]));
    let acceptor = by(builder.with_revocation(revoked));
    let config = client(&one, Some((&node, &[&sub, &crossed])));
    let (error, _) = refused(&acceptor, config).await;
    assert_eq!(error.reason(), Reason::CertificateRevoked);
}
