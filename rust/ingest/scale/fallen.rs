//! Rows of a shard that do not stand among those of all shards: out of its parts, or dead in them.

use std::collections::BTreeMap;

use arrow_array::BooleanArray;
use arrow_select::filter::filter_record_batch;

use super::map::{ECHO, EVENT, SHOWN, echoed, half};
use super::packet::{Kind, pack, unpack};
use super::reduce::{Fell, LOST};
use super::{Settings, Shard};
use crate::error::{Error, Result};
use crate::join::log::{self, LoggedEvent, LoggedShown};
use crate::spill::bytes::{Reader, Writer};
use crate::store::facts::Lineage;
use crate::store::load;
use crate::store::part::{self, Part, PartWriter};

/// Bytes of a row that does not stand, in the file of the rows.
pub(super) const DEAD: usize = 1 + 4;

/// Where a row was, and the halves of its content and of that to which it lost.
pub(super) type Conflict = (Lineage, [u64; 2]);

/// Changes of the books, committed and duplicate, by source.
pub(super) type Books = BTreeMap<u32, [i64; 2]>;

/// What became of the rows, by table and row.
pub(super) struct Fallen<'a> {
    settings: &'a Settings,
    of: [BTreeMap<u32, (u8, u64)>; 2],
}

impl<'a> Fallen<'a> {
    /// From the records of all partitions.
    pub fn new(settings: &'a Settings, records: Vec<[u8; LOST]>) -> Self {
        let mut of = [BTreeMap::new(), BTreeMap::new()];
        for record in &records {
            let mut from = Reader(record);
            let (table, row) = (from.u8(), from.u32());
            if let Some(rows) = of.get_mut(usize::from(table)) {
                rows.insert(row, (from.u8(), from.u64()));
            }
        }
        Self { settings, of }
    }

    fn table(&self, table: u8) -> &BTreeMap<u32, (u8, u64)> {
        let [shown, events] = &self.of;
        if table == SHOWN { shown } else { events }
    }

    /// Whether a row is not to be in the parts.
    fn is_gone(&self, table: u8, row: u32) -> bool {
        let fell = self.table(table).get(&row);
        fell.is_some_and(|(fell, _)| *fell != Fell::Later as u8)
    }

    /// What changes in the books: by source, rows that are committed no longer and rows that are duplicates; and
    /// impressions that lost to another content.
    pub fn books(&self, shard: &Shard, bytes: &[u8]) -> Result<(Books, Vec<Conflict>)> {
        let (mut books, mut rows, mut contents) = (Books::new(), Vec::new(), Vec::new());
        let mut book = |src: u32, change: [i64; 2]| {
            let sums = books.entry(src).or_default();
            for (sum, change) in sums.iter_mut().zip(change) {
                *sum += change;
            }
        };
        let mut worse = BTreeMap::new();
        let shown = unpack::<{ log::SHOWN }>(bytes, Kind::Shown)?;
        for (row, (fell, stands)) in self.table(SHOWN) {
            let Some(known) = shown.get(*row as usize).map(LoggedShown::read) else {
                continue;
            };
            if *fell == Fell::Repeat as u8 {
                book(known.src, [-1, 1]);
                continue;
            }
            book(known.src, [-1, 0]);
            rows.push(*row);
            contents.push([half(known.shown.content), *stands]);
            if *fell == Fell::Worse as u8 {
                worse.insert(*row, [half(known.shown.content), *stands]);
            }
        }
        let lineage = load::lineage(&self.settings.root, &shard.impressions, &rows)?;
        let mut conflicts: Vec<_> = lineage.into_iter().zip(contents).collect();
        for record in unpack::<ECHO>(bytes, Kind::Echo)? {
            let (row, from) = echoed(&record);
            if let Some(contents) = worse.get(&row) {
                book(from.src, [0, -1]);
                conflicts.push((from, *contents));
            }
        }
        let events = unpack::<{ log::EVENT }>(bytes, Kind::Event)?;
        for row in self.table(EVENT).keys() {
            if let Some(known) = events.get(*row as usize).map(LoggedEvent::read) {
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

    /// The file of the rows, with the numbers that they then have.
    pub fn rows(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let (mut file, mut dead) = (Vec::new(), Vec::new());
        let shown = unpack::<{ log::SHOWN }>(bytes, Kind::Shown)?;
        pack(&mut file, Kind::Shown, &self.stay(SHOWN, shown, &mut dead))?;
        let events = unpack::<{ log::EVENT }>(bytes, Kind::Event)?;
        pack(&mut file, Kind::Event, &self.stay(EVENT, events, &mut dead))?;
        pack(&mut file, Kind::Dead, &dead)?;
        Ok(file)
    }

    fn stay<const N: usize>(
        &self,
        table: u8,
        records: Vec<[u8; N]>,
        dead: &mut Vec<[u8; DEAD]>,
    ) -> Vec<[u8; N]> {
        let mut stay = Vec::with_capacity(records.len());
        for (row, record) in (0..).zip(records) {
            if self.is_gone(table, row) {
                continue;
            }
            if self.table(table).contains_key(&row) {
                let row = stay.len() as u32;
                dead.push(Writer::default().u8(table).u32(row).done());
            }
            stay.push(record);
        }
        stay
    }
}
