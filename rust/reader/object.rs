//! Cells and values written as one JSON object, the line that the parser reads.

use std::io::Write as _;

use serde::de::IgnoredAny;

/// How the text of a column reads, by the column's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Text as it is.
    Text,
    /// A number, where a whole one may be written with zeros behind the point.
    Number,
    /// A number, true or false in any case, or text.
    Value,
    /// A list of kinds, as JSON or separated by semicolons.
    Kinds,
    /// JSON, else text.
    Json,
}

impl Style {
    /// That of the column `name`; text if names are `free`, since a mapping says what they mean.
    pub fn of(name: &str, free: bool) -> Self {
        match name {
            _ if free => Self::Text,
            "turn" | "slot" | "n_slots" | "version" | "policy_prob" => Self::Number,
            "value" => Self::Value,
            "offered" => Self::Kinds,
            "messages" | "meta" => Self::Json,
            _ => Self::Text,
        }
    }

    /// Writes a cell's text as a JSON value.
    pub fn cell(self, out: &mut Vec<u8>, cell: &[u8]) {
        match self {
            Self::Number if is_number(cell) => out.extend(whole(cell)),
            Self::Value if is_number(cell) => out.extend(cell),
            Self::Value if cell.eq_ignore_ascii_case(b"true") => out.extend(b"true"),
            Self::Value if cell.eq_ignore_ascii_case(b"false") => out.extend(b"false"),
            Self::Kinds | Self::Json if is_nested(cell) => out.extend(cell),
            Self::Kinds => {
                out.push(b'[');
                for (place, kind) in cell.split(|byte| *byte == b';').enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    text(out, kind);
                }
                out.push(b']');
            }
            _ => text(out, cell),
        }
    }
}

/// Whether a cell is one JSON number and nothing else.
fn is_number(cell: &[u8]) -> bool {
    cell.first()
        .is_some_and(|byte| *byte == b'-' || byte.is_ascii_digit())
        && cell.last().is_some_and(u8::is_ascii_digit)
        && serde_json::from_slice::<IgnoredAny>(cell).is_ok()
}

/// Whether a cell is one JSON array or object on one line.
fn is_nested(cell: &[u8]) -> bool {
    matches!(cell.first(), Some(b'[' | b'{')) && serde_json::from_slice::<IgnoredAny>(cell).is_ok()
}

/// A number without the zeros behind its point.
fn whole(cell: &[u8]) -> &[u8] {
    let zeros = cell.iter().rev().take_while(|byte| **byte == b'0').count();
    let (number, _) = cell
        .split_at_checked(cell.len() - zeros)
        .unwrap_or_default();
    number.strip_suffix(b".").unwrap_or(cell)
}

/// Writes text as a JSON string; bytes that are not UTF-8 go through as they are, for the parser to refuse.
pub fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend(bytes.get(from..at).unwrap_or_default());
        from = at + 1;
        match byte {
            b'"' => out.extend(b"\\\""),
            b'\\' => out.extend(b"\\\\"),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x08 => out.extend(b"\\b"),
            0x0c => out.extend(b"\\f"),
            _ => drop(write!(out, "\\u{byte:04x}")),
        }
    }
    out.extend(bytes.get(from..).unwrap_or_default());
    out.push(b'"');
}

/// An object being written.
pub struct Object<'a> {
    /// Where it is written.
    pub out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Opens one.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Writes a key; its value comes next.
    pub fn key(&mut self, name: &[u8]) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        text(self.out, name);
        self.out.push(b':');
    }

    /// Closes it; false when it has no key.
    pub fn close(self) -> bool {
        self.out.push(b'}');
        !self.empty
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn written(style: Style, cell: &str) -> String {
        let mut out = Vec::new();
        style.cell(&mut out, cell.as_bytes());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_read_back_as_it_was() {
        let all: String = (0..0x300).filter_map(char::from_u32).collect();
        for from in 0..all.chars().count() {
            let text: String = all.chars().skip(from).take(3).collect();
            assert_eq!(
                serde_json::from_str::<String>(&written(Style::Text, &text)).unwrap(),
                text
            );
        }
    }

    #[test]
    fn cells_read_by_the_name_of_their_column() {
        for (name, cell, expected) in [
            ("id", "007", "\"007\""),
            ("slot", "3", "3"),
            ("slot", "3.0", "3"),
            ("slot", "30", "30"),
            ("slot", "3.50", "3.50"),
            ("slot", "0.0", "0"),
            ("slot", " 3", "\" 3\""),
            ("slot", "1e400", "1e400"),
            ("slot", "03", "\"03\""),
            ("policy_prob", "0.250", "0.250"),
            ("value", "4.5", "4.5"),
            ("value", "True", "true"),
            ("value", "FALSE", "false"),
            ("value", "up", "\"up\""),
            ("value", "1,\"id\":2", "\"1,\\\"id\\\":2\""),
            ("offered", "thumbs;copy", "[\"thumbs\",\"copy\"]"),
            ("offered", "[]", "[]"),
            ("offered", "[\"copy\"]", "[\"copy\"]"),
            ("messages", "[{}],\"id\":[2]", "\"[{}],\\\"id\\\":[2]\""),
            ("meta", "{\"a\":1.50}", "{\"a\":1.50}"),
            ("meta", "{", "\"{\""),
            ("other", "{\"a\":1}", "\"{\\\"a\\\":1}\""),
        ] {
            assert_eq!(
                written(Style::of(name, false), cell),
                expected,
                "{name} {cell}"
            );
        }
    }
}
