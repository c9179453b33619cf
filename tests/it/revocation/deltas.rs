//! Delta CRLs (RFC 5280 §5.2.4) over their bases, whose times come and go.
#![cfg(all(feature = "crl", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::pki;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use pki::{Ca, Files, Leaf, client};
use portcullis::crl::{CertPath, Options, Revocation, RevocationLayer, RevocationReason, Verdict};
use portcullis::tls::{Acceptor, Reason as Refused};
use portcullis::{Connection, Watched};
use rcgen::{CertificateRevocationListParams, RevocationReason as Reason};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use time::OffsetDateTime;
use tower::{Layer, ServiceExt, service_fn};

use super::support::handshake;

const HOUR: i64 = 3_600;

/// A CA whose complete lists are from an hour ago to in a day.
struct World {
    ca: Ca,
    now: OffsetDateTime,
}

/// What a delta says besides its number: when it begins and ends, in seconds from now, over which
/// complete list, and of which certificates.
struct Delta<'a> {
    begins: i64,
    ends: i64,
    base: u8,
    entries: &'a [(u64, Reason)],
}

impl World {
    fn new() -> Self {
        Self {
            ca: Ca::new("Nodes 2026"),
            now: OffsetDateTime::now_utc(),
        }
    }

    fn client(&self, serial: u64) -> Leaf {
        self.ca
            .client_with("node", |params| params.serial_number = Some(serial.into()))
    }

    fn path(&self, serial: u64) -> CertPath {
        let anchor = self.ca.roots().roots.remove(0);
        CertPath::new(&self.client(serial).der, &[], &anchor).unwrap()
    }

    fn complete(&self, number: u64, entries: &[(u64, Reason)]) -> Vec<u8> {
        let list = self.ca.crl_with(number, &serials(entries), |list| {
            give_reasons(list, entries);
        });
        list.der().to_vec()
    }

    fn delta(&self, number: u64, delta: &Delta<'_>) -> Vec<u8> {
        let list = self.ca.crl_with(number, &serials(delta.entries), |list| {
            list.this_update = self.now + time::Duration::seconds(delta.begins);
            list.next_update = self.now + time::Duration::seconds(delta.ends);
            give_reasons(list, delta.entries);
        });
        self.ca.delta(&list, delta.base)
    }

    /// A delta over this complete list, which begins after those of lower numbers and ends in an hour.
    fn over(&self, base: u8, number: u8, entries: &[(u64, Reason)]) -> Vec<u8> {
        let over = Delta {
            begins: i64::from(number) - 600,
            ends: HOUR,
            base,
            entries,
        };
        self.delta(u64::from(number), &over)
    }

    /// What these lists say of a node, so many seconds from now.
    fn says(&self, lists: &[Vec<u8>], serial: u64, at: i64) -> &'static str {
        revocation(lists)
            .examine(&self.path(serial), self.at(at))
            .label()
    }

    fn at(&self, seconds: i64) -> SystemTime {
        let at = u64::try_from(self.now.unix_timestamp() + seconds).unwrap();
        SystemTime::UNIX_EPOCH + Duration::from_secs(at)
    }
}

fn serials(entries: &[(u64, Reason)]) -> Vec<u64> {
    entries.iter().map(|(serial, _)| *serial).collect()
}

fn give_reasons(list: &mut CertificateRevocationListParams, entries: &[(u64, Reason)]) {
    for (entry, (_, reason)) in list.revoked_certs.iter_mut().zip(entries) {
        entry.reason_code = Some(*reason);
    }
}

fn revocation(lists: &[Vec<u8>]) -> Revocation {
    let lists = lists.iter().map(Vec::as_slice);
    Revocation::from_bytes(lists, Options::default()).unwrap()
}

#[test]
fn what_a_delta_revokes_stays_so_after_its_end() {
    let world = World::new();
    let lists = [
        world.complete(1, &[]),
        world.delta(
            2,
            &Delta {
                begins: -HOUR,
                ends: HOUR,
                base: 1,
                entries: &[(7, Reason::KeyCompromise)],
            },
        ),
    ];
    for at in [0, HOUR, HOUR + 1, 23 * HOUR] {
        assert_eq!(world.says(&lists, 7, at), "revoked", "{at}");
        assert_eq!(world.says(&lists, 8, at), "good", "{at}");
    }
}

#[test]
fn a_delta_past_its_end_does_not_bring_its_base_up_to_date() {
    let world = World::new();
    let lists = [
        world.complete(1, &[]),
        world.delta(
            2,
            &Delta {
                begins: -HOUR,
                ends: 30 * HOUR,
                base: 1,
                entries: &[],
            },
        ),
    ];
    for (at, says) in [(23, "good"), (29, "good"), (31, "unknown")] {
        assert_eq!(world.says(&lists, 7, at * HOUR), says, "{at}");
    }
}

#[test]
fn a_delta_dated_ahead_revokes_at_once_and_takes_nothing_back() {
    let world = World::new();
    let held = [(9, Reason::CertificateHold)];
    let lists = [
        world.complete(1, &held),
        world.delta(
            2,
            &Delta {
                begins: 30,
                ends: HOUR,
                base: 1,
                entries: &[(7, Reason::KeyCompromise), (9, Reason::RemoveFromCrl)],
            },
        ),
    ];
    for (serial, before, after) in [
        (7, "revoked", "revoked"),
        (8, "good", "good"),
        (9, "revoked", "good"),
    ] {
        assert_eq!(world.says(&lists, serial, 29), before, "{serial}");
        assert_eq!(world.says(&lists, serial, 30), after, "{serial}");
    }
}

#[test]
fn a_hold_is_taken_back_only_while_the_delta_that_does_so_is_current() {
    let world = World::new();
    let held = [(7, Reason::CertificateHold)];
    let lists = [
        world.complete(1, &held),
        world.delta(
            2,
            &Delta {
                begins: -60,
                ends: 60,
                base: 1,
                entries: &[(7, Reason::RemoveFromCrl)],
            },
        ),
    ];
    for (at, says) in [
        (-61, "revoked"),
        (-60, "good"),
        (60, "good"),
        (61, "revoked"),
    ] {
        assert_eq!(world.says(&lists, 7, at), says, "{at}");
    }
}

#[test]
fn a_hold_is_told_as_such_by_the_delta_that_puts_it() {
    let world = World::new();
    let lists = [
        world.complete(1, &[]),
        world.delta(
            2,
            &Delta {
                begins: -60,
                ends: 60,
                base: 1,
                entries: &[(7, Reason::CertificateHold)],
            },
        ),
    ];
    let verdict = revocation(&lists).examine(&world.path(7), world.at(0));
    let Verdict::Revoked {
        reason, crl_number, ..
    } = verdict
    else {
        panic!("{verdict}");
    };
    assert_eq!(reason, RevocationReason::CertificateHold);
    assert_eq!(crl_number.as_deref(), Some("02"));
}

#[test]
fn of_the_current_deltas_the_freshest_decides() {
    let world = World::new();
    let hold = Delta {
        begins: -HOUR,
        ends: HOUR,
        base: 1,
        entries: &[(7, Reason::CertificateHold)],
    };
    let release = Delta {
        begins: -60,
        ends: HOUR,
        base: 1,
        entries: &[(7, Reason::RemoveFromCrl)],
    };
    let base = world.complete(1, &[]);
    for deltas in [
        [world.delta(2, &hold), world.delta(3, &release)],
        [world.delta(3, &release), world.delta(2, &hold)],
    ] {
        let [one, other] = deltas;
        assert_eq!(world.says(&[one, base.clone(), other], 7, 0), "good");
    }
    // A complete list from after the delta needs none.
    let lists = [world.complete(3, &[]), world.delta(2, &hold)];
    assert_eq!(world.says(&lists, 7, 0), "good");
}

/// A CA issues a complete list and a delta of one number together: the complete list has all of it already.
#[test]
fn a_delta_of_the_number_of_the_complete_list_takes_nothing_back_and_makes_nothing_current() {
    let world = World::new();
    let release = Delta {
        begins: -60,
        ends: 30 * HOUR,
        base: 1,
        entries: &[(7, Reason::RemoveFromCrl)],
    };
    let held = [(7, Reason::CertificateHold)];
    for (number, at_once, later) in [(2, "revoked", "unknown"), (1, "good", "good")] {
        let lists = [world.complete(number, &held), world.delta(2, &release)];
        assert_eq!(world.says(&lists, 7, 0), at_once, "{number}");
        // The complete list is over then.
        assert_eq!(world.says(&lists, 8, 25 * HOUR), later, "{number}");
    }
}

#[test]
fn a_delta_never_gets_older() {
    let world = World::new();
    let base = world.complete(1, &[]);
    let of = |number, begins, entries| {
        world.delta(
            number,
            &Delta {
                begins,
                ends: HOUR,
                base: 1,
                entries,
            },
        )
    };
    let newer = of(3, -60, &[(7, Reason::KeyCompromise)]);
    let revocation = revocation(&[base.clone(), newer]);
    for (number, begins) in [(2, -120), (3, -120), (2, -30)] {
        let older = of(number, begins, &[]);
        revocation.publish([&*base, &*older]).unwrap();
        let verdict = revocation.examine(&world.path(7), world.at(0));
        assert_eq!(verdict.label(), "revoked", "{number} {begins}");
    }
    revocation.publish([&*base, &*of(4, -30, &[])]).unwrap();
    let verdict = revocation.examine(&world.path(7), world.at(0));
    assert_eq!(verdict.label(), "good");
}

#[test]
fn a_delta_over_another_base_or_none_proves_nothing_but_its_revocations() {
    let world = World::new();
    let entries = [(7, Reason::KeyCompromise), (9, Reason::RemoveFromCrl)];
    let ahead = world.delta(
        6,
        &Delta {
            begins: -60,
            ends: HOUR,
            base: 5,
            entries: &entries,
        },
    );
    let held = world.complete(1, &[(9, Reason::CertificateHold)]);
    for (lists, expected) in [
        (vec![held, ahead.clone()], ["revoked", "good", "revoked"]),
        (vec![ahead], ["revoked", "unknown", "unknown"]),
    ] {
        for (serial, expected) in [7, 8, 9].into_iter().zip(expected) {
            assert_eq!(world.says(&lists, serial, 0), expected, "{serial}");
        }
    }
}

#[test]
fn a_delta_of_an_impostor_says_nothing() {
    let world = World::new();
    let impostor = World::new();
    let forged = impostor.delta(
        2,
        &Delta {
            begins: -60,
            ends: HOUR,
            base: 1,
            entries: &[(7, Reason::KeyCompromise), (9, Reason::RemoveFromCrl)],
        },
    );
    let lists = [world.complete(1, &[(9, Reason::CertificateHold)]), forged];
    assert_eq!(world.says(&lists, 7, 0), "good");
    assert_eq!(world.says(&lists, 9, 0), "revoked");
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// A clock that the test sets.
#[derive(Debug)]
struct Clock(AtomicU64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = self.0.load(Ordering::SeqCst);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// A server with these lists and a clock of its own, and the node with serial number 7.
struct Server {
    acceptor: Acceptor,
    clock: Arc<Clock>,
    client: Arc<rustls::ClientConfig>,
    _files: Files,
}

impl Server {
    fn new(world: &World, lists: &[Vec<u8>]) -> Self {
        let files = Files::new();
        let clock = Arc::new(Clock(AtomicU64::new(seconds(world.at(0)))));
        let material = files
            .requiring(&world.ca.server(&["localhost"]), &world.ca)
            .with_revocation(revocation(lists))
            .with_clock(Arc::<Clock>::clone(&clock));
        Self {
            acceptor: Acceptor::new(Watched::fixed(material.load().unwrap())),
            clock,
            client: Arc::new(client(&world.ca, Some((&world.client(7), &[])))),
            _files: files,
        }
    }

    fn set(&self, at: SystemTime) {
        self.clock.0.store(seconds(at), Ordering::SeqCst);
    }

    async fn connect(&self) -> Result<Connection, Refused> {
        handshake(&self.acceptor, &self.client).await
    }
}

async fn status(connection: &Connection) -> u16 {
    let service = RevocationLayer::new().layer(service_fn(|_request| async {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    }));
    let mut request = Request::get("/v2/")
        .header("host", "registry.example")
        .body(Empty::<Bytes>::new())
        .unwrap();
    request.extensions_mut().insert(connection.clone());
    service.oneshot(request).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn an_open_connection_is_refused_when_a_new_one_would_be() {
    let world = World::new();
    let held = world.complete(1, &[(7, Reason::CertificateHold)]);
    let release = |ends| Delta {
        begins: -60,
        ends,
        base: 1,
        entries: &[(7, Reason::RemoveFromCrl)],
    };
    let silent = Delta {
        begins: 60,
        ends: HOUR,
        base: 1,
        entries: &[],
    };
    for deltas in [
        // One that ends, and one that a fresher one follows which takes nothing back.
        vec![world.delta(2, &release(59))],
        vec![world.delta(2, &release(HOUR)), world.delta(3, &silent)],
    ] {
        let lists = [vec![held.clone()], deltas].concat();
        let server = Server::new(&world, &lists);
        let connection = server.connect().await.unwrap();
        assert_eq!(status(&connection).await, 200);
        server.set(world.at(59));
        assert_eq!(status(&connection).await, 200);
        server.set(world.at(60));
        assert_eq!(status(&connection).await, 403);
        assert_eq!(
            server.connect().await.unwrap_err(),
            Refused::CertificateRevoked
        );
    }
}

#[tokio::test]
async fn by_the_servers_own_clock_a_list_ends() {
    let world = World::new();
    let server = Server::new(&world, &[world.complete(1, &[])]);
    let connection = server.connect().await.unwrap();
    server.set(world.at(24 * HOUR));
    assert_eq!(status(&connection).await, 200);
    server.set(world.at(24 * HOUR + 1));
    assert_eq!(status(&connection).await, 403);
}

#[test]
fn a_delta_whose_base_is_not_here_takes_no_revocation_of_another_back() {
    let world = World::new();
    let (complete, later) = (world.complete(10, &[]), world.complete(12, &[]));
    let revoking = world.over(10, 11, &[(7, Reason::KeyCompromise)]);
    let (orphan, over_all) = (world.over(12, 13, &[]), world.over(10, 13, &[]));
    let known = || Revocation::builder().with_authorities([world.ca.der.clone()]);
    let says = |revocation: &Revocation| revocation.examine(&world.path(7), world.at(0)).label();

    // Whatever comes first, and at a start as at a reload.
    for lists in [
        [&complete, &revoking, &orphan],
        [&orphan, &revoking, &complete],
        [&orphan, &complete, &revoking],
    ] {
        let started = known().from_bytes(lists.map(Vec::as_slice)).unwrap();
        assert_eq!(says(&started), "revoked");
    }
    let reloaded = known().from_bytes([&*complete, &*revoking]).unwrap();
    for lists in [[&*complete, &*orphan], [&*orphan, &*complete]] {
        reloaded.publish(lists).unwrap();
        assert_eq!(says(&reloaded), "revoked");
    }
    // The base has come, and its issuer took the revocation back.
    reloaded.publish([&*later, &*orphan]).unwrap();
    assert_eq!(says(&reloaded), "good");

    // A delta has all changes since its base.
    let replaced = known().from_bytes([&*complete, &*revoking]).unwrap();
    replaced.publish([&*complete, &*over_all]).unwrap();
    assert_eq!(says(&replaced), "good");
    // An older one that is sent again replaces none.
    replaced.publish([&*complete, &*revoking]).unwrap();
    assert_eq!(says(&replaced), "good");
}

/// Where revocation is not required, "revoked" is all that lists say.
#[test]
fn deltas_without_any_complete_list_take_no_revocation_of_another_back() {
    let world = World::new();
    let says = |revocation: &Revocation| revocation.examine(&world.path(7), world.at(0)).label();
    let revoking = world.over(10, 11, &[(7, Reason::KeyCompromise)]);
    let known = || Revocation::builder().with_authorities([world.ca.der.clone()]);
    let revocation = known().from_bytes([&*revoking]).unwrap();
    assert_eq!(says(&revocation), "revoked");
    revocation.publish([&*world.over(12, 13, &[])]).unwrap();
    assert_eq!(says(&revocation), "revoked");
    revocation.publish([&*world.over(14, 15, &[])]).unwrap();
    assert_eq!(says(&revocation), "revoked");
    // One over the same complete list has all that the first has, and it is not there any more.
    revocation.publish([&*world.over(10, 16, &[])]).unwrap();
    assert_eq!(says(&revocation), "unknown");

    // A list of another key is not the base.
    let impostor = Ca::new("Nodes 2026");
    let of_other = impostor.crl_with(12, &[], |_| {});
    let both = || known().with_authorities([world.ca.der.clone(), impostor.der.clone()]);
    let revocation = both().from_bytes([&*revoking, &**of_other.der()]).unwrap();
    assert_eq!(says(&revocation), "revoked");
    revocation
        .publish([&*world.over(12, 13, &[]), &**of_other.der()])
        .unwrap();
    assert_eq!(says(&revocation), "revoked");
}

/// Each newer delta over a base that is not here leaves the one before it counting: of them there is an end.
#[test]
fn of_deltas_whose_base_is_not_here_so_many_stay_and_no_more() {
    let world = World::new();
    let delta =
        |number: u8, serial| world.over(number - 1, number, &[(serial, Reason::KeyCompromise)]);
    let complete = world.complete(10, &[]);
    let known = Revocation::builder().with_authorities([world.ca.der.clone()]);
    let revocation = known.from_bytes([&*complete, &*delta(11, 7)]).unwrap();
    for number in 13..=127 {
        let serial = u64::from(number);
        revocation
            .publish([&*complete, &*delta(number, serial)])
            .unwrap();
        let count = revocation.lists().load().len();
        assert!(count <= 66, "{number}: {count}");
    }
    let says = |serial| revocation.examine(&world.path(serial), world.at(0)).label();
    assert_eq!([127, 126, 70].map(says), ["revoked"; 3]);
    // What was forgotten is not known, and so is who it was about.
    assert_eq!([7, 8].map(says), ["unknown"; 2]);
    revocation.publish([&*complete, &*delta(128, 128)]).unwrap();
    assert_eq!([7, 8].map(says), ["unknown"; 2]);
    // With the complete list they are over.
    revocation.publish([&*world.complete(200, &[])]).unwrap();
    assert_eq!(revocation.lists().load().len(), 1);
    assert_eq!([7, 8].map(says), ["unknown"; 2], "it is from before them");
    let later = world
        .ca
        .crl_with(201, &[], |list| list.this_update = world.now);
    revocation.publish([&**later.der()]).unwrap();
    assert_eq!([7, 8].map(says), ["good"; 2]);
}
