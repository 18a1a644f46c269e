//! A run as one page for people, over one axis of simulated time: what was done to nodes, who led, what clients were
//! told, and where a promise broke. Pure.
//!
//! The page is one file that loads nothing. This part never judges: it shows what it is given. It never reads a clock
//! or a file: the same run gives the same bytes. What comes from the run is escaped where it enters the page, whose
//! size has a limit however long the run was. The script only adds a cursor and a zoom.

mod lanes;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use lanes::{Bar, LANES_MAX, Lane, bounded, colour, look, natural, rows};

/// Columns of answers: more would be thinner than a pixel.
const COLUMNS_MAX: usize = 600;
/// Broken promises that are shown: the first ones tell most.
const BREACHES_MAX: usize = 50;
/// Labelled ticks of the axis on a wide screen.
const TICKS_MAX: u64 = 14;

/// Everything that the page shows. All times are simulated, since the start of the simulation.
#[derive(Clone, Default, Debug)]
pub(crate) struct Run {
    /// From which everything follows.
    pub(crate) seed: u64,
    /// What was found, in one sentence.
    pub(crate) verdict: String,
    /// The one command that repeats the run.
    pub(crate) command: String,
    /// When the simulation ended: the right end of the axis. What goes on for longer is cut there.
    pub(crate) length: Duration,
    /// When clients began to write, and when they were told to stop.
    pub(crate) writes: Range<Duration>,
    /// CPU time of the process, never zero: the one thing here that differs between two runs of a seed.
    pub(crate) cpu: Duration,
    /// Numbers for the head of the page, each with its name: operations, acknowledged rows.
    pub(crate) figures: Vec<(String, u64)>,
    /// In any order.
    pub(crate) faults: Vec<Fault>,
    /// In the order of their lanes.
    pub(crate) shards: Vec<Shard>,
    /// What clients were told in the first simulated second, in the next one, and so on.
    pub(crate) seconds: Vec<Second>,
    /// Empty if everything held. The first one is the reason for the verdict.
    pub(crate) breaches: Vec<Breach>,
}

/// Something that was done to a node or to a link.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// A plain word; `report/lanes.rs` has those with a look of their own.
    pub(crate) kind: String,
    pub(crate) target: Target,
    pub(crate) start: Duration,
    pub(crate) end: Duration,
    /// More about it, or nothing: `the busiest leader`.
    pub(crate) detail: String,
}

/// What a fault hits, by the names of hosts. Of a link that is hit `one_way`, only what `from` sends to `to`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    Node(String),
    Link { from: String, to: String, one_way: bool },
}

/// One Raft group.
#[derive(Clone, Default, Debug)]
pub(crate) struct Shard {
    pub(crate) name: String,
    /// In any order. They may overlap: a leader that was deposed may not know it yet.
    pub(crate) reigns: Vec<Reign>,
    /// When clients were told over gRPC that a write or a delete in this shard is acknowledged, in any order: answers over HTTP
    /// name no shard.
    pub(crate) acks: Vec<Duration>,
}

/// One node's time as the leader of a shard.
#[derive(Clone, Debug)]
pub(crate) struct Reign {
    pub(crate) node: String,
    pub(crate) term: u64,
    pub(crate) start: Duration,
    pub(crate) end: Duration,
}

/// Requests whose outcome clients were told within one second.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Second {
    pub(crate) acked: u64,
    pub(crate) refused: u64,
    /// Given up without knowing.
    pub(crate) unknown: u64,
}

/// A promise that did not hold.
#[derive(Clone, Debug)]
pub(crate) struct Breach {
    /// When it was seen.
    pub(crate) at: Duration,
    pub(crate) text: String,
}

/// The page of a run, whole.
pub(crate) fn render(run: &Run) -> String {
    let (nodes, kinds, scale) = (nodes(run), by_kind(run), Scale(run.length));
    let clients = [Lane::new("clients", "", vec![Bar::new(run, &run.writes, "writes", &["clients write"])])];
    let faults = bounded(run, lanes::faults(run, &nodes));
    let leaders = bounded(run, run.shards.iter().map(|shard| lanes::leaders(run, shard, &nodes)).collect());
    let gaps: Vec<_> = run.shards.iter().map(|shard| Lane::new(&shard.name, "", lanes::gaps(run, shard))).collect();
    let longest = longest(&gaps);
    let gaps = bounded(run, gaps);
    let shards = leaders.iter().zip(&gaps).map(|(lane, gaps)| scale.lane(lane, &scale.rows(gaps)));
    let figure = |(name, n): &(String, u64)| format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escaped(name), count(*n));
    let lanes = |lanes: &[Lane]| lanes.iter().map(|lane| scale.lane(lane, "")).collect::<String>();
    let ([ticks, times], [flags, breaches]) = (scale.ticks(), breaches(run, &scale));
    let [state, mark] = if run.breaches.is_empty() { ["held", "✓"] } else { ["broken", "✗"] };
    // The page's own marks are comments, which nothing that was escaped can contain.
    let parts = [
        ("style", include_str!("report/style.css").to_owned()),
        ("script", include_str!("report/script.js").to_owned()),
        ("seed", run.seed.to_string()),
        ("state", state.to_owned()),
        ("mark", mark.to_owned()),
        ("verdict", escaped(&run.verdict)),
        ("breaches", breaches),
        ("command", run.command.split(' ').map(|word| format!("<span>{}</span> ", escaped(word))).collect()),
        ("figures", run.figures.iter().map(figure).collect()),
        ("speed", format!("{:.1}", run.length.as_secs_f64() / run.cpu.as_secs_f64().max(1e-9))),
        ("longest gap", escaped(&longest)),
        ("hits", count(run.faults.len() as u64)),
        ("hits by kind", kinds.iter().map(|(_, text)| format!("<span>{}</span> ", escaped(text))).collect()),
        ("length", format!("{:.3}", run.length.as_secs_f64())),
        ("ticks", ticks + &scale.shades(&faults)),
        ("times", times),
        ("clients", lanes(&clients)),
        ("kinds", kinds.iter().map(|(look, text)| key(look, text)).collect()),
        ("faults", lanes(&faults) + &note(&faults)),
        ("nodes", nodes.iter().enumerate().take(LANES_MAX).map(|(i, node)| key(&colour(i), node)).collect()),
        ("shards", shards.collect::<String>() + &note(&leaders) + &note(&gaps)),
        ("acknowledged", columns(run, &scale, &[("acknowledged", |second| second.acked)])),
        ("others", columns(run, &scale, &[("refused", |second| second.refused), ("unknown", |second| second.unknown)])),
        ("flags", flags),
        ("words", words(&[&clients, &faults, &leaders, &gaps])),
    ];
    let page = include_str!("report/page.html").to_owned();
    parts.iter().fold(page, |page, (name, part)| page.replace(&format!("<!--{name}-->"), part))
}

/// All nodes that led or were hit, in their order.
fn nodes(run: &Run) -> Vec<&str> {
    let leaders = run.shards.iter().flat_map(|shard| &shard.reigns).map(|reign| &reign.node);
    let hit = run.faults.iter().filter_map(|fault| match &fault.target {
        Target::Node(node) => Some(node),
        Target::Link { .. } => None,
    });
    let nodes: BTreeSet<_> = leaders.chain(hit).map(|node| natural(node)).collect();
    nodes.into_iter().map(|(_, _, node)| node).collect()
}

/// How often each kind of fault came, after its class. Those with a look of their own come first.
fn by_kind(run: &Run) -> Vec<(String, String)> {
    let mut hits = BTreeMap::new();
    for Fault { kind, .. } in &run.faults {
        *hits.entry((look(kind), kind)).or_default() += 1;
    }
    hits.into_iter().map(|((look, kind), hits)| (look, format!("{kind} × {}", count(hits)))).collect()
}

/// One entry of a legend.
fn key(class: &str, text: &str) -> String {
    format!(r#"<span class="key"><i class="bar {class}"></i>{}</span> "#, escaped(text))
}

fn longest(gaps: &[Lane]) -> String {
    let gaps = gaps.iter().flat_map(|lane| lane.bars.iter().map(move |gap| (gap.end - gap.start, &lane.name)));
    gaps.max_by_key(|(gap, _)| *gap).map_or("none".to_owned(), |(gap, shard)| format!("{} in {shard}", seconds(gap)))
}

/// The lines in the chart, and the list with the same numbers for the top of the page.
fn breaches(run: &Run, scale: &Scale) -> [String; 2] {
    let (mut flags, mut list) = (String::new(), String::new());
    for (i, Breach { at, text }) in run.breaches.iter().enumerate().take(BREACHES_MAX) {
        let (number, left, time, text) = (i + 1, scale.at(*at), seconds(*at), escaped(text));
        flags += &format!(r#"<i class="flag" style="left:{left:.3}%"><b title="{time}: {text}">✗ {number}</b></i>"#);
        list += &format!("<li><span>seen at {time}</span> {text}</li>\n");
    }
    if run.breaches.len() > BREACHES_MAX {
        list += &format!("<li>{} more are not shown</li>\n", run.breaches.len() - BREACHES_MAX);
    }
    [flags, if list.is_empty() { list } else { format!("<ol>\n{list}</ol>\n") }]
}

/// Says so if a section shows less than there was.
fn note(lanes: &[Lane]) -> String {
    let bars = || lanes.iter().flat_map(|lane| &lane.bars);
    let (all, shown) = (bars().map(|bar| bar.count).sum::<usize>(), bars().count());
    let text = match lanes {
        [] => "None.".to_owned(),
        _ if all == shown => return String::new(),
        _ => format!("{all} are drawn as {shown} bars: each says how many it stands for."),
    };
    format!("<p class=\"note\">{text}</p>\n")
}

/// The axis: from zero to the end of the run, in percent.
struct Scale(Duration);

impl Scale {
    fn at(&self, time: Duration) -> f64 {
        if self.0.is_zero() { 0.0 } else { 100.0 * time.min(self.0).as_secs_f64() / self.0.as_secs_f64() }
    }

    /// Lines, and their labels. A narrow screen shows the coarse ones only; the fine ones show when one looks closely.
    fn ticks(&self) -> [String; 2] {
        let length_ms = self.0.as_millis() as u64;
        let mut steps_ms = (1..18).flat_map(|power| [1, 2, 5].map(|digit| digit * 10u64.pow(power)));
        let fine_ms = steps_ms.find(|step| length_ms / step <= TICKS_MAX).unwrap_or(u64::MAX) / 10;
        let (mut lines, mut times) = (String::new(), String::new());
        for i in 0..=length_ms / fine_ms {
            let class = ["fine", "middle", "coarse"][usize::from(i % 10 == 0) + usize::from(i % 20 == 0)];
            let time = Duration::from_millis(i * fine_ms);
            let (left, text) = (self.at(time), time.as_secs_f64());
            let last = if left > 92.0 { " last" } else { "" };
            lines += &format!(r#"<i class="{class}" style="left:{left:.3}%"></i>"#);
            times += &format!(r#"<span class="{class}{last}" style="left:{left:.3}%">{text} s</span>"#);
        }
        [lines, times]
    }

    /// The times of faults behind all lanes, the darker the more there are at once.
    fn shades(&self, faults: &[Lane]) -> String {
        let shade = |bar: &Bar| {
            let (left, width) = (self.at(bar.start), self.at(bar.end) - self.at(bar.start));
            format!(r#"<i class="shade" style="left:{left:.3}%;width:{width:.3}%"></i>"#)
        };
        faults.iter().flat_map(|lane| &lane.bars).map(shade).collect()
    }

    fn lane(&self, lane: &Lane, below: &str) -> String {
        let (class, name) = (&lane.class, escaped(&lane.name));
        let swatch = if class.is_empty() { String::new() } else { format!(r#"<i class="bar {class}"></i>"#) };
        lane_of(&format!("{swatch}{name}"), "", &(self.rows(lane) + below))
    }

    fn rows(&self, lane: &Lane) -> String {
        let row = |row: Vec<&Bar>| {
            let nexts = row.iter().skip(1).map(|bar| bar.start).chain([self.0]);
            let bars = row.iter().zip(nexts).map(|(bar, next)| self.bar(&lane.name, bar, next));
            format!(r#"<div class="row">{}</div>"#, bars.collect::<String>())
        };
        rows(&lane.bars).into_iter().map(row).collect()
    }

    /// A bar in the room up to the next one. Its labels stand in it or after it, where there is more room.
    fn bar(&self, lane: &str, bar: &Bar, next: Duration) -> String {
        let (left, width) = (self.at(bar.start), self.at(bar.end) - self.at(bar.start));
        let room = (self.at(next) - left).max(width);
        let share = if room > 0.0 { 100.0 * width / room } else { 100.0 };
        let labels: String = bar.labels.iter().map(|label| format!("<b>{}</b>", escaped(label))).collect();
        let [inside, after] = if share < 50.0 { ["", &labels] } else { [&labels, ""] };
        let title = escaped(&format!("{lane}: {}. {}", bar.words(), span(bar.start, bar.end)));
        let (class, inside) = (&bar.class, format!("<span>{inside}</span>"));
        let bar = format!(r#"<i class="bar {class}" style="width:{share:.3}%" title="{title}">{inside}</i>"#);
        format!(r#"<div class="slot" style="left:{left:.3}%;width:{room:.3}%">{bar}{after}</div>"#)
    }
}

fn lane_of(name: &str, class: &str, plot: &str) -> String {
    format!("<div class=\"lane\"><div class=\"name\">{name}</div><div class=\"plot {class}\">{plot}</div></div>\n")
}

/// The name of an outcome, which is its class as well, and where its number is.
type Outcome = (&'static str, fn(&Second) -> u64);

/// A lane of columns, each with some outcomes on top of each other.
fn columns(run: &Run, scale: &Scale, outcomes: &[Outcome]) -> String {
    let width = run.seconds.len().div_ceil(COLUMNS_MAX).max(1);
    let mean = |chunk: &[Second], number| chunk.iter().map(number).sum::<u64>() as f64 / chunk.len() as f64;
    let sum = |chunk| outcomes.iter().map(|(_, number)| mean(chunk, number)).sum();
    let top = run.seconds.chunks(width).map(sum).fold(0.0, f64::max);
    let column = |(i, chunk): (usize, &[Second])| {
        let [start, end] = [i, i + 1].map(|i| Duration::from_secs((i * width) as u64).min(run.length));
        let (x, w) = (scale.at(start), scale.at(end) - scale.at(start));
        let rect = |class: &str, y: f64, h: f64| {
            format!(r#"<rect class="{class}" x="{x:.3}" y="{y:.2}" width="{w:.3}" height="{h:.2}"/>"#) //
        };
        let (mut y, mut rects, mut title) = (100.0, rect("hit", 0.0, 100.0), span(start, end));
        for (class, mean) in outcomes.iter().map(|(class, number)| (class, mean(chunk, number))) {
            // Few must still be seen among many.
            let height = if mean > 0.0 { (100.0 * mean / top).max(4.0) } else { 0.0 };
            y = f64::max(y - height, 0.0);
            rects += &rect(class, y, height);
            title += &format!(", {mean:.0} {class} a second");
        }
        format!("<g><title>{title}</title>{rects}</g>")
    };
    let columns = run.seconds.chunks(width).enumerate().map(column).collect::<String>();
    let names = outcomes.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let each = if width == 1 { String::new() } else { format!(", means of {width} s") };
    let name = format!("{}<small>top: {top:.0} a second{each}</small>", names.join(", "));
    let svg = format!(r#"<svg viewBox="0 0 100 100" preserveAspectRatio="none">{columns}</svg>"#);
    lane_of(&name, &names.join(" "), &svg)
}

/// Everything in the lanes as rows of a table, for those who rather read.
fn words(sections: &[&[Lane]]) -> String {
    let lanes = sections.iter().flat_map(|lanes| lanes.iter());
    let mut bars: Vec<_> = lanes.flat_map(|lane| lane.bars.iter().map(|bar| (bar, escaped(&lane.name)))).collect();
    bars.sort_by_key(|(bar, _)| bar.start);
    let row = |(bar, name): (&Bar, String)| {
        let [start, end] = [bar.start, bar.end].map(|time| time.as_secs_f64());
        format!("<tr><td>{start:.3}<td>{end:.3}<td>{name}<td>{}\n", escaped(&bar.words()))
    };
    bars.into_iter().map(row).collect()
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

fn span(start: Duration, end: Duration) -> String {
    format!("{:.3} to {:.3} s ({})", start.as_secs_f64(), end.as_secs_f64(), seconds(end - start))
}

/// A number with its thousands apart.
fn count(number: u64) -> String {
    if number < 1_000 { number.to_string() } else { format!("{},{:03}", count(number / 1_000), number % 1_000) }
}

/// Text as it may stand in an element or between the quotes of an attribute.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let text = text.replace('"', "&quot;").replace('\'', "&#39;");
    text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: &str, node: u64, start: u64, end: u64) -> Fault {
        let [start, end] = [start, end].map(Duration::from_secs);
        Fault { kind: kind.into(), target: Target::Node(format!("<n>{node}")), start, end, detail: "<why>".into() }
    }

    /// Ten seconds; every text has what must be escaped.
    fn example() -> Run {
        let [from, to] = ["<n>2", "<n>10"].map(String::from);
        let [start, at, length] = [1, 8, 10].map(Duration::from_secs);
        let reigns = vec![Reign { node: from.clone(), term: 7, start, end: length }];
        let link = Target::Link { from, to, one_way: true };
        Run {
            verdict: "<b>".into(),
            command: "run --seed <7>".into(),
            length,
            writes: start..at,
            figures: vec![("<rows>".into(), 1_234_567)],
            faults: vec![fault("crash", 1, 3, 4), Fault { target: link, ..fault("<cut>", 0, 5, 6) }],
            shards: vec![Shard { name: "<s0>".into(), reigns, acks: [1, 2, 6, 7].map(Duration::from_secs).to_vec() }],
            seconds: vec![Second { acked: 9, refused: 100, unknown: 1 }; 4],
            breaches: vec![Breach { at, text: "write <4711> is gone".into() }],
            ..Run::default()
        }
    }

    #[test]
    fn what_comes_from_the_run_is_escaped_and_the_same_run_gives_the_same_page() {
        let page = render(&example());
        for text in ["<n>", "<cut>", "<why>", "\"><b>", "<7>", "<rows>", "<s0>", "<4711>", "<!--"] {
            assert!(!page.contains(text), "{text}");
        }
        assert_eq!(page, render(&example()));
        assert_eq!(escaped("<a href='\"&\0"), "&lt;a href=&#39;&quot;&amp;\u{fffd}");
    }

    #[test]
    fn a_broken_run_shows_its_text_its_command_and_its_longest_gap() {
        let page = render(&example());
        let breach =
            ["✗ broken", "seen at 8.000 s</span> write &lt;4711&gt; is gone", r#""flag" style="left:80.000%""#];
        let others = ["<span>run</span> <span>--seed</span>", "1,234,567", "4.000 s in &lt;s0&gt;", "&lt;cut&gt; × 1"];
        for text in breach.iter().chain(&others) {
            assert!(page.contains(text), "{text}");
        }
    }

    #[test]
    fn an_empty_run_has_a_page_that_loads_nothing() {
        let page = render(&Run::default());
        assert!(page.contains("✓ held") && page.contains("None."));
        for outside in ["<!--", "http:", "https:", "src=", "url(", "@import", "NaN", "inf%"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn bars_stay_on_the_axis_and_do_not_overlap() {
        let mut run = example();
        let times = [(0, 4), (1, 2), (2, 3), (4, 5), (5, 2), (9, 99), (99, 98)];
        run.faults = times.map(|(start, end)| fault("pause", 2, start, end)).to_vec();
        let lanes = lanes::faults(&run, &["<n>2"]);
        assert_eq!(rows(&lanes[0].bars).iter().map(Vec::len).collect::<Vec<_>>(), [5, 2]);
        let page = render(&run);
        for (before, after) in [("left:", '%'), ("width:", '%'), (" y=\"", '"'), ("height=\"", '"')] {
            let numbers = page.split(before).skip(1).filter_map(|rest| rest.split(after).next()?.parse::<f64>().ok());
            numbers.for_each(|number| assert!((0.0..=100.0).contains(&number), "{before}{number}"));
        }
    }

    #[test]
    fn a_long_run_has_a_page_within_limits_that_says_so() {
        let mut run = example();
        run.faults = (0..9_000).map(|i| fault("crash", i % 500, i / 999, 1 + i / 999)).collect();
        run.shards = vec![run.shards[0].clone(); 5_000];
        run.seconds = vec![run.seconds[0]; 90_000];
        run.breaches = vec![run.breaches[0].clone(); 900];
        let page = render(&run);
        assert!(page.len() < 8 << 20, "{}", page.len());
        for text in ["9000 are drawn as ", "4801 more", "means of 150 s", "850 more are not shown"] {
            assert!(page.contains(text), "{text}");
        }
    }
}
