//! Layers, and every mistake with its place.

use super::*;
use crate::node::Node;
use crate::router::Router;

fn values<P: Program>(line: &str, file: &str, variables: &[(&str, &str)]) -> Values {
    let words = std::iter::once("x").chain(line.split_whitespace());
    let command = <Args<P> as clap::Args>::augment_args(Command::new("x"));
    let matches = command.try_get_matches_from(words).expect("clap takes it");
    let args = <Args<P> as clap::FromArgMatches>::from_arg_matches(&matches).expect("all values are texts");
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Values::read(&args, Some((Path::new("n.toml"), file)), variables)
}

#[test]
fn the_last_place_decides() {
    let file =
        "data = 'from-file'\nregion = 'file'\nmemory_bytes = 1000\njoin = ['a:1', 'b:2']\ninsecure_listen = true";
    let variables = [("MERIDIAN_REGION", "variable"), ("MERIDIAN_MEMORY_BYTES", "2KiB"), ("PATH", "/bin")];
    let mut all = values::<Node>("--memory-bytes 3KiB", file, &variables);
    assert_eq!(all.take("data", text), "from-file");
    assert_eq!(all.take("region", text), "variable");
    assert_eq!(all.take("memory_bytes", bytes), 3 << 10);
    assert_eq!(all.take("join", addresses), ["a:1", "b:2"]);
    assert!(all.take("insecure_listen", switch));
    assert_eq!(all.take("flush_after", span), std::time::Duration::from_secs(600), "the default");
    all.finish().expect("nothing is wrong");
    let mut all = values::<Node>("--data d --join a:1 --join b:2,c:3 --insecure-listen --region=x", "", &[]);
    assert_eq!(all.take("join", addresses), ["a:1", "b:2", "c:3"]);
    assert!(all.take("insecure_listen", switch));
    all.finish().expect("nothing is wrong");
}

#[test]
fn all_mistakes_are_told_at_once() {
    let file = "memmory_bytes = 1\nlisten_data = \"nowhere\"\nflush_after = { x = 1 }\nnodes = \"a:1\"";
    let variables = [("MERIDIAN_LOG_BYTES", "1 GB"), ("MERIDIAN_MEMMORY_BYTES", "1"), ("MERIDIAN_NODES", "a:1")];
    let mut all = values::<Node>("--snapshot-bytes-per-second 0", file, &variables);
    all.take("data", path);
    all.take("listen_data", address);
    all.take("log_bytes", bytes);
    all.take("snapshot_bytes_per_second", bytes);
    all.refuse("region", "is wrong");
    let error = all.finish().expect_err("much is wrong").render();
    assert_eq!(error, include_str!("../../testdata/settings.txt"));
    let error = values::<Router>("", "= x", &[]).finish().expect_err("two mistakes").render();
    assert!(error.contains("2 settings are wrong") && error.contains("--nodes is missing"), "{error}");
}

#[test]
fn sizes_have_units() {
    let sizes = ["7", "7B", "7KiB", "7 MiB", "7GiB", "7TiB"].map(|text| bytes(text).expect(text));
    assert_eq!(sizes, [7, 7, 7 << 10, 7 << 20, 7 << 30, 7 << 40]);
    for bad in ["", "KiB", "1.5GiB", "1KB", "-1", "0", "99999999TiB"] {
        assert!(bytes(bad).is_err(), "{bad}");
    }
}

#[test]
fn loopback_is_where_one_listens_unasked() {
    for local in ["127.0.0.1:1", "localhost:1", "[::1]:1"] {
        assert_eq!(parse::listens(local, false), Ok(()), "{local}");
    }
    for public in ["0.0.0.0:1", "10.0.0.1:1", "db:1", ":1"] {
        assert!(parse::listens(public, false).is_err(), "{public}");
        assert_eq!(parse::listens(public, true), Ok(()), "{public}");
    }
}
