//! Series that are asked for by their tags, against a look at each key: the index that finds them is filled on every way in.

use super::*;

fn asked() -> Vec<Vec<Matcher>> {
    let host = |op, value| Matcher::new("host", op, value).expect("valid");
    vec![
        vec![host(MatchOp::Eq, "h1")],
        vec![host(MatchOp::NotEq, "h1"), host(MatchOp::Re, "h.")],
        vec![host(MatchOp::Re, "h0|h2"), Matcher::new("region", MatchOp::Re, "eu|us").expect("valid")],
        vec![host(MatchOp::NotRe, "[^0]*"), Matcher::new("rack", MatchOp::Eq, "").expect("valid")],
        vec![Matcher::new("rack", MatchOp::NotEq, "").expect("valid")],
    ]
}

pub(super) fn check(engine: &Engine, database: DatabaseId) {
    for all in [everything(0), everything(1)] {
        let rows = points(&all, engine.view(database, &all));
        for matchers in asked() {
            let mut plan = all.clone();
            plan.matchers = matchers;
            let matching = rows.iter().filter(|((_, key, ..), _)| plan.matches(key));
            let matching: BTreeMap<Point, Value> =
                matching.map(|(point, value)| (point.clone(), value.clone())).collect();
            assert_eq!(points(&plan, engine.view(database, &plan)), matching, "{:?}", plan.matchers);
        }
    }
}

#[test]
fn a_view_of_few_series_is_known_to_be_small_before_it_is_taken() {
    let mut engine = Engine::new(7);
    for host in 0..300 {
        let host = format!("h{host}");
        engine.write(D1, &frame(&[("cpu", &host, 1, &[("load", ValueRef::F64(1.0))])])).expect("valid");
    }
    let is_small =
        |matchers| engine.is_view_at_most(256, D1, &ask("cpu", TimeRange::ALL, &[("load", FieldType::F64)], matchers));
    let host = |op, value| vec![Matcher::new("host", op, value).expect("valid")];
    assert!(is_small(host(MatchOp::Eq, "h7")) && is_small(host(MatchOp::Eq, "elsewhere")));
    assert!(is_small(host(MatchOp::Re, "h7|h8|h9")));
    assert!(!is_small(host(MatchOp::Re, "h7.*")) && !is_small(host(MatchOp::NotEq, "h7")) && !is_small(Vec::new()));
    let nothing = ask("mem", TimeRange::ALL, &[("load", FieldType::F64)], Vec::new());
    assert!(engine.is_view_at_most(0, D1, &nothing) && engine.is_view_at_most(0, D2, &nothing));
}
