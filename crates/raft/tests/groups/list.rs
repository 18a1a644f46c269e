//! A machine that lists what was proposed, in memory or durably at every apply.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use meridian_env::{Catalogue, Class, Env, Halt, run};
use meridian_raft::{Applied, Entry, Machine};
use meridian_types::LogIndex;

/// What it answers: how long the list was before.
pub(crate) type Place = usize;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct List {
    /// Where each value stands in the log.
    pub(crate) values: Vec<(LogIndex, u64)>,
    applied: Option<Applied>,
    store: Option<Box<dyn Catalogue>>,
}

const MARK: &[u8] = b"mark";

impl List {
    /// One that keeps its list in the store in `dir`, together with how far it has applied.
    pub(crate) async fn durable(env: &Env, dir: &Path) -> Self {
        let (catalogues, dir) = (Arc::clone(&env.catalogue), dir.to_owned());
        let open = move || {
            let store = catalogues.open(&dir).expect("a store");
            let applied = store.get(MARK).expect("read").map(|mark| Applied(mark.into()));
            let values = store.scan(b"at ").expect("read").into_iter().map(|(key, value)| {
                let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
                (LogIndex(number(&key[3..])), number(&value))
            });
            Self { values: values.collect(), applied, store: Some(store) }
        };
        run(&*env.work, Class::Apply, open).await
    }
}

/// The payload that adds `value`.
pub(crate) fn payload(value: u64) -> Bytes {
    Bytes::copy_from_slice(&value.to_be_bytes())
}

impl Machine for List {
    type Reply = Place;

    fn applied(&self) -> Option<Applied> {
        self.applied.clone()
    }

    fn apply(&mut self, run: &[Entry], applied: &Applied) -> Result<Vec<Place>, Halt> {
        let mut places = Vec::new();
        let mut changes = Vec::new();
        for entry in run {
            places.push(self.values.len());
            let value = u64::from_be_bytes(entry.payload[..].try_into().expect("eight bytes"));
            self.values.push((entry.index, value));
            changes.push(([b"at ", &entry.index.0.to_be_bytes()[..]].concat(), Some(entry.payload.to_vec())));
        }
        if let Some(store) = &self.store {
            changes.push((MARK.to_vec(), Some(applied.0.to_vec())));
            store.commit(changes).map_err(|e| Halt::io("the list", &e))?;
            self.applied = Some(applied.clone());
        }
        Ok(places)
    }
}
