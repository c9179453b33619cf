//! That there is no reason for refusing a handshake which no handshake gives.
#![cfg(all(feature = "crl", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::pki;

use std::collections::HashSet;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pki::{Ahead, Ca, Files, Leaf, accepted, client, client_at, refused, without_ed25519};
use portcullis::Watched;
use portcullis::crl::{DenyList, Options, Revocation};
use portcullis::tls::{Acceptor, Builder, Reason};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationList, CustomExtension,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, NameConstraints, SanType,
};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

struct Scene {
    files: Files,
    nodes: Ca,
    server: Leaf,
    seen: HashSet<Reason>,
}

impl Scene {
    fn builder(&self) -> Builder {
        self.files.requiring(&self.server, &self.nodes)
    }

    fn acceptor(&self) -> Acceptor {
        by(self.builder())
    }

    fn with_list(&self, list: &CertificateRevocationList) -> Acceptor {
        let revocation = Revocation::from_bytes([&list.der()[..]], Options::default()).unwrap();
        by(self.builder().with_revocation(revocation))
    }

    async fn refuse(&mut self, acceptor: &Acceptor, config: ClientConfig) {
        let (error, _) = refused(acceptor, config).await;
        self.seen.insert(error.reason());
    }

    async fn shows(&mut self, acceptor: &Acceptor, leaf: &Leaf, above: &[&Ca]) {
        let config = client(&self.nodes, Some((leaf, above)));
        self.refuse(acceptor, config).await;
    }

    /// What comes of a stream in which there are these bytes, and then nothing more.
    async fn sends(&mut self, acceptor: &Acceptor, bytes: &[u8]) {
        let (mut near, far) = tokio::io::duplex(64);
        near.write_all(bytes).await.unwrap();
        drop(near);
        self.reads(acceptor, far).await;
    }

    async fn reads(&mut self, acceptor: &Acceptor, io: impl AsyncRead + Unpin + std::fmt::Debug) {
        let peer = "192.0.2.1:1".parse().unwrap();
        let io = tokio::io::join(io, tokio::io::sink());
        let error = acceptor.accept_from(io, peer).await.unwrap_err();
        self.seen.insert(error.reason());
    }
}

fn by(builder: Builder) -> Acceptor {
    Acceptor::new(Watched::fixed(builder.load().unwrap()))
}

/// A stream whose device fails.
#[derive(Debug)]
struct Failing;

impl AsyncRead for Failing {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::Error::other("the device is gone")))
    }
}

fn in_days(days: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::now_utc() + time::Duration::days(days)
}

async fn of_the_path(scene: &mut Scene) {
    let acceptor = scene.acceptor();
    let old = scene
        .nodes
        .client_with("x", |leaf| leaf.not_after = in_days(-1));
    let early = scene
        .nodes
        .client_with("x", |leaf| leaf.not_before = in_days(1));
    let impostor = Ca::new("Nodes 2026").client("x");
    let server = scene.nodes.server(&["x"]);
    let is_ca =
        |leaf: &mut CertificateParams| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = scene.nodes.client_with("x", is_ca);
    let narrow = scene.nodes.sub("Narrow", |ca| {
        ca.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("example.org".into())],
            excluded_subtrees: vec![],
        });
    });
    let outside = narrow.client_with("x", |leaf| {
        let name = "x.example.com".try_into().unwrap();
        leaf.subject_alt_names = vec![SanType::DnsName(name)];
    });
    let last = scene.nodes.sub("Last", |ca| {
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    let beyond = last.sub("Beyond", |_| {});
    let hostile = scene.nodes.client_with("x", |leaf| {
        let names = b"\x30\x03\x82\x01\0".to_vec();
        let names = CustomExtension::from_oid_content(&[2, 5, 29, 17], names);
        leaf.custom_extensions = vec![names];
    });
    let stranger = Ca::new("Strangers").client("x");
    for leaf in [&old, &early, &impostor, &server, &ca, &hostile, &stranger] {
        scene.shows(&acceptor, leaf, &[]).await;
    }
    scene.shows(&acceptor, &outside, &[&narrow]).await;
    let narrow_chain = by(scene.builder().with_max_intermediates(0));
    scene.shows(&narrow_chain, &outside, &[&narrow]).await;
    let too_long = beyond.client("x");
    scene.shows(&acceptor, &too_long, &[&beyond, &last]).await;

    let strict = by(scene.builder().with_strict_svids(true));
    let node = scene.nodes.client("x");
    scene.shows(&strict, &node, &[]).await;
    let bound = by(scene
        .builder()
        .with_trust_domain("example.com", ["CN=Nodes 2026"]));
    let other = scene.nodes.client_with("x", |leaf| {
        let id = "spiffe://example.org/x".try_into().unwrap();
        leaf.subject_alt_names = vec![SanType::URI(id)];
    });
    scene.shows(&bound, &other, &[]).await;

    let provider = Arc::new(without_ed25519());
    let no_ed25519 = by(scene.builder().with_provider(provider));
    let sub = scene.nodes.sub_of(&rcgen::PKCS_ED25519, "Sub");
    scene.shows(&no_ed25519, &sub.client("x"), &[&sub]).await;

    let clock = Arc::new(Ahead::default());
    let short = Ca::with("Short", |ca| ca.not_after = in_days(2));
    let files = Files::new();
    let builder = files.requiring(&scene.server, &short);
    let acceptor = by(builder.with_clock(clock.clone()));
    clock.by(Duration::from_secs(24 * 3 * 60 * 60));
    scene.shows(&acceptor, &short.client("x"), &[]).await;
}

async fn of_revocation(scene: &mut Scene) {
    let node = scene.nodes.client_with("x", |leaf| {
        leaf.serial_number = Some(7_u64.into());
    });
    let past = scene.nodes.crl_with(1, &[], |list| {
        list.this_update = in_days(-3);
        list.next_update = in_days(-2);
    });
    let others = Ca::new("Strangers").crl(1, &[]);
    for list in [scene.nodes.crl(1, &[7]), past, others] {
        let acceptor = scene.with_list(&list);
        scene.shows(&acceptor, &node, &[]).await;
    }
    let denied = "serial:07 issuer:\"CN=Nodes 2026\" 2026-11-30 stolen\n";
    let denied = DenyList::parse("denied", denied.as_bytes()).unwrap();
    let revocation = Revocation::denying(denied);
    let acceptor = by(scene.builder().with_revocation(revocation));
    scene.shows(&acceptor, &node, &[]).await;
}

async fn of_the_protocol(scene: &mut Scene) {
    let node = scene.nodes.client("x");
    let acceptor = scene.acceptor();
    let config = |scene: &Scene| client(&scene.nodes, Some((&node, &[])));
    let empty_handed = client(&scene.nodes, None);
    scene.refuse(&acceptor, empty_handed).await;
    let mut stolen = scene.nodes.client("x");
    stolen.der = scene.nodes.client("admin").der;
    scene.shows(&acceptor, &stolen, &[]).await;
    let mut other = config(scene);
    other.alpn_protocols = vec![b"spdy/3".to_vec()];
    scene.refuse(&acceptor, other).await;
    let old = client_at(&scene.nodes, Some((&node, &[])), &[&rustls::version::TLS12]);
    let only13 = by(scene.builder().with_tls13_only(true));
    scene.refuse(&only13, old).await;
    let distrusting = client(&Ca::new("Elsewhere"), Some((&node, &[])));
    scene.refuse(&acceptor, distrusting).await;
    let mut few = rustls::crypto::aws_lc_rs::default_provider();
    let left_out = few.cipher_suites.remove(0);
    few.cipher_suites.retain(|one| *one != left_out);
    let mut one = few.clone();
    one.cipher_suites = vec![left_out];
    let disjoint = by(scene.builder().with_provider(Arc::new(one)));
    let theirs = ClientConfig::builder_with_provider(Arc::new(few))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(scene.nodes.roots())
        .with_no_client_auth();
    scene.refuse(&disjoint, theirs).await;
    scene.sends(&acceptor, b"GET / HTTP/1.1\r\n\r\n").await;
    scene
        .sends(&acceptor, b"\x16\x03\x01\x00\x04\x01\x00\x00\x00")
        .await;
    scene.sends(&acceptor, b"").await;
    scene.reads(&acceptor, Failing).await;
    let proxied = acceptor
        .clone()
        .with_proxy_protocol(["192.0.2.0/24".parse().unwrap()]);
    scene.sends(&proxied, b"PROXY x\r\n").await;
}

async fn of_the_limits(scene: &mut Scene) {
    let moment = Duration::from_millis(50);
    let short = scene.acceptor().with_handshake_timeout(moment);
    let (_near, far) = tokio::io::duplex(64);
    scene.reads(&short, far).await;

    let node = scene.nodes.client("x");
    let config = || client(&scene.nodes, Some((&node, &[])));
    let single = scene.acceptor().with_max_connections_per_source(1);
    let (_kept, _theirs) = accepted(&single, config()).await;
    let (error, _) = refused(&single, config()).await;
    scene.seen.insert(error.reason());

    let busy = scene
        .acceptor()
        .with_max_handshakes(1)
        .with_handshake_timeout(moment);
    let peer = "192.0.2.1:1".parse().unwrap();
    let (_near, streams): (Vec<_>, Vec<_>) = (0..3).map(|_| tokio::io::duplex(64)).unzip();
    let each = streams.into_iter().map(|io| busy.accept_from(io, peer));
    for outcome in futures_util::future::join_all(each).await {
        scene.seen.insert(outcome.unwrap_err().reason());
    }
}

#[tokio::test]
async fn every_reason_that_there_is_comes_of_a_handshake() {
    let nodes = Ca::new("Nodes 2026");
    let server = nodes.leaf("localhost", |leaf| {
        let name = "localhost".try_into().unwrap();
        leaf.subject_alt_names = vec![SanType::DnsName(name)];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let mut scene = Scene {
        files: Files::new(),
        nodes,
        server,
        seen: HashSet::new(),
    };
    of_the_path(&mut scene).await;
    of_revocation(&mut scene).await;
    of_the_protocol(&mut scene).await;
    of_the_limits(&mut scene).await;
    let missing: Vec<_> = Reason::ALL
        .into_iter()
        .filter(|reason| !scene.seen.contains(reason))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let labels: HashSet<_> = Reason::ALL.map(Reason::label).into();
    assert_eq!(labels.len(), Reason::ALL.len());
    // And none is forgotten in the list of all.
    let all = HashSet::from(Reason::ALL);
    assert_eq!(all, scene.seen);
}
