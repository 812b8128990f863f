//! Rows of a shard that do not stand among those of all shards: out of its parts, or dead in them.

use std::collections::BTreeMap;

use arrow_array::BooleanArray;
use arrow_select::filter::filter_record_batch;

use super::rows::{DEAD, EVENT, Rows, SHOWN, dead, echoed};
use super::stand::{Fate, Fell};
use super::{Settings, Shard};
use crate::error::{Error, Result};
use crate::join::log::{LoggedEvent, LoggedShown};
use crate::store::facts::Lineage;
use crate::store::load;
use crate::store::part::{self, Part, PartWriter};

/// Where a row was, and the halves of its content and of that to which it lost.
pub(super) type Conflict = (Lineage, [u64; 2]);

/// Changes of the books, committed and duplicate, by source.
pub(super) type Books = BTreeMap<u32, [i64; 2]>;

/// What became of the rows, by table and row.
pub(super) struct Fallen<'a> {
    pub settings: &'a Settings,
    pub of: [BTreeMap<u32, Fate>; 2],
}

impl Fallen<'_> {
    fn table(&self, table: u8) -> &BTreeMap<u32, Fate> {
        let [shown, events] = &self.of;
        if table == SHOWN { shown } else { events }
    }

    /// Whether a row is not to be in the parts.
    fn is_gone(&self, table: u8, row: u32) -> bool {
        let fell = self.table(table).get(&row);
        fell.is_some_and(|(fell, _)| *fell != Fell::Later)
    }

    /// What changes in the books: by source, rows that are committed no longer and rows that are duplicates; and
    /// impressions that lost to another content.
    pub fn books(&self, shard: &Shard, of: &Rows) -> Result<(Books, Vec<Conflict>)> {
        let (mut books, mut rows, mut contents) = (Books::new(), Vec::new(), Vec::new());
        let mut book = |src: u32, change: [i64; 2]| {
            let sums = books.entry(src).or_default();
            for (sum, change) in sums.iter_mut().zip(change) {
                *sum += change;
            }
        };
        let mut worse = BTreeMap::new();
        for (row, (fell, stands)) in self.table(SHOWN) {
            let Some(known) = of.shown.get(*row as usize).map(LoggedShown::read) else {
                continue;
            };
            if *fell == Fell::Repeat {
                book(known.src, [-1, 1]);
                continue;
            }
            book(known.src, [-1, 0]);
            rows.push(*row);
            contents.push([known.shown.content.head(), *stands]);
            if *fell == Fell::Worse {
                worse.insert(*row, [known.shown.content.head(), *stands]);
            }
        }
        let lineage = load::lineage(&self.settings.root, &shard.impressions, &rows)?;
        let mut conflicts: Vec<_> = lineage.into_iter().zip(contents).collect();
        for record in &of.echoes {
            let (row, from) = echoed(record);
            if let Some(contents) = worse.get(&row) {
                book(from.src, [0, -1]);
                conflicts.push((from, *contents));
            }
        }
        for row in self.table(EVENT).keys() {
            if let Some(known) = of.events.get(*row as usize).map(LoggedEvent::read) {
                book(known.src, [-1, 1]);
            }
        }
        Ok((books, conflicts))
    }

    /// The parts of a table without rows that are gone; those that lose any are written anew under `name`.
    pub fn without(&self, table: u8, parts: &[Part], name: &str) -> Result<Vec<Part>> {
        let root = &self.settings.root;
        let (mut kept, mut first) = (Vec::new(), 0u32);
        for (number, part) in parts.iter().enumerate() {
            let rows = first..first + part.rows as u32;
            first = rows.end;
            let gone = rows.clone().filter(|row| self.is_gone(table, *row)).count();
            if gone == 0 {
                kept.push(part.clone());
            }
            if gone == 0 || gone == rows.len() {
                continue;
            }
            let mut rows = rows;
            let mut batches = part::read(root, part, &[])?.peekable();
            let Some(Ok(batch)) = batches.peek() else {
                return Err(Error::Internal(format!("{} has no batch", part.path)));
            };
            let name = format!("{name}-{number:04}.arrow");
            let mut writer = PartWriter::create(root, &name, &batch.schema())?;
            for batch in batches {
                let batch = batch?;
                let mine = rows.by_ref().take(batch.num_rows());
                let stays: BooleanArray = mine.map(|row| Some(!self.is_gone(table, row))).collect();
                let batch = filter_record_batch(&batch, &stays).map_err(Error::arrow(root))?;
                if batch.num_rows() > 0 {
                    writer.write(&batch)?;
                }
            }
            kept.push(writer.finish()?);
        }
        Ok(kept)
    }

    /// The rows, with the numbers that they then have.
    pub fn rows(&self, of: Rows) -> Rows {
        let mut rows = Rows::default();
        rows.shown = self.stay(SHOWN, of.shown, &mut rows.dead);
        rows.events = self.stay(EVENT, of.events, &mut rows.dead);
        rows
    }

    fn stay<const N: usize>(
        &self,
        table: u8,
        records: Vec<[u8; N]>,
        fell: &mut Vec<[u8; DEAD]>,
    ) -> Vec<[u8; N]> {
        let mut stay = Vec::with_capacity(records.len());
        for (row, record) in (0..).zip(records) {
            if self.is_gone(table, row) {
                continue;
            }
            if self.table(table).contains_key(&row) {
                fell.push(dead(table, stay.len() as u32));
            }
            stay.push(record);
        }
        stay
    }
}
