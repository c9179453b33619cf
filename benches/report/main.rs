//! Writes `docs/performance.md` and its pictures from what the other benches measured.
//!
//! ```text
//! cargo bench --all-features --bench request -- --instructions
//! cargo bench --all-features --bench report
//! ```
//!
//! The figures are those of `target/figures/*.json`, each as it was last written; of a bench that was not run the page
//! says so.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot run stops"
)]

mod chart;
mod machine;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use chart::Bar;
use serde::Deserialize;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");

/// The benches in the order of the page: their title, and what they measure.
const BENCHES: [(&str, &str, &str); 11] = [
    (
        "request",
        "A request",
        "The CPU time of a server process by the kernel's accounting, for each request of a 1 KiB manifest on kept \
         connections; the server has one CPU, the clients another. Bare hyper serves the same answer over rustls with its \
         own check of certificates and CRL. nginx and HAProxy have what is nearest to each protection: client certificates \
         with a CRL, the token, networks, the path, a bound on the caller's connections, a limit of bytes (nginx; HAProxy \
         counts them) and, where it is said, a log in a file. They answer by themselves too.",
    ),
    (
        "stack",
        "The layers, in process",
        "The time that a request takes in each layer, over a bare tower service.",
    ),
    (
        "tls",
        "Handshakes",
        "Full and resumed handshakes for each second of the server's CPU, beside rustls with its own verifier.",
    ),
    (
        "crl",
        "Revocation lists",
        "Loading a CRL and looking a certificate up in it, beside webpki and OpenSSL.",
    ),
    (
        "enforcement",
        "Revocation in operation",
        "Reloads beside open connections and requests, beside nginx and HAProxy.",
    ),
    (
        "rate",
        "Limits",
        "The operations of a limit, beside governor.",
    ),
    (
        "shaping",
        "Shaping",
        "Streams under limits over loopback, beside other limiters and proxies.",
    ),
    (
        "policy",
        "Policy",
        "Decisions on requests, beside a scan with globset.",
    ),
    (
        "auth",
        "Credentials",
        "Checks of credentials, and whether their time says anything.",
    ),
    (
        "gate",
        "The example gate",
        "The reverse proxy of the examples, beside nginx and HAProxy.",
    ),
    (
        "attack",
        "Under attack",
        "What a client's pull takes beside hostile connections.",
    ),
];

#[derive(Deserialize)]
struct Row {
    name: String,
    unit: String,
    ours: f64,
    peers: BTreeMap<String, Option<f64>>,
    ratio: Option<f64>,
    target: Option<String>,
    met: Option<bool>,
}

fn main() {
    let mut page = String::from(
        "# Performance\n\n\
         The benches measure this, and `cargo bench --all-features --bench report` writes this page from their \
         figures. Rows in which a peer is better, and targets that are missed, are here as all others. A ratio is ours \
         over the first peer, or over the target where there is no peer.\n\n",
    );
    page += &machine::table();
    let mut missing = Vec::new();
    for (bench, title, text) in BENCHES {
        let Some(rows) = rows(bench) else {
            missing.push(bench);
            continue;
        };
        write!(page, "\n## {title}\n\n{text}\n\n").unwrap();
        page += &pictures(bench, &rows);
        page += &table(&rows);
    }
    if !missing.is_empty() {
        let missing = missing.join("`, `");
        write!(page, "\nNot measured for this page: `{missing}`.\n").unwrap();
    }
    let path = Path::new(DOCS).join("performance.md");
    fs::write(&path, page).expect("docs/performance.md can be written");
    println!("wrote {}", path.display());
}

/// What a bench measured; `None` if it was not run.
fn rows(bench: &str) -> Option<Vec<Row>> {
    let file = figures().join(format!("{bench}.json"));
    let text = fs::read_to_string(file).ok()?;
    Some(serde_json::from_str(&text).expect("the figures of a bench"))
}

fn figures() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/target").into());
    target.join("figures")
}

fn table(rows: &[Row]) -> String {
    let mut table = String::from(
        "| what | ours | unit | peers | ratio | target |\n| --- | ---: | --- | --- | ---: | --- |\n",
    );
    for row in rows {
        let peers = row.peers.iter().map(|(name, value)| {
            let value = value.map_or_else(|| "not measured".to_owned(), number);
            format!("{name} {value}")
        });
        let ratio = row.ratio.map(number).unwrap_or_default();
        let target = match (&row.target, row.met) {
            (Some(target), Some(true)) => format!("{target}, met"),
            (Some(target), _) => format!("{target}, **missed**"),
            (None, _) => String::new(),
        };
        let cells = [
            row.name.clone(),
            number(row.ours),
            row.unit.clone(),
            peers.collect::<Vec<_>>().join("; "),
            ratio,
            target,
        ];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        writeln!(table, "| {} |", cells.join(" | ")).unwrap();
    }
    table
}

/// Draws what there is to draw of a bench, and returns the lines that show it.
fn pictures(bench: &str, rows: &[Row]) -> String {
    match bench {
        "request" => {
            let names = [
                "bare hyper",
                "serve, TLS, no guard",
                "Guard of TLS alone",
                "Guard, no log",
                "Guard, JSON lines, compact",
                "Guard, JSON lines",
                "nginx, no log",
                "nginx, log with a buffer",
                "nginx, log",
                "HAProxy, no log",
                "HAProxy, log",
            ];
            let bars = names.iter().filter_map(|name| {
                let row = find(rows, &format!("TLS HTTP/1.1: {name}"))?;
                let is_ours = name.starts_with("Guard") || name.starts_with("serve");
                Some(Bar::new(*name, row.ours, is_ours))
            });
            drawn(
                "request-cpu.svg",
                "CPU of a request over TLS HTTP/1.1, µs",
                &bars.collect::<Vec<_>>(),
            )
        }
        "tls" => drawn(
            "handshakes.svg",
            "full handshakes for each second of CPU, by the size of the CRL",
            &beside_peers(rows, |name| match name {
                "full handshakes, no CRL, client not seen before" => Some("no CRL"),
                name if name.contains(" over ") => None,
                name => name.strip_prefix("full handshakes, CRL of "),
            }),
        ),
        "crl" => drawn(
            "crl-load.svg",
            "loading a CRL, its signature included, ms",
            &beside_peers(rows, |name| {
                let entries = name.strip_suffix(": load, signature included")?;
                // Smaller ones would not show beside it, and the hostile lists have more to their names.
                entries.ends_with("000000 entries").then_some(entries)
            }),
        ),
        "shaping" => {
            let mut lines = drawn(
                "fairness.svg",
                "fairness among streams, Jain's index of the worst second: 1 is equal",
                &beside_peers(rows, |name| name.strip_suffix(": worst Jain of a second")),
            );
            if Path::new(DOCS).join("greedy-tenant.svg").exists() {
                lines += "![a greedy tenant and nine others over time](greedy-tenant.svg)\n\n";
            }
            lines
        }
        _ => String::new(),
    }
}

/// Of each row to which `label` gives a name, a bar for ours and one for each peer that was measured.
fn beside_peers(rows: &[Row], label: impl Fn(&str) -> Option<&str>) -> Vec<Bar> {
    let mut bars = Vec::new();
    for row in rows {
        let Some(label) = label(&row.name) else {
            continue;
        };
        bars.push(Bar::new(format!("ours, {label}"), row.ours, true));
        let measured = row
            .peers
            .iter()
            .filter_map(|(peer, value)| Some((peer, (*value)?)));
        bars.extend(
            measured.map(|(peer, value)| Bar::new(format!("{peer}, {label}"), value, false)),
        );
    }
    bars
}

fn find<'a>(rows: &'a [Row], name: &str) -> Option<&'a Row> {
    rows.iter().find(|row| row.name == name)
}

fn drawn(file: &str, title: &str, bars: &[Bar]) -> String {
    if bars.is_empty() {
        return String::new();
    }
    let path = Path::new(DOCS).join(file);
    fs::write(&path, chart::bars(title, bars)).expect("a picture can be written");
    println!("drew {}", path.display());
    format!("![{title}]({file})\n\n")
}

fn number(value: f64) -> String {
    if value == 0.0 || value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}
