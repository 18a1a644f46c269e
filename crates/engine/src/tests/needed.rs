//! What is not read because no answer needs it: with it, each answer would be the same.

use meridian_query::{Aggregate, Batch, PlanBuilder, Window, execute};
use meridian_types::Duration;

use super::*;

/// The shapes of plans of which something is left out, over fields that are often there.
fn shaped(measurement: u8) -> Vec<Plan> {
    let window =
        |every| Some(Window { every: Duration::from_nanos(every).expect("positive"), offset: Duration::default() });
    let fields = |count: u8| (0..count).map(|field| (field_name(field), field_type(field)));
    let over = |count, from| {
        let range = TimeRange::new(at(from), Timestamp::END).expect("not empty");
        Plan::builder(format!("m{measurement}"), range).fields(fields(count))
    };
    let last = |builder: PlanBuilder| builder.aggregates([Aggregate::Last]);
    let counted = |builder: PlanBuilder| builder.aggregates([Aggregate::Count]).window(window(3));
    let builders = [
        last(over(1, -20)),
        last(over(3, -4)).group_by(["host".to_owned()]),
        over(2, -20).descending(true).limit(Some(2)),
        over(3, -3).limit(Some(3)),
        over(3, -3).group_by(["host".to_owned()]).descending(true).limit(Some(3)),
        over(2, -20).group_by(["host".to_owned()]).descending(true).group_limit(Some(1)),
        over(3, -20).group_by(["host".to_owned()]).descending(true).group_limit(Some(3)).limit(Some(4)),
        counted(over(2, -20)).descending(true).limit(Some(2)),
        counted(over(3, -5)).limit(Some(1)),
        counted(over(3, -5)).group_by(["host".to_owned()]).limit(Some(4)),
    ];
    builders.into_iter().map(|builder| builder.build().expect("valid")).collect()
}

pub(super) fn check(engine: &Engine, database: DatabaseId) {
    for plan in shaped(0).iter().chain(&shaped(1)) {
        let all = Plan::builder(&*plan.measurement, plan.range).fields(plan.fields.clone()).build().expect("valid");
        let rows: Vec<SeriesRows> =
            engine.view(database, &all).series(&Needed::of(&all)).map(|rows| rows.expect("whole files")).collect();
        let sent = |batch: Batch| batch.encode();
        let of_all = execute(plan, rows.into_iter(), &Needed::of(plan)).expect("small").map(sent);
        let needed = Needed::of(plan);
        let rows = engine.view(database, plan).series(&needed).map(|rows| rows.expect("whole files"));
        let of_needed = execute(plan, rows, &needed).expect("small").map(sent);
        assert_eq!(of_all.collect::<Vec<_>>(), of_needed.collect::<Vec<_>>(), "{plan:?}");
    }
}
