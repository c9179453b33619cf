//! The greedy tenant, drawn.

use plotters::prelude::*;

use crate::clients::{BIN, Seen};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/greedy-tenant.svg");

/// How many bins a point of a curve is the mean of.
const SMOOTH: usize = 10;

/// Draws what the greedy tenant and the others got over time, here and with one bucket for all. The
/// first `others` streams are one tenant each.
///
/// # Panics
/// If the file cannot be written.
pub(crate) fn draw(ours: &Seen, bucket: &Seen, others: usize) {
    std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).expect("docs/");
    let root = SVGBackend::new(FILE, (960, 420)).into_drawing_area();
    root.fill(&WHITE).expect("a background");
    let panels = root.split_evenly((1, 2));
    let titles = [
        "share by principal",
        "async-speed-limit: one bucket for all",
    ];
    for ((panel, seen), title) in panels.iter().zip([ours, bucket]).zip(titles) {
        panel_of(panel, seen, title, others);
    }
    root.present().expect("the picture");
    println!("drew {FILE}");
}

fn panel_of(
    panel: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    seen: &Seen,
    title: &str,
    others: usize,
) {
    let greedy = curve(&seen.bins[others..]);
    let seconds = greedy.last().map_or(1.0, |point| point.0);
    let mut chart = ChartBuilder::on(panel)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..seconds, 0.0..110.0)
        .expect("a chart");
    chart
        .configure_mesh()
        .x_desc("seconds")
        .y_desc("MB/s")
        .draw()
        .expect("a mesh");
    for other in 0..others {
        let series = LineSeries::new(curve(&seen.bins[other..=other]), &BLUE.mix(0.6));
        let drawn = chart.draw_series(series).expect("a curve");
        if other == 0 {
            drawn
                .label("nine tenants, one stream each")
                .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], BLUE));
        }
    }
    chart
        .draw_series(LineSeries::new(greedy, RED.stroke_width(2)))
        .expect("a curve")
        .label("the greedy tenant, 100 streams")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], RED));
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
        .expect("a legend");
}

#[allow(clippy::cast_precision_loss, reason = "a picture")]
fn curve(streams: &[Vec<u64>]) -> Vec<(f64, f64)> {
    let bins = streams.iter().map(Vec::len).max().unwrap_or(0);
    let at = |bin: usize| -> u64 {
        let of = |stream: &Vec<u64>| stream.get(bin).copied().unwrap_or(0);
        streams.iter().map(of).sum()
    };
    (0..bins / SMOOTH)
        .map(|point| {
            let bytes: u64 = (point * SMOOTH..(point + 1) * SMOOTH).map(at).sum();
            let time = BIN.as_secs_f64() * SMOOTH as f64;
            (point as f64 * time, bytes as f64 / time / 1e6)
        })
        .collect()
}
