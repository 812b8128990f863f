//! A piece of input to parsed lines.

use std::sync::Arc;

use simdutf8::basic::from_utf8;

use super::arena::Arena;
use super::csv::{self, Header};
use super::json::{Fields, is_whole_object};
use super::line::{Parser, Row};
use super::lines::{self, MAX_LINE, Piece};
use super::records::{Batch, Record, is_blank};
use crate::event::row::Texts;
use crate::event::{Bad, Reason};
use crate::mapping::UNMAPPED;
use crate::unchecked;

/// Bytes of a line that is rather short.
const SHORT: usize = 256;
const UNENDED: &str = "the last record has no line end, so it may be cut; add one if it is whole";

/// What a record turned out to be; a canonical line is one record.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most records are rows, which need no memory of their own so"
)]
pub enum What {
    /// A row.
    Row(Row),
    /// White space.
    Blank,
    /// The names of columns.
    Header,
    /// Sound, but not carried by the mapping.
    Skipped,
    /// Refused.
    Bad(Bad),
}

/// A record with the place of its line.
#[derive(Debug)]
pub struct Line {
    /// Text offset of its first byte.
    pub offset: u64,
    /// Length without the newline.
    pub length: u64,
    /// Where its bytes begin in those of the piece.
    pub from: usize,
    /// Whether a newline follows.
    pub newline: bool,
    /// Whether reading can go on right behind it, should its input grow.
    pub open: bool,
    /// Lines of text that it takes.
    pub lines: u64,
    /// Whether the line gave a record before this one.
    pub more: bool,
    /// Number of the rule of the mapping.
    pub rule: u16,
    /// Its content.
    pub what: What,
}

/// What a piece of input is made of.
pub enum Work {
    /// JSON lines.
    Lines(Piece),
    /// JSON objects wherever they stand.
    Objects(Batch),
    /// Records of a CSV file, the first of them its header or not.
    Cells(Batch, Arc<Header>, bool),
}

/// The lines of one piece.
#[derive(Debug, Default)]
pub struct Parsed {
    /// In order.
    pub lines: Vec<Line>,
    /// The piece, where rows have their texts in it.
    chunk: String,
    /// Its bytes, where they have not.
    bytes: Vec<u8>,
    /// Texts of rows that were written anew.
    more: String,
    /// The columns, if they are those of a CSV file.
    pub header: Option<Arc<Header>>,
    /// Fields left out because they hold an address.
    pub addresses: u64,
}

impl Drop for Parsed {
    fn drop(&mut self) {
        lines::done_with(std::mem::take(&mut self.chunk).into_bytes());
    }
}

impl Parsed {
    /// Where the rows have their text.
    pub fn texts(&self) -> Texts<'_> {
        Texts {
            chunk: &self.chunk,
            more: &self.more,
        }
    }

    /// The bytes of a line, as far as they are held.
    pub fn text(&self, line: &Line) -> Option<&[u8]> {
        let held = if self.bytes.is_empty() {
            self.chunk.as_bytes()
        } else {
            &self.bytes
        };
        held.get(line.from..line.from.saturating_add(line.length as usize))
    }
}

/// Parses a piece of the namespace `source`.
pub fn parse(parser: &mut Parser, source: &str, work: Work) -> Parsed {
    let mut cut = None; // text offset of lines that are not told apart yet
    let (batch, header, mut first) = match work {
        Work::Lines(Piece::Lines { offset, bytes, .. }) => {
            let records = Vec::new();
            cut = Some(offset);
            (Batch { bytes, records }, None, false)
        }
        Work::Lines(Piece::TooLong {
            offset,
            length,
            terminated,
        }) => (skipped(offset, length, terminated), None, false),
        Work::Objects(batch) => (batch, None, false),
        Work::Cells(batch, header, first) => (batch, Some(header), first),
    };
    let text = if header.is_none() {
        unchecked::text(batch.bytes)
    } else {
        Err(batch.bytes)
    };
    let (chunk, bytes) = match text {
        Ok(chunk) => (chunk, Vec::new()),
        Err(bytes) => (String::new(), bytes),
    };
    let mut more = String::with_capacity(source.len() + bytes.len());
    more.push_str(source);
    let held = if bytes.is_empty() {
        chunk.as_bytes()
    } else {
        &bytes
    };
    let (mut object, mut fields) = (Vec::new(), Fields::default());
    let expected = cut.map_or(batch.records.len(), |_| held.len() / SHORT);
    let mut lines: Vec<Line> = Vec::with_capacity(expected);
    let (mut records, mut behind) = (batch.records.into_iter(), 0);
    loop {
        let mut arena = Arena {
            chunk: &chunk,
            more: &mut more,
        };
        let (start, mut read) = (arena.end(), false);
        let next = if let Some(offset) = cut {
            // Reading an ordinary line finds its end; that of any other is looked for.
            let from = behind;
            let rest = chunk.get(from..);
            let length = rest.and_then(|rest| parser.next(rest, &mut fields, &mut arena));
            read = length.is_some();
            let length = length.or_else(|| memchr::memchr(b'\n', held.get(from..)?));
            let to = length.map_or(held.len(), |length| from + length);
            behind = to + 1;
            (from < held.len()).then(|| between(offset + from as u64, from, to, to < held.len()))
        } else {
            records.next()
        };
        let Some(mut record) = next else { break };
        let (fault, names) = (record.fault.take(), std::mem::take(&mut first));
        let to = record.from.saturating_add(record.length as usize);
        let line = held.get(record.from..to).unwrap_or_default();
        let (before, count) = (
            lines.len(),
            if header.is_some() {
                csv::lines(line)
            } else {
                1
            },
        );
        let mut give = |rule, what| {
            lines.push(Line {
                offset: record.offset,
                length: record.length,
                from: record.from,
                newline: record.newline,
                open: record.open,
                lines: count,
                more: lines.len() > before,
                rule,
                what,
            });
        };
        match (fault, &header) {
            (Some(bad), _) => give(UNMAPPED, What::Bad(bad)),
            (None, None) if read => {
                let text = chunk.get(record.from..to).unwrap_or_default();
                let row = if text.len() > MAX_LINE {
                    Err(too_long())
                } else {
                    parser.row(text, &mut fields, arena.again())
                };
                if row.is_err() {
                    arena.back_to(start);
                }
                give(UNMAPPED, row.map_or_else(What::Bad, What::Row));
            }
            (None, Some(_)) if !record.whole => {
                give(UNMAPPED, What::Bad(Bad::new(Reason::Torn, "", UNENDED)));
            }
            (None, Some(_)) if names => give(UNMAPPED, What::Header),
            (None, Some(header)) => {
                cells(parser, header, line, &mut object, arena, &mut give);
            }
            (None, None) => {
                let text = chunk.get(record.from..to);
                let text = text.or_else(|| from_utf8(line).ok());
                classify(
                    parser,
                    (line, text),
                    record.whole,
                    &mut fields,
                    arena,
                    &mut give,
                );
            }
        }
    }
    Parsed {
        lines,
        chunk,
        bytes,
        more,
        header,
        addresses: std::mem::take(&mut parser.addresses),
    }
}

/// A line by its text offset and where its bytes are; only the last one may lack its newline.
fn between(offset: u64, from: usize, to: usize, newline: bool) -> Record {
    Record {
        offset,
        length: (to - from) as u64,
        from,
        newline,
        whole: newline,
        open: !newline,
        fault: None,
    }
}

/// A line that is too long to be held.
fn skipped(offset: u64, length: u64, newline: bool) -> Batch {
    let record = Record {
        length,
        fault: Some(too_long()),
        ..between(offset, 0, 0, newline)
    };
    Batch {
        bytes: Vec::new(),
        records: vec![record],
    }
}

/// A record of a CSV file as the object that it stands for.
fn cells(
    parser: &mut Parser,
    header: &Header,
    record: &[u8],
    object: &mut Vec<u8>,
    arena: Arena<'_>,
    give: &mut impl FnMut(u16, What),
) {
    if memchr::memchr(0, record).is_some() {
        return give(UNMAPPED, What::Bad(Bad::new(Reason::Nul, "", "a NUL byte")));
    }
    match header.object(record, object) {
        Err(bad) => give(UNMAPPED, What::Bad(bad)),
        Ok(false) => give(UNMAPPED, What::Blank),
        Ok(true) => {
            let text = from_utf8(object).ok();
            classify(
                parser,
                (object, text),
                true,
                &mut Fields::default(),
                arena,
                give,
            );
        }
    }
}

/// What a record that should be a JSON object is; it comes with its text, if it is UTF-8.
#[inline]
fn classify<'l>(
    parser: &mut Parser,
    (line, text): (&[u8], Option<&'l str>),
    whole: bool,
    fields: &mut Fields<'l>,
    mut arena: Arena<'_>,
    give: &mut impl FnMut(u16, What),
) {
    if is_blank(line) {
        return give(UNMAPPED, What::Blank);
    }
    let parsed = if line.len() > MAX_LINE {
        Err(too_long())
    } else if let Some(text) = text {
        parser.records(text, fields, &mut arena, &mut |rule, row| {
            give(
                rule,
                row.map_or_else(What::Bad, |row| row.map_or(What::Skipped, What::Row)),
            );
        })
    } else {
        Err(Bad::new(Reason::Utf8, "", "not UTF-8"))
    };
    let Err(mut bad) = parsed else { return };
    if line.len() <= MAX_LINE && memchr::memchr(0, line).is_some() {
        bad = Bad::new(Reason::Nul, "", "a NUL byte");
    }
    let torn = !whole && !text.is_some_and(is_whole_object);
    let torn = torn.then(|| {
        let message = "the last line ends without a newline and is not complete";
        Bad::new(Reason::Torn, "", message)
    });
    give(UNMAPPED, What::Bad(torn.unwrap_or(bad)));
}

fn too_long() -> Bad {
    Bad::new(
        Reason::TooLong,
        "",
        format!("longer than {} MiB", MAX_LINE >> 20),
    )
}

#[cfg(test)]
mod tests;
