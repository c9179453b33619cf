//! Where CRLs come from: files, directories, compressed ones.
#![cfg(all(feature = "crl", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod pki;

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use pki::{Ca, Files, swap_secret};
use portcullis::crl::{LoadError, Options, Revocation};
use portcullis::reload::WatchOptions;
use proptest::prelude::*;

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn watch() -> WatchOptions {
    WatchOptions::default()
        .with_poll_interval(Duration::from_millis(50))
        .with_settle(Duration::from_millis(5))
}

fn entries(revocation: &Revocation) -> usize {
    revocation.lists().load().entries()
}

#[test]
fn a_compressed_list_is_read_whatever_its_name_is_in_der_and_in_pem() {
    let (nodes, users) = (Ca::new("Nodes"), Ca::new("Users"));
    let (of_nodes, of_users) = (nodes.crl(1, &[7, 8]), users.crl(1, &[9]));
    let both = of_nodes.pem().unwrap() + &of_users.pem().unwrap();
    let files = Files::new();
    for (name, content, expected) in [
        ("list.crl.gz", gzip(of_nodes.der()), 2),
        ("list.pem.gz", gzip(both.as_bytes()), 3),
        ("list", gzip(both.as_bytes()), 3),
    ] {
        let path = files.put(name, content);
        let revocation = Revocation::from_files([path], Options::default(), watch()).unwrap();
        assert_eq!(entries(&revocation), expected, "{name}");
    }
    let bytes = [gzip(of_nodes.der()), of_users.der().to_vec()];
    let bytes = bytes.iter().map(Vec::as_slice);
    let revocation = Revocation::from_bytes(bytes, Options::default()).unwrap();
    assert_eq!(entries(&revocation), 3);
}

#[test]
fn a_file_of_several_members_is_read_whole() {
    let (nodes, users) = (Ca::new("Nodes"), Ca::new("Users"));
    let mut content = gzip(nodes.crl(1, &[7]).pem().unwrap().as_bytes());
    content.extend(gzip(users.crl(1, &[8, 9]).pem().unwrap().as_bytes()));
    let revocation = Revocation::from_bytes([content.as_slice()], Options::default()).unwrap();
    assert_eq!(entries(&revocation), 3);
}

#[test]
fn what_is_cut_short_or_damaged_or_followed_by_something_is_an_error() {
    let list = gzip(Ca::new("Nodes").crl(1, &[7]).der());
    let load = |content: &[u8]| Revocation::from_bytes([content], Options::default());
    assert!(load(&list).is_ok());
    for length in 2..list.len() {
        let error = load(&list[..length]).unwrap_err();
        assert!(matches!(error, LoadError::Gzip { .. }), "{length}: {error}");
    }
    let mut damaged = list.clone();
    let crc = damaged.len() - 8;
    damaged[crc] ^= 1;
    let mut longer = list.clone();
    longer.extend(b"more");
    for content in [damaged, longer] {
        assert!(matches!(load(&content), Err(LoadError::Gzip { .. })));
    }
    // One that is empty, and one in another.
    assert!(matches!(load(&gzip(b"")), Err(LoadError::Empty { .. })));
    assert!(matches!(load(&gzip(&list)), Err(LoadError::Pem { .. })));
}

#[test]
fn a_bomb_is_refused_at_its_limit_and_what_fits_exactly_is_not() {
    let list = Ca::new("Nodes").crl(1, &[7]).der().to_vec();
    let size = list.len() as u64;
    let load = |content: &[u8], max_size| {
        Revocation::from_bytes([content], Options::default().with_max_size(max_size))
    };
    assert!(load(&gzip(&list), size).is_ok());
    let error = load(&gzip(&list), size - 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "bytes: it is larger than {} bytes when it is decompressed",
            size - 1
        )
    );
    let bomb = gzip(&vec![0x30; 64 << 20]);
    assert!(bomb.len() < 100_000);
    let error = load(&bomb, 1 << 20).unwrap_err();
    assert!(matches!(error, LoadError::TooLarge { max_size, .. } if max_size == 1 << 20));
    // What the operator's own file is not compressed is as large as it is.
    assert!(load(&list, 1).is_ok());
}

#[tokio::test]
async fn compressed_shards_of_a_secret_are_swapped_together() {
    let volume = tempfile::tempdir().unwrap();
    let cas = [Ca::new("A"), Ca::new("B")];
    let compressed = |number, serials: &[u64]| {
        let change = |list: &mut rcgen::CertificateRevocationListParams| {
            list.this_update += time::Duration::minutes(i64::try_from(number).unwrap());
        };
        let shard = |ca: &Ca| gzip(ca.crl_with(number, serials, change).der());
        [shard(&cas[0]), shard(&cas[1])]
    };
    let [a, b] = compressed(1, &[7]);
    swap_secret(volume.path(), "v1", &[("a.crl.gz", &a), ("b.crl.gz", &b)]);
    let paths = [volume.path()];
    let revocation = Revocation::from_files(paths, Options::default(), watch()).unwrap();
    assert_eq!(entries(&revocation), 2);
    let mut changes = revocation.lists().changes();
    let [a, b] = compressed(2, &[7, 8]);
    swap_secret(volume.path(), "v2", &[("a.crl.gz", &a), ("b.crl.gz", &b)]);
    changes.changed().await.unwrap();
    assert_eq!(entries(&revocation), 4);
    // A shard that is cut short changes nothing.
    swap_secret(
        volume.path(),
        "v3",
        &[("a.crl.gz", &a[..40]), ("b.crl.gz", &b)],
    );
    while revocation.lists().health().failure.is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(entries(&revocation), 4);
}

#[cfg(feature = "metrics")]
#[test]
fn each_list_of_an_issuer_has_gauges_of_its_own_until_it_is_gone() {
    use metrics_exporter_prometheus::PrometheusBuilder;
    let ca = Ca::new("Nodes");
    let shard = |uri: &str, users: Option<rcgen::CrlScope>, revoked: &[u64]| {
        ca.crl_with(1, revoked, |list| {
            list.issuing_distribution_point = Some(rcgen::CrlIssuingDistributionPoint {
                distribution_point: rcgen::CrlDistributionPoint {
                    uris: vec![uri.to_owned()],
                },
                scope: users,
            });
        })
    };
    let lists = [
        ca.crl(1, &[1]),
        shard("http://crl/1", None, &[1, 2]),
        shard(
            "http://crl/2",
            Some(rcgen::CrlScope::UserCertsOnly),
            &[1, 2, 3],
        ),
        shard(&format!("http://crl/{}", "x".repeat(9_000)), None, &[]),
    ];
    let lists = lists.each_ref().map(|list| list.der().as_ref());
    let recorder = PrometheusBuilder::new().build_recorder();
    let entries = |scope: &str| {
        let scrape = recorder.handle().render();
        let series = format!("portcullis_crl_entries{{issuer=\"CN=Nodes\",scope=\"{scope}\"}} ");
        let mut lines = scrape.lines();
        lines.find_map(|line| line.strip_prefix(&series).map(str::to_owned))
    };
    metrics::with_local_recorder(&recorder, || {
        let builder = Revocation::builder().with_authorities([ca.der.clone()]);
        let revocation = builder.from_bytes(lists).unwrap();
        for (scope, expected) in [
            ("complete", "1"),
            ("complete http://crl/1", "2"),
            ("complete users http://crl/2", "3"),
        ] {
            assert_eq!(entries(scope).as_deref(), Some(expected), "{scope}");
        }
        revocation.publish([lists[0], lists[1]]).unwrap();
        assert_eq!(entries("complete").as_deref(), Some("1"));
        let gone = entries("complete users http://crl/2");
        assert_eq!(gone.as_deref(), Some("NaN"));
    });
    let longest = recorder.handle().render();
    let longest = longest.lines().map(str::len).max();
    assert!(longest.is_some_and(|longest| longest < 400), "{longest:?}");
}

/// No reload comes with it: the one before it ends, and nothing is read.
#[cfg(feature = "metrics")]
#[test]
fn a_list_that_was_held_back_has_the_gauges_from_when_it_is_active() {
    use metrics_exporter_prometheus::PrometheusBuilder;
    let recorder = PrometheusBuilder::new().install_recorder().unwrap();
    let gauge = |name: &str, issuer: &str| {
        let scrape = recorder.render();
        let series = format!("portcullis_crl_{name}{{issuer=\"CN={issuer}\",scope=\"complete\"}} ");
        let mut lines = scrape.lines();
        lines.find_map(|line| line.strip_prefix(&series).map(str::to_owned))
    };
    let until = |what: &str, reached: &dyn Fn() -> bool| {
        let begun = std::time::Instant::now();
        while !reached() {
            assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let files = Files::new();
    let end = time::OffsetDateTime::now_utc() + time::Duration::seconds(8);
    // By itself, and read with the certificates.
    let cas = ["Alone", "Served"].map(Ca::new);
    let path = |ca: &str| files.path(&format!("{ca}.crl"));
    for (ca, name) in cas.iter().zip(["Alone", "Served"]) {
        let first = ca.crl_with(100, &[7], |list| list.next_update = end);
        std::fs::write(path(name), first.der()).unwrap();
    }
    let alone = Revocation::builder().with_authorities([cas[0].der.clone()]);
    let alone = alone.from_files([path("Alone")], watch()).unwrap();
    let server = files.requiring(&cas[1].server(&["localhost"]), &cas[1]);
    let material = server
        .with_crls(Revocation::builder(), [path("Served")])
        .watch(watch())
        .unwrap();
    for (ca, name) in cas.iter().zip(["Alone", "Served"]) {
        assert_eq!(gauge("entries", name).as_deref(), Some("1"));
        let restored = ca.crl_with(5, &[8, 9], |list| {
            list.this_update += time::Duration::minutes(10);
        });
        // At once: half of a file would be refused.
        let written = files.put("written", restored.der());
        std::fs::rename(written, path(name)).unwrap();
    }
    let held_back = |lists: &portcullis::crl::CrlSet| lists.held_back().count();
    until("held back", &|| held_back(&alone.lists().load()) == 1);
    for name in ["Alone", "Served"] {
        until(name, &|| gauge("entries", name).as_deref() == Some("2"));
        let ends = gauge("next_update_timestamp_seconds", name).unwrap();
        assert!(ends.parse::<i64>().unwrap() > end.unix_timestamp());
        assert!(time::OffsetDateTime::now_utc() >= end - time::Duration::SECOND);
    }
    drop((alone, material));
}

#[cfg(feature = "metrics")]
#[test]
fn a_load_is_timed_and_its_generation_told() {
    use metrics_exporter_prometheus::PrometheusBuilder;
    let files = Files::new();
    let ca = Ca::new("Nodes");
    let path = files.put("crl.pem", ca.crl(1, &[7]).pem().unwrap());
    let recorder = PrometheusBuilder::new().install_recorder().unwrap();
    let revocation = Revocation::from_files([path], Options::default(), watch()).unwrap();
    let scrape = recorder.render();
    assert!(
        scrape.contains("portcullis_snapshot_generation{what=\"crl\"} 1"),
        "{scrape}"
    );
    assert!(scrape.contains("portcullis_snapshot_load_duration_seconds{what=\"crl\"} "));
    let newer = ca.crl_with(2, &[7, 8], |list| {
        list.this_update += time::Duration::MINUTE;
    });
    files.put("crl.pem", newer.pem().unwrap());
    let expected = "portcullis_snapshot_generation{what=\"crl\"} 2";
    for _ in 0..1_000 {
        if recorder.render().contains(expected) {
            assert_eq!(entries(&revocation), 2);
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{}", recorder.render());
}

proptest! {
    #[test]
    fn no_bytes_after_the_magic_number_make_a_list_or_a_panic(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let content = [&[0x1f, 0x8b, 8, 0][..], &noise].concat();
        let options = Options::default().with_max_size(1 << 20);
        prop_assert!(Revocation::from_bytes([content.as_slice()], options).is_err());
    }
}
