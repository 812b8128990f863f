//! A file of records in blocks, each with a checksum.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use twox_hash::XxHash3_64;

use super::Place;
use crate::error::{Error, Result};

/// Most bytes of a block.
const BLOCK: usize = 8 << 10;
/// Blocks written at once.
const AT_ONCE: usize = 16;

/// Records of `N` bytes, appended, and read back by number or in order.
pub struct Blocks<const N: usize> {
    file: File,
    path: PathBuf,
    sums: Vec<u64>,
    tail: Vec<u8>,
}

impl<const N: usize> Blocks<N> {
    /// Records of a block.
    pub const EACH: usize = BLOCK / N;
    const BYTES: usize = Self::EACH * N;

    /// An empty file.
    pub fn new(place: &Place) -> Result<Self> {
        let (file, path) = place.file()?;
        Ok(Self {
            file,
            path,
            sums: Vec::new(),
            tail: Vec::new(),
        })
    }

    /// Adds a record.
    pub fn push(&mut self, record: &[u8; N]) -> Result<()> {
        self.tail.extend_from_slice(record);
        if self.tail.len() < AT_ONCE * Self::BYTES {
            return Ok(());
        }
        self.write()
    }

    /// Number of the block that the next record begins; what was added before ends in one of its own.
    pub fn cut(&mut self) -> Result<usize> {
        self.tail
            .resize(self.tail.len().next_multiple_of(Self::BYTES), 0);
        self.write()?;
        Ok(self.sums.len())
    }

    fn write(&mut self) -> Result<()> {
        self.file
            .write_all(&self.tail)
            .map_err(Error::io(&self.path))?;
        self.sums
            .extend(self.tail.chunks(Self::BYTES).map(XxHash3_64::oneshot));
        self.tail.clear();
        Ok(())
    }

    /// Bytes of as many blocks as there are from `first`, at most `count`.
    fn blocks(&self, first: usize, count: usize, bytes: &mut Vec<u8>) -> Result<()> {
        let sums = self.sums.iter().skip(first).take(count);
        bytes.clear();
        if sums.len() == 0 {
            bytes.extend_from_slice(&self.tail);
            return Ok(());
        }
        bytes.resize(sums.len() * Self::BYTES, 0);
        let offset = first as u64 * Self::BYTES as u64;
        self.file
            .read_exact_at(bytes, offset)
            .map_err(Error::io(&self.path))?;
        for (block, sum) in bytes.chunks(Self::BYTES).zip(sums) {
            if XxHash3_64::oneshot(block) != *sum {
                return Err(Error::Checksum {
                    path: self.path.display().to_string(),
                    found: "a block of spilled records that is not what was written".to_owned(),
                    expected: "equal checksums".to_owned(),
                });
            }
        }
        Ok(())
    }

    /// The records of a block, those of the last perhaps followed by zeros.
    pub fn block(&self, number: usize) -> Result<Vec<[u8; N]>> {
        let mut bytes = Vec::new();
        self.blocks(number, 1, &mut bytes)?;
        Ok(bytes.as_chunks().0.to_vec())
    }

    /// A record by number, if nothing was cut.
    pub fn get(&self, number: u32) -> Result<Option<[u8; N]>> {
        let (block, at) = (number as usize / Self::EACH, number as usize % Self::EACH);
        let at = if block < self.sums.len() {
            at
        } else {
            number as usize - self.sums.len() * Self::EACH
        };
        Ok(self.block(block)?.get(at).copied())
    }

    /// So many records from a block on, in order.
    pub fn scan(&self, first: usize, records: u64) -> Scan<'_, N> {
        Scan {
            of: self,
            next: first,
            left: records,
            bytes: Vec::new(),
            at: 0,
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.sums.capacity() * 8 + self.tail.capacity()
    }

    /// Changes a byte of the file, for tests.
    #[cfg(test)]
    #[allow(clippy::unwrap_used)]
    pub fn damage(&self, offset: u64) {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, offset).unwrap();
        byte = byte.map(|byte| !byte);
        self.file.write_all_at(&byte, offset).unwrap();
    }
}

/// Records in order.
pub struct Scan<'a, const N: usize> {
    of: &'a Blocks<N>,
    next: usize,
    left: u64,
    bytes: Vec<u8>,
    at: usize,
}

/// Blocks read at once.
const AHEAD: usize = 8;

impl<const N: usize> Iterator for Scan<'_, N> {
    type Item = Result<[u8; N]>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        if self.at >= self.bytes.len() {
            if let Err(error) = self.of.blocks(self.next, AHEAD, &mut self.bytes) {
                self.left = 0;
                return Some(Err(error));
            }
            (self.next, self.at) = (self.next + AHEAD, 0);
        }
        let record = self.bytes.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(Ok(*record))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::spill::scratch;

    fn record(number: u32) -> [u8; 20] {
        let mut bytes = [7; 20];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    #[test]
    fn records_are_read_by_number_and_in_order_whether_written_or_not() {
        let place = scratch("blocks", 0);
        for count in [0u32, 1, 408, 409, 410, 20_000] {
            let mut blocks = Blocks::new(&place).unwrap();
            for number in 0..count {
                blocks.push(&record(number)).unwrap();
            }
            for number in (0..count).step_by(61).chain(count.checked_sub(1)) {
                assert_eq!(blocks.get(number).unwrap(), Some(record(number)));
            }
            let all: Vec<_> = blocks
                .scan(0, u64::from(count))
                .map(Result::unwrap)
                .collect();
            assert_eq!(all, (0..count).map(record).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_changed_byte_is_found() {
        let mut blocks = Blocks::new(&scratch("damage", 0)).unwrap();
        for number in 0..1_000 {
            blocks.push(&record(number)).unwrap();
        }
        blocks.cut().unwrap();
        blocks.damage(9_000);
        let wrong = blocks.scan(0, 1_000).find_map(Result::err).unwrap();
        assert!(matches!(wrong, Error::Checksum { .. }));
        assert!(blocks.get(0).is_ok() && blocks.get(500).is_err());
    }
}
