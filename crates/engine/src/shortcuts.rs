//! What a query takes of a chunk that stands alone in its time: what is known of it, if that is enough; else the rows that fulfil its
//! conditions, if there are some.
//!
//! It must never be asked about rows that another part of their series may complete or overrule.

use meridian_query::{Known, KnownRows, Whole};

use crate::block::{Flaw, Opened, Wanted};
use crate::chunk::Chunk;
use crate::conditions::Conditions;
use crate::table::Column;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shortcuts {
    pub(crate) conditions: Conditions,
    /// Of answers that may need no single rows, with the columns that they read.
    pub(crate) whole: Option<(Whole, Vec<Option<Column>>)>,
}

/// What is taken of a chunk.
#[derive(Debug)]
pub(crate) enum Taken {
    Rows(Chunk),
    Known(KnownRows),
    Nothing,
}

impl Shortcuts {
    pub(crate) fn is_empty(&self) -> bool {
        self.conditions.is_empty() && self.whole.is_none()
    }

    /// Of rows that are all asked for and none of which is deleted, what is known may be enough.
    pub(crate) fn take(&self, opened: &Opened<'_>, wanted: Wanted<'_>, are_all_there: bool) -> Result<Taken, Flaw> {
        match self.known(opened).filter(|_| are_all_there) {
            Some(known) => Ok(Taken::Known(known)),
            None => Ok(self.conditions.select(opened, wanted)?.map_or(Taken::Nothing, Taken::Rows)),
        }
    }

    fn known(&self, opened: &Opened<'_>) -> Option<KnownRows> {
        let (whole, columns) = self.whole.as_ref()?;
        let (first, last) = opened.span();
        if !whole.is_one_window(first, last) {
            return None;
        }
        let known = |column: &Option<Column>| match column.filter(|column| opened.has(*column)) {
            Some(column) => opened.known(column).map(Some),
            None => Some(None),
        };
        let columns: Vec<Option<Known>> = columns.iter().map(known).collect::<Option<_>>()?;
        let suffices = columns.iter().any(Option::is_some) && whole.suffices(&columns);
        suffices.then_some(KnownRows { first, last, columns })
    }
}
