//! A piece of input to parsed lines.

use simdutf8::basic::from_utf8;

use super::json::is_whole_object;
use super::line::{Parser, Row};
use super::lines::{MAX_LINE, Piece};
use crate::event::{Bad, Reason};
use crate::mapping::UNMAPPED;

/// What a record turned out to be; a canonical line is one record.
#[derive(Debug)]
pub enum What {
    /// A row.
    Row(Row),
    /// White space.
    Blank,
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
    /// Whether the line gave a record before this one.
    pub more: bool,
    /// Number of the rule of the mapping.
    pub rule: u16,
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
            return Parsed {
                lines: vec![Line {
                    offset,
                    length,
                    more: false,
                    rule: UNMAPPED,
                    what: What::Bad(too_long()),
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
        let first = lines.len();
        classify(parser, line, text, whole, &mut arena, &mut |rule, what| {
            lines.push(Line {
                offset: offset + from as u64,
                length: line.len() as u64,
                more: lines.len() > first,
                rule,
                what,
            });
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
    give: &mut impl FnMut(u16, What),
) {
    if line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
        return give(UNMAPPED, What::Blank);
    }
    let parsed = if line.len() > MAX_LINE {
        Err(too_long())
    } else if memchr::memchr(0, line).is_some() {
        Err(Bad::new(Reason::Nul, "", "a NUL byte"))
    } else if let Some(text) = text {
        match parser.mapping() {
            None => parser
                .parse(text, arena)
                .map(|row| give(UNMAPPED, What::Row(row))),
            Some(mapping) => parser.records(&mapping, text, arena, &mut |rule, row| {
                give(
                    rule,
                    row.map_or_else(What::Bad, |row| row.map_or(What::Skipped, What::Row)),
                );
            }),
        }
    } else {
        Err(Bad::new(Reason::Utf8, "", "not UTF-8"))
    };
    let Err(bad) = parsed else { return };
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::key::Secret;

    const SEEDS: [&str; 5] = [
        r#"{"type":"impression","id":"r1","shown_at":"2026-05-04T10:11:12.5+02:00","prompt":"p\u00e9\n","response":"r","slot":1,"policy_prob":2.5e-1,"offered":["thumbs","copy"],"x":{"a":[1,-2.5e3,null,true,"\ud83d\ude00"]}}"#,
        r#"{"type":"impression","id":7,"shown_at":"2026-05-04T10:11:12Z","messages":[{"role":"user","content":"hi"}],"response":"","parent":"r1","user":"u","session":9}"#,
        r#"{"type":"feedback","id":"f","response":"r1","kind":"thumbs","value":"up","at":"2026-05-04T10:11:13Z","version":3,"op":"upsert","actor":"user"}"#,
        r#"{"type":"feedback","id":"g","session":"s","kind":"rating","value":4.5,"at":"2026-05-04T10:11:13Z","comment":"fine"}"#,
        r#"{"type":"choice","id":"c","request":"q","winner":"tie","at":"2026-05-04T10:11:13Z"}"#,
    ];

    fn accepted(bytes: &[u8]) -> Vec<bool> {
        let mut parser = Parser::new(Secret::new(&[7; 32]).unwrap(), "s");
        let piece = Piece::Lines {
            offset: 0,
            bytes: bytes.to_vec(),
            terminated: true,
        };
        let lines = parse(&mut parser, "s", piece).lines;
        lines
            .iter()
            .map(|line| matches!(line.what, What::Row(_)))
            .collect()
    }

    #[test]
    fn mutated_lines_neither_panic_nor_pass_as_json_when_they_are_not() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize % below
        };
        let spice: &[&[u8]] = &[
            b"\"",
            b"\\",
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b"\\u",
            b"\\ud800",
            b"0",
            b"-",
            b"e9",
            b".",
            b"\xff",
            b"\0",
            b"null",
            b"NaN",
            b" ",
            b"\t",
            b"1e999",
            b"\xe2\x80",
            b"\"id\":1,",
        ];
        let mut passed = 0;
        for round in 0..20_000 {
            let mut line = SEEDS.get(round % SEEDS.len()).unwrap().as_bytes().to_vec();
            for _ in 0..=random(3) {
                let at = random(line.len());
                match random(4) {
                    0 if line.len() > 1 => drop(line.remove(at)),
                    1 => drop(line.splice(
                        at..at,
                        spice.get(random(spice.len())).unwrap().iter().copied(),
                    )),
                    2 => line.truncate(at + 1),
                    _ => *line.get_mut(at).unwrap() ^= 1 << random(8),
                }
            }
            line.retain(|byte| *byte != b'\n');
            let neighbour = SEEDS.first().unwrap().as_bytes();
            let text = [neighbour, line.as_slice(), neighbour, b""].join(&b'\n');
            let found = accepted(&text);
            assert_eq!(found.len(), 3, "{line:?}");
            assert_eq!(
                (found.first(), found.last()),
                (Some(&true), Some(&true)),
                "{line:?}"
            );
            if found.get(1) == Some(&true) {
                passed += 1;
                assert!(
                    serde_json::from_slice::<serde_json::Value>(&line).is_ok(),
                    "{line:?}"
                );
            }
        }
        assert!(
            (500..19_000).contains(&passed),
            "{passed} of 20000 mutants are still good rows"
        );
    }
}
