//! Which certificates count as client CAs.
#![cfg(all(feature = "config", feature = "tls", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::captured;
use crate::pki;

use std::collections::HashSet;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use captured::Captured;
use pki::{Ca, Files, Leaf, accepted, client, refused};
use portcullis::config::Config;
use portcullis::tls::{Acceptor, ClientCas, Material, Reason, TlsError};
use portcullis::{Guard, Watched};
use rcgen::{
    CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use tracing::Level;

fn load(files: &Files, server: &Leaf, cas: &Path) -> Result<Material, TlsError> {
    let builder = files.server(server);
    builder
        .require_client_certificates(ClientCas::new([cas]))
        .load()
}

fn told(error: &TlsError) -> String {
    let source = error.source().map(ToString::to_string);
    [error.to_string()]
        .into_iter()
        .chain(source)
        .collect::<Vec<_>>()
        .join(": ")
}

/// Validity that ends before it begins, in the past or still to come.
fn never(from: i64) -> impl Fn(&mut CertificateParams) {
    move |params| {
        params.not_before = in_days(from);
        params.not_after = in_days(from - 30);
    }
}

#[test]
fn a_certificate_whose_validity_ends_before_it_begins_is_told_as_one_that_is_never_valid() {
    let (good, files) = (Ca::new("good"), Files::new());
    let server = good.server(&["localhost"]);
    for from in [-1, 15, 60] {
        let ca = Ca::with("never", never(from));
        let error = load(&files, &server, &files.put("ca.crt", &ca.pem)).unwrap_err();
        assert!(
            matches!(error, TlsError::NeverValid { .. }),
            "{from}: {error}"
        );
        let captured = Captured::from(Level::WARN);
        let both = files.put("ca.crt", ca.pem + &good.pem);
        load(&files, &server, &both).unwrap();
        let log = captured.text();
        assert!(log.contains("it is never valid"), "{log}");
        let own = good.leaf("localhost", never(from));
        let error = load(&files, &own, &both).unwrap_err();
        assert!(
            matches!(error, TlsError::NeverValid { .. }),
            "{from}: {error}"
        );
    }
}

#[tokio::test]
async fn a_ca_that_is_in_a_copy_of_a_file_alone_is_not_trusted() {
    let (good, removed, files) = (Ca::new("good"), Ca::new("removed"), Files::new());
    let server = good.server(&["localhost"]);
    let folder = files.path("cas");
    fs::create_dir(&folder).unwrap();
    files.put("cas/ca.crt", &good.pem);
    let captured = Captured::from(Level::WARN);
    for name in [
        "ca.crt~",
        "ca.crt.bak",
        "CA.PEM.OLD",
        "ca.crt.rpmsave",
        "ca.new",
    ] {
        let copy = files.put(&format!("cas/{name}"), &removed.pem);
        let leaf = removed.client("removed");
        let shown = || client(&good, Some((&leaf, &[])));
        let acceptor = |cas: &Path| {
            let material = load(&files, &server, cas).unwrap();
            Acceptor::new(Watched::fixed(material))
        };
        refused(&acceptor(&folder), shown()).await;
        assert!(
            captured.text().contains(name),
            "{name}: {}",
            captured.text()
        );
        // Where the operator names it, it is meant.
        accepted(&acceptor(&copy), shown()).await;
        fs::remove_file(copy).unwrap();
    }
}

fn in_days(days: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::now_utc() + time::Duration::days(days)
}

/// A certificate that is no CA and signs all the same.
fn signer(leaf: &Leaf) -> Issuer<'static, KeyPair> {
    let key = KeyPair::from_pem(&leaf.key_pem).unwrap();
    Issuer::from_ca_cert_der(&leaf.der, key).unwrap()
}

/// What cert-manager writes: the CA, the server's certificate and its key.
fn secret(ca: &Ca, server: &Leaf) -> Files {
    let secret = Files::new();
    secret.put("ca.crt", &ca.pem);
    secret.put("tls.crt", &server.pem);
    secret.put("tls.key", &server.key_pem);
    secret
}

#[tokio::test]
async fn a_servers_certificate_in_the_folder_of_its_ca_vouches_for_nobody() {
    let ca = Ca::new("Nodes 2026");
    let server = ca.server(&["localhost"]);
    let secret = secret(&ca, &server);
    let captured = Captured::from(Level::WARN);
    let material = load(&Files::new(), &server, secret.directory.path()).unwrap();
    let log = captured.text();
    assert!(
        log.contains("not fit to be one and is not trusted"),
        "{log}"
    );
    assert!(
        log.contains("tls.crt") && log.contains("CN=localhost"),
        "{log}"
    );
    assert!(log.contains("do not say CA:TRUE"), "{log}");
    assert!(!log.contains("ca.crt"), "{log}");

    let acceptor = Acceptor::new(Watched::fixed(material));
    accepted(&acceptor, client(&ca, Some((&ca.client("node-7"), &[])))).await;
    let mut admin = CertificateParams::default();
    admin.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let signed = admin.signed_by(&key, &signer(&server)).unwrap();
    let admin = Leaf {
        der: signed.der().clone(),
        pem: signed.pem(),
        key_pem: key.serialize_pem(),
        key_der: key.serialize_der(),
    };
    let (error, _) = refused(&acceptor, client(&ca, Some((&admin, &[])))).await;
    assert_eq!(error.reason(), Reason::UnknownIssuer);
}

#[test]
fn what_is_not_fit_to_be_a_client_ca_is_an_error_in_a_named_file_that_says_why() {
    let good = Ca::new("Good");
    let server = good.server(&["localhost"]);
    let critical = |params: &mut CertificateParams| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions = vec![extension];
    };
    for (ca, expected) in [
        (
            Ca::with("Nodes", |ca| ca.key_usages = vec![KeyUsagePurpose::CrlSign]),
            "cannot be a client CA: its key usage does not allow it to sign certificates (keyCertSign)",
        ),
        (
            Ca::with("Nodes", critical),
            "cannot be a client CA: it has the critical extension 1.2.3.4, which is not understood",
        ),
        (
            Ca::with("Nodes", |ca| {
                ca.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }),
            "cannot be a client CA: its extended key usage does not allow client certificates \
             (clientAuth)",
        ),
        (
            Ca::with("Nodes", |ca| ca.not_before = in_days(3)),
            "is not valid for another",
        ),
        (
            Ca::with("Nodes", |ca| ca.is_ca = rcgen::IsCa::NoCa),
            "cannot be a client CA: it is no CA certificate: its basic constraints do not say CA:TRUE",
        ),
    ] {
        let files = Files::new();
        let bundle = files.put("bundle.pem", format!("{}{}", good.pem, ca.pem));
        let error = told(&load(&files, &server, &bundle).unwrap_err());
        let expected = format!("{}: `CN=Nodes` {expected}", bundle.display());
        assert!(error.starts_with(&expected), "{error}");

        // In a folder it is left out, and the others count.
        let folder = Files::new();
        folder.put("nodes.crt", &ca.pem);
        let error = told(&load(&files, &server, folder.directory.path()).unwrap_err());
        assert!(error.contains("nodes.crt: `CN=Nodes` "), "{error}");
        folder.put("good.pem", &good.pem);
        let material = load(&files, &server, folder.directory.path()).unwrap();
        let cas = material
            .expiries()
            .iter()
            .filter(|one| one.kind == "client_ca");
        let cas: Vec<_> = cas.map(|one| &*one.subject).collect();
        assert_eq!(cas, ["CN=Good"]);
    }
}

#[test]
fn a_ca_of_any_purpose_and_one_without_key_usage_are_fit() {
    let server = Ca::new("Server").server(&["localhost"]);
    for ca in [
        Ca::with("Nodes", |ca| ca.key_usages = vec![]),
        Ca::with("Nodes", |ca| {
            ca.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
        }),
        Ca::with("Nodes", |ca| {
            ca.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ];
        }),
    ] {
        let files = Files::new();
        load(&files, &server, &files.put("ca.crt", &ca.pem)).unwrap();
    }
}

#[tokio::test]
async fn a_ca_of_version_1_is_trusted_where_its_file_is_named_and_not_in_a_folder() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/tls");
    let read = |name: &str| fs::read_to_string(vectors.join(name)).unwrap();
    let ca = Ca::new("Server");
    let server = ca.server(&["localhost"]);
    let files = Files::new();
    let material = load(&files, &server, &vectors.join("root-v1.pem")).unwrap();
    let acceptor = Acceptor::new(Watched::fixed(material));
    let (pem, key_pem) = (read("client-of-v1.pem"), read("client-of-v1.key"));
    let node = Leaf {
        der: CertificateDer::from_pem_slice(pem.as_bytes()).unwrap(),
        key_der: KeyPair::from_pem(&key_pem).unwrap().serialize_der(),
        pem,
        key_pem,
    };
    accepted(&acceptor, client(&ca, Some((&node, &[])))).await;

    let folder = Files::new();
    folder.put("old.pem", read("root-v1.pem"));
    let error = told(&load(&files, &server, folder.directory.path()).unwrap_err());
    assert!(error.contains("it is of X.509 version 1"), "{error}");
    folder.put("ca.crt", &ca.pem);
    let material = load(&files, &server, folder.directory.path()).unwrap();
    let acceptor = Acceptor::new(Watched::fixed(material));
    let (error, _) = refused(&acceptor, client(&ca, Some((&node, &[])))).await;
    assert_eq!(error.reason(), Reason::UnknownIssuer);
}

#[tokio::test]
async fn the_report_counts_the_client_cas_and_what_is_left_out_beside_them() {
    let ca = Ca::new("Nodes 2026");
    let server = ca.server(&["localhost"]);
    let secret = secret(&ca, &server);
    let folder = secret.directory.path();
    let text = "[tls]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"\nclient_ca = [\".\"]\n\
                max_intermediates = 3\nmax_chain_size = \"16KiB\"\n";
    let file = secret.put("gate.toml", text);
    let load = || Guard::from_config(&Config::load(&file).unwrap());
    let guard = load().unwrap();
    let report = guard.report().to_string();
    let line = "enforced: 1 client CA may vouch for clients, and 1 certificate beside them, not fit to \
                be one, may not: the log names them\n";
    assert!(report.contains(line), "{report}");

    // The bounds are those of the file.
    let acceptor = guard.acceptor().unwrap();
    let node = ca.client("node-7");
    let above = [&ca; 4];
    accepted(acceptor, client(&ca, Some((&node, &above[..3])))).await;
    let (error, _) = refused(acceptor, client(&ca, Some((&node, &above)))).await;
    assert_eq!(error.reason(), Reason::ChainTooLarge);

    fs::write(
        folder.join("gate.toml"),
        text.replace("\".\"", "\"tls.crt\""),
    )
    .unwrap();
    let error = load().unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("cannot be a client CA: it is no CA certificate"),
        "{error}"
    );
}

#[tokio::test]
async fn a_client_has_the_very_ca_that_issued_its_certificate_whatever_else_is_trusted() {
    let ends_soon = Ca::with("Nodes", |ca| ca.not_after = in_days(30));
    let (other, of_same_name) = (Ca::new("Builders"), Ca::new("Nodes"));
    // The key of the first under another name.
    let renamed = ends_soon.renewed("Renamed", |_| {});
    let files = Files::new();
    let pems = [&ends_soon.pem, &other.pem, &of_same_name.pem, &renamed];
    let bundle = files.put("ca.crt", pems.map(String::as_str).concat());
    let server = ends_soon.server(&["localhost"]);
    let acceptor = Acceptor::new(Watched::fixed(load(&files, &server, &bundle).unwrap()));
    let mut keys = HashSet::new();
    for (ca, name) in [
        (&ends_soon, "CN=Nodes"),
        (&other, "CN=Builders"),
        (&of_same_name, "CN=Nodes"),
    ] {
        let node = ca.client("node-7");
        let (theirs, _) = accepted(&acceptor, client(&ends_soon, Some((&node, &[])))).await;
        let identity = theirs.connection.identity().unwrap();
        assert_eq!(identity.anchor_subject(), Some(name));
        assert!(keys.insert(identity.anchor_key_hex().unwrap().to_owned()));
    }
}

/// Notes which CAs a server asks for, and has no certificate.
#[derive(Debug, Default)]
struct Asked(Mutex<Vec<Vec<u8>>>);

impl ResolvesClientCert for Asked {
    fn resolve(&self, names: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        *self.0.lock().unwrap() = names.iter().map(|name| name.to_vec()).collect();
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// RFC 8446 §4.2.4: a client with several certificates chooses by them.
#[tokio::test]
async fn clients_are_told_the_names_of_the_cas_that_are_trusted() {
    let (one, other) = (Ca::new("Nodes"), Ca::new("Builders"));
    let files = Files::new();
    let bundle = files.put("ca.crt", format!("{}{}", one.pem, other.pem));
    let material = load(&files, &one.server(&["localhost"]), &bundle).unwrap();
    let acceptor = Acceptor::new(Watched::fixed(material));
    let asked = Arc::new(Asked::default());
    let mut config = client(&one, None);
    config.client_auth_cert_resolver = Arc::clone(&asked) as _;
    let (error, _) = refused(&acceptor, config).await;
    assert_eq!(error.reason(), Reason::CertificateMissing);
    let subjects = [&one, &other].map(|ca| {
        let (_, certificate) = x509_parser::parse_x509_certificate(&ca.der).unwrap();
        certificate.subject().as_raw().to_vec()
    });
    assert_eq!(*asked.0.lock().unwrap(), subjects);
}
