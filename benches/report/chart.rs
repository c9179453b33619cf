//! Horizontal bars as SVG.

use std::fmt::Write;

/// One bar under a name.
pub(crate) struct Bar {
    name: String,
    value: f64,
    is_ours: bool,
}

impl Bar {
    pub(crate) fn new(name: impl Into<String>, value: f64, is_ours: bool) -> Self {
        Self {
            name: name.into(),
            value,
            is_ours,
        }
    }
}

const WIDTH: f64 = 760.0;
const NAMES: f64 = 240.0;
const NUMBERS: f64 = 70.0;
const LINE: f64 = 26.0;
const TITLE: f64 = 40.0;

/// The bars from the top down, ours in another colour than the others', each with its number.
pub(crate) fn bars(title: &str, bars: &[Bar]) -> String {
    let longest = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    #[allow(clippy::cast_precision_loss, reason = "a few bars")]
    let top = |at: usize| TITLE + LINE * at as f64;
    let height = top(bars.len()) + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"16\">{}</text>\n",
        escaped(title)
    );
    for (at, bar) in bars.iter().enumerate() {
        let (y, text) = (top(at), top(at) + 14.0);
        let length = (WIDTH - NAMES - NUMBERS) * bar.value / longest.max(f64::MIN_POSITIVE);
        let colour = if bar.is_ours { "#3366aa" } else { "#b0b0b0" };
        let digits = match bar.value {
            0.0..10.0 => 2,
            10.0..100.0 => 1,
            _ => 0,
        };
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{NAMES}\" y=\"{y}\" width=\"{length:.1}\" height=\"18\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{text}\">{:.digits$}</text>",
            NAMES - 8.0,
            escaped(&bar.name),
            NAMES + length + 6.0,
            bar.value,
        )
        .expect("writing to a string cannot fail");
    }
    svg + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
