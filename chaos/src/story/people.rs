//! What clients send, each request under an id of its own, and what they are told: the outcome that the story expects is
//! compared at once, and all of it again with the rows that are there in the end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use meridian_client::connect;
use meridian_env::{Env, Instant};
use meridian_proto::v1;
use meridian_proto::v1::admin_client::AdminClient;
use meridian_proto::v1::data_client::DataClient;
use meridian_trial::{Broken, Told, call};
use meridian_types::{Code, Failure, Kind, RequestId, SessionId, Value};
use tokio::task::{JoinHandle, spawn_local};

use super::told::{Asked, Deed, Key, Rows, unlike};
use super::{Failed, LOOK_EVERY};
use crate::script::{
    Action, Answer, Change, DataTime, Earlier, Name, Numbered, OneOf, Outcome, Place, Question, Range, Series, Tag,
    Then, When, Why, Within,
};
use crate::workload::{HEAL_MAX, META};

const DATABASE: &str = "story";
const FIELD: &str = "value";
/// Between two rows of one request.
const ROW_NANOS: i64 = 1_000_000_000;
/// Series over which rows without tags are spread.
const SPREAD: i64 = 8;
/// Between two requests of what keeps writing.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two tries of the same request.
const AGAIN: Duration = Duration::from_millis(100);

/// What a request came to: the shards that did it, or why it was not done or may not be.
type Result1 = Result<Vec<u32>, Failure>;

/// A change as it is sent, again and again.
#[derive(Clone, Debug)]
enum Request {
    Write(v1::WriteRequest),
    Delete(v1::DeleteRequest),
}

/// A change that was sent.
#[derive(Debug)]
struct Sent {
    op: usize,
    series: Key,
    request: Request,
    /// If nobody has waited for it yet: where it was sent, and what will come of it.
    waits: Option<(Numbered<'r'>, JoinHandle<Result1>)>,
}

/// What keeps writing.
#[derive(Debug)]
struct Writer {
    stop: Rc<Cell<bool>>,
    acked: JoinHandle<u64>,
}

/// All clients of a story.
pub(super) struct People {
    env: Env,
    /// The time from which those of rows count.
    start: i64,
    asked: Rc<RefCell<Asked>>,
    last: Option<Sent>,
    named: BTreeMap<Name, Sent>,
    writers: BTreeMap<Name, Writer>,
    /// The shard of each series that one request was for.
    owners: BTreeMap<Key, u32>,
}

impl People {
    /// Makes the database, once the cluster is there.
    pub(super) async fn begin(env: &Env, retention: Option<Duration>) -> Result<Self, Failed> {
        let retention = retention.map_or(0, |span| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX));
        let request =
            v1::CreateDatabaseRequest { name: DATABASE.into(), if_absent: true, retention, ..Default::default() };
        let until = env.clock.now() + HEAL_MAX;
        while let Err(failure) =
            call::call(env, AdminClient::new(connect(env, "r1:7171")).create_database(request.clone())).await
        {
            if env.clock.now() >= until {
                return Err(Broken::Liveness(format!("the database was not made: {failure}")).into());
            }
            env.clock.sleep(AGAIN).await;
        }
        Ok(Self {
            env: env.clone(),
            start: env.clock.wall().nanos(),
            asked: Rc::default(),
            last: None,
            named: BTreeMap::new(),
            writers: BTreeMap::new(),
            owners: BTreeMap::new(),
        })
    }

    pub(super) async fn step(&mut self, action: &Action) -> Result<(), Failed> {
        match action {
            Action::Change { change, via, then } => self.change(change, *via, then).await,
            Action::Await { name, outcomes, within } => {
                let mut sent = self.named.remove(name).ok_or_else(|| unknown(name))?;
                let done = self.wait_for(&mut sent, outcomes, within).await;
                self.named.insert(name.clone(), sent);
                done
            }
            Action::Repeat { which, via, outcomes, within } => self.repeat(which, *via, outcomes, within).await,
            Action::KeepWriting { series, from, via, name } => {
                let writer = self.keep_writing(series, from, *via);
                self.writers.insert(name.clone(), writer);
                Ok(())
            }
            Action::Stop { name, acked } => self.stop(name, acked.0).await,
            Action::ReadEverything { via, within } => self.read_everything(*via, within).await,
            Action::Read { question, via, answers, within } => self.read(question, *via, answers, within).await,
            other => Err(Failed::Story(format!("{other} is nothing that clients do"))),
        }
    }

    /// The group that a place names.
    pub(super) fn group(&self, place: &Place) -> Result<u32, Failed> {
        match place {
            Place::Shard { shard } => Ok(shard.0),
            Place::Catalogue {} => Ok(META),
            Place::Owner { series } => self.owners.get(&key_of(series)).copied().ok_or_else(|| {
                Failed::Story(format!("whose {series} is shows when it is written: no line above does, and is acked"))
            }),
        }
    }

    /// Asks a router that a node leads a shard.
    pub(super) async fn hand_over(&self, request: v1::TransferShardLeaderRequest) -> Result<bool, Failure> {
        let mut client = AdminClient::new(connect(&self.env, "r1:7171"));
        call::call(&self.env, client.transfer_leader(request)).await.map(|reply| reply.changed)
    }

    async fn change(&mut self, change: &Change, via: Numbered<'r'>, then: &Then) -> Result<(), Failed> {
        let (series, deed) = self.deed(change);
        let request = request(&self.env, &deed);
        let op = self.asked.borrow_mut().begin(deed);
        let sending = spawn_local(send(self.env.clone(), via, request.clone()));
        let mut sent = Sent { op, series, request, waits: Some((via, sending)) };
        match then {
            Then::Later { name } => {
                self.named.insert(name.clone(), sent);
                Ok(())
            }
            Then::Expect { outcomes, within } => {
                let done = self.wait_for(&mut sent, outcomes, within).await;
                self.last = Some(sent);
                done
            }
        }
    }

    /// The series that a change names, and what the change is.
    fn deed(&self, change: &Change) -> (Key, Deed) {
        let at = |time: &DataTime| self.start.saturating_add(time.0);
        match change {
            Change::WriteRows { rows, series, from } => {
                let row = |n: i64| ((spread(series, n), at(from).saturating_add((n - 1) * ROW_NANOS)), n);
                (key_of(series), Deed::Write((1..=i64::from(rows.0)).map(row).collect()))
            }
            Change::Write { series, value, at: time } => {
                (key_of(series), Deed::Write([((key_of(series), at(time)), value.0)].into()))
            }
            Change::Delete { series, range: Range::Between { from, to } } => {
                (key_of(series), Deed::Delete(key_of(series), at(from), at(to)))
            }
        }
    }

    /// Takes the answer to what was sent, and sends it again while that is none of those expected and there is time.
    async fn wait_for(&mut self, sent: &mut Sent, outcomes: &OneOf<Outcome>, within: &Within) -> Result<(), Failed> {
        let until = self.until(within);
        let (via, waiting) = sent.waits.take().ok_or_else(|| Failed::Story("it has been awaited".into()))?;
        let mut told = waiting.await.map_err(|error| Failed::Story(error.to_string()))?;
        loop {
            self.learn(sent, &told);
            if outcomes.0.iter().any(|outcome| fits(outcome, &told)) {
                return Ok(());
            }
            if self.env.clock.now() >= until {
                return Err(unexpected(&told).into());
            }
            self.env.clock.sleep(AGAIN).await;
            told = send(self.env.clone(), via, sent.request.clone()).await;
        }
    }

    async fn repeat(
        &mut self,
        which: &Earlier,
        via: Numbered<'r'>,
        outcomes: &OneOf<Outcome>,
        within: &Within,
    ) -> Result<(), Failed> {
        let sent = match which {
            Earlier::LastWrite {} => self.last.take(),
            Earlier::Named { name } => self.named.remove(name),
        };
        let mut sent = sent.ok_or_else(|| Failed::Story("nothing was sent that could be repeated".into()))?;
        let earlier = sent.waits.replace((via, spawn_local(send(self.env.clone(), via, sent.request.clone()))));
        let done = self.wait_for(&mut sent, outcomes, within).await;
        sent.waits = earlier;
        match which {
            Earlier::LastWrite {} => self.last = Some(sent),
            Earlier::Named { name } => drop(self.named.insert(name.clone(), sent)),
        }
        done
    }

    fn learn(&mut self, sent: &Sent, told: &Result1) {
        tracing::info!(?told, "told");
        self.asked.borrow_mut().told(sent.op, outcome(told));
        if let Ok([shard]) = told.as_deref() {
            self.owners.insert(sent.series.clone(), *shard);
        }
    }

    fn keep_writing(&self, series: &Series, from: &DataTime, via: Numbered<'r'>) -> Writer {
        let stop = Rc::new(Cell::new(false));
        let (env, asked, stopped) = (self.env.clone(), Rc::clone(&self.asked), Rc::clone(&stop));
        let (series, from) = (series.clone(), self.start.saturating_add(from.0));
        let acked = spawn_local(async move {
            let mut acked = 0;
            for n in 1.. {
                let key = spread(&series, n);
                let deed = Deed::Write([((key.clone(), from.saturating_add((n - 1) * ROW_NANOS)), n)].into());
                let request = request(&env, &deed);
                let op = asked.borrow_mut().begin(deed);
                let told = send(env.clone(), via, request).await;
                asked.borrow_mut().told(op, outcome(&told));
                acked += u64::from(told.is_ok());
                if stopped.get() {
                    break;
                }
                env.clock.sleep(PAUSE).await;
            }
            acked
        });
        Writer { stop, acked }
    }

    async fn stop(&mut self, name: &Name, wanted: u64) -> Result<(), Failed> {
        let writer = self.writers.remove(name).ok_or_else(|| unknown(name))?;
        writer.stop.set(true);
        let acked = writer.acked.await.map_err(|error| Failed::Story(error.to_string()))?;
        tracing::info!(acked, "stopped");
        if acked >= wanted { Ok(()) } else { Err(Broken::Liveness(format!("only {acked} rows were acked")).into()) }
    }

    async fn read_everything(&mut self, via: Numbered<'r'>, within: &Within) -> Result<(), Failed> {
        let until = self.until(within);
        let measurements = self.asked.borrow().measurements();
        let (asked, seen) = loop {
            let asked = self.asked.borrow_mut().tick();
            match self.everything(via, &measurements).await {
                Ok(seen) => break (asked, seen?),
                Err(failure) => self.again_before(until, &failure).await?,
            }
        };
        Ok(self.asked.borrow().check(asked, &seen)?)
    }

    /// All rows of some measurements. The outer failure is of a question, the inner one of an answer.
    async fn everything(&self, via: Numbered<'r'>, of: &[String]) -> Result<Result<Rows, Broken>, Failure> {
        let mut all = Rows::new();
        for measurement in of {
            let select =
                v1::Select { database: DATABASE.into(), measurement: measurement.clone(), ..Default::default() };
            let (_, rows) = call::query(&self.env, connect(&self.env, &address(via)), select).await?;
            for row in rows {
                let tags = row.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect();
                let (key, value) = ((measurement.clone(), tags), row.values.into_iter().find_map(number));
                let Some(value) = value else {
                    return Ok(Err(unlike(format!("a row of {key:?} has no value"))));
                };
                if all.insert((key.clone(), row.time), value).is_some() {
                    return Ok(Err(unlike(format!("{key:?} has two rows at {} ns", row.time))));
                }
            }
        }
        Ok(Ok(all))
    }

    async fn read(
        &mut self,
        question: &Question,
        via: Numbered<'r'>,
        answers: &OneOf<Answer>,
        within: &Within,
    ) -> Result<(), Failed> {
        let until = self.until(within);
        let may_fail = answers.0.contains(&Answer::Error {});
        loop {
            let asked = call::query(&self.env, connect(&self.env, &address(via)), self.select(question)).await;
            let (_, rows) = match asked {
                Ok(answer) => answer,
                Err(_) if may_fail => return Ok(()),
                Err(failure) => {
                    self.again_before(until, &failure).await?;
                    continue;
                }
            };
            let values: Vec<i64> = rows.into_iter().flat_map(|row| row.values).filter_map(number).collect();
            let answer = match (question, &values[..]) {
                (Question::Count { .. }, _) => Some(values.iter().sum()),
                (_, []) => None,
                (Question::Value { .. }, [_, _, ..]) => {
                    return Err(unlike(format!("it is several rows: {values:?}")).into());
                }
                _ => Some(values.iter().sum()),
            };
            let fits = |expected: &Answer| match expected {
                Answer::None {} => answer.is_none(),
                Answer::Error {} => false,
                Answer::Number { number } => answer == Some(number.0),
            };
            if answers.0.iter().any(fits) {
                return Ok(());
            }
            return Err(unlike(answer.map_or("it is none".to_owned(), |answer| format!("it is {answer}"))).into());
        }
    }

    fn select(&self, question: &Question) -> v1::Select {
        let at = |time: &DataTime| self.start.saturating_add(time.0);
        let (series, range, aggregate) = match question {
            Question::Count { series, when } => (series, when, Some(v1::Aggregate::Count)),
            Question::Sum { series, when } => (series, when, Some(v1::Aggregate::Sum)),
            Question::Value { series, at: time } => {
                let range = v1::TimeRange { start: at(time), end: at(time).saturating_add(1) };
                return select(series, Some(range), None);
            }
        };
        let range = match range {
            When::Always {} => None,
            When::Within { range: Range::Between { from, to } } => Some(v1::TimeRange { start: at(from), end: at(to) }),
        };
        select(series, range, aggregate)
    }

    fn until(&self, within: &Within) -> Instant {
        let span = if let Within::Span { span } = within { span.0 } else { Duration::ZERO };
        self.env.clock.now() + span
    }

    /// Waits a little before a question is asked again, or fails because there is no time.
    async fn again_before(&self, until: Instant, failure: &Failure) -> Result<(), Failed> {
        if self.env.clock.now() >= until {
            return Err(Broken::Liveness(format!("the read fails: {failure}")).into());
        }
        self.env.clock.sleep(LOOK_EVERY).await;
        Ok(())
    }
}

fn unknown(name: &Name) -> Failed {
    Failed::Story(format!("nothing is called {}", name.0))
}

fn address(via: Numbered<'r'>) -> String {
    format!("r{}:7171", via.0)
}

fn key_of(series: &Series) -> Key {
    let Series::Of { measurement, tags } = series;
    (measurement.0.clone(), tags.0.iter().map(|Tag(tag)| tag.clone()).collect())
}

/// The series of the row with this number: of several if none is named.
fn spread(series: &Series, number: i64) -> Key {
    let mut key = key_of(series);
    if key.1.is_empty() {
        key.1.insert("host".into(), format!("h{}", number % SPREAD));
    }
    key
}

fn matchers(tags: &BTreeMap<String, String>) -> Vec<v1::Matcher> {
    let equal = |(tag, value): (&String, &String)| v1::Matcher {
        tag: tag.clone(),
        op: v1::MatchOp::Eq.into(),
        value: value.clone(),
    };
    tags.iter().map(equal).collect()
}

fn select(series: &Series, range: Option<v1::TimeRange>, aggregate: Option<v1::Aggregate>) -> v1::Select {
    let (measurement, tags) = key_of(series);
    v1::Select {
        database: DATABASE.into(),
        measurement,
        range,
        matchers: matchers(&tags),
        aggregates: aggregate.into_iter().map(Into::into).collect(),
        ..Default::default()
    }
}

/// A deed as it is sent: in a session of its own, so that it may be repeated at any time.
fn request(env: &Env, deed: &Deed) -> Request {
    let session = SessionId { birth: env.clock.wall(), nonce: env.rng.u64() };
    let id = Some(RequestId { session, seq: 0 }.into());
    let row = |(((measurement, tags), time), value): (&(Key, i64), &i64)| v1::Row {
        measurement: measurement.clone(),
        tags: tags.iter().map(|(key, value)| v1::Tag { key: key.clone(), value: value.clone() }).collect(),
        time: Some(*time),
        fields: vec![v1::Field { name: FIELD.into(), value: Some(v1::field::Value::I64(*value)) }],
    };
    match deed {
        Deed::Write(rows) => Request::Write(v1::WriteRequest {
            database: DATABASE.into(),
            request: id,
            pending_from: 0,
            rows: rows.iter().map(row).collect(),
        }),
        Deed::Delete((measurement, tags), start, end) => Request::Delete(v1::DeleteRequest {
            database: DATABASE.into(),
            measurement: Some(measurement.clone()),
            matchers: matchers(tags),
            range: Some(v1::TimeRange { start: *start, end: *end }),
            request: id,
            pending_from: 0,
        }),
    }
}

/// Sends a change once.
async fn send(env: Env, via: Numbered<'r'>, request: Request) -> Result1 {
    let mut client = DataClient::new(connect(&env, &address(via)));
    let witnesses = match request {
        Request::Delete(request) => call::call(&env, client.delete(request)).await?.witnesses,
        Request::Write(request) => {
            let rows = request.rows.len() as u64;
            let reply = call::call(&env, client.write(request)).await?;
            if let Some(error) = reply.error {
                return Err(error.into());
            }
            if let Some(first) = reply.rejected.first() {
                // None of it is stored, or a part.
                let code = u16::try_from(first.code).ok().and_then(Code::from_number);
                let code = code.filter(|_| reply.rejected_total == rows).unwrap_or(Code::PartlyRefused);
                return Err(Failure::new(code, first.text.clone()));
            }
            reply.witnesses
        }
    };
    Ok(witnesses.iter().map(|witness| witness.shard).collect())
}

fn outcome(told: &Result1) -> Told {
    told.as_ref().map_or_else(call::told, |_| Told::Acked)
}

fn fits(expected: &Outcome, told: &Result1) -> bool {
    match (expected, told) {
        (Outcome::Acked {}, told) => told.is_ok(),
        (Outcome::Unknown {}, told) => outcome(told) == Told::Unknown,
        (Outcome::Refused { why }, Err(failure)) => {
            let kind = |kind| failure.kind() == kind;
            let is_why = match why {
                Why::Whatever {} => true,
                Why::Code { code } => failure.code as u16 == code.0,
                Why::Fix {} => kind(Kind::Fix),
                Why::NotFound {} => kind(Kind::NotFound),
                Why::Exists {} => kind(Kind::Exists),
                Why::NotAllowed {} => kind(Kind::NotAllowed),
                Why::Retry {} => kind(Kind::Retry),
                Why::Overloaded {} => kind(Kind::Overloaded),
            };
            is_why && outcome(told) == Told::Refused
        }
        (Outcome::Refused { .. }, Ok(_)) => false,
    }
}

/// An acknowledgement where none may come breaks a promise; a missing one only comes late.
fn unexpected(told: &Result1) -> Broken {
    match told {
        Ok(_) => unlike("it was acked".into()),
        Err(failure) => Broken::Liveness(format!("it was told {failure}, which is {:?}", outcome(told))),
    }
}

fn number(cell: Option<Value>) -> Option<i64> {
    match cell? {
        Value::I64(value) => Some(value),
        Value::U64(value) => i64::try_from(value).ok(),
        _ => None,
    }
}
