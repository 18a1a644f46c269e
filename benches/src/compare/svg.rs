//! A comparison as one picture: a bar for each ratio, from the line of "the same" to the left or to the right.
//!
//! Pure. Needs nothing but itself: no script, no font, no file; and takes the colours of a light or a dark page.

use std::fmt::Write as _;

use super::figures::{Comparison, METRICS};

const WIDTH: f64 = 860.0;
const ROW: f64 = 26.0;
const TOP: f64 = 64.0;
/// Where bars may be, with their labels beside them.
const LEFT: f64 = 400.0;
const RIGHT: f64 = 800.0;
/// A bar ends here, whatever the ratio: its label tells.
const RATIO_MAX: f64 = 16.0;

const STYLE: &str = "\
<style>\
text{font:13px system-ui,sans-serif;fill:#1f2328}.t{font-size:15px;font-weight:600}.s{fill:#59636e}\
.l{stroke:#59636e;stroke-width:1}.b{fill:#1a7f37}.w{fill:#bc4c00}\
@media (prefers-color-scheme:dark){text{fill:#f0f6fc}.s{fill:#9198a1}.l{stroke:#9198a1}.b{fill:#3fb950}.w{fill:#f0883e}}\
</style>";

/// The picture.
pub(crate) fn svg(comparison: &Comparison) -> String {
    const TAKES_ALL: &str = "a String takes everything";
    let rows = METRICS.len() * comparison.peers.len();
    let (height, middle) = (TOP + rows as f64 * ROW + 16.0, f64::midpoint(LEFT, RIGHT));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n{STYLE}\n\
         <title>Meridian by its peers</title>\n\
         <text class=\"t\" x=\"16\" y=\"26\">{} by its peers</text>\n\
         <text class=\"s\" x=\"16\" y=\"46\">median of the ratios of all turns, logarithmic scale; green is better</text>\n",
        escaped(comparison.ours.name),
    );
    let mut y = TOP;
    for metric in &METRICS {
        for peer in &comparison.peers {
            let ratio = metric.ratio(&comparison.ours, peer);
            let label = format!("{}, {}", metric.name, peer.name);
            let class = if (ratio > 1.0) == metric.more_is_better { "b" } else { "w" };
            let (from, to) = (middle.min(at(ratio)), middle.max(at(ratio)));
            let (beside, anchor) = if ratio < 1.0 { (from - 6.0, "end") } else { (to + 6.0, "start") };
            let (middle_y, bar_y) = (y + 15.0, y + 4.0);
            writeln!(
                out,
                "<text x=\"16\" y=\"{middle_y}\">{}</text>\
                 <rect class=\"{class}\" x=\"{from:.1}\" y=\"{bar_y}\" width=\"{:.1}\" height=\"16\" rx=\"2\"/>\
                 <text x=\"{beside:.1}\" y=\"{middle_y}\" text-anchor=\"{anchor}\">{ratio:.2}</text>",
                escaped(&label),
                to - from,
            )
            .expect(TAKES_ALL);
            y += ROW;
        }
    }
    let (line_top, line_end) = (TOP - 6.0, y + 4.0);
    writeln!(out, "<line class=\"l\" x1=\"{middle}\" y1=\"{line_top}\" x2=\"{middle}\" y2=\"{line_end}\"/>\n</svg>")
        .expect(TAKES_ALL);
    out
}

/// Where a ratio lies; what is none lies at "the same".
fn at(ratio: f64) -> f64 {
    let ratio = if ratio.is_finite() && ratio > 0.0 { ratio } else { 1.0 };
    let share = ratio.clamp(1.0 / RATIO_MAX, RATIO_MAX).ln() / RATIO_MAX.ln();
    f64::midpoint(LEFT, RIGHT) + share * (RIGHT - LEFT) / 2.0
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::comparison;
    use super::*;

    #[test]
    fn a_ratio_has_its_place() {
        assert_eq!(at(1.0), 600.0);
        assert_eq!((at(16.0), at(1_000.0)), (RIGHT, RIGHT));
        assert_eq!((at(0.0), at(f64::NAN), at(0.001)), (600.0, 600.0, LEFT));
        assert!(((at(4.0) - 600.0) - (600.0 - at(0.25))).abs() < 1e-9, "twice is as far as half");
    }

    #[test]
    fn there_is_a_bar_for_each_ratio_and_both_colours_of_a_page() {
        let mut comparison = comparison();
        comparison.peers[0].name = "A<B";
        let svg = svg(&comparison);
        assert_eq!(svg.matches("<rect ").count(), METRICS.len());
        assert!(svg.contains("prefers-color-scheme:dark") && svg.contains("A&lt;B") && !svg.contains("A<B"));
        assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"));
        assert!(svg.contains(">3.00</text>"), "{svg}");
    }
}
