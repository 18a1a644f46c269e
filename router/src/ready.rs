//! Whether this router can really write and read now: the meta group and every shard answer a linearizable question.
//!
//! Asks at most once at a time and once a second, however often it is asked itself.

use std::time::Duration;

use meridian_env::{Context, Instant};
use meridian_query::{MatchOp, Matcher, Plan};
use meridian_types::{Code, DatabaseId, Failure, FieldType, TimeRange};
use tokio::sync::Mutex;

use crate::front::Front;

const FRESH: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(2);

/// The last answer and when it was found.
#[derive(Default, Debug)]
pub(crate) struct Ready(Mutex<Option<(Instant, Result<(), Failure>)>>);

impl Front {
    /// Nothing, or why not.
    pub(crate) async fn ready(&self) -> Result<(), Failure> {
        if self.is_stopping() {
            return Err(Failure::new(Code::NotReady, "this router is about to stop"));
        }
        let mut last = self.ready.0.lock().await;
        if let Some((at, answer)) = &*last
            && self.env.clock.now() < *at + FRESH
        {
            return answer.clone();
        }
        let answer = self.ask_all().await;
        *last = Some((self.env.clock.now(), answer.clone()));
        answer
    }

    async fn ask_all(&self) -> Result<(), Failure> {
        let context = Context::own(self.env.clock.now() + TIMEOUT);
        let map = self.cluster.refresh(&context).await?;
        if map.epochs.is_empty() {
            return Err(Failure::new(Code::NotReady, "the cluster is not formed yet: it has no shards"));
        }
        let database = map.databases.values().next().map_or(DatabaseId(0), |database| database.id);
        let shards: Vec<_> = map.shards.keys().copied().collect();
        for mut scan in self.cluster.scan(&context, &shards, database, &plan_for_nothing().into()).await? {
            while scan.next().await?.is_some() {}
        }
        Ok(())
    }
}

/// A plan that no series fulfils: a tag cannot be empty and not empty.
fn plan_for_nothing() -> Vec<u8> {
    let matcher = |op| Matcher::new("none", op, "").expect("a plain comparison is valid");
    let plan = Plan::builder("none", TimeRange::ALL)
        .fields([("none".to_owned(), FieldType::F64)])
        .matchers([matcher(MatchOp::Eq), matcher(MatchOp::NotEq)])
        .limit(Some(0))
        .build();
    plan.expect("the plan is fixed and valid").encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_a_plan_that_asks_for_nothing() {
        let plan = Plan::decode(&plan_for_nothing()).expect("valid");
        assert_eq!(plan.limit, Some(0));
        assert!(!plan.matches(&meridian_types::SeriesKey::default()));
    }
}
