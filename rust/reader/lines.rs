//! A stream of bytes as chunks of whole lines; a line over the limit is passed over without being held.

use std::io::{ErrorKind, Read, Result};
use std::sync::{Mutex, PoisonError};

use memchr::{memchr, memrchr};

/// Longest accepted line, without its newline.
pub const MAX_LINE: usize = 16 << 20;
/// Bytes read at a time; results do not depend on it.
pub const CHUNK: usize = 1 << 20;

/// Chunks that are done with, to be read into again: memory that is there already, and need not be zeroed.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
/// How many of them are kept.
const SPARES: usize = 8;

/// Bytes to be overwritten, perhaps none; with room for what the chunk before left over, so that it need not grow.
fn spare() -> Vec<u8> {
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    let spare = spare.pop();
    spare.unwrap_or_else(|| Vec::with_capacity(CHUNK + CHUNK / 4))
}

/// Keeps the memory of a chunk for the next one.
pub fn done_with(chunk: Vec<u8>) {
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    if spare.len() < SPARES && (CHUNK / 2..=2 * CHUNK).contains(&chunk.capacity()) {
        spare.push(chunk);
    }
}

/// A piece of the input in whole lines.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Lines; only the last of a file may lack its newline.
    Lines {
        /// Text offset of the first byte.
        offset: u64,
        /// The bytes, newlines included.
        bytes: Vec<u8>,
        /// Whether the last line ends with a newline.
        terminated: bool,
    },
    /// A line longer than the limit.
    TooLong {
        /// Text offset of its first byte.
        offset: u64,
        /// Its length without the newline.
        length: u64,
        /// Whether it ends with a newline.
        terminated: bool,
    },
}

impl Piece {
    /// Text offset after the piece.
    pub fn end(&self) -> u64 {
        match self {
            Self::Lines { offset, bytes, .. } => offset + bytes.len() as u64,
            Self::TooLong { offset, length, .. } => offset + length,
        }
    }
}

/// Cuts a reader into [`Piece`]s.
pub struct Pieces<R> {
    input: R,
    carry: Vec<u8>,
    offset: u64,
    chunk: usize,
    limit: usize,
}

impl<R: Read> Pieces<R> {
    /// Pieces of `input`, whose first byte has text offset `offset`.
    pub fn new(input: R, offset: u64) -> Self {
        Self {
            input,
            carry: Vec::new(),
            offset,
            chunk: CHUNK,
            limit: MAX_LINE,
        }
    }

    #[cfg(test)]
    fn sized(input: R, chunk: usize, limit: usize) -> Self {
        Self {
            input,
            carry: Vec::new(),
            offset: 0,
            chunk,
            limit,
        }
    }

    /// Reads a chunk to the place behind the first `used` bytes; how many are used then, and whether the input has ended.
    fn fill(&mut self, bytes: &mut Vec<u8>, used: usize) -> Result<(usize, bool)> {
        let (mut used, end) = (used, used + self.chunk);
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        while let Some(free) = bytes.get_mut(used..end).filter(|free| !free.is_empty()) {
            match self.input.read(free) {
                Ok(0) => return Ok((used, true)),
                Ok(read) => used += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok((used, false))
    }

    /// The reader, wherever it stands.
    pub fn inner(&self) -> &R {
        &self.input
    }

    /// The reader, wherever it stands.
    pub fn into_inner(self) -> R {
        self.input
    }

    /// The next piece, or none at the end.
    pub fn next_piece(&mut self) -> Result<Option<Piece>> {
        let mut bytes = spare();
        let mut used = self.carry.len();
        bytes.splice(..used.min(bytes.len()), self.carry.drain(..));
        loop {
            let known = used;
            let ended;
            (used, ended) = self.fill(&mut bytes, used)?;
            let new = bytes.get(..used).unwrap_or_default(); // behind it lies what was there before
            if self.offset == 0 && new.starts_with(b"\xef\xbb\xbf") {
                bytes.drain(..3);
                (self.offset, used) = (3, used - 3);
            }
            let last = |from: usize| {
                let new = bytes.get(from..used)?;
                memrchr(b'\n', new).map(|at| at + from)
            };
            // What a long line left behind may hold lines too.
            if let Some(at) = last(known.min(used)).or_else(|| last(0)) {
                let rest = bytes.get(at + 1..used).unwrap_or_default();
                self.carry.extend_from_slice(rest);
                bytes.truncate(at + 1);
                return Ok(Some(self.lines(bytes, true)));
            }
            if used > self.limit {
                bytes.truncate(used);
                return self.skip(bytes, ended).map(Some);
            }
            if ended {
                bytes.truncate(used);
                return Ok((used > 0).then(|| self.lines(bytes, false)));
            }
        }
    }

    fn lines(&mut self, bytes: Vec<u8>, terminated: bool) -> Piece {
        let offset = self.offset;
        self.offset += bytes.len() as u64;
        Piece::Lines {
            offset,
            bytes,
            terminated,
        }
    }

    fn skip(&mut self, mut bytes: Vec<u8>, mut ended: bool) -> Result<Piece> {
        let (offset, mut length, mut terminated) = (self.offset, bytes.len() as u64, false);
        while !ended && !terminated {
            let used;
            (used, ended) = self.fill(&mut bytes, 0)?;
            let new = bytes.get(..used).unwrap_or_default();
            let at = memchr(b'\n', new);
            if let Some(at) = at {
                self.carry
                    .extend_from_slice(new.get(at + 1..).unwrap_or_default());
            }
            length += at.unwrap_or(used) as u64;
            terminated = at.is_some();
        }
        self.offset += length + u64::from(terminated);
        Ok(Piece::TooLong {
            offset,
            length,
            terminated,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn lines(text: &[u8], chunk: usize, limit: usize) -> Vec<(u64, u64)> {
        let mut pieces = Pieces::sized(text, chunk, limit);
        let mut seen = Vec::new();
        while let Some(piece) = pieces.next_piece().unwrap() {
            match piece {
                Piece::TooLong { offset, length, .. } => seen.push((offset, length)),
                Piece::Lines {
                    mut offset, bytes, ..
                } => {
                    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                        let length = line.strip_suffix(b"\n").unwrap_or(line).len() as u64;
                        seen.push((offset, length));
                        offset += line.len() as u64;
                    }
                }
            }
        }
        seen
    }

    #[test]
    fn what_a_chunk_held_before_is_no_part_of_a_shorter_input() {
        let stale = || "\u{feff}\n".repeat(CHUNK / 4).into_bytes();
        for (text, expected) in [
            (&b""[..], vec![]),
            (b"\xef", vec![(0, 1)]),
            (b"{", vec![(0, 1)]),
            (b"{\n}", vec![(0, 1), (2, 1)]),
            (b"\xef\xbb\xbf", vec![]),
            (b"\xef\xbb\xbf{", vec![(3, 1)]),
        ] {
            (0..SPARES).for_each(|_| done_with(stale()));
            assert_eq!(lines(text, 4, 4), expected, "{text:?}");
        }
    }

    #[test]
    fn lines_do_not_depend_on_the_chunk_size() {
        let text =
            b"\xef\xbb\xbfone\n\n\ntwo and more\nthree\r\nfour is a very long line indeed\nfive";
        let expected = lines(text, 1 << 20, 1 << 20);
        assert_eq!(expected.first(), Some(&(3, 3)));
        assert_eq!(expected.last(), Some(&(text.len() as u64 - 4, 4)));
        assert_eq!(expected.len(), 7);
        for chunk in 3..80 {
            assert_eq!(lines(text, chunk, 1 << 20), expected, "chunk {chunk}");
            assert_eq!(
                lines(text, chunk, 4),
                expected,
                "chunk {chunk} with a small limit"
            );
        }
        assert_eq!(lines(b"", 4, 4), []);
    }
}
