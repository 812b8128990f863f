//! Many small parts made few: the same rows under the same numbers, so that whatever was made from them stays true.
//!
//! It is a commit like any other, of no new data: parts under fresh names, then the ledger file, and only then are
//! files deleted that nobody names. Nothing is read of a key, a log or a setting.

use std::path::Path;

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use serde::Serialize;

use super::commit::OPEN;
use crate::error::{Error, Result};
use crate::store::Store;
use crate::store::columns::{BATCH_BYTES, BATCH_ROWS};
use crate::store::derived::{Observations, Quarantine};
use crate::store::facts::{Events, Impressions};
use crate::store::ledger::{Ledger, Parts};
use crate::store::part::{self, Part, PartWriter};
use crate::store::writer::{PART_BYTES, Rows};

/// What was done.
#[derive(Clone, Debug, Serialize)]
pub struct Compacted {
    /// The store.
    pub store: String,
    /// Whether there was anything to join.
    pub committed: bool,
    /// Number of the newest commit.
    pub ledger: u64,
    /// Number of commits of data, as before.
    pub generation: u64,
    /// Store digest, as before.
    pub digest: String,
    /// Parts of all tables before.
    pub before: u64,
    /// Parts of all tables now.
    pub parts: u64,
}

/// Joins neighbouring parts of the store at `root` up to the size at which a part is closed, in one commit.
///
/// `alive` is called before each part; an error it returns stops the work, nothing done.
pub fn compact(root: &Path, alive: &mut dyn FnMut() -> Result<()>) -> Result<Compacted> {
    let (mut store, ledger) = Store::reopen(root)?;
    let tag = format!("g{:06}-joined-{:06}", ledger.generation, ledger.ledger + 1);
    let mut work = Join {
        root,
        tag: &tag,
        alive,
    };
    let outcome = work.all(&ledger.parts).and_then(|parts| {
        let committed = parts != ledger.parts;
        if committed {
            (work.alive)()?; // the last moment to stop
            store.commit(Ledger {
                parts,
                erasure: false,
                ..ledger.clone()
            })?;
        }
        Ok(committed)
    });
    if outcome.is_err() {
        drop(store.sweep()); // what cannot be deleted now is left to the next writer
    }
    let committed = outcome?;
    let newest = store.ledger.clone().unwrap_or_default();
    Ok(Compacted {
        store: root.display().to_string(),
        committed,
        ledger: newest.ledger,
        generation: newest.generation,
        digest: newest.digest,
        before: ledger.parts.all().count() as u64,
        parts: newest.parts.all().count() as u64,
    })
}

struct Join<'a> {
    root: &'a Path,
    /// What the names of new parts begin with.
    tag: &'a str,
    alive: &'a mut dyn FnMut() -> Result<()>,
}

impl Join<'_> {
    /// The parts of every table; pairs and cells are few, for each commit writes them anew.
    fn all(&mut self, old: &Parts) -> Result<Parts> {
        let (open, closed): (Vec<_>, Vec<_>) = old
            .quarantine
            .iter()
            .cloned()
            .partition(|part| part.path.ends_with(OPEN));
        let impressions = self.table::<Impressions>("impressions", &old.impressions)?;
        let sizes = |parts: &[Part]| -> Vec<u64> {
            let rows = parts.iter().map(|part| part.rows);
            rows.filter(|rows| *rows > 0).collect()
        };
        let (before, now) = (sizes(&old.impressions), sizes(&impressions));
        let observations = if before == now {
            old.observations.clone()
        } else {
            self.cut::<Observations>("observations", 0, &old.observations, &now)?
        };
        let mut quarantine = self.table::<Quarantine>("quarantine", &closed)?;
        quarantine.extend(open);
        Ok(Parts {
            impressions,
            observations,
            feedback: self.table::<Events>("feedback", &old.feedback)?,
            quarantine,
            ..old.clone()
        })
    }

    /// The parts of a table, neighbours joined as long as they fit into one.
    fn table<R: Rows>(&mut self, table: &str, parts: &[Part]) -> Result<Vec<Part>> {
        let mut groups: Vec<(u64, Vec<Part>)> = Vec::new();
        for part in parts {
            match groups.last_mut() {
                Some((bytes, group)) if *bytes + part.bytes <= PART_BYTES => {
                    *bytes += part.bytes;
                    group.push(part.clone());
                }
                _ => groups.push((part.bytes, vec![part.clone()])),
            }
        }
        let mut joined = Vec::new();
        for (number, (_, group)) in groups.into_iter().enumerate() {
            if group.len() == 1 {
                joined.extend(group);
            } else {
                let rows = group.iter().map(|part| part.rows).sum();
                joined.extend(self.cut::<R>(table, number, &group, &[rows])?);
            }
        }
        Ok(joined)
    }

    /// The rows of `parts`, which must have their checksums, as parts of so many rows, numbered from `first`.
    fn cut<R: Rows>(
        &mut self,
        table: &str,
        first: usize,
        parts: &[Part],
        sizes: &[u64],
    ) -> Result<Vec<Part>> {
        for part in parts {
            part::verify(self.root, &part.path, &part.checksum)?;
        }
        let mut parts = parts.iter();
        let mut batches = None;
        let mut rest: Option<RecordBatch> = None;
        let mut next = move |root: &Path| -> Result<Option<RecordBatch>> {
            loop {
                if batches.is_none() {
                    let Some(part) = parts.next() else {
                        return Ok(None);
                    };
                    batches = Some(part::read(root, part, &[])?);
                }
                match batches.as_mut().and_then(Iterator::next) {
                    Some(batch) => return batch.map(Some),
                    None => batches = None,
                }
            }
        };
        let mut cut = Vec::new();
        for (number, size) in sizes.iter().enumerate() {
            (self.alive)()?;
            let name = format!("{table}/{}-{:04}.arrow", self.tag, first + number);
            let mut pages = Pages::<R>::create(self.root, &name)?;
            let mut left = *size;
            while left > 0 {
                let batch = match rest.take() {
                    Some(batch) => Some(batch),
                    None => next(self.root)?,
                };
                let Some(batch) = batch else { break };
                let taken = left.min(batch.num_rows() as u64) as usize;
                left -= taken as u64;
                if taken < batch.num_rows() {
                    rest = Some(batch.slice(taken, batch.num_rows() - taken));
                }
                pages.push(batch.slice(0, taken))?;
            }
            cut.push(pages.finish()?);
        }
        Ok(cut)
    }
}

/// A part being written from batches of any size, joined up to the usual one.
struct Pages<R> {
    part: PartWriter,
    held: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
    of: std::marker::PhantomData<R>,
}

impl<R: Rows> Pages<R> {
    fn create(root: &Path, name: &str) -> Result<Self> {
        Ok(Self {
            part: PartWriter::create(root, name, &R::schema())?,
            held: Vec::new(),
            rows: 0,
            bytes: 0,
            of: std::marker::PhantomData,
        })
    }

    fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let columns = batch.columns().iter();
        let sizes = columns.map(|column| column.to_data().get_slice_memory_size().unwrap_or(0));
        let (rows, bytes) = (batch.num_rows(), sizes.sum::<usize>());
        if self.rows + rows > BATCH_ROWS || self.bytes + bytes > BATCH_BYTES {
            self.flush()?;
        }
        self.rows += rows;
        self.bytes += bytes;
        self.held.push(batch);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        (self.rows, self.bytes) = (0, 0);
        if held.is_empty() {
            return Ok(());
        }
        let batch =
            concat_batches(&R::schema(), &held).map_err(Error::arrow(Path::new("a part")))?;
        self.part.write(&batch)
    }

    fn finish(mut self) -> Result<Part> {
        self.flush()?;
        self.part.finish()
    }
}
