//! Writes a table as parts of batches; where they are cut depends on the rows alone.

use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};

use super::columns::{BATCH_BYTES, BATCH_ROWS};
use super::part::{Part, PartWriter};
use crate::error::{Error, Result};

/// Bytes after which a part is closed.
pub const PART_BYTES: u64 = 512 << 20;

/// A table's builders.
pub trait Rows: Default {
    /// Names and types.
    fn schema() -> SchemaRef;
    /// Takes the rows out.
    fn take(&mut self) -> Result<RecordBatch, ArrowError>;
}

macro_rules! rows {
    ($($table:ty),*) => { $(impl Rows for $table {
        fn schema() -> SchemaRef { <$table>::schema() }
        fn take(&mut self) -> Result<RecordBatch, ArrowError> { self.batch() }
    })* };
}
rows!(
    super::facts::Impressions,
    super::facts::Events,
    super::derived::Observations,
    super::derived::Pairs,
    super::derived::Counters,
    super::derived::Quarantine
);

/// A table being written.
pub struct Table<R> {
    /// Where the next row goes.
    pub rows: R,
    store: PathBuf,
    name: String,
    part: Option<PartWriter>,
    parts: Vec<Part>,
    held: usize,
    bytes: usize,
}

impl<R: Rows> Table<R> {
    /// Parts will be named `name-NNNN.arrow` below `store`.
    pub fn new(store: &Path, name: String) -> Self {
        Self {
            rows: R::default(),
            store: store.to_owned(),
            name,
            part: None,
            parts: vec![],
            held: 0,
            bytes: 0,
        }
    }

    /// Says that a row with so many bytes of text was pushed.
    pub fn pushed(&mut self, bytes: usize) -> Result<()> {
        self.held += 1;
        self.bytes += bytes;
        if self.held < BATCH_ROWS && self.bytes < BATCH_BYTES {
            return Ok(());
        }
        self.flush()?;
        if self
            .part
            .as_ref()
            .is_some_and(|part| part.bytes() >= PART_BYTES)
        {
            self.cut()
        } else {
            Ok(())
        }
    }

    /// Whether no row was pushed.
    pub fn is_empty(&self) -> bool {
        self.held == 0 && self.part.is_none() && self.parts.is_empty()
    }

    fn flush(&mut self) -> Result<()> {
        (self.held, self.bytes) = (0, 0);
        let batch = self.rows.take().map_err(Error::arrow(&self.store))?;
        self.open()?.write(&batch)
    }

    fn open(&mut self) -> Result<&mut PartWriter> {
        let part = match self.part.take() {
            Some(part) => part,
            None => {
                let name = format!("{}-{:04}.arrow", self.name, self.parts.len());
                PartWriter::create(&self.store, &name, &R::schema())?
            }
        };
        Ok(self.part.insert(part))
    }

    /// Ends the part, so that the next row begins another.
    pub fn cut(&mut self) -> Result<()> {
        if self.held > 0 {
            self.flush()?;
        }
        if let Some(part) = self.part.take() {
            self.parts.push(part.finish()?);
        }
        Ok(())
    }

    /// The parts; with `always`, at least one even without rows.
    pub fn finish(mut self, always: bool) -> Result<Vec<Part>> {
        if always && self.parts.is_empty() {
            self.open()?;
        }
        self.cut()?;
        Ok(self.parts)
    }
}
