//! A stream of bytes as records that are no lines, cut where a [`Split`] says, each with its place in the text.
//!
//! At most one unfinished record is held; one over the limit is passed over without being held.

use std::io::{Error, Read, Result};

use super::lines::{CHUNK, MAX_LINE};
use crate::event::{Bad, Reason};

/// What a [`Split`] finds, by text offsets.
#[derive(Debug, PartialEq, Eq)]
pub enum Edge {
    /// The first byte of a record.
    Begin(u64),
    /// The end of the record under way, and whether the newline there belongs to it.
    End {
        /// One past its last byte.
        at: u64,
        /// A newline stands at `at`.
        newline: bool,
    },
    /// A fault between two records.
    Fault(u64, &'static str),
}

/// How a text stops.
#[derive(Debug, PartialEq, Eq)]
pub struct Stop {
    /// Whether the record under way, if there is one, may be whole.
    pub whole: bool,
    /// Something is missing after the last record: what.
    pub missing: Option<&'static str>,
}

/// Finds records; a state machine over bytes that come in pieces.
pub trait Split {
    /// The next edge from `*at` on in `bytes`, whose first byte has text offset `base`; none when all were looked at.
    ///
    /// `*at` is moved to where the search goes on: behind the edge, or back to a place in the record that has just
    /// ended early.
    fn edge(&mut self, bytes: &[u8], base: u64, at: &mut usize) -> Option<Edge>;

    /// The record under way, as far as it is `held`, is longer than the limit, or the text has ended: where the record
    /// ends if it is given up, or none to leave it as it is.
    fn give_up(&mut self, held: &[u8], ended: bool) -> Option<u64>;

    /// What it means that the text stops here.
    fn stop(&self) -> Stop;

    /// Whether the text could go on with another record of the same sequence.
    fn inside(&self) -> bool;
}

/// A record with its place.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// Text offset of its first byte; in a table the number of rows before it.
    pub offset: u64,
    /// Its length without a newline.
    pub length: u64,
    /// Where its bytes begin in the batch; a refused record may have none.
    pub from: usize,
    /// A newline follows.
    pub newline: bool,
    /// Its end was seen.
    pub whole: bool,
    /// Reading can go on right after it, as after a line without its newline.
    pub open: bool,
    /// Why it cannot be read at all.
    pub fault: Option<Bad>,
}

/// Records that lie one after another.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The bytes of those that are held.
    pub bytes: Vec<u8>,
    /// In order.
    pub records: Vec<Record>,
}

/// Cuts a reader into [`Batch`]es.
pub struct Records<R, S> {
    input: R,
    split: S,
    bytes: Vec<u8>,
    base: u64,
    at: usize,
    begun: Option<u64>,
    long: bool,
    ended: bool,
    /// What the reader said after the bytes that are here.
    failed: Option<Error>,
    chunk: usize,
    limit: usize,
}

impl<R: Read, S: Split> Records<R, S> {
    /// Records of `input`, whose first byte has text offset `base`.
    pub fn new(input: R, base: u64, split: S) -> Self {
        Self::sized(input, base, split, CHUNK, MAX_LINE)
    }

    /// The same with other limits.
    pub(super) fn sized(input: R, base: u64, split: S, chunk: usize, limit: usize) -> Self {
        Self {
            input,
            split,
            bytes: Vec::new(),
            base,
            at: 0,
            begun: None,
            long: false,
            ended: false,
            failed: None,
            chunk,
            limit,
        }
    }

    /// The reader, the text offset that was reached, and whether the sequence is still open there.
    pub fn finish(self) -> (R, u64, bool) {
        (self.input, self.base + self.at as u64, self.split.inside())
    }

    /// The reader, wherever it stands.
    pub fn inner(&self) -> &R {
        &self.input
    }

    /// Text offset that was reached.
    pub fn reached(&self) -> u64 {
        self.base + self.at as u64
    }

    /// The records that the next bytes complete, perhaps none yet; none at the end.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        if self.ended {
            return Ok(None);
        }
        self.fill()?;
        let mut found = Vec::new();
        loop {
            match self.split.edge(&self.bytes, self.base, &mut self.at) {
                Some(Edge::Begin(offset)) => self.begun = Some(offset),
                Some(Edge::End { at, newline }) => self.close(&mut found, at, newline, true),
                Some(Edge::Fault(at, what)) => self.fault(&mut found, at, Reason::Json, what),
                None => match self.give_up() {
                    Some(end) => {
                        self.close(&mut found, end, true, true);
                        self.at = self.place(end) + 1;
                    }
                    None => break,
                },
            }
        }
        if self.ended {
            let (stop, end) = (self.split.stop(), self.reached());
            self.close(&mut found, end, false, stop.whole);
            if let Some(what) = stop.missing {
                self.fault(&mut found, end, Reason::Torn, what);
            }
        }
        let kept = match self.begun {
            Some(begun) if !self.long => self.place(begun),
            _ => self.at,
        };
        let rest = self.bytes.split_off(kept.min(self.bytes.len()));
        let bytes = std::mem::replace(&mut self.bytes, rest);
        self.base += kept as u64;
        self.at -= kept;
        Ok(Some(Batch {
            bytes,
            records: found,
        }))
    }

    fn fill(&mut self) -> Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let known = self.bytes.len();
        self.bytes.reserve(self.chunk);
        let next = self.input.by_ref().take(self.chunk as u64);
        match { next }.read_to_end(&mut self.bytes) {
            Ok(read) => self.ended = read < self.chunk,
            Err(error) if self.bytes.len() == known => return Err(error),
            Err(error) => self.failed = Some(error),
        }
        if self.base == 0 && self.at == 0 && self.bytes.starts_with(b"\xef\xbb\xbf") {
            self.at = 3;
        }
        Ok(())
    }

    fn place(&self, offset: u64) -> usize {
        usize::try_from(offset.saturating_sub(self.base)).unwrap_or_default()
    }

    /// Where the record under way ends, if it must not or cannot grow.
    fn give_up(&mut self) -> Option<u64> {
        let begun = self.begun.filter(|_| !self.long)?;
        let overgrown = self.reached().saturating_sub(begun) > self.limit as u64;
        if !overgrown && !self.ended {
            return None;
        }
        let held = self.bytes.get(self.place(begun)..).unwrap_or_default();
        let end = self.split.give_up(held, self.ended);
        self.long = overgrown && end.is_none();
        end
    }

    /// Ends the record under way.
    fn close(&mut self, found: &mut Vec<Record>, end: u64, newline: bool, whole: bool) {
        let Some(offset) = self.begun.take() else {
            return;
        };
        let (length, open) = (end.saturating_sub(offset), self.split.inside());
        let long = std::mem::take(&mut self.long) || length > self.limit as u64;
        let what = || {
            let most = MAX_LINE >> 20;
            Bad::new(Reason::TooLong, "", format!("longer than {most} MiB"))
        };
        found.push(Record {
            offset,
            length,
            from: self.place(offset),
            newline,
            whole,
            open,
            fault: long.then(what),
        });
    }

    /// Notes that something is missing.
    fn fault(&self, found: &mut Vec<Record>, offset: u64, reason: Reason, what: &str) {
        found.push(Record {
            offset,
            length: 0,
            from: self.place(offset),
            newline: false,
            whole: true,
            open: self.split.inside(),
            fault: Some(Bad::new(reason, "", what)),
        });
    }
}

/// Whether white space is all there is.
pub fn is_blank(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::array::Array;
    use super::super::csv::Csv;
    use super::*;

    /// Place, length, wholeness and fault of every record.
    fn cut(
        text: &[u8],
        split: impl Split,
        chunk: usize,
        limit: usize,
    ) -> Vec<(u64, u64, bool, Option<Reason>)> {
        let mut records = Records::sized(text, 0, split, chunk, limit);
        let mut found = Vec::new();
        while let Some(batch) = records.next_batch().unwrap() {
            found.extend(batch.records.into_iter().map(|record| {
                let held = batch.bytes.get(record.from..).unwrap_or_default();
                let there = text.get(record.offset as usize..).unwrap();
                let length = record.length as usize;
                if record.fault.is_none() {
                    assert_eq!(held.get(..length).unwrap(), there.get(..length).unwrap());
                }
                let reason = record.fault.map(|bad| bad.reason);
                (record.offset, record.length, record.whole, reason)
            }));
        }
        assert_eq!(records.reached(), text.len() as u64);
        found
    }

    #[test]
    fn records_of_any_bytes_lie_apart_and_do_not_depend_on_the_chunk_size() {
        let mut random = crate::dice::dice(0x9E37_79B9_7F4A_7C15);
        let alphabet = b"[[]]{{}},,,::\"\"\"\\\n\n\r \t1x\xff";
        for round in 0..6000 {
            let text: Vec<u8> = (0..random(60))
                .map(|_| *alphabet.get(random(alphabet.len())).unwrap())
                .collect();
            let (chunk, width, inside) = (3 + random(20), random(4), random(2) == 0);
            let limit = if round % 2 == 0 { 1 << 20 } else { 16 };
            for (found, again) in [
                (
                    cut(&text, Array::new(inside), chunk, limit),
                    cut(&text, Array::new(inside), 1 << 20, limit),
                ),
                (
                    cut(&text, Csv::new(b',', width, inside), chunk, limit),
                    cut(&text, Csv::new(b',', width, inside), 1 << 20, limit),
                ),
            ] {
                let mut end = 0;
                for (offset, length, ..) in &found {
                    assert!(*offset >= end, "{text:?}");
                    end = offset + length;
                }
                assert!(end <= text.len() as u64, "{text:?}");
                if limit > 60 {
                    assert_eq!(found, again, "{text:?} by {chunk}");
                }
            }
        }
    }
}
