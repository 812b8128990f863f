//! Writes a table as parts of batches, on a thread of its own; where they are cut depends on the rows alone.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{JoinHandle, spawn};

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};

use super::columns::{BATCH_BYTES, BATCH_ROWS};
use super::part::{Part, PartWriter, Syncing};
use crate::error::{Error, Result, guarded};

/// Bytes after which a part is closed and goes to the disk: little is left to be waited for when all lines are read.
pub const PART_BYTES: u64 = 128 << 20;

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
    held: usize,
    bytes: usize,
    writer: Option<Writer>,
    /// Parts that are not durable yet.
    syncing: Vec<Syncing>,
}

impl<R: Rows> Table<R> {
    /// Parts will be named `name-NNNN.arrow` below `store`.
    pub fn new(store: &Path, name: String) -> Self {
        Self {
            rows: R::default(),
            store: store.to_owned(),
            name,
            held: 0,
            bytes: 0,
            writer: None,
            syncing: Vec::new(),
        }
    }

    /// Says that a row with so many bytes of text was pushed.
    pub fn pushed(&mut self, bytes: usize) -> Result<()> {
        self.held += 1;
        self.bytes += bytes;
        if self.held < BATCH_ROWS && self.bytes < BATCH_BYTES {
            return Ok(());
        }
        self.flush()
    }

    /// Whether no row was pushed.
    pub fn is_empty(&self) -> bool {
        self.held == 0 && self.writer.is_none()
    }

    fn flush(&mut self) -> Result<()> {
        (self.held, self.bytes) = (0, 0);
        let batch = self.rows.take().map_err(Error::arrow(&self.store))?;
        self.give(Order::Write(batch))
    }

    fn give(&mut self, order: Order) -> Result<()> {
        let writer = &mut self.writer;
        let writer = writer
            .get_or_insert_with(|| Writer::new(self.store.clone(), self.name.clone(), R::schema()));
        writer.give(order)
    }

    /// Ends the part, so that the next row begins another.
    pub fn cut(&mut self) -> Result<()> {
        if self.held > 0 {
            self.flush()?;
        }
        self.give(Order::Cut)
    }

    /// The parts, durable; with `always`, at least one even without rows.
    pub fn finish(&mut self, always: bool) -> Result<Vec<Part>> {
        let parts = self.end(always)?;
        self.durable()?;
        Ok(parts)
    }

    /// The parts as by `finish`, on their way to the disk until `durable` returns.
    pub fn end(&mut self, always: bool) -> Result<Vec<Part>> {
        if always && self.is_empty() {
            self.give(Order::Open)?;
        }
        if !self.is_empty() {
            self.cut()?;
        }
        let ended = self.writer.take().map_or(Ok(vec![]), Writer::finish)?;
        let (parts, syncing): (_, Vec<_>) = ended.into_iter().unzip();
        self.syncing.extend(syncing);
        Ok(parts)
    }

    /// Returns when all parts that have ended are durable.
    pub fn durable(&mut self) -> Result<()> {
        self.syncing.drain(..).try_for_each(Syncing::wait)
    }
}

/// What the thread is to do.
enum Order {
    /// Begin a part if none is open.
    Open,
    /// Add a batch to the part.
    Write(RecordBatch),
    /// End the part if one is open.
    Cut,
}

/// Parts whose streams have ended.
type Ended = Vec<(Part, Syncing)>;

/// The thread; when it is dropped, the part that is open stays without an end, and nobody will name it.
struct Writer {
    orders: Option<SyncSender<Order>>,
    parts: Option<JoinHandle<Result<Ended>>>,
}

impl Writer {
    fn new(store: PathBuf, name: String, schema: SchemaRef) -> Self {
        let (send, orders) = sync_channel(1);
        let work = move || guarded(|| write(&store, &name, &schema, &orders));
        Self {
            orders: Some(send),
            parts: Some(spawn(work)),
        }
    }

    fn give(&mut self, order: Order) -> Result<()> {
        match &self.orders {
            Some(orders) if orders.send(order).is_ok() => Ok(()),
            _ => self.end().map(drop),
        }
    }

    fn finish(mut self) -> Result<Ended> {
        self.end()
    }

    fn end(&mut self) -> Result<Ended> {
        self.orders = None;
        let gone = || Err(Error::Internal("a writer has ended already".to_owned()));
        let parts = self.parts.take().map(JoinHandle::join);
        parts.map_or_else(gone, |parts| parts.unwrap_or_else(|_| gone()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.end()); // nothing is written once the table is gone
    }
}

fn write(store: &Path, name: &str, schema: &SchemaRef, orders: &Receiver<Order>) -> Result<Ended> {
    let (mut parts, mut open) = (Vec::new(), None);
    for order in orders {
        let cut = matches!(order, Order::Cut);
        let mut part = match open.take() {
            Some(part) => part,
            None if cut => continue,
            None => PartWriter::create(store, &format!("{name}-{:04}.arrow", parts.len()), schema)?,
        };
        if let Order::Write(batch) = &order {
            part.write(batch)?;
        }
        if cut || part.bytes() >= PART_BYTES {
            parts.push(part.end()?);
        } else {
            open = Some(part);
        }
    }
    Ok(parts)
}
