//! What a reload of CRLs may not do: forget a revocation, go back, hold up others, or gather copies.
#![cfg(all(feature = "crl", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod pki;

use std::fs;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, SystemTime};

use base64::Engine;
use pki::{Ca, Files};
use portcullis::crl::{CertPath, LoadError, Options, Revocation, Verdict};
use portcullis::reload::WatchOptions;
use rcgen::{CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope};

fn watch() -> WatchOptions {
    WatchOptions::default()
        .with_poll_interval(Duration::from_millis(20))
        .with_settle(Duration::from_millis(5))
}

fn path(ca: &Ca, serial: u64) -> CertPath {
    let leaf = ca.client_with("node", |params| params.serial_number = Some(serial.into()));
    let anchor = webpki::anchor_from_trusted_cert(&ca.der).unwrap();
    CertPath::new(&leaf.der, &[], &anchor).unwrap()
}

fn is_revoked(revocation: &Revocation, path: &CertPath) -> bool {
    let verdict = revocation.examine(path, SystemTime::now());
    matches!(verdict, Verdict::Revoked { .. })
}

/// A list that is as much newer as its number is higher.
fn numbered(ca: &Ca, number: u64, revoked: &[u64]) -> Vec<u8> {
    let list = ca.crl_with(number, revoked, |list| {
        list.this_update += time::Duration::seconds(i64::try_from(number).unwrap());
    });
    list.der().to_vec()
}

/// A list with an unknown critical extension, 2.5.29.99, and without a known signer.
fn unknown(ca: &Ca, number: u64) -> Vec<u8> {
    let list = ca.crl_with(number, &[], |list| {
        list.this_update += time::Duration::seconds(i64::try_from(number).unwrap());
        list.issuing_distribution_point = Some(rcgen::CrlIssuingDistributionPoint {
            distribution_point: rcgen::CrlDistributionPoint {
                uris: vec!["http://crl/1".to_owned()],
            },
            scope: None,
        });
    });
    let mut der = list.der().to_vec();
    let oid = b"\x06\x03\x55\x1d\x1c\x01\x01\xff";
    let at = der.windows(oid.len()).position(|part| part == oid).unwrap();
    der[at + 4] = 99;
    der
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn failure(revocation: &Revocation) -> Option<String> {
    revocation.lists().health().failure
}

#[test]
fn an_old_list_beside_a_newer_one_of_an_unknown_signer_is_not_gathered_at_each_reload() {
    let ca = Ca::new("Nodes");
    let other = Ca::new("Users");
    let files = Files::new();
    files.put("41.crl", numbered(&ca, 41, &[7]));
    files.put("42.crl", numbered(&ca, 42, &[7, 8]));
    files.put("users.crl", numbered(&other, 1, &[]));
    let folder = [files.directory.path()];
    let revocation = Revocation::from_files(folder, Options::default(), watch()).unwrap();
    for number in 2..22 {
        let before = revocation.lists().generation();
        files.put("users.crl", numbered(&other, number, &[]));
        until("reloaded", || revocation.lists().generation() > before);
        // The users' list is not known to be of one signer either, but is alone in its file.
        assert_eq!(revocation.lists().load().len(), 3, "{number}");
    }
    let lists = [numbered(&ca, 41, &[7]), numbered(&ca, 42, &[7, 8])];
    let of_program = || lists.iter().map(Vec::as_slice);
    let revocation = Revocation::from_bytes(of_program(), Options::default()).unwrap();
    for _ in 0..20 {
        revocation.publish(of_program()).unwrap();
        assert_eq!(revocation.lists().load().len(), 2);
    }
    assert!(is_revoked(&revocation, &path(&ca, 8)));
}

#[test]
fn of_two_publications_at_once_the_newer_stays_active() {
    let ca = Ca::new("Nodes");
    let revoked: Vec<u64> = (1..=200).collect();
    let lists: Vec<_> = (1..=200)
        .map(|number| numbered(&ca, number as u64, &revoked[..number]))
        .collect();
    for authorities in [vec![ca.der.clone()], vec![]] {
        let is_known = !authorities.is_empty();
        let builder = Revocation::builder().with_authorities(authorities);
        let revocation = builder.from_bytes([&*lists[0]]).unwrap();
        for pair in lists[1..].chunks_exact(2) {
            let together = Barrier::new(2);
            let published = thread::scope(|scope| {
                let publishing = [&pair[0], &pair[1]].map(|list| {
                    scope.spawn(|| {
                        together.wait();
                        revocation.publish([&**list]).unwrap()
                    })
                });
                publishing.map(|thread| thread.join().unwrap())
            });
            assert_ne!(published[0], published[1]);
            let newest = lists.iter().position(|list| *list == pair[1]).unwrap() + 1;
            let entries = revocation.lists().load().entries();
            // Two without a known signer stand beside each other.
            assert!(
                entries == newest || !is_known && entries > newest,
                "{entries} {newest}"
            );
        }
        assert!(is_revoked(&revocation, &path(&ca, 199)));
    }
}

#[test]
fn a_publication_beside_a_reload_turns_no_list_back() {
    let ca = Ca::new("Nodes");
    let files = Files::new();
    let file = files.put("nodes.crl", numbered(&ca, 1, &[]));
    let builder = Revocation::builder().with_authorities([ca.der.clone()]);
    let revocation = builder.from_files([file], watch()).unwrap();
    let node = path(&ca, 7);
    for number in (2..40).step_by(2) {
        let newer = numbered(&ca, number + 1, &[7]);
        files.put("nodes.crl", numbered(&ca, number, &[7]));
        revocation.publish([&*newer]).unwrap();
        let before = revocation.lists().generation();
        assert!(is_revoked(&revocation, &node), "{number} {before}");
    }
    // Whatever was loaded meanwhile is active by now, or will be.
    let last = revocation.lists().generation();
    files.put("nodes.crl", numbered(&ca, 1, &[]));
    until("the last reload", || revocation.lists().generation() > last);
    assert!(is_revoked(&revocation, &node));
}

#[test]
fn a_damaged_file_holds_up_no_other_and_forgets_nothing() {
    let (a, b) = (Ca::new("A"), Ca::new("B"));
    let (of_a, of_b) = (path(&a, 7), path(&b, 8));
    let files = Files::new();
    files.put("a.crl", numbered(&a, 1, &[]));
    files.put("b.crl", numbered(&b, 1, &[8]));
    let folder = [files.directory.path()];
    let builder = Revocation::builder().with_authorities([a.der.clone(), b.der.clone()]);
    let revocation = builder.from_files(folder, watch()).unwrap();
    let whole = numbered(&b, 2, &[8, 9]);
    for (number, damaged) in [
        (2, &whole[..whole.len() / 2]),
        (3, b"".as_slice()),
        (
            4,
            b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        ),
        (5, b"-----BEGIN X509 CRL-----\n????\n"),
        (6, &[0x1f, 0x8b, 8, 0, 0]),
    ] {
        files.put("b.crl", damaged);
        until("refused", || failure(&revocation).is_some());
        let revoked: &[u64] = if number % 2 == 0 { &[7] } else { &[] };
        files.put("a.crl", numbered(&a, number, revoked));
        until("taken", || {
            is_revoked(&revocation, &of_a) != revoked.is_empty()
        });
        until("told", || failure(&revocation).is_some());
        let failure = failure(&revocation).unwrap();
        assert!(
            failure.contains("b.crl") && !failure.contains("a.crl"),
            "{failure}"
        );
        assert!(is_revoked(&revocation, &of_b), "{number}");
        assert_eq!(revocation.lists().load().len(), 2);
    }
    // A file that is gone is one that is not meant any more; a damaged one is.
    std::fs::remove_file(files.path("a.crl")).unwrap();
    until("gone", || revocation.lists().load().len() == 1);
    assert!(is_revoked(&revocation, &of_b));
    files.put("b.crl", &whole);
    until("whole again", || failure(&revocation).is_none());
    assert!(is_revoked(&revocation, &path(&b, 9)));
    // A start is not as patient.
    files.put("b.crl", &whole[..whole.len() / 2]);
    let begun = Revocation::from_files(folder, Options::default(), watch());
    assert!(matches!(begun, Err(LoadError::List { .. })));
}

fn pem(der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN X509 CRL-----\n{text}\n-----END X509 CRL-----\n")
}

#[test]
fn the_lists_beside_a_damaged_one_in_a_file_are_taken() {
    let (a, b) = (Ca::new("A"), Ca::new("B"));
    let files = Files::new();
    let damaged = numbered(&b, 2, &[]);
    let both = |first: &[u8], second: &[u8]| pem(first) + &pem(second);
    let file = files.put(
        "all.pem",
        both(&numbered(&a, 1, &[]), &numbered(&b, 1, &[8])),
    );
    let builder = Revocation::builder().with_authorities([a.der.clone(), b.der.clone()]);
    let revocation = builder.from_files([file], watch()).unwrap();
    let newer = numbered(&a, 2, &[7]);
    let halves = both(&damaged[..damaged.len() - 1], &newer);
    files.put("all.pem", halves);
    until("taken", || is_revoked(&revocation, &path(&a, 7)));
    assert!(is_revoked(&revocation, &path(&b, 8)));
    until("told", || {
        failure(&revocation).is_some_and(|told| told.contains("CRL 1"))
    });
}

#[test]
fn a_directory_that_cannot_be_read_forgets_nothing() {
    let (a, b) = (Ca::new("A"), Ca::new("B"));
    let files = Files::new();
    let folder = files.path("lists");
    std::fs::create_dir(&folder).unwrap();
    let file = files.put("a.crl", numbered(&a, 1, &[]));
    std::fs::write(folder.join("b.crl"), numbered(&b, 1, &[8])).unwrap();
    let paths = [file, folder.clone()];
    let revocation = Revocation::from_files(paths, Options::default(), watch()).unwrap();
    for number in 2..4 {
        std::fs::remove_dir_all(&folder).unwrap_or_default();
        until("refused", || failure(&revocation).is_some());
        files.put("a.crl", numbered(&a, number, &[7]));
        until("taken", || is_revoked(&revocation, &path(&a, 7)));
        assert!(is_revoked(&revocation, &path(&b, 8)));
    }
}

#[test]
fn a_shard_that_is_turned_back_stays_while_the_others_move_on() {
    let ca = Ca::new("Nodes");
    let shard = |shard: usize, number: u64, revoked: &[u64]| {
        let list = ca.crl_with(number, revoked, |list| {
            list.this_update += time::Duration::seconds(i64::try_from(number).unwrap());
            list.issuing_distribution_point = Some(rcgen::CrlIssuingDistributionPoint {
                distribution_point: rcgen::CrlDistributionPoint {
                    uris: vec![format!("http://crl/{shard}")],
                },
                scope: None,
            });
        });
        list.der().to_vec()
    };
    for authorities in [vec![ca.der.clone()], vec![]] {
        let first: Vec<_> = (0..20).map(|n| shard(n, 5, &[n as u64 + 1])).collect();
        let builder = Revocation::builder().with_authorities(authorities);
        let revocation = builder.from_bytes(first.iter().map(Vec::as_slice)).unwrap();
        // Every third comes from an old copy.
        let next = |n: usize| match n % 3 {
            0 => shard(n, 4, &[]),
            _ => shard(n, 6, &[n as u64 + 1, n as u64 + 101]),
        };
        let next: Vec<_> = (0..20).map(next).collect();
        for _ in 0..3 {
            revocation.publish(next.iter().map(Vec::as_slice)).unwrap();
            let lists = revocation.lists().load();
            let issuer = issuer(&ca);
            for n in 0..20_u8 {
                let revoked = lists.find(&issuer, &[n + 1]).is_some();
                let newly = lists.find(&issuer, &[n + 101]).is_some();
                assert!(revoked, "{n}");
                assert_eq!(newly, n % 3 != 0, "{n}");
            }
            assert!((20..=27).contains(&lists.len()), "{}", lists.len());
        }
    }
}

fn issuer(ca: &Ca) -> Vec<u8> {
    let (_, certificate) = x509_parser::parse_x509_certificate(&ca.der).unwrap();
    certificate.subject().as_raw().to_vec()
}

#[cfg(feature = "metrics")]
mod told {
    use std::fmt::Write;
    use std::sync::{Arc, Mutex};

    use metrics_exporter_prometheus::PrometheusBuilder;
    use tracing::field::{Field, Visit};

    use super::*;

    /// What is logged as an error.
    #[derive(Clone, Default)]
    struct Errors(Arc<Mutex<String>>);

    impl Errors {
        fn take(&self) -> String {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Errors {
        fn on_event(
            &self,
            event: &tracing::Event<'_>,
            _: tracing_subscriber::layer::Context<'_, S>,
        ) {
            struct Text<'a>(&'a mut String);
            impl Visit for Text<'_> {
                fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                    let _ = write!(self.0, "{field}={value:?} ");
                }
            }
            if *event.metadata().level() == tracing::Level::ERROR {
                event.record(&mut Text(&mut self.0.lock().unwrap()));
            }
        }
    }

    /// What is logged, and how often a list was refused for this reason.
    fn refusing(reason: &str, run: impl FnOnce(&Errors, &dyn Fn() -> u64)) {
        use tracing_subscriber::layer::SubscriberExt;
        let errors = Errors::default();
        let subscriber = tracing_subscriber::registry().with(errors.clone());
        let recorder = PrometheusBuilder::new().build_recorder();
        let counted = || {
            let series = format!("portcullis_crl_refused_total{{reason=\"{reason}\"}} ");
            let scrape = recorder.handle().render();
            let mut lines = scrape.lines();
            let count = lines.find_map(|line| line.strip_prefix(&series)?.parse().ok());
            count.unwrap_or(0)
        };
        tracing::subscriber::with_default(subscriber, || {
            metrics::with_local_recorder(&recorder, || run(&errors, &counted));
        });
    }

    #[test]
    fn an_unknown_critical_extension_is_named_and_counted_and_the_last_good_list_stays() {
        let (a, b) = (Ca::new("A"), Ca::new("B"));
        let (good, other) = (numbered(&a, 1, &[7]), numbered(&b, 1, &[]));
        for authorities in [vec![a.der.clone(), b.der.clone()], vec![]] {
            refusing("unusable", |errors, counted| {
                let builder = Revocation::builder().with_authorities(authorities.clone());
                let revocation = builder.clone().from_bytes([&*good, &other]).unwrap();
                assert_eq!((errors.take(), counted()), (String::new(), 0));
                let newer = numbered(&b, 2, &[8]);
                revocation.publish([&*unknown(&a, 2), &newer]).unwrap();
                let told = errors.take();
                assert!(
                    told.contains("critical extension 2.5.29.99 is unknown"),
                    "{told}"
                );
                assert_eq!(counted(), 1);
                assert!(failure(&revocation).is_some_and(|told| told.contains("2.5.29.99")));
                assert!(is_revoked(&revocation, &path(&a, 7)));
                assert!(is_revoked(&revocation, &path(&b, 8)));

                // The same at a start, where there is none from before.
                let revocation = builder.from_bytes([&*unknown(&a, 2), &newer]).unwrap();
                assert!(errors.take().contains("2.5.29.99"));
                assert_eq!(counted(), 2);
                assert!(failure(&revocation).is_some_and(|told| told.contains("2.5.29.99")));
                let of_a = revocation.examine(&path(&a, 7), SystemTime::now());
                assert!(matches!(of_a, Verdict::Unknown { .. }), "{of_a}");
            });
        }
    }

    #[test]
    fn a_list_that_is_none_or_comes_too_early_is_counted_by_its_reason() {
        let ca = Ca::new("Nodes");
        let good = numbered(&ca, 1, &[7]);
        refusing("unusable", |_, counted| {
            let revocation = Revocation::from_bytes([&*good], Options::default()).unwrap();
            revocation.publish([&good[..good.len() - 1]]).unwrap_err();
            assert_eq!(counted(), 1);
        });
        refusing("not_yet_valid", |errors, counted| {
            let early = ca.crl_with(2, &[], |list| list.this_update += time::Duration::HOUR * 2);
            let revocation = Revocation::from_bytes([&*good], Options::default()).unwrap();
            revocation.publish([early.der().as_ref()]).unwrap();
            assert_eq!(counted(), 1);
            assert!(errors.take().contains("has not come yet"));
            assert!(is_revoked(&revocation, &path(&ca, 7)));
        });
    }

    #[test]
    fn a_load_with_the_certificates_is_timed_too() {
        let ca = Ca::new("Nodes");
        let files = Files::new();
        let list = files.put("nodes.crl", numbered(&ca, 1, &[7]));
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let server = files.requiring(&ca.server(&["localhost"]), &ca);
            let material = server.with_crls(Revocation::builder(), [list]).load();
            assert!(material.is_ok());
        });
        let scrape = recorder.handle().render();
        let timed = "portcullis_snapshot_load_duration_seconds{what=\"crl\"} ";
        assert!(scrape.contains(timed), "{scrape}");
    }

    #[test]
    fn a_file_that_is_refused_is_counted_once_however_often_it_is_looked_at() {
        let recorder = PrometheusBuilder::new().install_recorder().unwrap();
        let (a, b) = (Ca::new("A"), Ca::new("B"));
        let files = Files::new();
        files.put("a.crl", numbered(&a, 1, &[]));
        files.put("b.crl", numbered(&b, 1, &[8]));
        let folder = [files.directory.path()];
        let revocation = Revocation::from_files(folder, Options::default(), watch()).unwrap();
        let counted = |series: &str| {
            let scrape = recorder.render();
            let mut lines = scrape.lines();
            lines.any(|line| line == series)
        };
        // At once: half of a file would be refused too, and counted.
        let elsewhere = tempfile::tempdir().unwrap();
        let swap = |name: &str, list: Vec<u8>| {
            let written = elsewhere.path().join(name);
            std::fs::write(&written, list).unwrap();
            std::fs::rename(written, files.path(name)).unwrap();
        };
        for list in [unknown(&b, 2), numbered(&b, 3, &[])[..90].to_vec()] {
            swap("b.crl", list);
            until("refused", || failure(&revocation).is_some());
        }
        let twice = "portcullis_crl_refused_total{reason=\"unusable\"} 2";
        until("counted", || counted(twice));
        // It is counted while the files are read; the reload ends later.
        let reloads = |count: usize| {
            let series = "portcullis_reloads_total{what=\"crl\",outcome=\"failed\"}";
            counted(&format!("{series} {count}"))
        };
        until("ended", || reloads(2));
        let generation = revocation.lists().generation();
        thread::sleep(Duration::from_millis(300));
        assert_eq!(revocation.lists().generation(), generation);
        assert!(counted(twice));
        for number in 2..6 {
            let before = revocation.lists().generation();
            swap("a.crl", numbered(&a, number, &[7]));
            until("taken", || revocation.lists().generation() > before);
            assert!(is_revoked(&revocation, &path(&b, 8)));
            assert!(counted(twice));
        }
        until("ended", || reloads(6));
        // Nor by the looks after the last of them.
        thread::sleep(Duration::from_millis(300));
        assert!(reloads(6) && counted(twice));
        drop(revocation);

        // Nor is a list that stays since another CA's was written over it.
        let cas = files.put("ca.pem", format!("{}{}", a.pem, b.pem));
        let lists = [
            files.put("c.crl", numbered(&a, 1, &[7])),
            files.put("d.crl", numbered(&b, 1, &[])),
        ];
        let builder = Revocation::builder().with_authority_files([cas]);
        let revocation = builder.from_files(lists, watch()).unwrap();
        swap("c.crl", numbered(&b, 2, &[]));
        until("told", || failure(&revocation).is_some());
        let thrice = "portcullis_crl_refused_total{reason=\"unusable\"} 3";
        until("counted", || counted(thrice));
        for number in 3..6 {
            swap("d.crl", numbered(&b, number, &[number]));
            until("taken", || is_revoked(&revocation, &path(&b, number)));
            assert!(is_revoked(&revocation, &path(&a, 7)));
        }
        assert!(counted(thrice));
    }
}

/// A CA whose list revokes 7, in a folder that is followed.
struct Followed {
    ca: Ca,
    files: Files,
    revocation: Revocation,
}

impl Followed {
    /// Beside the list are these.
    fn beside(others: &[(&str, Vec<u8>)]) -> Self {
        let ca = Ca::new("A");
        let files = Files::new();
        let cas = files.put("ca.crt", &ca.pem);
        fs::create_dir(files.path("crls")).unwrap();
        files.put("crls/a.crl", numbered(&ca, 10, &[7]));
        for (name, list) in others {
            files.put(name, list);
        }
        let allowing = Options::default().with_unknown_allowed(true);
        let revocation = Revocation::builder()
            .with_options(allowing)
            .with_authority_files([cas])
            .from_files([files.path("crls")], watch())
            .unwrap();
        let followed = Self {
            ca,
            files,
            revocation,
        };
        assert!(followed.finds(7));
        followed
    }

    /// Writes a list over that of the CA.
    fn write_over(&self, list: impl AsRef<[u8]>) {
        let before = self.revocation.lists().generation();
        let whole = self.files.put("next.crl", list);
        fs::rename(whole, self.files.path("crls/a.crl")).unwrap();
        until("read", || self.revocation.lists().generation() > before);
    }

    /// Whether a list revokes this certificate of the CA, whatever the list is about.
    fn finds(&self, serial: u8) -> bool {
        let anchor = webpki::anchor_from_trusted_cert(&self.ca.der).unwrap();
        let issuer = pki::extended::encode(0x30, &anchor.subject);
        let lists = self.revocation.lists().load();
        lists.find(&issuer, &[serial]).is_some()
    }
}

#[test]
fn no_list_of_a_namesake_that_is_not_known_takes_the_place_of_a_cas_own() {
    let namesake = Ca::new("A");
    // It was there before, and is later.
    let beside = ("crls/other.crl", numbered(&namesake, 20, &[6]));
    let followed = Followed::beside(&[beside]);
    followed.write_over(numbered(&Ca::new("B"), 1, &[]));
    until("told", || failure(&followed.revocation).is_some());
    assert!(followed.finds(7));
    // In the place of the list itself it is no list of another CA by mistake: both are there.
    let followed = Followed::beside(&[]);
    for number in [20, 21] {
        followed.write_over(numbered(&namesake, number, &[6]));
        assert!(followed.finds(6) && followed.finds(7));
    }
    assert_eq!(failure(&followed.revocation), None);
}

#[test]
fn a_list_that_another_cas_list_was_written_over_stays_while_its_ca_is_known() {
    let (a, b) = (Ca::new("A"), Ca::new("B"));
    let files = Files::new();
    let cas = files.put("ca.crt", format!("{}{}", a.pem, b.pem));
    let lists = [
        files.put("a.crl", numbered(&a, 1, &[7])),
        files.put("b.crl", numbered(&b, 1, &[8])),
    ];
    let allowing = Options::default().with_unknown_allowed(true);
    let builder = Revocation::builder()
        .with_options(allowing)
        .with_authority_files([&cas]);
    let revocation = builder.from_files(lists, watch()).unwrap();
    let (of_a, of_b) = (path(&a, 7), path(&b, 8));
    assert!(is_revoked(&revocation, &of_a) && is_revoked(&revocation, &of_b));

    files.put("a.crl", numbered(&b, 2, &[8]));
    until("told", || failure(&revocation).is_some());
    let told = failure(&revocation).unwrap();
    assert!(told.contains("a.crl: the CRL of \"CN=A\""), "{told}");
    assert!(is_revoked(&revocation, &of_a) && is_revoked(&revocation, &of_b));
    // Written over once more, it stays by what the reading before kept.
    files.put("a.crl", numbered(&b, 4, &[8, 7]));
    until("written over again", || {
        is_revoked(&revocation, &path(&b, 7))
    });
    assert!(failure(&revocation).is_some());
    assert!(is_revoked(&revocation, &of_a));
    files.put("a.crl", "no list at all");
    until("unreadable", || {
        failure(&revocation).is_some_and(|told| !told.contains("the CRL of \"CN=A\""))
    });
    assert!(is_revoked(&revocation, &of_a));
    files.put("a.crl", numbered(&b, 5, &[8]));
    until("told again", || {
        failure(&revocation).is_some_and(|told| told.contains("the CRL of \"CN=A\""))
    });
    assert!(is_revoked(&revocation, &of_a) && is_revoked(&revocation, &of_b));
    // As long as it is so, whatever else is read.
    files.put("b.crl", numbered(&b, 6, &[8, 9]));
    until("taken", || is_revoked(&revocation, &path(&b, 9)));
    until("told again", || failure(&revocation).is_some());
    assert!(is_revoked(&revocation, &of_a));
    // In another file it is back.
    files.put(
        "b.crl",
        pem(&numbered(&a, 2, &[6])) + &pem(&numbered(&b, 7, &[8])),
    );
    until("mended", || failure(&revocation).is_none());
    assert!(is_revoked(&revocation, &path(&a, 6)) && !is_revoked(&revocation, &of_a));
    // A bundle that has one list less is the same mistake, until the CA itself goes.
    files.put("b.crl", numbered(&b, 8, &[8]));
    until("told", || failure(&revocation).is_some());
    assert!(is_revoked(&revocation, &path(&a, 6)));
    files.put("ca.crt", &b.pem);
    until("gone", || {
        failure(&revocation).is_none() && revocation.lists().load().len() == 1
    });

    // What the CA's next key signed is no word about the certificates of the one before, while that is a client CA.
    let next = Ca::new("A");
    files.put("ca.crt", format!("{}{}{}", a.pem, b.pem, next.pem));
    files.put("a.crl", numbered(&a, 10, &[6]));
    until("there", || is_revoked(&revocation, &path(&a, 6)));
    files.put("a.crl", numbered(&next, 11, &[4]));
    until("there too", || is_revoked(&revocation, &path(&next, 4)));
    until("told", || failure(&revocation).is_some());
    assert!(is_revoked(&revocation, &path(&a, 6)));
    files.put("ca.crt", format!("{}{}", b.pem, next.pem));
    until("mended", || failure(&revocation).is_none());
    assert!(!is_revoked(&revocation, &path(&a, 6)));
}

#[test]
fn a_list_stays_where_one_about_less_was_written_over_it() {
    let ca = Ca::new("A");
    let scoped = |scope| {
        let list = ca.crl_with(2, &[], |list| {
            let point = CrlDistributionPoint {
                uris: vec!["http://crl.example/part".to_owned()],
            };
            list.issuing_distribution_point = Some(CrlIssuingDistributionPoint {
                distribution_point: point,
                scope,
            });
        });
        list.der().to_vec()
    };
    let delta = ca.delta(&ca.crl_with(2, &[], |_| {}), 1);
    let files = Files::new();
    let cas = files.put("ca.crt", &ca.pem);
    let allowing = Options::default().with_unknown_allowed(true);
    for part in [
        scoped(Some(CrlScope::CaCertsOnly)),
        scoped(Some(CrlScope::UserCertsOnly)),
        scoped(None),
        delta,
    ] {
        let file = files.put("a.crl", numbered(&ca, 1, &[7]));
        let builder = Revocation::builder()
            .with_options(allowing)
            .with_authority_files([&cas]);
        let revocation = builder.from_files([file], watch()).unwrap();
        files.put("a.crl", part);
        until("told", || failure(&revocation).is_some());
        assert!(is_revoked(&revocation, &path(&ca, 7)));
        files.put("a.crl", numbered(&ca, 3, &[8]));
        until("mended", || failure(&revocation).is_none());
        assert!(is_revoked(&revocation, &path(&ca, 8)));
        assert!(!is_revoked(&revocation, &path(&ca, 7)));
    }
}

#[test]
fn what_a_file_has_lost_stays_however_often_it_is_written_over() {
    let (a, b) = (Ca::new("A"), Ca::new("B"));
    let delta = |number, base, revoked: &[u64]| {
        let list = a.crl_with(number, revoked, |_| {});
        a.delta(&list, base)
    };
    let files = Files::new();
    let cas = files.put("ca.crt", format!("{}{}", a.pem, b.pem));
    let allowing = Options::default().with_unknown_allowed(true);
    let reading = |names: &[&str]| {
        let builder = Revocation::builder()
            .with_options(allowing)
            .with_authority_files([&cas]);
        let names = names.iter().map(|name| files.path(name));
        builder.from_files(names, watch()).unwrap()
    };
    let client = path(&a, 7);
    let write = |revocation: &Revocation, name, list: Vec<u8>| {
        let before = revocation.lists().generation();
        files.put(name, list);
        until("read", || revocation.lists().generation() > before);
    };

    // A delta by the complete list that it is over, and by an older one.
    files.put("complete.crl", numbered(&a, 10, &[]));
    files.put("delta.crl", delta(11, 10, &[7]));
    let revocation = reading(&["complete.crl", "delta.crl"]);
    assert!(is_revoked(&revocation, &client));
    for number in [10, 9] {
        write(&revocation, "delta.crl", numbered(&a, number, &[]));
        assert!(is_revoked(&revocation, &client), "{number}");
    }
    write(&revocation, "delta.crl", numbered(&a, 12, &[]));
    assert!(!is_revoked(&revocation, &client));

    // By another CA's list, by an older one, and by another CA's again.
    files.put("a.crl", numbered(&a, 10, &[7]));
    let revocation = reading(&["a.crl"]);
    let over = [
        numbered(&b, 1, &[]),
        numbered(&a, 9, &[]),
        numbered(&b, 2, &[]),
        numbered(&b, 3, &[]),
    ];
    for list in over {
        write(&revocation, "a.crl", list);
        assert!(is_revoked(&revocation, &client));
    }
    assert!(failure(&revocation).is_some());

    // One that is over by another CA's list.
    let over = a.crl_with(10, &[7], |list| {
        list.this_update -= time::Duration::DAY * 2;
        list.next_update -= time::Duration::DAY * 2;
    });
    files.put("a.crl", over.der());
    let revocation = reading(&["a.crl"]);
    for number in 1..=3 {
        write(&revocation, "a.crl", numbered(&b, number, &[]));
        assert!(is_revoked(&revocation, &client));
    }
    write(&revocation, "a.crl", numbered(&a, 11, &[]));
    assert!(!is_revoked(&revocation, &client));

    // A delta by one whose base is not here, and that by another CA's list.
    files.put("complete.crl", numbered(&a, 10, &[]));
    files.put("delta.crl", delta(11, 10, &[7]));
    let revocation = reading(&["complete.crl", "delta.crl"]);
    for list in [
        delta(13, 12, &[]),
        numbered(&b, 1, &[]),
        delta(13, 12, &[]),
        numbered(&b, 2, &[]),
    ] {
        write(&revocation, "delta.crl", list);
        assert!(is_revoked(&revocation, &client));
    }
}
