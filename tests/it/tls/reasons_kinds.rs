//! That a cause which lies in a kind of key, of name or of encoding is reported as what it is.
#![cfg(all(feature = "tls", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::pki;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pki::{Ca, Files, Leaf, accepted, client, refused};
use portcullis::Watched;
use portcullis::tls::{Acceptor, ClientCas, HandshakeError, Reason};
use rcgen::{
    CertificateParams, CidrSubnet, CustomExtension, DnType, GeneralSubtree, NameConstraints,
    SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::{ClientConfig, SignatureAlgorithm, SignatureScheme};

fn vector(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/tls");
    folder.join(name)
}

/// A certificate of `tests/vectors`, with a key that is not its own.
fn foreign(name: &str) -> Leaf {
    let pem = fs::read_to_string(vector(name)).unwrap();
    let other = Ca::new("Other").client("other");
    Leaf {
        der: CertificateDer::from_pem_slice(pem.as_bytes()).unwrap(),
        pem,
        ..other
    }
}

struct Scene {
    files: Files,
    ca: Ca,
    server: Leaf,
}

impl Scene {
    fn new() -> Self {
        let ca = Ca::new("Nodes 2026");
        let server = ca.server(&["localhost"]);
        let files = Files::new();
        Self { files, ca, server }
    }

    fn trusting(&self, file: PathBuf) -> Acceptor {
        let builder = self.files.server(&self.server);
        let builder = builder.require_client_certificates(ClientCas::new([file]));
        Acceptor::new(Watched::fixed(builder.load().unwrap()))
    }

    fn acceptor(&self) -> Acceptor {
        self.trusting(self.files.put("ca.crt", &self.ca.pem))
    }

    async fn refuses(&self, acceptor: &Acceptor, leaf: &Leaf, above: &[&Ca]) -> HandshakeError {
        refused(acceptor, client(&self.ca, Some((leaf, above))))
            .await
            .0
    }
}

#[tokio::test]
async fn a_ca_whose_kind_of_key_is_not_supported_is_told_and_not_one_that_was_made_anew() {
    let scene = Scene::new();
    for (root, leaf, expected) in [
        (
            "root-rsa1024.pem",
            "client-of-rsa1024.pem",
            "no signature of `CN=root-rsa1024`, a CA above the client's certificate `CN=node-7`, can be \
             verified: it has an RSA key of 1024 bits, and from 2048 to 8192 bits are taken",
        ),
        (
            "root-p224.pem",
            "client-of-p224.pem",
            "no signature of `CN=root-p224`, a CA above the client's certificate `CN=node-7`, can be \
             verified: it has a key on the curve P-224, and P-256, P-384 and P-521 are taken",
        ),
    ] {
        let acceptor = scene.trusting(vector(root));
        let error = scene.refuses(&acceptor, &foreign(leaf), &[]).await;
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn a_signature_by_sha1_is_told_by_its_name() {
    let scene = Scene::new();
    let acceptor = scene.trusting(vector("root.pem"));
    let error = scene
        .refuses(&acceptor, &foreign("client-sha1.pem"), &[])
        .await;
    assert_eq!(error.reason(), Reason::UnsupportedAlgorithm);
    assert_eq!(
        error.to_string(),
        "the client's certificate `CN=node-7` or a CA above it is signed by ECDSA with SHA-1 \
         (1.2.840.10045.4.1), an algorithm that is not supported"
    );
}

/// A client that proves with RSA-PSS, as the holder of an RSA key does, and cannot be verified.
#[derive(Debug)]
struct Pss;

impl SigningKey for Pss {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let pss = SignatureScheme::RSA_PSS_SHA256;
        offered.contains(&pss).then(|| Box::new(Pss) as _)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::RSA
    }
}

impl Signer for Pss {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(vec![1; 128])
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::RSA_PSS_SHA256
    }
}

#[tokio::test]
async fn a_client_whose_kind_of_key_is_not_supported_is_not_told_to_lack_it() {
    let scene = Scene::new();
    let acceptor = scene.trusting(vector("root.pem"));
    let by_pss = |leaf: &Leaf| -> ClientConfig {
        let certified = CertifiedKey::new(vec![leaf.der.clone()], Arc::new(Pss));
        let mut config = client(&scene.ca, None);
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        config
    };
    let rsa = foreign("client-rsa1024.pem");
    let p224 = foreign("client-p224.pem");
    let own = "the client cannot prove that it holds the private key of its certificate `CN=node-7`: \
               that has";
    for (config, expected) in [
        (
            by_pss(&rsa),
            format!("{own} an RSA key of 1024 bits, and from 2048 to 8192 bits are taken"),
        ),
        (
            client(&scene.ca, Some((&p224, &[]))),
            format!("{own} a key on the curve P-224, and P-256, P-384 and P-521 are taken"),
        ),
    ] {
        let (error, _) = refused(&acceptor, config).await;
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.reason(), Reason::UnsupportedAlgorithm);
        assert_eq!(error.path().unwrap(), "`CN=node-7` <- client CA `CN=root`");
    }
}

fn constrained(ca: &Ca, permitted: GeneralSubtree) -> Ca {
    ca.sub("Narrow", |ca| {
        ca.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![permitted],
            excluded_subtrees: vec![],
        });
    })
}

fn named(ca: &Ca, name: SanType) -> Leaf {
    ca.client_with("node-7", |leaf| leaf.subject_alt_names = vec![name])
}

#[tokio::test]
async fn name_constraints_of_forms_that_are_not_checked_are_told_as_that_and_not_as_broken() {
    let scene = Scene::new();
    let acceptor = scene.acceptor();
    let mail = constrained(&scene.ca, GeneralSubtree::Rfc822Name("example.org".into()));
    let mail_leaf = named(
        &mail,
        SanType::Rfc822Name("x@example.org".try_into().unwrap()),
    );
    let mut directory = rcgen::DistinguishedName::new();
    directory.push(DnType::CommonName, "node-7");
    let directory = constrained(&scene.ca, GeneralSubtree::DirectoryName(directory));
    let directory_leaf = directory.client("node-7");
    // rcgen writes no constraint on URIs: permitted is `.example.org`.
    let uri = scene.ca.sub("Narrow", |ca| {
        let value = b"\x30\x12\xa0\x10\x30\x0e\x86\x0c.example.org".to_vec();
        ca.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 30], value)];
    });
    let id = SanType::URI("spiffe://node.example.org/x".try_into().unwrap());
    let uri_leaf = named(&uri, id);
    for (ca, leaf, form) in [
        (&mail, mail_leaf, "e-mail addresses"),
        (&directory, directory_leaf, "directory names"),
        (&uri, uri_leaf, "URIs"),
    ] {
        let error = scene.refuses(&acceptor, &leaf, &[ca]).await;
        assert_eq!(error.reason(), Reason::NameConstraints);
        let expected = format!(
            "`CN=Narrow` above the client's certificate `CN=node-7` has name constraints on {form}, which \
             are not supported: names of that form are refused beneath it, whether they keep to the \
             constraints or not"
        );
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn constraints_of_the_client_ca_itself_are_told_as_exactly_as_those_below_it() {
    let scene = Scene::new();
    let root = Ca::new("Root");
    let dns = constrained(&root, GeneralSubtree::DnsName("example.org".into()));
    let mut directory = rcgen::DistinguishedName::new();
    directory.push(DnType::CommonName, "node-7");
    let directory = constrained(&root, GeneralSubtree::DirectoryName(directory));
    let uri = root.sub("Narrow", |ca| {
        let value = b"\x30\x12\xa0\x10\x30\x0e\x86\x0c.example.org".to_vec();
        ca.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 30], value)];
    });
    let id = SanType::URI("spiffe://node.example.org/x".try_into().unwrap());
    let outside = SanType::DnsName("n7.example.com".try_into().unwrap());
    let not_checked = |form: &str| {
        format!(
            "`CN=Narrow` above the client's certificate `CN=node-7` has name constraints on {form}, which \
             are not supported: names of that form are refused beneath it, whether they keep to the \
             constraints or not"
        )
    };
    for (ca, leaf, expected) in [
        (
            &directory,
            directory.client("node-7"),
            not_checked("directory names"),
        ),
        (&uri, named(&uri, id), not_checked("URIs")),
        (
            &dns,
            named(&dns, outside),
            "the client's certificate `CN=node-7` has the name `n7.example.com`, outside the name constraints \
             of `CN=Narrow` above it"
                .to_owned(),
        ),
    ] {
        let acceptor = scene.trusting(scene.files.put("narrow.crt", &ca.pem));
        let error = scene.refuses(&acceptor, &leaf, &[]).await;
        assert_eq!(error.reason(), Reason::NameConstraints);
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn a_name_outside_constraints_is_told_with_the_name_and_the_ca() {
    let scene = Scene::new();
    let acceptor = scene.acceptor();
    let dns = constrained(&scene.ca, GeneralSubtree::DnsName("example.org".into()));
    let dns_name = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let net = CidrSubnet::from_v4_prefix([10, 1, 0, 0], 16);
    let net = constrained(&scene.ca, GeneralSubtree::IpAddress(net));
    let excluding = scene.ca.sub("Narrow", |ca| {
        ca.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![],
            excluded_subtrees: vec![GeneralSubtree::DnsName("evil.example.org".into())],
        });
    });
    for (ca, good, bad, told) in [
        (
            &dns,
            dns_name("a.EXAMPLE.org"),
            dns_name("example.org.com"),
            "example.org.com",
        ),
        (
            &net,
            SanType::IpAddress([10, 1, 2, 3].into()),
            SanType::IpAddress([10, 2, 2, 3].into()),
            "10.2.2.3",
        ),
        (
            &excluding,
            dns_name("a.example.org"),
            dns_name("x.evil.example.org"),
            "x.evil.example.org",
        ),
    ] {
        accepted(
            &acceptor,
            client(&scene.ca, Some((&named(ca, good), &[ca]))),
        )
        .await;
        let error = scene.refuses(&acceptor, &named(ca, bad), &[ca]).await;
        let expected = format!(
            "the client's certificate `CN=node-7` has the name `{told}`, outside the name constraints of \
             `CN=Narrow` above it"
        );
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn what_is_malformed_is_told_with_its_field_and_its_offset() {
    let scene = Scene::new();
    let acceptor = scene.acceptor();
    let extension = |value: &[u8]| {
        let value = value.to_vec();
        move |params: &mut CertificateParams| {
            params.custom_extensions =
                vec![CustomExtension::from_oid_content(&[2, 5, 29, 19], value)];
        }
    };
    // Basic constraints whose length is beyond their end.
    let broken = scene.ca.client_with("node-7", extension(b"\x30\x09\x01"));
    let error = scene.refuses(&acceptor, &broken, &[]).await;
    assert_eq!(error.reason(), Reason::CertificateMalformed);
    let at = broken
        .der
        .windows(3)
        .position(|part| part == b"\x30\x09\x01")
        .unwrap();
    assert_eq!(
        error.to_string(),
        format!("the client's certificate is malformed: its extension 2.5.29.19, at byte {at}")
    );
    let mut cut = scene.ca.client("node-7");
    let length = cut.der.len();
    cut.der = CertificateDer::from([&cut.der[..], b"\0\0"].concat());
    let error = scene.refuses(&acceptor, &cut, &[]).await;
    assert_eq!(
        error.to_string(),
        format!(
            "the client's certificate is malformed: its end: bytes follow the certificate, at byte {length}"
        )
    );
    let node = scene.ca.client("node-7");
    let mut ders = node.der.to_vec();
    // The tag of the validity, which is the second SEQUENCE that begins with a time.
    let validity = ders
        .windows(3)
        .position(|part| part[0] == 0x30 && part[2] == 0x17)
        .unwrap();
    ders[validity] = 0x31;
    let bad = Leaf {
        der: ders.into(),
        ..node
    };
    let error = scene.refuses(&acceptor, &bad, &[]).await;
    assert_eq!(
        error.to_string(),
        format!("the client's certificate is malformed: its validity, at byte {validity}")
    );
}

/// A certificate whose structure can be read may still have what no path takes: each is said in words, and of
/// which certificate.
#[tokio::test]
async fn what_no_path_takes_is_told_in_words_and_of_the_certificate_that_has_it() {
    let scene = Scene::new();
    let acceptor = scene.acceptor();
    let between = scene.ca.sub("Nodes East", |_| {});
    let node = between.client("node-7");
    let older = |der: &CertificateDer<'_>| {
        let mut der = der.to_vec();
        let version = der
            .windows(5)
            .position(|part| part == [0xa0, 3, 2, 1, 2])
            .unwrap();
        der[version + 4] = 0;
        CertificateDer::from(der)
    };
    let old_leaf = Leaf {
        der: older(&node.der),
        ..between.client("node-7")
    };
    let mut old_between = scene.ca.sub("Nodes East", |_| {});
    old_between.der = older(&between.der);
    let twice = scene.ca.client_with("node-7", |params| {
        let value = CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 0]);
        params.custom_extensions = vec![value.clone(), value];
    });
    for (leaf, intermediates, says) in [
        (
            &old_leaf,
            &[&between][..],
            "the client's certificate `CN=node-7` is not of X.509 version 3",
        ),
        (
            &node,
            &[&old_between],
            "the intermediate CA's certificate `CN=Nodes East` is not of X.509 version 3",
        ),
        (
            &twice,
            &[],
            "`CN=node-7` cannot be used: an extension of it",
        ),
    ] {
        let error = scene.refuses(&acceptor, leaf, intermediates).await;
        assert_eq!(error.reason(), Reason::CertificateMalformed, "{error}");
        let error = error.to_string();
        assert!(error.contains(says), "{error}");
    }
}
