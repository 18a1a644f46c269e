//! Sees to it that docs/config.md is what the definitions say. Test code only.

use std::fmt::Write as _;
use std::path::Path;

use meridian_env::real;

use super::{Program, Shape};
use crate::node::Node;
use crate::router::Router;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.md");
const PAGE_BYTES_MAX: u64 = 1 << 20;

const HEAD: &str = "\
# Settings

`meridian node` and `meridian router` take each setting from a TOML file (`--config FILE`), from the environment, and from the
command line; of the places that name it the last one in this order decides. Unknown keys and variables are refused, and all
mistakes are told at once, each with its place. Generated: `MERIDIAN_BLESS=1 cargo test -p meridian-cli` writes this page.

A key `listen_data` of a file is the variable `MERIDIAN_LISTEN_DATA` and the flag `--listen-data`. Sizes are bytes, or have one
of the units KiB, MiB, GiB and TiB; spans of time have one of ns us ms s m h d w. A list is a list of strings in a file, has
commas between its parts in the environment, and may be given again and again on the command line.

```toml
# node.toml
data = \"/var/lib/meridian\"
region = \"eu\"
join = [\"db-1:7172\", \"db-2:7172\", \"db-3:7172\"]
memory_bytes = \"8GiB\"
```
";

fn section<P: Program>() -> String {
    let mut text = format!(
        "\n## meridian {}\n\n{}.\n\n| key | value | default | what it is |\n|---|---|---|---|\n",
        P::NAME,
        P::ABOUT
    );
    for setting in P::SETTINGS {
        let value = match setting.shape {
            Shape::One(value) | Shape::Many(value) => format!("`{value}`"),
            Shape::Switch => "`true`, `false`".into(),
        };
        let value = if matches!(setting.shape, Shape::Many(_)) { format!("list of {value}") } else { value };
        let default = match setting.default {
            None => "must be given".into(),
            Some("") => "none".into(),
            Some(default) => format!("`{default}`"),
        };
        writeln!(text, "| `{}` | {value} | {default} | {} |", setting.key, setting.help).expect("a String takes all");
    }
    text
}

#[test]
fn the_page_of_settings_is_current() {
    let expected = format!("{HEAD}{}{}", section::<Node>(), section::<Router>());
    let (disk, page) = (real::disk(), Path::new(PAGE));
    if std::env::var_os("MERIDIAN_BLESS").is_some() {
        disk.replace(page, expected.as_bytes()).expect("written");
    }
    let found = disk.read(page, PAGE_BYTES_MAX).expect("the page is there");
    assert!(found == expected.as_bytes(), "docs/config.md is old: MERIDIAN_BLESS=1 cargo test -p meridian-cli");
}
