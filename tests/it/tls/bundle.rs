//! Credential bundles: key, certificate and chain in one file that is replaced, or written over in its place.
#![cfg(feature = "aws-lc-rs")]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::pki;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pki::{Ca, Files, Leaf, accepted, client, refused, swap_secret};
use portcullis::Watched;
use portcullis::reload::WatchOptions;
use portcullis::tls::{
    Acceptor, Builder, CertificateFiles, ClientCas, Material, OwnCertificate, TlsError,
};
use rustls::pki_types::CertificateDer;

/// Longer than anything takes here.
const LONGEST: Duration = Duration::from_secs(60);

fn quick() -> WatchOptions {
    WatchOptions::default()
        .with_poll_interval(Duration::from_millis(20))
        .with_settle(Duration::from_millis(1))
}

fn serving(bundle: &Path) -> Builder {
    let files = CertificateFiles::bundle(bundle);
    Builder::with_certificate(files).without_client_certificates()
}

/// The chain that a client is shown.
async fn shown(material: &Watched<Material>, trusts: &Ca) -> Vec<CertificateDer<'static>> {
    let acceptor = Acceptor::new(material.clone());
    let (_server, stream) = accepted(&acceptor, client(trusts, None)).await;
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap().to_vec()
}

/// Waits until this holds.
async fn until(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONGEST, wait).await.unwrap();
}

/// A server's certificate under an intermediate CA of this one.
fn chained(root: &Ca) -> (Ca, Leaf) {
    let sub = root.sub("Sub", |_| {});
    let leaf = sub.server(&["localhost"]);
    (sub, leaf)
}

#[tokio::test]
async fn key_and_chain_may_stand_in_any_order() {
    let files = Files::new();
    let root = Ca::new("Root");
    let (sub, leaf) = chained(&root);
    let (key, own, above, top) = (&leaf.key_pem, &leaf.pem, &sub.pem, &root.pem);
    for order in [
        [key, own, above, top],
        [own, above, top, key],
        [own, key, above, top],
        [top, above, own, key],
        [above, key, top, own],
    ] {
        let order: String = order.into_iter().map(String::as_str).collect();
        let bundle = files.put("bundle.pem", order);
        let material = Watched::fixed(serving(&bundle).load().unwrap());
        let expected = [leaf.der.clone(), sub.der.clone(), root.der.clone()];
        assert_eq!(shown(&material, &root).await, expected);
    }
    // What leads nowhere is shown all the same, behind the chain: nothing of the file is passed over.
    let other = Ca::new("Other");
    let bundle = files.put(
        "bundle.pem",
        [key, &other.pem, own, above].map(String::as_str).concat(),
    );
    let material = Watched::fixed(serving(&bundle).load().unwrap());
    let expected = [leaf.der.clone(), sub.der.clone(), other.der.clone()];
    assert_eq!(shown(&material, &root).await, expected);
}

/// What is taken of a bundle while it is written from `before` to `after`: truncated first, or over what
/// was there. Only one of both, whole up to its last line, may be.
fn take_while_written(before: &[&str], after: &[&str]) {
    let files = Files::new();
    let (old, new) = (before.concat(), after.concat());
    let mut texts = std::collections::HashSet::new();
    // Each seventh: a line of PEM has 65, so that all places within one are met.
    for cut in (0..new.len()).step_by(7).chain([new.len()]) {
        let short = &new[..cut];
        texts.insert(short.to_owned());
        texts.insert([short, old.get(cut..).unwrap_or_default()].concat());
    }
    let has = |text: &str, parts: &[&str]| parts.iter().all(|part| text.contains(part.trim_end()));
    let mut seen = [0; 3];
    for text in texts {
        let bundle = files.put("bundle.pem", &text);
        let subject = serving(&bundle).load();
        let subject = subject.map(|material| material.expiries()[0].subject.to_string());
        match subject.as_deref() {
            Err(_) => seen[0] += 1,
            Ok("CN=old") if has(&text, before) => seen[1] += 1,
            Ok("CN=new") if has(&text, &after[..2]) => seen[2] += 1,
            other => panic!("{other:?} of {text}"),
        }
    }
    assert!(seen[0] > 150 && seen[1] > 0 && seen[2] > 0, "{seen:?}");
}

/// One of each that are as long as these, so that what is written over leaves nothing behind.
fn as_long_as(old: &Leaf, made: impl FnMut() -> Leaf) -> Leaf {
    let mut made = std::iter::repeat_with(made);
    made.find(|new| new.pem.len() == old.pem.len() && new.key_pem.len() == old.key_pem.len())
        .unwrap()
}

#[test]
fn a_bundle_that_is_written_in_part_is_never_taken_for_another() {
    let root = Ca::new("Root");
    let sub = root.sub("Sub", |_| {});
    let old = sub.server(&["old"]);
    let new = as_long_as(&old, || sub.server(&["new"]));
    let (first, second) = (
        [&*old.key_pem, &old.pem, &sub.pem],
        [&*new.key_pem, &new.pem, &sub.pem],
    );
    take_while_written(&first, &second);
    // A kubelet's order, whose key comes last.
    let (first, second) = (
        [&*old.pem, &sub.pem, &old.key_pem],
        [&*new.pem, &sub.pem, &new.key_pem],
    );
    take_while_written(&first, &second);
}

#[test]
fn a_bundle_whose_chain_is_written_in_part_is_never_taken_for_another() {
    let (root, next) = (Ca::new("Root"), Ca::new("Next"));
    let (one, other) = (root.sub("One", |_| {}), next.sub("Two", |_| {}));
    let old = one.server(&["old"]);
    let new = as_long_as(&old, || other.server(&["new"]));
    take_while_written(
        &[&*old.key_pem, &old.pem, &one.pem, &root.pem],
        &[&*new.key_pem, &new.pem, &other.pem, &next.pem],
    );
}

#[test]
fn a_certificate_without_its_issuer_that_is_written_over_in_part_is_not_taken_either() {
    // What follows the last bytes of a certificate is the same in all: padding, the line and its end.
    const LAST: usize = "-----END CERTIFICATE-----\n".len() + 12;
    let files = Files::new();
    let root = Ca::new("Root");
    let (sub, other) = (root.sub("Sub", |_| {}), root.sub("Sub", |_| {}));
    let old = sub.server(&["old"]);
    let new = as_long_as(&old, || sub.server(&["new"]));
    let (old_end, new_end) = (
        [&*old.key_pem, &old.pem].concat(),
        [&*new.key_pem, &new.pem].concat(),
    );
    // The same at the end of a chain whose root is elsewhere.
    let of_other = as_long_as(&old, || other.server(&["new"]));
    let mut chains = vec![(old_end, new_end)];
    if other.pem.len() == sub.pem.len() {
        chains.push((
            [&*old.key_pem, &old.pem, &sub.pem].concat(),
            [&*of_other.key_pem, &of_other.pem, &other.pem].concat(),
        ));
    }
    for (old, new) in chains {
        let bundle = files.put("bundle.pem", &old);
        let bundle = CertificateFiles::bundle(bundle);
        let last = bundle.certified_key(None).unwrap();
        for cut in (1..new.len() - LAST).step_by(7) {
            let mix = [&new[..cut], &old[cut..]].concat();
            if mix == old {
                continue;
            }
            files.put("bundle.pem", &mix);
            let taken = bundle.certified_key(Some(&last));
            // Its first lines are those of any key: what is left there is the old one.
            assert!(taken.is_err(), "{cut}: {mix}");
        }
        files.put("bundle.pem", &new);
        let next = bundle.certified_key(Some(&last)).unwrap();
        assert_ne!(next.cert, last.cert);
        // It may come back.
        files.put("bundle.pem", &old);
        assert_eq!(bundle.certified_key(Some(&next)).unwrap().cert, last.cert);
    }
}

#[test]
fn a_certificate_of_which_the_last_bytes_may_be_anothers_is_read_again_later() {
    let files = Files::new();
    let root = Ca::new("Root");
    let old = root.server(&["old"]);
    let text = |der: &[u8], key: &str| {
        let der = STANDARD.encode(der);
        format!("{key}-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n")
    };
    let bundle = files.put("bundle.pem", text(&old.der, &old.key_pem));
    let bundle = CertificateFiles::bundle(bundle);
    let last = bundle.certified_key(None).unwrap();
    for left in 1..=5 {
        let mut new = root.server(&["new"]);
        while new.der[new.der.len() - 6] == old.der[old.der.len() - 6] {
            new = root.server(&["new"]);
        }
        let (most, _) = new.der.split_at(new.der.len() - left);
        let mix = [most, &old.der[old.der.len() - left..]].concat();
        files.put("bundle.pem", text(&mix, &new.key_pem));
        let began = Instant::now();
        // Nothing says that it is one, if it stays.
        bundle.certified_key(Some(&last)).unwrap();
        let took = began.elapsed();
        assert!(
            took >= Duration::from_millis(200),
            "{left} bytes of the last one are left, and it was read again after {took:?}"
        );
    }
}

#[test]
fn a_file_that_is_cut_off_but_behind_a_whole_certificate_is_an_error() {
    let files = Files::new();
    let root = Ca::new("Root");
    let (sub, leaf) = chained(&root);
    let bundle = [&*leaf.key_pem, &leaf.pem, &sub.pem].concat();
    let cas = [&*root.pem, &sub.pem].concat();
    let own = files.pair(&leaf);
    let as_client_cas = |path: &Path| {
        let builder = Builder::with_certificate(own.clone());
        builder.require_client_certificates(ClientCas::new([path]))
    };
    for (text, is_bundle) in [(bundle, true), (cas, false)] {
        for cut in 1..=text.len() {
            let text = &text[..cut];
            let path = files.put("cut.pem", text);
            let builder = if is_bundle {
                serving(&path)
            } else {
                as_client_cas(&path)
            };
            let error = builder.load().err();
            let is_whole = text.trim_end().ends_with("-----END CERTIFICATE-----");
            assert_eq!(error.is_none(), is_whole, "{error:?} of {text}");
        }
    }
}

#[tokio::test]
async fn a_bundle_that_stays_written_in_part_is_an_error_until_it_is_whole() {
    let files = Files::new();
    let root = Ca::new("Root");
    let old = root.client("old");
    let mut made = std::iter::repeat_with(|| root.client("new"));
    let new = made.find(|new| new.der.len() == old.der.len()).unwrap();
    let text = |leaf: &Leaf| [&*leaf.key_pem, &leaf.pem].concat();
    let bundle = files.put("bundle.pem", text(&old));
    let own = OwnCertificate::watch(CertificateFiles::bundle(&bundle), quick()).unwrap();
    let first = own.certified_key();
    // All but the last line of the signature is new.
    let cut = text(&new).len() - 100;
    files.put(
        "bundle.pem",
        [&text(&new)[..cut], &text(&old)[cut..]].concat(),
    );
    until(|| {
        let failure = own.health().failure;
        failure.is_some_and(|failure| failure.contains("ends as another did"))
    })
    .await;
    assert_eq!(own.certified_key().cert, first.cert);
    files.put("bundle.pem", text(&new));
    until(|| own.certified_key().cert != first.cert).await;
    assert!(own.health().failure.is_none());
}

#[test]
fn what_is_wrong_in_a_bundle_is_named_with_its_place() {
    let files = Files::new();
    let root = Ca::new("Root");
    let sub = root.sub("Sub", |_| {});
    let leaf = sub.server(&["localhost"]);
    let error = |parts: &[&str]| {
        let bundle = files.put("mixed.pem", parts.concat());
        serving(&bundle).load().unwrap_err()
    };
    let mixed = error(&[&sub.server(&["other"]).key_pem, &leaf.pem, &sub.pem]);
    assert!(matches!(mixed, TlsError::BundleMismatch { .. }), "{mixed}");
    let text = mixed.to_string();
    assert!(text.contains("mixed.pem: no certificate in it"), "{text}");
    // Of the same name, and with another key.
    let namesake = root.sub("Sub", |_| {});
    let foreign = error(&[&leaf.pem, &namesake.pem, &leaf.key_pem]);
    assert!(
        matches!(foreign, TlsError::BundleSignature { line: 1, .. }),
        "{foreign}"
    );
    // Beside which the right one may stand: both are shown.
    let both = files.put(
        "both.pem",
        [&*leaf.pem, &namesake.pem, &sub.pem, &leaf.key_pem].concat(),
    );
    serving(&both).load().unwrap();
    // DER, and no certificate.
    let broken = error(&[
        &leaf.pem,
        &leaf.key_pem,
        "-----BEGIN CERTIFICATE-----\nMAMBAQA=\n-----END CERTIFICATE-----\n",
    ]);
    assert!(matches!(broken, TlsError::Certificate { .. }), "{broken}");
}

#[test]
fn a_bundle_that_is_another_each_time_is_not_taken() {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    let files = Files::new();
    let root = Ca::new("Root");
    let leaves = [root.server(&["one"]), root.server(&["two"])];
    let bundles = leaves
        .each_ref()
        .map(|leaf| [&*leaf.key_pem, &leaf.pem].concat());
    let path = files.put("bundle.pem", &bundles[0]);
    let ended = AtomicBool::new(false);
    let (bundles, files) = (&bundles, &files);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Between two readings it is replaced many times; each content has another length than the last.
            for number in 0_usize.. {
                if ended.load(Relaxed) {
                    return;
                }
                let whole = format!("{}{}", bundles[number % 2], "#\n".repeat(number % 997));
                files.put("next.pem", whole);
                std::fs::rename(files.path("next.pem"), files.path("bundle.pem")).unwrap();
            }
        });
        // It never settles, or it does so at one that is whole: then it is tried again.
        let mut tries = std::iter::repeat_with(|| serving(&path).load());
        let unsettled = tries.find(|outcome| match outcome {
            Ok(_) => false,
            Err(TlsError::BundleUnsettled { .. }) => true,
            Err(error) => panic!("{error}"),
        });
        ended.store(true, Relaxed);
        assert!(unsettled.is_some());
    });
}

#[tokio::test]
async fn a_pod_certificate_is_followed_through_the_links_of_its_volume() {
    let files = Files::new();
    let root = Ca::new("Root");
    let (sub, first) = chained(&root);
    let second = sub.server(&["localhost"]);
    let volume = files.directory.path();
    let bundle = |leaf: &Leaf| [&*leaf.key_pem, &leaf.pem, &sub.pem].concat();
    swap_secret(volume, "1", &[("credentialbundle.pem", bundle(&first))]);
    let path = files.path("credentialbundle.pem");
    let material = serving(&path).watch(quick()).unwrap();
    assert_eq!(shown(&material, &root).await[0], first.der);
    swap_secret(volume, "2", &[("credentialbundle.pem", bundle(&second))]);
    until(|| material.generation() >= 2).await;
    let expected = [second.der.clone(), sub.der.clone()];
    assert_eq!(shown(&material, &root).await, expected);
}

#[tokio::test]
async fn a_bundle_that_is_written_over_in_its_place_stays_the_last_good_one_until_it_is_whole() {
    let files = Files::new();
    let root = Ca::new("Root");
    let (sub, first) = chained(&root);
    let second = sub.server(&["localhost"]);
    let bundle = |leaf: &Leaf| [&*leaf.key_pem, &leaf.pem, &sub.pem].concat();
    let path = files.put("bundle.pem", bundle(&first));
    let material = serving(&path).watch(quick()).unwrap();
    // The new key, and the old certificate still.
    files.put(
        "bundle.pem",
        [&*second.key_pem, &first.pem, &sub.pem].concat(),
    );
    let says = "no certificate in it is that of the private key";
    let failure = || material.health().failure;
    until(|| failure().is_some_and(|now| now.contains(says))).await;
    let failure = failure().unwrap();
    assert_eq!(shown(&material, &root).await[0], first.der);
    // Cut off in the middle.
    let whole = bundle(&second);
    files.put("bundle.pem", &whole[..whole.len() / 2]);
    until(|| material.health().failure.is_some_and(|now| now != failure)).await;
    assert_eq!(shown(&material, &root).await[0], first.der);
    files.put("bundle.pem", &whole);
    until(|| material.health().failure.is_none()).await;
    assert_eq!(shown(&material, &root).await[0], second.der);
    // The last good one is now this one.
    files.put("bundle.pem", &whole[..whole.len() / 2]);
    until(|| material.health().failure.is_some()).await;
    assert_eq!(shown(&material, &root).await[0], second.der);
}

#[test]
fn at_a_start_no_certificate_stands_in_for_another_of_its_file() {
    let files = Files::new();
    let root = Ca::new("Root");
    let good = files.pair(&root.server(&["localhost"]));
    let key = files.put("other.key", root.server(&["localhost"]).key_pem);
    let builder = || {
        let wrong = CertificateFiles::new(files.path("tls.crt"), &key);
        let both = Builder::with_certificate(good.clone()).and_certificate(wrong);
        both.without_client_certificates()
    };
    for error in [
        builder().load().unwrap_err(),
        builder().watch(quick()).unwrap_err(),
    ] {
        assert!(matches!(error, TlsError::KeyMismatch { .. }), "{error}");
    }
}

/// What a kubelet does: a new file for each certificate, and a link to the one in use.
#[cfg(unix)]
fn rotate(folder: &Path, number: u32, leaf: &Leaf) {
    let file = format!("kubelet-client-2026-11-{number:02}.pem");
    // Certificate first, as the kubelet writes it.
    let content = [&*leaf.pem, &leaf.key_pem].concat();
    std::fs::write(folder.join(&file), content).unwrap();
    let (new, link) = (
        folder.join(".new"),
        folder.join("kubelet-client-current.pem"),
    );
    std::os::unix::fs::symlink(folder.join(file), &new).unwrap();
    std::fs::rename(new, link).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_client_shows_the_newest_certificate_of_a_kubelets_file() {
    let files = Files::new();
    let ca = Ca::new("Cluster");
    let (first, second) = (ca.client("node-1"), ca.client("node-2"));
    let folder = files.path("pki");
    std::fs::create_dir(&folder).unwrap();
    rotate(&folder, 1, &first);
    let current = CertificateFiles::bundle(folder.join("kubelet-client-current.pem"));
    let own = OwnCertificate::watch(current, quick()).unwrap();
    let material = files
        .requiring(&ca.server(&["localhost"]), &ca)
        .load()
        .unwrap();
    let acceptor = Acceptor::new(Watched::fixed(material));
    let configs = [&rustls::version::TLS12, &rustls::version::TLS13].map(|version| {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(ca.roots())
            .with_client_cert_resolver(Arc::new(own.clone()));
        // A session that is resumed is that of the certificate which it began with.
        config.resumption = rustls::client::Resumption::disabled();
        config
    });
    let name = async || {
        let mut names = Vec::new();
        for config in &configs {
            let (server, _client) = accepted(&acceptor, config.clone()).await;
            names.push(server.connection.identity().unwrap().subject().to_owned());
        }
        names.dedup();
        names.join(" or ")
    };
    assert_eq!(name().await, "CN=node-1");
    // Another's key beside its certificate is not shown.
    let mixed = Leaf {
        key_pem: first.key_pem.clone(),
        ..ca.client("node-3")
    };
    rotate(&folder, 2, &mixed);
    until(|| own.health().failure.is_some()).await;
    assert_eq!(name().await, "CN=node-1");
    rotate(&folder, 3, &second);
    until(|| own.generation() >= 2).await;
    assert_eq!(name().await, "CN=node-2");
}

#[tokio::test]
async fn a_trust_bundle_is_followed_through_links_and_in_its_place() {
    let files = Files::new();
    let server_ca = Ca::new("Servers");
    let (first, second, third) = (Ca::new("First"), Ca::new("Second"), Ca::new("Third"));
    let volume = files.path("trust");
    std::fs::create_dir(&volume).unwrap();
    let put = |version: &str, cas: &[&Ca]| {
        let content: String = cas.iter().map(|ca| &*ca.pem).collect();
        swap_secret(&volume, version, &[("ca.pem", content)]);
    };
    put("1", &[&first]);
    let material = Builder::with_certificate(files.pair(&server_ca.server(&["localhost"])))
        .require_client_certificates(ClientCas::new([volume.join("ca.pem")]))
        .watch(quick())
        .unwrap();
    let acceptor = Acceptor::new(material.clone());
    let shows = |ca: &Ca| client(&server_ca, Some((&ca.client("node"), &[])));
    drop(accepted(&acceptor, shows(&first)).await);
    drop(refused(&acceptor, shows(&second)).await);
    // The kubelet changes the order as it likes.
    put("2", &[&second, &first]);
    until(|| material.generation() >= 2).await;
    drop(accepted(&acceptor, shows(&first)).await);
    drop(accepted(&acceptor, shows(&second)).await);
    // Written over without links, and cut off first: what is there of it is not all that is meant.
    let whole = [&*third.pem, &second.pem].concat();
    let target = std::fs::canonicalize(volume.join("ca.pem")).unwrap();
    std::fs::write(&target, &whole[..third.pem.len() + 40]).unwrap();
    until(|| material.health().failure.is_some()).await;
    drop(accepted(&acceptor, shows(&first)).await);
    drop(refused(&acceptor, shows(&third)).await);
    std::fs::write(&target, &whole).unwrap();
    until(|| material.health().failure.is_none()).await;
    drop(accepted(&acceptor, shows(&third)).await);
    drop(refused(&acceptor, shows(&first)).await);
}

#[cfg(feature = "config")]
#[tokio::test]
async fn a_configuration_names_a_bundle_or_two_files() {
    use portcullis::Guard;
    use portcullis::config::Config;

    let files = Files::new();
    let root = Ca::new("Root");
    let (sub, leaf) = chained(&root);
    let named = sub.server(&["named.example.org"]);
    files.pair(&leaf);
    files.put("bundle.pem", [&*leaf.key_pem, &leaf.pem, &sub.pem].concat());
    files.put(
        "named.pem",
        [&*named.pem, &sub.pem, &named.key_pem].concat(),
    );
    files.put("key.pem", &leaf.key_pem);
    let load = |text: &str| {
        let file = files.put("gate.toml", text);
        Config::load(file).and_then(|config| Guard::from_config(&config))
    };
    let guard = load("[tls]\nbundle = \"bundle.pem\"\n[[tls.sni]]\nbundle = \"named.pem\"\n");
    let guard = guard.unwrap();
    let material = guard.acceptor().unwrap().material().clone();
    assert_eq!(
        shown(&material, &root).await,
        [leaf.der.clone(), sub.der.clone()]
    );
    assert_eq!(material.load().expiries().len(), 2);
    for (text, expected) in [
        (
            "[tls]\nbundle = \"bundle.pem\"\nkey = \"tls.key\"\n",
            "gate.toml:2:10: tls.bundle: a bundle holds certificate and key",
        ),
        (
            "[tls]\ncertificate = \"tls.crt\"\n",
            "tls: missing field `key`",
        ),
        ("[tls]\n", "tls: missing field `certificate`"),
        (
            "[tls]\nbundle = \"bundle.pem\"\n[[tls.sni]]\nkey = \"tls.key\"\n",
            "tls.sni[0]: missing field `certificate`",
        ),
        (
            "[tls]\nbundle = \"key.pem\"\n",
            "gate.toml:2:10: tls.bundle: ",
        ),
        (
            "[tls]\nbundle = \"tls.crt\"\n",
            "gate.toml:2:10: tls.bundle: ",
        ),
    ] {
        let error = load(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
