//! A stream of bytes as chunks of whole lines; a line over the limit is passed over without being held.

use std::io::{Read, Result};

use memchr::{memchr, memrchr};

/// Longest accepted line, without its newline.
pub const MAX_LINE: usize = 16 << 20;
/// Bytes read at a time; results do not depend on it.
pub const CHUNK: usize = 1 << 20;

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

    fn fill(&mut self, bytes: &mut Vec<u8>) -> Result<bool> {
        bytes.reserve(self.chunk);
        let read = self
            .input
            .by_ref()
            .take(self.chunk as u64)
            .read_to_end(bytes)?;
        Ok(read < self.chunk)
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
        let mut bytes = std::mem::take(&mut self.carry);
        loop {
            let known = bytes.len();
            let ended = self.fill(&mut bytes)?;
            if self.offset == 0 && bytes.starts_with(b"\xef\xbb\xbf") {
                bytes.drain(..3);
                self.offset = 3;
            }
            let newline = bytes
                .get(known.min(bytes.len())..)
                .and_then(|new| memrchr(b'\n', new));
            if let Some(at) = newline
                .map(|at| at + known.min(bytes.len()))
                .or_else(|| memrchr(b'\n', &bytes))
            {
                self.carry = bytes.split_off(at + 1);
                return Ok(Some(self.lines(bytes, true)));
            }
            if bytes.len() > self.limit {
                return self.skip(bytes, ended).map(Some);
            }
            if ended {
                return Ok((!bytes.is_empty()).then(|| self.lines(bytes, false)));
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
            bytes.clear();
            ended = self.fill(&mut bytes)?;
            if let Some(at) = memchr(b'\n', &bytes) {
                self.carry = bytes.split_off(at + 1);
                length += at as u64;
                terminated = true;
            } else {
                length += bytes.len() as u64;
            }
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
