//! CRLs fetched from HTTP distribution points.
#![cfg(all(feature = "crl-fetch", feature = "aws-lc-rs", feature = "metrics"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod captured;
mod http_server;
mod pki;
mod waiting;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use http_server::{Answer, Server};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use pki::{Ca, Files};
use portcullis::crl::{Fetch, LoadError, Options, Revocation};
use portcullis::reload::WatchOptions;
use rcgen::CertificateRevocationList;
use waiting::until;

/// A CA, its distribution point, and the folder that lists are kept in.
struct World {
    ca: Ca,
    server: Server,
    files: Files,
}

impl World {
    fn new() -> Self {
        Self {
            ca: Ca::new("Nodes"),
            server: Server::start(),
            files: Files::new(),
        }
    }

    fn folder(&self) -> PathBuf {
        self.files.path("kept")
    }

    fn fetch(&self) -> Fetch {
        Fetch::into_directory(self.folder())
            .with_urls([self.server.url("/nodes.crl")])
            .with_interval(Duration::from_millis(30))
            .with_retry(Duration::from_millis(10), Duration::from_millis(50))
            .with_timeout(Duration::from_secs(20))
            .with_start_timeout(Duration::from_secs(20))
    }

    fn begin(&self) -> Result<Revocation, LoadError> {
        self.begin_with(&self.fetch())
    }

    fn begin_with(&self, fetch: &Fetch) -> Result<Revocation, LoadError> {
        Revocation::builder()
            .with_options(Options::default().with_max_size(1 << 20))
            .with_authorities([self.ca.der.clone()])
            .fetching(fetch, [] as [PathBuf; 0], watch())
    }

    /// Why it does not begin with this answer and nothing kept.
    fn refusal(&self, answer: Answer) -> Refused {
        let must_time_out = matches!(answer, Answer::Slow(_) | Answer::Silence);
        let _ = fs::remove_dir_all(self.folder());
        self.server.answer(answer);
        let mut patience = Duration::from_millis(300);
        loop {
            let mut fetch = self.fetch().with_start_timeout(patience);
            if must_time_out {
                fetch = fetch.with_timeout(Duration::from_millis(100));
            }
            let error = match self.begin_with(&fetch) {
                Err(LoadError::Fetch {
                    origin,
                    reason,
                    problem,
                    ..
                }) => {
                    assert_eq!(origin, self.server.url("/nodes.crl"));
                    Refused { reason, problem }
                }
                Err(error) => panic!("{error}"),
                Ok(_) => panic!("it was taken"),
            };
            // On a busy machine not even the first answer may have come.
            let too_soon = error.reason == "timed_out" && !must_time_out;
            if !too_soon || patience > Duration::from_secs(60) {
                return error;
            }
            patience *= 4;
        }
    }

    /// A list of these serial numbers, by so many minutes newer than the first.
    fn list(&self, number: u64, revoked: &[u64]) -> CertificateRevocationList {
        self.ca.crl_with(number, revoked, |list| {
            list.this_update += time::Duration::minutes(i64::try_from(number).unwrap());
        })
    }
}

fn watch() -> WatchOptions {
    WatchOptions::default()
        .with_poll_interval(Duration::from_millis(30))
        .with_settle(Duration::from_millis(2))
}

fn entries(revocation: &Revocation) -> usize {
    revocation.lists().load().entries()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn metrics() -> PrometheusHandle {
    PrometheusBuilder::new().install_recorder().unwrap()
}

#[test]
fn a_fetched_list_counts_and_is_asked_for_again_by_its_etag() {
    let world = World::new();
    let list = world.list(1, &[7, 8]);
    world.server.answer(Answer::list(list.der(), "\"1\""));
    let revocation = world.begin().unwrap();
    assert_eq!(entries(&revocation), 2);
    until("asked again", || world.server.requests().len() > 3);
    let requests = world.server.requests();
    assert_eq!(requests[0].header("if-none-match"), None);
    for again in &requests[1..] {
        assert_eq!(again.header("if-none-match"), Some("\"1\""));
        assert_eq!(
            again.header("if-modified-since"),
            Some("Mon, 23 Nov 2026 10:00:00 GMT")
        );
    }
    // 304 is no new generation.
    assert_eq!(revocation.lists().generation(), 1);
    let newer = world.list(2, &[7, 8, 9]);
    world.server.answer(Answer::list(newer.der(), "\"2\""));
    until("the newer one", || entries(&revocation) == 3);
    let asked = world.server.requests().len();
    until("asked again", || world.server.requests().len() > asked + 1);
    let newest = world.server.requests().pop().unwrap();
    assert_eq!(newest.header("if-none-match"), Some("\"2\""));
}

#[test]
fn it_stops_asking_when_nobody_holds_the_lists_any_more() {
    let world = World::new();
    let list = world.list(1, &[7]);
    world.server.answer(Answer::list(list.der(), "\"1\""));
    let revocation = world.begin().unwrap();
    until("asked again", || world.server.requests().len() > 3);
    drop(revocation);
    // The last one may be on its way.
    until("silence", || {
        let asked = world.server.requests().len();
        std::thread::sleep(Duration::from_millis(500));
        world.server.requests().len() == asked
    });
}

#[test]
fn a_list_in_pem_or_compressed_is_taken_too() {
    let world = World::new();
    let list = world.list(1, &[7]);
    let pem = list.pem().unwrap().into_bytes();
    for content in [pem.clone(), gzip(list.der()), gzip(&pem)] {
        let _ = fs::remove_dir_all(world.folder());
        world.server.answer(Answer::list(&content, "\"1\""));
        assert_eq!(entries(&world.begin().unwrap()), 1);
    }
}

#[test]
fn a_restart_without_a_network_begins_with_the_lists_that_were_kept() {
    let mut world = World::new();
    let list = world.list(1, &[7]);
    world.server.answer(Answer::list(list.der(), "\"1\""));
    drop(world.begin().unwrap());
    world.server.stop();
    let revocation = world.begin().unwrap();
    assert_eq!(entries(&revocation), 1);
    // And takes a newer one once it is there.
    world.server = world.server.again();
    let newer = world.list(2, &[7, 8]);
    world.server.answer(Answer::list(newer.der(), "\"2\""));
    until("the newer one", || entries(&revocation) == 2);
    // It asked by the validators that were kept.
    let first = &world.server.requests()[0];
    assert_eq!(first.header("if-none-match"), Some("\"1\""));
}

#[test]
fn a_start_without_a_network_and_without_a_kept_list_fails_and_says_why() {
    let world = World::new();
    world.server.stop();
    let error = world.refusal(Answer::Status(500));
    assert_eq!(error.reason, "unreachable", "{error:?}");
}

#[test]
fn a_kept_file_that_is_damaged_is_fetched_anew() {
    let world = World::new();
    let list = world.list(1, &[7]);
    world.server.answer(Answer::list(list.der(), "\"1\""));
    drop(world.begin().unwrap());
    let kept = kept(&world);
    fs::write(&kept[0], &list.der()[..100]).unwrap();
    assert_eq!(entries(&world.begin().unwrap()), 1);
    fs::write(&kept[0], b"").unwrap();
    world.server.stop();
    let fetch = world.fetch().with_start_timeout(Duration::from_millis(100));
    assert!(world.begin_with(&fetch).is_err());
}

#[test]
fn a_list_removed_from_the_folder_is_asked_for_whatever_its_etag() {
    let world = World::new();
    let list = world.list(1, &[7]);
    world.server.answer(Answer::list(list.der(), "\"1\""));
    let revocation = world.begin().unwrap();
    let kept = kept(&world);
    fs::remove_file(&kept[0]).unwrap();
    until("there again", || kept[0].is_file());
    assert_eq!(entries(&revocation), 1);
}

#[cfg(unix)]
#[test]
fn what_is_kept_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let list = world.list(1, &[7]);
    world.server.answer(Answer::list(list.der(), "\"1\""));
    let _revocation = world.begin().unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(world.folder()), 0o700);
    assert_eq!(kept(&world).len(), 1);
    for entry in fs::read_dir(world.folder()).unwrap() {
        assert_eq!(mode(entry.unwrap().path()), 0o600);
    }
}

/// Why a list was not taken.
#[derive(Debug)]
struct Refused {
    reason: &'static str,
    problem: Box<str>,
}

/// The label and a part of the text of the error that is meant.
type Expected = (&'static str, &'static str);

fn kept(world: &World) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.folder()).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    files
        .filter(|file| file.extension().is_some_and(|extension| extension == "crl"))
        .collect()
}

#[test]
fn each_bad_answer_is_refused_for_what_is_wrong_with_it() {
    let world = World::new();
    let der = world.list(1, &[7]).der().to_vec();
    let other = Ca::new("Nodes").crl(1, &[]);
    let two = world.list(1, &[7]).pem().unwrap().repeat(2);
    let early = world.ca.crl_with(1, &[], |list| {
        list.this_update = time::OffsetDateTime::now_utc() + time::Duration::HOUR;
    });
    let bytes = |content: &[u8]| Answer::list(content, "\"1\"");
    let mut critical = der.clone();
    // The CRLNumber extension becomes an unknown one, which the signature does not cover.
    let number = critical
        .windows(3)
        .rposition(|oid| oid == [0x55, 0x1d, 0x14])
        .unwrap();
    critical[number + 2] = 0x7f;
    let cases: Vec<(Answer, Expected)> = vec![
        (Answer::Status(404), ("status", "the answer is 404")),
        (Answer::Status(500), ("status", "the answer is 500")),
        (Answer::Status(204), ("status", "the answer is 204")),
        (Answer::Status(206), ("status", "the answer is 206")),
        // Without a question that it could be the answer to.
        (Answer::Status(304), ("status", "the answer is 304")),
        (
            bytes(&vec![0x30; (1 << 20) + 1]),
            ("too_large", "larger than 1048576 bytes"),
        ),
        (Answer::Endless, ("too_large", "larger than")),
        (
            bytes(&gzip(&vec![0x30; 2 << 20])),
            ("too_large", "larger than"),
        ),
        (Answer::Slow(der.clone()), ("timed_out", "too long")),
        (Answer::Silence, ("timed_out", "too long")),
        (Answer::Truncated(der.clone()), ("unreachable", "")),
        (Answer::Raw(b"no http at all".to_vec()), ("unreachable", "")),
        (bytes(&der[..der.len() - 1]), ("unusable", "malformed")),
        (bytes(b""), ("unusable", "it holds 0 CRLs")),
        (
            bytes(b"<html>captive portal</html>"),
            ("unusable", "it holds 0 CRLs"),
        ),
        (bytes(two.as_bytes()), ("unusable", "it holds 2 CRLs")),
        (bytes(&gzip(&der)[..60]), ("unusable", "not gzip")),
        (bytes(&gzip(&gzip(&der))), ("unusable", "it holds 0 CRLs")),
        (bytes(other.der()), ("not_signed", "")),
        (bytes(&critical), ("not_signed", "")),
        (bytes(early.der()), ("not_yet_valid", "")),
    ];
    for (number, (answer, expected)) in cases.into_iter().enumerate() {
        let error = world.refusal(answer);
        assert_eq!(error.reason, expected.0, "{number}: {error:?}");
        assert!(error.problem.contains(expected.1), "{number}: {error:?}");
    }
}

#[test]
fn a_bad_answer_keeps_the_last_good_list() {
    let metrics = metrics();
    let world = World::new();
    let good = world.list(10, &[7]);
    world.server.answer(Answer::list(good.der(), "\"1\""));
    let fetch = world.fetch().with_timeout(Duration::from_millis(200));
    let revocation = world.begin_with(&fetch).unwrap();
    let replayed = world.list(9, &[]);
    let shard = world.ca.crl_with(11, &[], |list| {
        list.this_update += time::Duration::minutes(30);
        list.issuing_distribution_point = Some(rcgen::CrlIssuingDistributionPoint {
            distribution_point: rcgen::CrlDistributionPoint {
                uris: vec!["http://crl.example.org/other".to_owned()],
            },
            scope: None,
        });
    });
    let foreign = Ca::new("Nodes").crl(99, &[]);
    for (answer, outcome) in [
        (Answer::list(replayed.der(), "\"2\""), "older"),
        (Answer::list(shard.der(), "\"3\""), "other_scope"),
        (Answer::list(foreign.der(), "\"4\""), "not_signed"),
        (Answer::list(b"garbage", "\"5\""), "unusable"),
        (Answer::Truncated(good.der().to_vec()), "unreachable"),
        (Answer::Slow(good.der().to_vec()), "timed_out"),
        (Answer::Endless, "too_large"),
        (Answer::Status(503), "status"),
        (
            Answer::Redirect("http://localhost:9/".to_owned()),
            "redirected",
        ),
    ] {
        world.server.answer(answer);
        let counted = format!("outcome=\"{outcome}\"}}");
        until(outcome, || metrics.render().contains(&counted));
        assert_eq!(entries(&revocation), 1, "{outcome}");
        assert_eq!(revocation.lists().generation(), 1, "{outcome}");
        // Nor is it kept for a restart.
        let kept = fs::read(&kept(&world)[0]).unwrap();
        assert_eq!(kept, good.der().as_ref(), "{outcome}");
    }
    let newer = world.list(12, &[7, 8]);
    world.server.answer(Answer::list(newer.der(), "\"6\""));
    until("the newer one", || entries(&revocation) == 2);
    until("counted", || {
        metrics.render().contains("outcome=\"new\"} 2")
    });
}

#[test]
fn an_old_list_is_refused_after_a_restart_too() {
    let metrics = metrics();
    let world = World::new();
    let good = world.list(10, &[7]);
    world.server.answer(Answer::list(good.der(), "\"1\""));
    drop(world.begin().unwrap());
    let replayed = world.list(9, &[]);
    world.server.answer(Answer::list(replayed.der(), "\"0\""));
    let revocation = world.begin().unwrap();
    until("older", || metrics.render().contains("outcome=\"older\"}"));
    assert_eq!(entries(&revocation), 1);
}

/// A CA that was restored from a backup counts anew from a lower number; or its clock was wrong.
#[test]
fn a_list_that_contradicts_the_one_before_it_is_taken_when_that_is_over_and_not_sooner() {
    let errors = captured::Sink::errors_everywhere();
    let end = time::OffsetDateTime::now_utc() + time::Duration::seconds(8);
    let restored = [(5, 10, "05"), (200, -10, "c8")].map(|(number, minutes, came)| {
        let world = World::new();
        let first = world.ca.crl_with(100, &[7], |list| list.next_update = end);
        world.server.answer(Answer::list(first.der(), "\"1\""));
        let revocation = world.begin().unwrap();
        let restored = world.ca.crl_with(number, &[8, 9], |list| {
            list.this_update += time::Duration::minutes(minutes);
        });
        world.server.answer(Answer::list(restored.der(), "\"2\""));
        (world, revocation, came)
    });
    for (_, revocation, came) in &restored {
        // Both numbers and the way out, for the operator.
        let came = format!("it is number {came} ");
        let told = [&*came, "contradicts number 64 ", "remove the kept file"];
        until("told", || {
            told.iter().all(|words| errors.text().contains(words))
        });
        until("taken", || entries(revocation) == 2);
        // Its times are whole seconds.
        assert!(time::OffsetDateTime::now_utc() >= end - time::Duration::SECOND);
    }
}

#[test]
fn redirects_lead_to_allowed_hosts_only() {
    let world = World::new();
    let elsewhere = Server::start();
    let list = world.list(1, &[7]);
    elsewhere.answer(Answer::list(list.der(), "\"1\""));
    let there = elsewhere.url("/moved.crl");
    let error = world.refusal(Answer::Redirect(there.clone()));
    assert_eq!(error.reason, "redirected", "{error:?}");
    assert!(error.problem.contains("not an allowed host"), "{error:?}");
    assert!(elsewhere.requests().is_empty());
    let error = world.refusal(Answer::Redirect("file:///etc/passwd".to_owned()));
    assert_ne!(error.reason, "unusable", "{error:?}");
    let error = world.refusal(Answer::Redirect(world.server.url("/nodes.crl")));
    assert!(error.problem.contains("too many"), "{error:?}");

    world.server.answer(Answer::Redirect(there));
    let host = elsewhere.address().to_string();
    let fetch = world.fetch().with_allowed_hosts([host]);
    assert_eq!(entries(&world.begin_with(&fetch).unwrap()), 1);
}

#[test]
fn a_list_is_replaced_before_its_next_update() {
    let world = World::new();
    let short = world.ca.crl_with(1, &[7], |list| {
        list.next_update = time::OffsetDateTime::now_utc() + time::Duration::seconds(6);
    });
    world.server.answer(Answer::list(short.der(), "\"1\""));
    let begun = Instant::now();
    let fetch = world.fetch().with_interval(Duration::from_secs(60 * 60));
    let revocation = world.begin_with(&fetch).unwrap();
    let newer = world.list(2, &[7, 8]);
    world.server.answer(Answer::list(newer.der(), "\"2\""));
    until("the newer one", || entries(&revocation) == 2);
    assert!(
        begun.elapsed() < Duration::from_secs(50),
        "the interval is an hour"
    );
}

#[test]
fn a_list_that_is_over_is_asked_for_whatever_a_cache_says_of_it() {
    let world = World::new();
    let over = world.ca.crl_with(1, &[7], |list| {
        list.next_update = time::OffsetDateTime::now_utc() + time::Duration::seconds(3);
    });
    world.server.answer(Answer::list(over.der(), "\"1\""));
    let revocation = world.begin().unwrap();
    until("asked without a condition", || {
        let requests = world.server.requests();
        let newest = requests.last().unwrap();
        requests.len() > 2 && newest.header("if-none-match").is_none()
    });
    let newest = world.server.requests().pop().unwrap();
    assert_eq!(newest.header("cache-control"), Some("no-cache"));
    assert_eq!(entries(&revocation), 1);
    // The same list again is no new generation.
    assert_eq!(revocation.lists().generation(), 1);
}

#[test]
fn a_list_of_another_scope_is_taken_when_the_one_before_is_over() {
    let world = World::new();
    let over = world.ca.crl_with(1, &[7], |list| {
        list.next_update = time::OffsetDateTime::now_utc() + time::Duration::seconds(2);
    });
    world.server.answer(Answer::list(over.der(), "\"1\""));
    let revocation = world.begin().unwrap();
    let moved = world.ca.crl_with(1, &[7, 8], |list| {
        list.issuing_distribution_point = Some(rcgen::CrlIssuingDistributionPoint {
            distribution_point: rcgen::CrlDistributionPoint {
                uris: vec!["http://crl.example.org/shard".to_owned()],
            },
            scope: None,
        });
    });
    world.server.answer(Answer::list(moved.der(), "\"2\""));
    // The one before proves nothing any more, but what it revokes stays so.
    until("the other one", || entries(&revocation) == 3);
}

#[test]
fn a_list_of_another_scope_is_taken_if_it_says_that_it_is_of_this_url() {
    let metrics = metrics();
    let world = World::new();
    let first = world.list(10, &[7]);
    world.server.answer(Answer::list(first.der(), "\"1\""));
    let revocation = world.begin().unwrap();
    let moved = |number: u64, minutes, revoked: &[u64], url: String| {
        let list = world.ca.crl_with(number, revoked, |list| {
            list.this_update += time::Duration::minutes(minutes);
            list.issuing_distribution_point = Some(rcgen::CrlIssuingDistributionPoint {
                distribution_point: rcgen::CrlDistributionPoint { uris: vec![url] },
                scope: Some(rcgen::CrlScope::UserCertsOnly),
            });
        });
        list.der().to_vec()
    };
    let url = || world.server.url("/nodes.crl");
    for (list, tag, outcome) in [
        (moved(9, 9, &[], url()), "\"2\"", "older"),
        (moved(11, 9, &[], url()), "\"3\"", "older"),
        (moved(11, 11, &[], url() + "x"), "\"4\"", "other_scope"),
    ] {
        world.server.answer(Answer::list(&list, tag));
        let counted = format!("outcome=\"{outcome}\"}}");
        let before = count(&metrics.render(), &counted);
        until(outcome, || count(&metrics.render(), &counted) > before);
        assert_eq!(entries(&revocation), 1, "{outcome}");
    }
    let list = moved(11, 11, &[7, 8], url());
    world.server.answer(Answer::list(&list, "\"5\""));
    // The one before was about CAs too, and counts until its end.
    until("the moved one", || entries(&revocation) == 3);
}

/// The figure of the series that ends so.
fn count(scrape: &str, labels: &str) -> u64 {
    let line = scrape.lines().find_map(|line| {
        let (series, count) = line.rsplit_once(' ')?;
        series.ends_with(labels).then(|| count.parse().ok())?
    });
    line.unwrap_or(0)
}

#[test]
fn the_distribution_points_of_ca_certificates_are_fetched_from() {
    let server = Server::start();
    let files = Files::new();
    let root = Ca::new("Root");
    let point = |uri: String| rcgen::CrlDistributionPoint { uris: vec![uri] };
    let sub = root.sub("Sub", |params| {
        params.crl_distribution_points = vec![
            point("ldap://ldap.example.org/cn=Root".to_owned()),
            point(server.url("/root.crl")),
        ];
    });
    server.answer(Answer::list(root.crl(1, &[7, 8]).der(), "\"1\""));
    let begin = |authorities: Vec<&Ca>| {
        let fetch = Fetch::into_directory(files.path("kept")).and_from_authorities();
        Revocation::builder()
            .with_authorities(authorities.into_iter().map(|ca| ca.der.clone()))
            .fetching(&fetch, [] as [PathBuf; 0], watch())
    };
    assert_eq!(entries(&begin(vec![&root, &sub]).unwrap()), 2);
    assert_eq!(server.requests()[0].path, "/root.crl");
    let Err(LoadError::Fetch {
        reason, problem, ..
    }) = begin(vec![&root])
    else {
        panic!("there is no distribution point");
    };
    assert_eq!(reason, "configuration");
    assert!(problem.contains("no distribution point"), "{problem}");
}

#[test]
fn addresses_that_cannot_be_meant_are_refused() {
    let world = World::new();
    for url in [
        "ldap://x/cn",
        "http://user:secret@x/",
        "file:///etc/passwd",
        "x",
    ] {
        let fetch = Fetch::into_directory(world.folder()).with_urls([url]);
        let error = world.begin_with(&fetch).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("it is no http:// or https:// URL"),
            "{url}: {error}"
        );
    }
    let fetch = world.fetch().with_allowed_hosts(["http://x"]);
    let error = world.begin_with(&fetch).unwrap_err();
    assert!(error.to_string().contains("is no host"), "{error}");
}

#[test]
fn lists_from_urls_and_from_files_count_together() {
    let world = World::new();
    let other = Ca::new("Users");
    let file = world.files.put("users.crl", other.crl(1, &[1, 2, 3]).der());
    let list = world.list(1, &[7]);
    world.server.answer(Answer::list(list.der(), "\"1\""));
    let revocation = Revocation::builder()
        .with_authorities([world.ca.der.clone()])
        .fetching(&world.fetch(), [file], watch())
        .unwrap();
    assert_eq!(revocation.lists().load().len(), 2);
    assert_eq!(entries(&revocation), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_ends_when_its_ca_publishes_a_list_that_revokes_it() {
    use portcullis::Watched;
    use portcullis::crl::{Tracked, Verdict};
    use portcullis::tls::Acceptor;
    use tokio::io::AsyncReadExt;

    let world = World::new();
    world
        .server
        .answer(Answer::list(world.list(1, &[]).der(), "\"1\""));
    let revocation = world.begin().unwrap();
    let material = world
        .files
        .requiring(&world.ca.server(&["localhost"]), &world.ca)
        .with_revocation(revocation);
    let acceptor = Acceptor::new(Watched::fixed(material.load().unwrap()))
        .with_ending(Duration::ZERO, Duration::from_secs(1));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let node = world.ca.client_with("node-7", |params| {
        params.serial_number = Some(7_u64.into());
    });
    let config = std::sync::Arc::new(pki::client(&world.ca, Some((&node, &[]))));
    let (accepted, client) = tokio::join!(
        async { acceptor.accept(listener.accept().await.unwrap().0).await },
        pki::connect(&config, address, "localhost"),
    );
    let (mut accepted, _client) = (accepted.unwrap(), client.unwrap());
    let tracked: Tracked = accepted.connection.state::<Tracked>().unwrap().clone();
    assert_eq!(*tracked.verdict(), Verdict::Good);

    world
        .server
        .answer(Answer::list(world.list(2, &[7]).der(), "\"2\""));
    let read = tokio::time::timeout(Duration::from_secs(60), accepted.stream.read_u8());
    assert!(read.await.expect("the connection stays open").is_err());
    assert!(matches!(*tracked.verdict(), Verdict::Revoked { .. }));
}

#[test]
fn one_list_of_many_that_is_not_to_be_had_keeps_a_start_from_beginning() {
    let world = World::new();
    world
        .server
        .answer(Answer::list(world.list(1, &[7]).der(), "\"1\""));
    let shards = (0..20).map(|shard| world.server.url(&format!("/{shard}.crl")));
    let all = world.fetch().with_urls(shards);
    let revocation = world.begin_with(&all).unwrap();
    assert_eq!(kept(&world).len(), 21);
    drop(revocation);
    let nobody = Server::start();
    nobody.stop();
    let missing = nobody.url("/missing.crl");
    let more = all
        .with_urls([missing.clone()])
        .with_start_timeout(Duration::from_millis(300));
    match world.begin_with(&more) {
        Err(LoadError::Fetch { origin, .. }) => assert_eq!(origin, missing),
        other => panic!("{other:?}"),
    }
}

#[cfg(feature = "config")]
#[test]
fn the_configuration_file_names_where_lists_are_fetched_from() {
    let world = World::new();
    world
        .server
        .answer(Answer::list(world.list(1, &[7]).der(), "\"1\""));
    let _ = world.files.pair(&world.ca.server(&["localhost"]));
    world.files.put("ca.crt", &world.ca.pem);
    let url = world.server.url("/nodes.crl");
    let config = world.files.put(
        "gate.toml",
        format!(
            "[tls]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"\nclient_ca = [\"ca.crt\"]\n\
             [crl]\n[crl.fetch]\ndirectory = \"kept\"\nurls = [\"{url}\"]\nallowed_hosts = [\"cdn\"]\n\
             interval = \"1h\"\ntimeout = \"5s\"\nstart_timeout = \"20s\"\n"
        ),
    );
    let config = portcullis::config::Config::load(config).unwrap();
    let guard = portcullis::Guard::from_config(&config).unwrap();
    let report = guard.report().to_string();
    assert!(report.contains("CRLs are fetched from 1 URL"), "{report}");
    assert_eq!(kept(&world).len(), 1);
}
