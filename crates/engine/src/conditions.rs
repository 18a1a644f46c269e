//! What a query under conditions leaves out before rows are put together: chunks of which no row fulfils them, by what is known of
//! their columns or by the values of the columns that are looked at, and single rows. Of the chunks that are left out, no other column is decoded.
//!
//! It must never be asked about rows that another part of their series may complete or overrule. The run looks at all conditions
//! again, so that to keep a row is never wrong.

use meridian_query::Condition;

use crate::block::{Flaw, Opened, Wanted};
use crate::chunk::Chunk;
use crate::merge::Merged;
use crate::table::Column;

/// Conditions on columns, of which all must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    list: Vec<(Column, Condition)>,
    /// The numbers of the columns that they look at, in order.
    columns: Vec<u16>,
}

impl Conditions {
    pub(crate) fn new(list: Vec<(Column, Condition)>) -> Self {
        let mut columns: Vec<u16> = list.iter().map(|(column, _)| column.number).collect();
        columns.sort_unstable();
        columns.dedup();
        Self { list, columns }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The wanted columns, among which are those that the conditions look at, in the rows that fulfil all; `None` if no row does.
    pub(crate) fn select(&self, opened: &Opened<'_>, wanted: Wanted<'_>) -> Result<Option<Chunk>, Flaw> {
        if self.is_empty() {
            return opened.decode(wanted).map(Some);
        }
        let may_hold = |(column, condition): &(Column, Condition)| {
            opened.has(*column) && opened.known(*column).is_none_or(|known| condition.may_hold(&known))
        };
        if !self.list.iter().all(may_hold) {
            return Ok(None);
        }
        let looked_at = Merged::whole(opened.decode(Wanted::Only(&self.columns))?);
        let rows = self.rows(&looked_at);
        if rows.is_empty() {
            return Ok(None);
        }
        Ok(Some(opened.decode(wanted)?.only(&rows)))
    }

    /// Which rows fulfil all.
    fn rows(&self, of: &Merged) -> Vec<usize> {
        let mut kept = vec![true; of.times().len()];
        for (column, condition) in &self.list {
            match of.values(*column) {
                Some(values) => condition.narrow(&values, &mut kept),
                None => return Vec::new(),
            }
        }
        (0..kept.len()).filter(|row| kept[*row]).collect()
    }
}
