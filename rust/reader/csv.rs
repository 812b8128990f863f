//! CSV and TSV as RFC 4180 has them: a header, quoted fields in which newlines and doubled quotes may stand.
//!
//! A quote that is not the first byte of its field is text. A record over several lines that is wrong (a closing quote
//! in the middle of a field, another number of fields than the header, or the end of the text before a closing quote
//! where the next line has the header's number of fields) is given up at its first line end, so that an open quote
//! costs one line. Without a line end a record may be cut anywhere, so the last one needs it.

use memchr::{memchr_iter, memchr2};

use super::object::{Object, Style};
use super::records::{Edge, Split, Stop, is_blank};
use crate::event::{Bad, Reason};

/// Where the splitter stands in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// At the first byte of a field.
    Start,
    /// In a field without quotes.
    Plain,
    /// Between quotes.
    Quoted,
    /// Behind a quote that closes the field or is the first of two.
    Quote,
    /// Behind a closing quote and a carriage return.
    Return,
    /// In a record that is wrong, up to its line end.
    Wrong,
}

/// Finds records.
#[derive(Debug)]
pub struct Csv {
    comma: u8,
    /// Fields that the header has, 0 when unknown.
    width: usize,
    /// The text is known to be complete.
    sealed: bool,
    /// Where the record under way began.
    begun: Option<u64>,
    at: At,
    fields: usize,
    /// The end of its first line, if it goes on behind it.
    line_end: Option<u64>,
}

impl Csv {
    /// A splitter of records with `width` fields (0: any) apart by `comma`.
    pub fn new(comma: u8, width: usize, sealed: bool) -> Self {
        Self {
            comma,
            width,
            sealed,
            begun: None,
            at: At::Start,
            fields: 1,
            line_end: None,
        }
    }

    fn end(&mut self, at: u64) -> Option<Edge> {
        *self = Self::new(self.comma, self.width, self.sealed);
        Some(Edge::End { at, newline: true })
    }

    /// Whether the line behind the first one, that ends at `end`, looks like a record of its own.
    fn goes_on(&self, held: &[u8], end: u64) -> bool {
        let behind = (end + 1).saturating_sub(self.begun.unwrap_or_default());
        let rest = held.get(behind as usize..).unwrap_or_default();
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let mut found = 0;
        fields(line, self.comma, |_| found += 1).is_ok() && found == self.width
    }
}

impl Split for Csv {
    fn edge(&mut self, bytes: &[u8], base: u64, at: &mut usize) -> Option<Edge> {
        while let Some(mut byte) = bytes.get(*at).copied() {
            if self.begun.is_none() {
                self.begun = Some(base + *at as u64);
                return self.begun.map(Edge::Begin);
            }
            let stops = match self.at {
                At::Plain | At::Wrong => Some(self.comma),
                At::Quoted => Some(b'"'),
                At::Start | At::Quote | At::Return => None,
            };
            if let Some(stop) = stops {
                let rest = bytes.get(*at..).unwrap_or_default();
                *at += memchr2(stop, b'\n', rest).unwrap_or(rest.len());
                byte = bytes.get(*at).copied()?;
            }
            let offset = base + *at as u64;
            *at += 1;
            self.at = match (self.at, byte) {
                (At::Quoted, b'\n') => {
                    self.line_end.get_or_insert(offset);
                    At::Quoted
                }
                (At::Quoted, b'"') => At::Quote,
                (At::Quoted, _) => At::Quoted,
                (_, b'\n') => {
                    let early = self
                        .line_end
                        .filter(|_| self.width > 0 && self.fields != self.width);
                    if let Some(end) = early {
                        *at = (end + 1 - base) as usize;
                    }
                    return self.end(early.unwrap_or(offset));
                }
                (At::Wrong, _) => At::Wrong,
                (At::Start | At::Plain | At::Quote, byte) if byte == self.comma => {
                    self.fields += 1;
                    At::Start
                }
                (At::Start, b'"') | (At::Quote, b'"') => At::Quoted,
                (At::Quote, b'\r') => At::Return,
                (At::Start | At::Plain, _) => At::Plain,
                (At::Quote | At::Return, _) => {
                    if let Some(end) = self.line_end {
                        *at = (end + 1 - base) as usize;
                        return self.end(end);
                    }
                    At::Wrong
                }
            };
        }
        None
    }

    fn give_up(&mut self, held: &[u8], ended: bool) -> Option<u64> {
        let end = self
            .line_end
            .filter(|end| !ended || self.goes_on(held, *end));
        if end.is_some() {
            *self = Self::new(self.comma, self.width, self.sealed);
        } else if !ended {
            self.at = At::Wrong;
        }
        end
    }

    fn stop(&self) -> Stop {
        Stop {
            whole: self.sealed,
            missing: None,
        }
    }

    fn inside(&self) -> bool {
        self.begun.is_some()
    }
}

/// The columns of a file, by its first record.
#[derive(Debug, Default)]
pub struct Header {
    comma: u8,
    /// A mapping says what they mean.
    mapped: bool,
    columns: Vec<(String, Style)>,
}

impl Header {
    /// The columns that `record` names, or why it is no header; what they must be, a mapping says if there is one.
    pub fn parse(record: &[u8], comma: u8, mapped: bool) -> Result<Self, String> {
        let text = std::str::from_utf8(record).map_err(|_| "it is not UTF-8".to_owned())?;
        let mut names = Vec::new();
        fields(text.as_bytes(), comma, |cell| {
            names.push(String::from_utf8_lossy(cell).into_owned());
        })
        .map_err(|bad| bad.message)?;
        let nameless = names.iter().position(String::is_empty);
        if let Some(place) = nameless.filter(|_| !mapped) {
            return Err(format!("column {} has no name", place + 1));
        }
        let mut sorted = names.clone();
        sorted.sort_unstable();
        if let Some((name, _)) = sorted
            .iter()
            .zip(sorted.iter().skip(1))
            .find(|(one, next)| one == next)
        {
            return Err(format!("two columns are named {name:?}"));
        }
        if !mapped && !names.iter().any(|name| name == "type") {
            let found = names.join(", ");
            return Err(format!("no column is named `type`; found {found:.200}"));
        }
        let styled = |name: String| {
            let style = Style::of(&name, mapped);
            (name, style)
        };
        Ok(Self {
            comma,
            mapped,
            columns: names.into_iter().map(styled).collect(),
        })
    }

    /// How many columns there are.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Makes `out` the JSON object of `record`; false when all cells are empty.
    ///
    /// Empty ones are left out, and stay empty text where a mapping says what that means.
    pub fn object(&self, record: &[u8], out: &mut Vec<u8>) -> Result<bool, Bad> {
        out.clear();
        if is_blank(record) {
            return Ok(false);
        }
        let (mut columns, mut found, mut filled) = (self.columns.iter(), 0, false);
        let mut object = Object::new(out);
        fields(record, self.comma, |cell| {
            found += 1;
            filled |= !cell.is_empty();
            let kept = self.mapped || !cell.is_empty();
            if let Some((name, style)) = columns.next().filter(|_| kept) {
                object.key(name.as_bytes());
                style.cell(object.out, cell);
            }
        })?;
        if found != self.width() {
            let message = format!("{found} fields, the header has {}", self.width());
            return Err(Bad::new(Reason::Json, "", message));
        }
        object.close();
        Ok(filled)
    }
}

/// Lines of text that a record takes.
pub fn lines(record: &[u8]) -> u64 {
    1 + memchr_iter(b'\n', record).count() as u64
}

/// Hands every field of a record to `each`, without its quotes.
fn fields(record: &[u8], comma: u8, mut each: impl FnMut(&[u8])) -> Result<(), Bad> {
    let wrong = |what| Err(Bad::new(Reason::Json, "", what));
    let mut rest = record.strip_suffix(b"\r").unwrap_or(record);
    let mut unquoted = Vec::new();
    loop {
        if let Some(inner) = rest.strip_prefix(b"\"") {
            let Some(length) = quoted(inner, &mut unquoted) else {
                return wrong("a quote is not closed");
            };
            each(&unquoted);
            rest = inner.get(length..).unwrap_or_default();
            if !rest.is_empty() && rest.first() != Some(&comma) {
                return wrong("a field goes on behind its closing quote");
            }
        } else {
            let length = memchr::memchr(comma, rest).unwrap_or(rest.len());
            let (field, behind) = rest.split_at_checked(length).unwrap_or_default();
            each(field);
            rest = behind;
        }
        match rest.split_first() {
            Some((_, behind)) => rest = behind,
            None => return Ok(()),
        }
    }
}

/// Unquotes up to the closing quote; returns the place behind it.
fn quoted(inner: &[u8], unquoted: &mut Vec<u8>) -> Option<usize> {
    unquoted.clear();
    let mut from = 0;
    loop {
        let rest = inner.get(from..)?;
        let quote = memchr::memchr(b'"', rest)?;
        unquoted.extend(rest.get(..quote)?);
        from += quote + 1;
        if inner.get(from) != Some(&b'"') {
            return Some(from);
        }
        unquoted.push(b'"');
        from += 1;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::records::Records;
    use super::*;

    fn cut(text: &str, width: usize, chunk: usize, limit: usize) -> Vec<String> {
        let mut records = Records::sized(
            text.as_bytes(),
            0,
            Csv::new(b',', width, false),
            chunk,
            limit,
        );
        let mut found = Vec::new();
        while let Some(batch) = records.next_batch().unwrap() {
            for record in batch.records {
                let (from, length) = (record.offset as usize, record.length as usize);
                let torn = if record.whole { "" } else { "~" };
                let fault = if record.fault.is_some() { "!" } else { "" };
                found.push(format!(
                    "{}{torn}{fault}",
                    text.get(from..from + length).unwrap()
                ));
            }
        }
        assert_eq!(records.reached(), text.len() as u64);
        found
    }

    #[test]
    fn records_end_at_newlines_outside_of_quotes() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("a,b\nc,d\r\n\n", &["a,b", "c,d\r", ""]),
            (
                "\"a\nb\",\"c\"\"\n,\"\nd,e\n",
                &["\"a\nb\",\"c\"\"\n,\"", "d,e"],
            ),
            ("a\"b,c\"\nd,e\n", &["a\"b,c\"", "d,e"]),
            ("a,b\nc,", &["a,b", "c,~"]),
            ("a,\"b\nc", &["a,\"b\nc~"]),
            // An open quote costs its line.
            (
                "\"a,b\nc,d\ne,\"f\"\ng,h\n",
                &["\"a,b", "c,d", "e,\"f\"", "g,h"],
            ),
            (
                "\"a,b\nc\",\"d\",\"e\"\nf,g\n",
                &["\"a,b", "c\",\"d\",\"e\"", "f,g"],
            ),
            ("\"a,b\nc,d\ne,f\n", &["\"a,b", "c,d", "e,f"]),
            ("a,\"b\nc\nd", &["a,\"b\nc\nd~"]),
            ("\"a\"b,c\nd,e\n", &["\"a\"b,c", "d,e"]),
        ];
        for (text, expected) in cases {
            for chunk in 3..40 {
                assert_eq!(
                    cut(text, 2, chunk, 1 << 20),
                    *expected,
                    "{text:?} by {chunk}"
                );
            }
        }
    }

    #[test]
    fn a_record_over_the_limit_costs_a_line() {
        let long = "x".repeat(200);
        let text = format!("a,b\n{long},c\nd,e\n\"f,g\n{},h\ni,j\n", "k\n".repeat(90));
        for chunk in 3..60 {
            let found = cut(&text, 2, chunk, 64);
            assert_eq!(found.first().unwrap(), "a,b");
            assert_eq!(found.get(1).unwrap(), &format!("{long},c!"));
            assert_eq!(found.get(2).unwrap(), "d,e");
            assert_eq!(found.get(3).unwrap(), "\"f,g");
            assert_eq!(found.get(4).unwrap(), "k");
            assert_eq!(found.last().unwrap(), "i,j");
            assert_eq!(found.len(), 4 + 90 + 2);
        }
    }

    #[test]
    fn cells_become_fields() {
        let header = Header::parse(b"type,id,slot,\"odd \"\"name\"\"\"\r", b',', false).unwrap();
        let mut out = Vec::new();
        assert_eq!(
            header.object(b"choice,\"a,\"\"b\",,1\r", &mut out),
            Ok(true)
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"type":"choice","id":"a,\"b","odd \"name\"":"1"}"#
        );
        for (record, expected) in [
            ("a,b,c", "3 fields, the header has 4"),
            ("a,b,c,d,e", "5 fields, the header has 4"),
            ("a,b,\"c\"x,d", "a field goes on behind its closing quote"),
            ("a,b,c,\"d", "a quote is not closed"),
        ] {
            let bad = header
                .object(record.as_bytes(), &mut Vec::new())
                .unwrap_err();
            assert_eq!((bad.reason, bad.message.as_str()), (Reason::Json, expected));
        }
        assert_eq!(header.object(b",,,", &mut Vec::new()), Ok(false));
        for (names, expected) in [
            ("id,at", "no column is named `type`; found id, at"),
            ("type,id,id", "two columns are named \"id\""),
            ("type,,id", "column 2 has no name"),
        ] {
            let refused = Header::parse(names.as_bytes(), b',', false);
            assert_eq!(refused.unwrap_err(), expected);
        }
    }
}
