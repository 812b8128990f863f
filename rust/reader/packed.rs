//! Compressed streams: the members of a gzip file, a bound on what they expand to, and where they are cut off.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::bufread::GzDecoder;

use super::input::Tally;

/// Text may be this many times as long as its compressed form, once past `RATIO_FROM` bytes.
const RATIO: u64 = 1000;
const RATIO_FROM: u64 = 256 << 20;

/// Reads through its buffer whatever is asked for: a decompressor, whose writes are scattered, writes to memory that
/// stays near, while that of a chunk was last used by another core.
pub(super) struct Near<R>(pub BufReader<R>);

impl<R: Read> Read for Near<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.fill_buf()?.read(buffer)?;
        self.0.consume(read);
        Ok(read)
    }
}

/// The members of a gzip file one after another; zeros after the last one are padding.
pub(super) struct Members<R> {
    current: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    pub fn new(raw: R) -> Self {
        let current = Some(GzDecoder::new(raw));
        Self { current }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.current {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(mut raw) = self.current.take().map(GzDecoder::into_inner) else {
                break;
            };
            match raw.fill_buf()?.first() {
                None => {}
                Some(0) => padding(&mut raw)?,
                Some(0x1f) => self.current = Some(GzDecoder::new(raw)),
                Some(_) => return Err(damage("bytes that are no member follow the last one")),
            }
        }
        Ok(0)
    }
}

fn damage(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn padding(raw: &mut impl BufRead) -> io::Result<()> {
    loop {
        let bytes = raw.fill_buf()?;
        let length = bytes.len();
        if length == 0 {
            return Ok(());
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(damage("bytes follow the zeros after the last member"));
        }
        raw.consume(length);
    }
}

/// Refuses a stream that expands beyond reason, and one that is cut off, unless it may end there.
pub(super) struct Bounded {
    inner: Box<dyn Read + Send>,
    tally: Tally,
    text: u64,
    /// Where it is noted that the stream is cut off, if it may be.
    cut: Option<Arc<AtomicBool>>,
}

#[derive(Debug, thiserror::Error)]
#[error("more than {RATIO} bytes of text for each compressed byte")]
pub(super) struct TooDense;

impl Bounded {
    pub fn new(inner: Box<dyn Read + Send>, tally: Tally, cut: Option<Arc<AtomicBool>>) -> Self {
        Self {
            inner,
            tally,
            text: 0,
            cut,
        }
    }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match (self.inner.read(buffer), &self.cut) {
            (Err(error), Some(cut)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                cut.store(true, Ordering::Relaxed);
                0
            }
            (read, _) => read?,
        };
        self.text += read as u64;
        let raw = self.tally.lock().map_or(0, |tally| tally.1);
        if self.text > RATIO_FROM && self.text / RATIO > raw {
            return Err(io::Error::other(TooDense));
        }
        Ok(read)
    }
}
