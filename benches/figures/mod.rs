//! The figures of a bench: a table on standard output and `target/figures/<bench>.json`.
//!
//! A bench says `mod figures;`, fills [`Figures`] and calls [`Figures::report`]. The ratio is ours
//! over the first peer, or ours over the target where there is no peer; a target says which way is
//! better, so that a missed one is reported as missed.

use std::path::PathBuf;
use std::{env, fs, io};

use serde::Serialize;

/// The rows of one bench.
pub(crate) struct Figures {
    bench: &'static str,
    rows: Vec<Row>,
}

/// One figure.
#[derive(Serialize)]
pub(crate) struct Row {
    name: String,
    unit: &'static str,
    ours: f64,
    peers: serde_json::Map<String, serde_json::Value>,
    ratio: Option<f64>,
    target: Option<String>,
    met: Option<bool>,
    #[serde(skip)]
    order: Vec<(String, f64)>,
}

#[allow(dead_code, reason = "each bench uses the setters that it needs")]
impl Figures {
    /// The figures of `benches/<bench>.rs`.
    pub(crate) fn new(bench: &'static str) -> Self {
        Self {
            bench,
            rows: Vec::new(),
        }
    }

    /// Begins a row; set its peers and target on what this returns.
    pub(crate) fn row(
        &mut self,
        name: impl Into<String>,
        unit: &'static str,
        ours: f64,
    ) -> &mut Row {
        self.rows.push(Row {
            name: name.into(),
            unit,
            ours,
            peers: serde_json::Map::new(),
            ratio: None,
            target: None,
            met: None,
            order: Vec::new(),
        });
        let last = self.rows.len() - 1;
        &mut self.rows[last]
    }

    /// Prints the table and writes the file.
    ///
    /// # Panics
    /// If the file cannot be written: a bench without its figures has not run.
    pub(crate) fn report(&self) {
        self.print();
        if let Err(error) = self.write() {
            panic!("cannot write the figures of {}: {error}", self.bench);
        }
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        println!("\n{}", self.bench);
        let width = self.rows.iter().map(|row| row.name.chars().count()).max();
        let width = width.unwrap_or(0).max(4);
        println!(
            "{:width$}  {:>12}  {:<14} {:>9}  {:<22} peers",
            "name", "ours", "unit", "ratio", "target"
        );
        for row in &self.rows {
            let ratio = row
                .ratio
                .map_or_else(String::new, |ratio| format!("{ratio:.3}"));
            let target = match (&row.target, row.met) {
                (Some(target), Some(true)) => format!("{target} met"),
                (Some(target), _) => format!("{target} MISSED"),
                (None, _) => String::new(),
            };
            let peers: Vec<String> = row
                .order
                .iter()
                .map(|(name, value)| format!("{name} {}", number(*value)))
                .collect();
            println!(
                "{:width$}  {:>12}  {:<14} {ratio:>9}  {target:<22} {}",
                row.name,
                number(row.ours),
                row.unit,
                peers.join(", ")
            );
        }
    }

    fn write(&self) -> io::Result<()> {
        let folder = target_folder().join("figures");
        fs::create_dir_all(&folder)?;
        let json = serde_json::to_vec_pretty(&self.rows)?;
        fs::write(folder.join(format!("{}.json", self.bench)), json)
    }
}

#[allow(dead_code, reason = "each bench uses the setters that it needs")]
impl Row {
    /// Adds what a peer measures at the same thing. The ratio is over the first.
    pub(crate) fn peer(&mut self, name: impl Into<String>, value: f64) -> &mut Self {
        let name = name.into();
        if self.order.is_empty() && self.ratio.is_none() && value != 0.0 {
            self.ratio = Some(self.ours / value);
        }
        self.order.push((name.clone(), value));
        self.peers.insert(name, value.into());
        self
    }

    /// What we measure must be at most this.
    pub(crate) fn at_most(&mut self, bound: f64) -> &mut Self {
        self.bound(format!("<= {}", number(bound)), self.ours <= bound, bound)
    }

    /// What we measure must be at least this.
    pub(crate) fn at_least(&mut self, bound: f64) -> &mut Self {
        self.bound(format!(">= {}", number(bound)), self.ours >= bound, bound)
    }

    /// What we measure must be at least the first and at most the second.
    pub(crate) fn within(&mut self, least: f64, most: f64) -> &mut Self {
        let met = (least..=most).contains(&self.ours);
        self.bound(format!("{} to {}", number(least), number(most)), met, least)
    }

    /// Ours over the first peer, where it was measured otherwise than by dividing the two.
    pub(crate) fn ratio_of(&mut self, ratio: f64) -> &mut Self {
        self.ratio = Some(ratio);
        self
    }

    /// Names a peer that could not be measured here.
    pub(crate) fn unmeasured(&mut self, name: impl Into<String>) -> &mut Self {
        let name = name.into();
        self.order.push((name.clone(), f64::NAN));
        self.peers.insert(name, serde_json::Value::Null);
        self
    }

    /// Ours over the first peer must be at most this.
    pub(crate) fn ratio_at_most(&mut self, bound: f64) -> &mut Self {
        let met = self.ratio.is_some_and(|ratio| ratio <= bound);
        self.bound(format!("ratio <= {}", number(bound)), met, bound)
    }

    /// Ours over the first peer must be at least this.
    pub(crate) fn ratio_at_least(&mut self, bound: f64) -> &mut Self {
        let met = self.ratio.is_some_and(|ratio| ratio >= bound);
        self.bound(format!("ratio >= {}", number(bound)), met, bound)
    }

    fn bound(&mut self, target: String, met: bool, bound: f64) -> &mut Self {
        if self.ratio.is_none() && bound != 0.0 {
            self.ratio = Some(self.ours / bound);
        }
        self.target = Some(target);
        self.met = Some(met);
        self
    }
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "not measured".to_owned()
    } else if value == 0.0 || value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}

// `cargo bench` runs in the package's folder, but the target folder may be elsewhere.
fn target_folder() -> PathBuf {
    if let Some(folder) = env::var_os("CARGO_TARGET_DIR") {
        return folder.into();
    }
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target")
}
