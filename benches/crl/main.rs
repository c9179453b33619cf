//! What loading a large CRL and looking into it cost, beside other readers of CRLs.
//!
//! `cargo bench --bench crl` measures 1,000, 100,000 and 1,000,000 entries; `-- --large` adds
//! 10,000,000. The lists are signed with ECDSA P-256, and every load checks that; serial numbers are 16
//! random octets, and half of the entries have a reason. OpenSSL takes part if a C compiler and its
//! headers are there. `-- --hostile` measures only lists made to be slow.
#![allow(clippy::unwrap_used, reason = "a bench that cannot run stops")]
#![allow(clippy::cast_precision_loss, reason = "figures")]

#[path = "../figures/mod.rs"]
mod figures;
#[path = "../serials/mod.rs"]
mod serials;

mod hostile;
mod lists;
mod openssl;
mod peers;

use std::hint::black_box;
use std::time::{Duration, Instant};

use clap::Parser;
use lists::Sample;
use openssl::OpenSsl;
use peak_alloc::PeakAlloc;
use portcullis::crl::{CertPath, Revocation};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

#[derive(Parser)]
struct Arguments {
    /// Measure 10,000,000 entries too.
    #[arg(long)]
    large: bool,
    /// Measure only lists that are made to be slow.
    #[arg(long)]
    hostile: bool,
    /// What cargo adds.
    #[arg(long)]
    bench: bool,
}

/// What a reader of CRLs takes.
pub(crate) struct Cost {
    load: Duration,
    /// Bytes an entry, kept and at the peak.
    kept: f64,
    peak: f64,
    hit: f64,
    miss: f64,
    /// Bytes an entry of which a miss reads some, where that is known.
    searched: Option<f64>,
}

fn main() {
    let arguments = Arguments::parse();
    let mut figures = figures::Figures::new("crl");
    if arguments.hostile {
        hostile::measure(&mut figures);
        figures.report();
        return;
    }
    let mut sizes = vec![1_000, 100_000, 1_000_000];
    if arguments.large {
        sizes.push(10_000_000);
    }
    for entries in sizes {
        measure(entries, &mut figures);
    }
    hostile::measure(&mut figures);
    let row = figures.row("each request of an open connection", "ns", request());
    row.at_most(100.0);
    figures.report();
}

fn measure(entries: usize, figures: &mut figures::Figures) {
    let sample = Sample::new(entries);
    let ours = ours(&sample);
    let owned = peers::webpki_owned(&sample);
    let borrowed = (entries <= 1_000_000).then(|| peers::webpki_borrowed(&sample));
    let x509 = (entries <= 1_000_000).then(|| peers::x509_parser(&sample));
    let openssl = openssl::cost(&sample);
    let targets = match entries {
        1_000_000 => Some((60.0, 100.0)),
        10_000_000 => Some((450.0, 250.0)),
        _ => None,
    };
    let milliseconds = |cost: &Cost| cost.load.as_secs_f64() * 1e3;
    let mut add = |name: &str,
                   unit,
                   of: &dyn Fn(&Cost) -> f64,
                   target: Option<f64>,
                   of_openssl: fn(&OpenSsl) -> f64| {
        let row = figures.row(format!("{entries} entries: {name}"), unit, of(&ours));
        row.peer("webpki owned", of(&owned));
        if let Some(borrowed) = &borrowed {
            row.peer("webpki borrowed", of(borrowed));
        }
        if let Some(x509) = &x509 {
            row.peer("x509-parser", of(x509));
        }
        if let Some(openssl) = &openssl {
            row.peer("openssl", of_openssl(openssl));
        }
        if let Some(target) = target {
            row.at_most(target);
        }
    };
    // What a load needs for itself is the same for any size.
    let large = entries >= 1_000_000;
    add(
        "load, signature included",
        "ms",
        &milliseconds,
        targets.map(|of| of.0),
        |openssl| openssl.load,
    );
    add(
        "kept",
        "bytes an entry",
        &|cost| cost.kept,
        large.then_some(22.0),
        |openssl| openssl.kept,
    );
    add(
        "look-up, revoked",
        "ns",
        &|cost| cost.hit,
        targets.map(|of| of.1),
        |openssl| openssl.hit,
    );
    add(
        "look-up, good",
        "ns",
        &|cost| cost.miss,
        targets.map(|of| of.1),
        |openssl| openssl.miss,
    );
    let row = figures.row(
        format!("{entries} entries: peak, with the DER"),
        "bytes an entry",
        ours.peak,
    );
    row.peer("webpki owned", owned.peak);
    if large {
        row.at_most(64.0);
    }
    if let Some(searched) = ours.searched {
        let name = format!("{entries} entries: kept, of which a miss reads");
        let row = figures.row(name, "bytes an entry", searched);
        if large {
            row.at_most(6.0);
        }
    }
    let load = milliseconds(&ours);
    let mut over = |name: &str, peer: f64| {
        let name = format!("{entries} entries: load over {name}");
        let row = figures.row(name, "ms", load);
        row.peer("peer", peer);
        if large {
            row.ratio_at_most(1.0 / 30.0);
        }
    };
    over("webpki's, with signature", milliseconds(&owned));
    if let Some(openssl) = &openssl {
        let name = "OpenSSL's, with signature and the sorting of the first look-up";
        over(name, openssl.load + openssl.first);
    }
}

/// Nanoseconds to ask whether a connection's certificate is still good, with 100,000 entries and
/// nothing new.
fn request() -> f64 {
    let sample = Sample::new(100_000);
    let revocation = revocation(&sample);
    let anchor = webpki::anchor_from_trusted_cert(&sample.ca).unwrap();
    let path = CertPath::new(&sample.client, &[], &anchor).unwrap();
    let tracked = revocation.track(path);
    assert!(tracked.is_good(), "{}", tracked.verdict());
    let rounds = 20_000_000;
    let began = Instant::now();
    for _ in 0..rounds {
        assert!(black_box(&tracked).is_good());
    }
    began.elapsed().as_nanos() as f64 / f64::from(rounds)
}

fn revocation(sample: &Sample) -> Revocation {
    let builder = Revocation::builder().with_authorities([sample.ca.clone()]);
    builder.from_bytes([&*sample.der]).unwrap()
}

fn ours(sample: &Sample) -> Cost {
    let (load, kept, peak, revocation) = loading(sample, || revocation(sample));
    let lists = revocation.lists().load();
    let find = |serial: &[u8]| lists.find(&sample.issuer, serial).is_some();
    Cost {
        load,
        kept,
        peak,
        hit: looking(&sample.revoked, find, true),
        miss: looking(&sample.good, find, false),
        searched: Some(lists.searched_size() as f64 / sample.entries as f64),
    }
}

/// The least time of some loads, and the bytes an entry of one: kept, and at the peak. The DER
/// itself counts at the peak, since it must be there to be read.
pub(crate) fn loading<T>(sample: &Sample, load: impl Fn() -> T) -> (Duration, f64, f64, T) {
    let runs = if sample.revoked.len() < sample.entries {
        3
    } else {
        20
    };
    let mut least = Duration::MAX;
    for _ in 0..runs {
        let began = Instant::now();
        let loaded = load();
        least = least.min(began.elapsed());
        drop(black_box(loaded));
    }
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let loaded = load();
    let entries = sample.entries as f64;
    let kept = MEMORY.current_usage().saturating_sub(before) as f64 / entries;
    let peak = (MEMORY.peak_usage().saturating_sub(before) + sample.der.len()) as f64 / entries;
    (least, kept, peak, loaded)
}

/// Nanoseconds a look-up, each of another serial number.
pub(crate) fn looking<S: AsRef<[u8]>>(
    serials: &[S],
    find: impl Fn(&[u8]) -> bool,
    expected: bool,
) -> f64 {
    let mut asked = 0_u32;
    let began = Instant::now();
    'asking: loop {
        for serial in serials {
            assert_eq!(find(black_box(serial.as_ref())), expected);
            asked += 1;
            if asked.is_multiple_of(16) && began.elapsed() > Duration::from_millis(300) {
                break 'asking;
            }
        }
    }
    began.elapsed().as_nanos() as f64 / f64::from(asked)
}
