//! Where bytes come from: files and standard input, plain or compressed, from where the last run stopped.
//!
//! A compressed file is read on behind its last byte. One that is cut off and was read as far as it goes is read from
//! its first byte again once it has grown, and the text that is done with is passed over.

use std::fs::{File, Metadata};
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom, Take};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use super::packed::{Bounded, Members, Near, TooDense};
use crate::error::{Error, Result};

/// Standard input.
pub const STDIN: &str = "-";
const BUFFER: usize = 128 << 10;
const GZIP: &str = "gz";
const ZSTD: &str = "zst";

/// How far a file was read, and how to recognise it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Bytes of the file that were seen.
    pub size: u64,
    /// Hash of those bytes.
    pub checksum: String,
    /// File offset where the next run begins.
    pub resume: u64,
    /// Text offset there.
    pub text: u64,
    /// Time of the last change, ns, when it was read.
    pub modified: i64,
    /// Inode.
    pub inode: u64,
}

/// An input that is ready to be read.
pub struct Input {
    /// Text offset of the first byte that will come.
    pub text: u64,
    source: Box<dyn Read + Send>,
    tally: Tally,
    path: PathBuf,
    /// Whether text and file offsets differ.
    compressed: bool,
    /// Whether the compressed stream was found to be cut off.
    cut: Arc<AtomicBool>,
    mark: Mark,
    /// Bytes looked at, and how many of them were read since.
    peeked: (Vec<u8>, usize),
}

/// Bytes read from the file and their hash, shared with the decompressor's innermost reader.
pub(super) type Tally = Arc<Mutex<(XxHash3_128, u64)>>;

struct Tallied<R> {
    inner: R,
    tally: Tally,
    /// Bytes whose hash is already in.
    known: u64,
}

impl<R: Read> Read for Tallied<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let known = usize::try_from(self.known).unwrap_or(usize::MAX).min(read);
        self.known -= known as u64;
        let mut tally = self
            .tally
            .lock()
            .map_err(|_| io::Error::other("a reader failed"))?;
        if let Some(new) = buffer.get(known..read) {
            tally.0.write(new);
            tally.1 += new.len() as u64;
        }
        Ok(read)
    }
}

/// Whether the name of a file has this ending.
pub fn named(path: &Path, ending: &str) -> bool {
    path.extension()
        .is_some_and(|end| end.eq_ignore_ascii_case(ending))
}

/// Whether a file is compressed, by its name.
pub fn packed(path: &Path) -> bool {
    named(path, GZIP) || named(path, ZSTD)
}

/// Whether the file is what it was when it was read, by its size, time of change and inode.
pub fn stands(path: &Path, mark: &Mark) -> bool {
    std::fs::metadata(path).is_ok_and(|now| {
        (now.len(), modified(&now), now.ino()) == (mark.size, mark.modified, mark.inode)
    })
}

/// Opens `path`; none when nothing changed since `mark`. With `salvage`, a compressed file that is cut off ends there.
pub fn open(path: &Path, mark: Option<&Mark>, salvage: bool) -> Result<Option<Input>> {
    if path == Path::new(STDIN) {
        return Input::new(
            path,
            Box::new(io::stdin()),
            Mark::default(),
            Tally::default(),
            0,
            salvage,
        )
        .map(Some);
    }
    // Looked at first, for opening a pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(Error::io(path))?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() {
            "a directory"
        } else {
            "not a regular file"
        };
        return Err(Error::Io {
            path: path.display().to_string(),
            source: io::Error::other(format!("{what}; pass files, or - to read standard input")),
        });
    }
    let mut file = File::open(path).map_err(Error::io(path))?;
    let metadata = file.metadata().map_err(Error::io(path))?;
    let now = Mark {
        size: metadata.len(),
        modified: modified(&metadata),
        inode: metadata.ino(),
        ..Mark::default()
    };
    let tally = Tally::default();
    let Some(mark) = mark else {
        return Input::new(path, Box::new(file.take(now.size)), now, tally, 0, salvage).map(Some);
    };
    if (now.size, now.modified, now.inode) == (mark.size, mark.modified, mark.inode) {
        return Ok(None);
    }
    verify(path, &mut file, &now, mark, &tally)?;
    if now.size == mark.size {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(mark.resume))
        .map_err(Error::io(path))?;
    let rest: Take<File> = file.take(now.size - mark.resume);
    let known = mark.size - mark.resume;
    Input::new(
        path,
        Box::new(rest),
        Mark {
            resume: mark.resume,
            text: mark.text,
            ..now
        },
        tally,
        known,
        salvage,
    )
    .map(Some)
}

/// Checks that the file still begins with what was read, and leaves its hash in `tally`.
fn verify(path: &Path, file: &mut File, now: &Mark, mark: &Mark, tally: &Tally) -> Result<()> {
    let refuse = |found: String| {
        let expected = format!("{} bytes", mark.size);
        Err(Error::Rewritten {
            path: path.display().to_string(),
            found,
            expected,
        })
    };
    if now.size < mark.size {
        return refuse(format!("truncated to {} bytes", now.size));
    }
    let mut begin = Tallied {
        inner: file.take(mark.size),
        tally: tally.clone(),
        known: 0,
    };
    io::copy(&mut begin, &mut io::sink()).map_err(Error::io(path))?;
    if checksum(tally) != mark.checksum {
        return refuse("rewritten: its first bytes have another checksum".to_owned());
    }
    Ok(())
}

fn modified(metadata: &Metadata) -> i64 {
    metadata
        .mtime()
        .wrapping_mul(1_000_000_000)
        .wrapping_add(metadata.mtime_nsec())
}

fn checksum(tally: &Tally) -> String {
    tally.lock().map_or_else(
        |_| String::new(),
        |tally| format!("{:032x}", tally.0.finish_128()),
    )
}

impl Input {
    fn new(
        path: &Path,
        raw: Box<dyn Read + Send>,
        mark: Mark,
        tally: Tally,
        known: u64,
        salvage: bool,
    ) -> Result<Self> {
        let mut raw = BufReader::with_capacity(
            BUFFER,
            Tallied {
                inner: raw,
                tally: tally.clone(),
                known,
            },
        );
        let begin = raw.fill_buf().map_err(Error::io(path))?;
        let empty = begin.is_empty() && packed(path);
        if empty && !salvage {
            return Err(Error::Corrupt {
                path: path.display().to_string(),
                reason: "corrupt",
                offset: mark.text,
                message: "the file is empty, without even a header".to_owned(),
            });
        }
        let mut input = Self {
            text: mark.text,
            source: Box::new(io::empty()),
            tally: tally.clone(),
            path: path.to_owned(),
            compressed: true,
            cut: Arc::new(AtomicBool::new(empty)),
            mark,
            peeked: Default::default(),
        };
        let inner: Box<dyn Read + Send> = if empty {
            return Ok(input);
        } else if begin.starts_with(&[0x1f, 0x8b]) || named(path, GZIP) {
            Box::new(Members::new(raw))
        } else if begin.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || named(path, ZSTD) {
            Box::new(zstd::Decoder::with_buffer(raw).map_err(Error::io(path))?)
        } else {
            (input.compressed, input.source) = (false, Box::new(raw));
            return Ok(input);
        };
        let mut source = Bounded::new(inner, tally, salvage.then(|| input.cut.clone()));
        if input.mark.resume == 0 {
            let passed = io::copy(&mut source.by_ref().take(input.text), &mut io::sink());
            passed.map_err(|error| input.fault(error, 0))?;
        }
        input.source = Box::new(Near(BufReader::with_capacity(BUFFER, source)));
        Ok(input)
    }

    /// Whether its compressed stream was found to be cut off.
    pub fn cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Whether its text ends where it ends: no later run finds more of the last line.
    pub fn sealed(&self) -> bool {
        self.compressed && !self.cut()
    }

    /// The first byte that is no white space, not read yet; none when there is none among the first bytes.
    pub fn first(&mut self) -> io::Result<Option<u8>> {
        let mut bytes: Vec<u8> = Vec::new();
        let mut first = None;
        while first.is_none() && bytes.len() < BUFFER {
            let mut piece = [0; 4096];
            let read = self.source.read(&mut piece)?;
            bytes.extend(piece.iter().take(read));
            let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
            first = text
                .iter()
                .copied()
                .find(|byte| !byte.is_ascii_whitespace());
            if read == 0 {
                break;
            }
        }
        self.peeked = (bytes, 0);
        Ok(first)
    }

    /// The file that a fault of reading is about, and whether the bytes or the system are to blame.
    pub fn fault(&self, error: io::Error, offset: u64) -> Error {
        if error.raw_os_error().is_some() {
            return Error::io(&self.path)(error);
        }
        let dense = error.get_ref().is_some_and(|inner| inner.is::<TooDense>());
        let mut message = error.to_string();
        if error.kind() == io::ErrorKind::UnexpectedEof {
            message +=
                "; the file is cut off, and with `--salvage` the rows before the cut are kept";
        }
        Error::Corrupt {
            path: self.path.display().to_string(),
            reason: if dense { "ratio" } else { "corrupt" },
            offset,
            message,
        }
    }

    /// The mark once everything was read: `text` is the text offset after the last line that is done with.
    pub fn done(&self, text: u64) -> Mark {
        let size = self.tally.lock().map_or(0, |tally| tally.1);
        let resume = match (self.compressed, self.cut()) {
            (false, _) => text,
            (true, false) => size,
            (true, true) => 0,
        };
        Mark {
            size,
            checksum: checksum(&self.tally),
            resume,
            text,
            ..self.mark.clone()
        }
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (bytes, at) = &mut self.peeked;
        let mut rest = bytes.get(*at..).unwrap_or_default();
        if rest.is_empty() {
            return self.source.read(buffer);
        }
        let read = rest.read(buffer)?;
        *at += read;
        Ok(read)
    }
}
