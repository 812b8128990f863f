//! A piece of input to parsed lines.

use simdutf8::basic::from_utf8;

use super::json::is_whole_object;
use super::line::{Parser, Row};
use super::lines::{MAX_LINE, Piece};
use crate::event::{Bad, Reason};

/// What a line turned out to be.
#[derive(Debug)]
pub enum What {
    /// A row.
    Row(Row),
    /// White space.
    Blank,
    /// Refused.
    Bad(Bad),
}

/// A line with its place.
#[derive(Debug)]
pub struct Line {
    /// Text offset of its first byte.
    pub offset: u64,
    /// Length without the newline.
    pub length: u64,
    /// Its content.
    pub what: What,
}

/// The lines of one piece.
#[derive(Debug, Default)]
pub struct Parsed {
    /// In order.
    pub lines: Vec<Line>,
    /// Where the rows' text lies.
    pub arena: String,
    /// The bytes of the piece, for `--keep-raw`.
    pub bytes: Vec<u8>,
    /// Whether the last line ended with a newline.
    pub terminated: bool,
}

/// Parses a piece of the namespace `source`.
pub fn parse(parser: &mut Parser, source: &str, piece: Piece) -> Parsed {
    let (offset, bytes, terminated) = match piece {
        Piece::Lines {
            offset,
            bytes,
            terminated,
        } => (offset, bytes, terminated),
        Piece::TooLong {
            offset,
            length,
            terminated,
        } => {
            let what = What::Bad(too_long());
            return Parsed {
                lines: vec![Line {
                    offset,
                    length,
                    what,
                }],
                terminated,
                ..Parsed::default()
            };
        }
    };
    let mut arena = String::with_capacity(bytes.len() + source.len());
    arena.push_str(source);
    let valid = from_utf8(&bytes).ok();
    let mut lines = Vec::new();
    let mut from = 0;
    let ends = memchr::memchr_iter(b'\n', &bytes).map(|at| (at, true));
    for (to, whole) in ends.chain((!terminated).then_some((bytes.len(), false))) {
        let line = bytes.get(from..to).unwrap_or_default();
        let text = match valid {
            Some(text) => text.get(from..to),
            None => from_utf8(line).ok(),
        };
        let what = classify(parser, line, text, whole, &mut arena);
        lines.push(Line {
            offset: offset + from as u64,
            length: line.len() as u64,
            what,
        });
        from = to + 1;
    }
    Parsed {
        lines,
        arena,
        bytes,
        terminated,
    }
}

fn classify(
    parser: &mut Parser,
    line: &[u8],
    text: Option<&str>,
    whole: bool,
    arena: &mut String,
) -> What {
    if line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
        return What::Blank;
    }
    let parsed = if line.len() > MAX_LINE {
        Err(too_long())
    } else if memchr::memchr(0, line).is_some() {
        Err(Bad::new(Reason::Nul, "", "a NUL byte"))
    } else if let Some(text) = text {
        parser.parse(text, arena)
    } else {
        Err(Bad::new(Reason::Utf8, "", "not UTF-8"))
    };
    match parsed {
        Ok(row) => What::Row(row),
        Err(_) if !whole && !text.is_some_and(is_whole_object) => What::Bad(Bad::new(
            Reason::Torn,
            "",
            "the last line ends without a newline and is not complete",
        )),
        Err(bad) => What::Bad(bad),
    }
}

fn too_long() -> Bad {
    Bad::new(
        Reason::TooLong,
        "",
        format!("longer than {} MiB", MAX_LINE >> 20),
    )
}
