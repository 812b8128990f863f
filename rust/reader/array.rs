//! JSON arrays: each element a record, wherever its lines break.
//!
//! Strings and brackets say where an element ends; whether it is JSON at all, the parser says. An element that breaks
//! their grammar (a newline in a string, brackets that do not match, a bracket where a key must be) also ends where a
//! line begins with `{` in the column in which it began itself, or where `{` stands in the place of its own next key.
//! Outside of an array a line is a record.

use memchr::{memchr, memchr3};

use super::brackets::Brackets;
use super::records::{Edge, Split, Stop};

/// Where the splitter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Before the first array, or behind one.
    Outside,
    /// On a line outside.
    Line,
    /// Behind `[`.
    Opened,
    /// Behind a comma.
    Comma,
    /// Behind an element.
    Value,
    /// In an element.
    Element,
}

/// Finds the elements of arrays.
#[derive(Debug)]
pub struct Array {
    mode: Mode,
    /// Text offset of the line's first byte.
    line: u64,
    /// White space is all there was on this line.
    fresh: bool,
    element: Element,
}

/// The element under way.
#[derive(Debug, Default)]
struct Element {
    /// Bytes between the beginning of its line and its own.
    column: u64,
    open: Brackets,
    string: bool,
    escaped: bool,
    broken: bool,
    /// The last byte that is no white space, and one past its text offset.
    last: (u8, u64),
}

impl Array {
    /// A splitter; `inside` when the text begins right behind an element.
    pub fn new(inside: bool) -> Self {
        Self {
            mode: if inside { Mode::Value } else { Mode::Outside },
            line: 0,
            fresh: true,
            element: Element::default(),
        }
    }

    /// A byte outside of elements, which is passed over unless it makes an edge.
    fn between(&mut self, byte: u8, offset: u64) -> Option<Edge> {
        let mode = self.mode;
        self.fresh &= is_space(byte);
        match (mode, byte) {
            (_, b'\n') => {
                self.line = offset + 1;
                self.fresh = true;
            }
            (_, b' ' | b'\t' | b'\r') => {}
            (Mode::Outside, b'[') => self.mode = Mode::Opened,
            (Mode::Value, b',') => self.mode = Mode::Comma,
            (Mode::Value | Mode::Opened, b']') => self.mode = Mode::Outside,
            (Mode::Comma, b',' | b']') | (Mode::Opened, b',') => {
                self.mode = Mode::Value;
                return Some(Edge::Fault(offset, "an element is missing"));
            }
            (Mode::Value, _) => {
                self.mode = Mode::Comma;
                return Some(Edge::Fault(offset, "a comma is missing"));
            }
            _ => {
                self.mode = if mode == Mode::Outside {
                    Mode::Line
                } else {
                    Mode::Element
                };
                self.element = Element {
                    column: offset.saturating_sub(self.line),
                    ..Element::default()
                };
                return Some(Edge::Begin(offset));
            }
        }
        None
    }

    /// Ends the element behind its last byte; `mode` says what is expected next.
    fn end(&mut self, mode: Mode) -> Option<Edge> {
        self.mode = mode;
        Some(Edge::End {
            at: self.element.last.1,
            newline: false,
        })
    }

    /// Whether a new element begins with this byte although the one under way has not ended.
    fn restarts(&mut self, byte: u8, offset: u64) -> bool {
        if !self.fresh || is_space(byte) {
            return false;
        }
        self.fresh = false;
        byte == b'{' && self.element.broken && offset - self.line == self.element.column
    }

    /// A byte of an element outside of strings.
    fn structure(&mut self, byte: u8, offset: u64) -> Option<Edge> {
        let element = &mut self.element;
        let before = element.last.0;
        // Nothing but a comma or the array's end may follow a value.
        element.broken |=
            element.open.depth == 0 && before != 0 && matches!(byte, b'{' | b'[' | b'"');
        match byte {
            b',' if element.open.depth == 0 => return self.end(Mode::Value),
            b']' if element.open.depth == 0 => return self.end(Mode::Value),
            b'{' if element.open.depth == 0 && matches!(before, b'}' | b']') => {
                return self.end(Mode::Value);
            }
            b'{' | b'[' => {
                if element.open.in_object() && before != b':' {
                    element.broken = true;
                    if byte == b'{' && element.open.depth == 1 {
                        return self.end(Mode::Comma);
                    }
                }
                element.open.push(byte);
            }
            b'}' | b']' => element.broken |= !element.open.pop(byte),
            b'"' => element.string = true,
            _ => {}
        }
        if !is_space(byte) {
            element.last = (byte, offset + 1);
        }
        None
    }

    /// Moves on in a string.
    fn string(&mut self, bytes: &[u8], base: u64, at: &mut usize) {
        let element = &mut self.element;
        if !element.escaped && !self.fresh {
            let rest = bytes.get(*at..).unwrap_or_default();
            *at += memchr3(b'"', b'\\', b'\n', rest).unwrap_or(rest.len());
            element.last = (b'.', base + *at as u64);
        }
        let Some(byte) = bytes.get(*at) else {
            return;
        };
        let offset = base + *at as u64;
        match byte {
            b'\n' => {
                (element.broken, element.escaped) = (true, false);
                (self.line, self.fresh) = (offset + 1, true);
            }
            _ if element.escaped => element.escaped = false,
            b'\\' => element.escaped = true,
            b'"' => element.string = false,
            _ => {}
        }
        if !is_space(*byte) {
            element.last = (*byte, offset + 1);
        }
        *at += 1;
    }
}

impl Split for Array {
    fn edge(&mut self, bytes: &[u8], base: u64, at: &mut usize) -> Option<Edge> {
        while let Some(byte) = bytes.get(*at).copied() {
            let offset = base + *at as u64;
            match self.mode {
                Mode::Element => {
                    if self.restarts(byte, offset) {
                        return self.end(Mode::Comma);
                    }
                    if self.element.string {
                        self.string(bytes, base, at);
                        continue;
                    }
                    if byte == b'\n' {
                        (self.line, self.fresh) = (offset + 1, true);
                    }
                    let edge = self.structure(byte, offset);
                    if edge.is_some() {
                        return edge;
                    }
                    *at += 1;
                }
                Mode::Line => {
                    let rest = bytes.get(*at..).unwrap_or_default();
                    let Some(length) = memchr(b'\n', rest) else {
                        *at = bytes.len();
                        return None;
                    };
                    *at += length + 1;
                    self.mode = Mode::Outside;
                    (self.line, self.fresh) = (base + *at as u64, true);
                    return Some(Edge::End {
                        at: self.line - 1,
                        newline: true,
                    });
                }
                _ => match self.between(byte, offset) {
                    None => *at += 1,
                    edge => return edge,
                },
            }
        }
        None
    }

    fn give_up(&mut self, _: &[u8], _: bool) -> Option<u64> {
        None
    }

    fn stop(&self) -> Stop {
        let element = &self.element;
        let closed = element.open.depth == 0 && matches!(element.last.0, b'}' | b']');
        let whole = self.mode == Mode::Element && (closed || element.broken);
        let torn = match self.mode {
            Mode::Outside | Mode::Line => false,
            Mode::Element => closed && !element.broken,
            _ => true,
        };
        Stop {
            whole,
            missing: torn.then_some("the array ends without its closing bracket"),
        }
    }

    fn inside(&self) -> bool {
        !matches!(self.mode, Mode::Outside | Mode::Line)
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::records::Records;
    use super::*;

    /// Texts of the records, faults in angle brackets, with the bytes checked to lie at their offsets.
    fn cut(text: &str, chunk: usize, limit: usize) -> Vec<String> {
        let mut records = Records::sized(text.as_bytes(), 0, Array::new(false), chunk, limit);
        let mut found = Vec::new();
        while let Some(batch) = records.next_batch().unwrap() {
            for record in batch.records {
                let (from, length) = (record.offset as usize, record.length as usize);
                let there = text.get(from..from + length).unwrap();
                match record.fault {
                    Some(bad) => found.push(format!("<{} {}>", bad.reason.name(), bad.message)),
                    None => {
                        let held = batch.bytes.get(record.from..record.from + length);
                        assert_eq!(held, Some(there.as_bytes()));
                        let torn = if record.whole { "" } else { "~" };
                        found.push(format!("{there}{torn}"));
                    }
                }
            }
        }
        assert_eq!(records.reached(), text.len() as u64);
        found
    }

    const MISSING: &str = "<torn the array ends without its closing bracket>";

    #[test]
    fn elements_end_where_strings_and_brackets_say() {
        let cases: &[(&str, &[&str])] = &[
            ("[]", &[]),
            (" [ \n ] \n", &[]),
            (
                "[{\"a\":[1,{\"b\":2}]} , 3,\n\"x,]\"]",
                &["{\"a\":[1,{\"b\":2}]}", "3", "\"x,]\""],
            ),
            (
                "[{\"a\":\"\\\"},{\\\\\"},{}]",
                &["{\"a\":\"\\\"},{\\\\\"}", "{}"],
            ),
            ("[{}]\n[{}][1]", &["{}", "{}", "1"]),
            ("[1]\n{\"b\":2}\nx", &["1", "{\"b\":2}", "x~"]),
            ("[1,,2]", &["1", "<json an element is missing>", "2"]),
            (
                "[,1,]",
                &[
                    "<json an element is missing>",
                    "1",
                    "<json an element is missing>",
                ],
            ),
            ("[{}{}]", &["{}", "<json a comma is missing>", "{}"]),
            ("[{} x,{}]", &["{} x", "{}"]),
            // A missing brace, a missing quote, brackets that do not match, a newline in a string.
            ("[{\"a\":1,{\"b\":2},{}]", &["{\"a\":1,", "{\"b\":2}", "{}"]),
            (
                "[\n{\"a\":1\n,\n{\"b\":{}},\n{}\n]",
                &["{\"a\":1\n,", "{\"b\":{}}", "{}"],
            ),
            (
                "[\n{\"a\":\"x},\n{\"b\":\"y\"},\n{}\n]",
                &["{\"a\":\"x},", "{\"b\":\"y\"}", "{}"],
            ),
            ("[{\"a\":[1},{\"b\":2}]", &["{\"a\":[1}", "{\"b\":2}"]),
            ("[{\"a\":\"x\n y\"},{}]", &["{\"a\":\"x\n y\"}", "{}"]),
            ("[}, {}]", &["}", "{}"]),
            ("[\n{}[\n{},\n1\"\n,{}]", &["{}[", "{}", "1\"\n,{}]"]),
            // Torn at the end.
            ("[", &[MISSING]),
            ("[{}", &["{}", MISSING]),
            ("[{},", &["{}", MISSING]),
            ("[{},{\"a\":\"]", &["{}", "{\"a\":\"]~"]),
            ("[{},{\"a\":1]", &["{}", "{\"a\":1]"]),
        ];
        for (text, expected) in cases {
            for chunk in 3..40 {
                assert_eq!(cut(text, chunk, 1 << 20), *expected, "{text} by {chunk}");
            }
        }
    }

    #[test]
    fn an_element_over_the_limit_is_passed_over_and_its_neighbours_are_kept() {
        let long = format!(
            "[{{\"a\":1}},{{\"b\":\"{}\"}},{{\"c\":3}}]",
            "x,]}".repeat(100)
        );
        for chunk in 3..80 {
            let expected = ["{\"a\":1}", "<too_long longer than 16 MiB>", "{\"c\":3}"];
            assert_eq!(cut(&long, chunk, 64), expected);
        }
    }

    #[test]
    fn every_array_of_values_is_cut_as_serde_json_reads_it() {
        let mut random = crate::dice::dice(0x2545_F491_4F6C_DD1D);
        let parts = [
            "{\"k\":",
            "[",
            "\"a\\\"]\"",
            "1",
            "null",
            "{}",
            "[]",
            " ",
            "\n",
            "\"{,\\\\\"",
        ];
        let mut read = 0;
        for _ in 0..20_000 {
            let mut text = "[".to_owned();
            let mut open = Vec::new();
            for _ in 0..random(12) {
                let part = *parts.get(random(parts.len())).unwrap();
                text.push_str(part);
                match part {
                    "[" => open.push("]"),
                    "{\"k\":" => open.push("}"),
                    " " | "\n" => {}
                    _ => {
                        while random(2) == 0
                            && let Some(close) = open.pop()
                        {
                            text.push_str(close);
                        }
                        text.push(',');
                    }
                }
            }
            let mut text = text.trim_end_matches([' ', '\n', ',']).to_owned();
            text.extend(open.into_iter().rev());
            text.push(']');
            let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(&text) else {
                continue;
            };
            read += 1;
            let found = cut(&text, 3 + random(9), 1 << 20);
            let found: Vec<serde_json::Value> = found
                .iter()
                .map(|text| serde_json::from_str(text).unwrap())
                .collect();
            assert_eq!(found, values, "{text}");
        }
        assert!(read > 2000, "{read} arrays were valid");
    }
}
