//! One part of a table: an Arrow IPC stream without dictionaries, with its size and checksum.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread::{JoinHandle, spawn};

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::Schema;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use crate::error::{Error, Result, guarded};

/// A part as the ledger names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Path below the store.
    pub path: String,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// xxh3-128 of the bytes.
    pub checksum: String,
}

/// Counts and hashes what passes.
pub struct Hashed<W> {
    inner: W,
    hash: XxHash3_128,
    bytes: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hash.write(buffer.get(..written).unwrap_or_default());
        self.bytes += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// Writes one part under its final, fresh name; the ledger makes it visible.
pub struct PartWriter {
    stream: StreamWriter<Hashed<BufWriter<File>>>,
    path: PathBuf,
    name: String,
    rows: u64,
}

impl PartWriter {
    /// Creates `name` below `store`, which must not exist.
    pub fn create(store: &Path, name: &str, schema: &Schema) -> Result<Self> {
        let path = store.join(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io(&path))?;
        let sink = Hashed {
            inner: BufWriter::with_capacity(1 << 16, file),
            hash: XxHash3_128::new(),
            bytes: 0,
        };
        let stream = StreamWriter::try_new(sink, schema).map_err(Error::arrow(&path))?;
        Ok(Self {
            stream,
            path,
            name: name.to_owned(),
            rows: 0,
        })
    }

    /// Adds a batch.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.stream.write(batch).map_err(Error::arrow(&self.path))
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.stream.get_ref().bytes
    }

    /// Ends the stream and makes it durable.
    pub fn finish(self) -> Result<Part> {
        let (part, syncing) = self.end()?;
        syncing.wait()?;
        Ok(part)
    }

    /// Ends the stream, and makes it durable meanwhile.
    pub fn end(self) -> Result<(Part, Syncing)> {
        let Self {
            stream,
            path,
            name,
            rows,
        } = self;
        let mut sink = stream.into_inner().map_err(Error::arrow(&path))?;
        sink.flush().map_err(Error::io(&path))?;
        let part = Part {
            path: name,
            rows,
            bytes: sink.bytes,
            checksum: format!("{:032x}", sink.hash.finish_128()),
        };
        let file = sink.inner.into_inner().map_err(|error| error.into_error());
        let file = file.map_err(Error::io(&path))?;
        let work = move || guarded(|| file.sync_all().map_err(Error::io(&path)));
        Ok((part, Syncing(spawn(work))))
    }
}

/// A file on its way to the disk.
#[must_use = "a part is durable only once this was waited for"]
pub struct Syncing(JoinHandle<Result<()>>);

impl Syncing {
    /// Returns when the file is durable.
    pub fn wait(self) -> Result<()> {
        let failed = |_| Err(Error::Internal("a thread failed".to_owned()));
        self.0.join().unwrap_or_else(failed)
    }
}

/// The batches of a part, with the given columns only (all when empty).
pub fn read(
    store: &Path,
    part: &Part,
    columns: &[&str],
) -> Result<impl Iterator<Item = Result<RecordBatch>> + use<>> {
    let path = store.join(&part.path);
    let open = || {
        let file = File::open(&path).map_err(Error::io(&path))?;
        Ok::<_, Error>(BufReader::with_capacity(1 << 18, file))
    };
    let schema = contained(&path, || {
        StreamReader::try_new(open()?, None).map_err(Error::arrow(&path))
    })?;
    let schema = schema.schema();
    let mut picked = Vec::new();
    for column in columns {
        picked.push(schema.index_of(column).map_err(Error::arrow(&path))?);
    }
    let projection = (!columns.is_empty()).then_some(picked);
    let mut reader = contained(&path, || {
        StreamReader::try_new(open()?, projection).map_err(Error::arrow(&path))
    })?;
    let mut next = move || {
        contained(&path, || {
            reader.next().transpose().map_err(Error::arrow(&path))
        })
        .transpose()
    };
    let mut ended = false;
    Ok(std::iter::from_fn(move || {
        let batch = if ended { None } else { next() };
        ended = !matches!(batch, Some(Ok(_)));
        batch
    }))
}

/// Runs `work`; arrow's reader panics on some bytes that no writer wrote, which is a fault of the file.
fn contained<T>(path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    guarded(work).map_err(|error| match error {
        Error::Internal(found) => Error::Checksum {
            path: path.display().to_string(),
            found,
            expected: "an Arrow stream".to_owned(),
        },
        other => other,
    })
}

/// Compares a file with its checksum.
pub fn verify(store: &Path, name: &str, checksum: &str) -> Result<u64> {
    let path = store.join(name);
    let (found, bytes) = hash(&path)?;
    if found != checksum {
        return Err(Error::Checksum {
            path: path.display().to_string(),
            found: format!("checksum {found}"),
            expected: checksum.to_owned(),
        });
    }
    Ok(bytes)
}

/// xxh3-128 and length of a file.
pub fn hash(path: &Path) -> Result<(String, u64)> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let (mut hash, mut bytes, mut buffer) = (XxHash3_128::new(), 0, vec![0; 1 << 18]);
    loop {
        let read = file.read(&mut buffer).map_err(Error::io(path))?;
        if read == 0 {
            return Ok((format!("{:032x}", hash.finish_128()), bytes));
        }
        hash.write(buffer.get(..read).unwrap_or_default());
        bytes += read as u64;
    }
}
