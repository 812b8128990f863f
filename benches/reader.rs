//! Our reader alone, and what no reader can beat, for `bench_parse.py`. Prints one line of JSON.
//!
//! `newlines` counts them as the file is read, `unpack` decompresses and throws the text away, `columns` parses strictly
//! and builds Arrow batches of all fields as they are, nested values and unknown fields as JSON, which is what other
//! readers do; `batches` gives every row its types too, hashes ids, people and texts, looks for addresses, and builds
//! the batches of the store.
//!
//! ```text
//! cargo run --release --example reader -- newlines|unpack|columns|batches FILE [THREADS]
//! ```

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::ArrayRef;
use arrow_array::builder::{ArrayBuilder as _, Float64Builder, Int64Builder, StringBuilder};
use arrow_schema::ArrowError;
use flate2::bufread::MultiGzDecoder;
use unskew::error::Error as Fault;
use unskew::event::Bad;
use unskew::event::row::Texts;
use unskew::fan;
use unskew::key::Secret;
use unskew::reader::arena::Arena;
use unskew::reader::chunk::{self, What, Work};
use unskew::reader::input;
use unskew::reader::json::{self, Field, Value};
use unskew::reader::line::{Parser, Row};
use unskew::reader::lines::{self, Piece, Pieces};
use unskew::store::facts::{Events, Impressions, Lineage};

const READ: usize = 1 << 20;
/// A copy by `rep movsb` is three times as slow (AMD Zen 3) where its target lies 1 to 31 bytes behind its source
/// within a page. The source is a page of the cache, and large allocations begin 16 bytes behind a page.
const ASIDE: usize = 64;
const SOURCE: &str = "canonical";

/// Lines and bytes of the field `response`.
#[derive(Default)]
struct Found {
    rows: usize,
    text: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (mode, path, threads) = match arguments.as_slice() {
        [mode, path] => (mode.as_str(), Path::new(path), 1),
        [mode, path, threads] => (mode.as_str(), Path::new(path), threads.parse()?),
        _ => return Err("expected newlines|unpack|columns|batches FILE [THREADS]".into()),
    };
    let began = Instant::now();
    let found = match mode {
        "newlines" => newlines(File::open(path)?)?,
        "unpack" => unpack(path)?,
        "columns" => columns(path, threads)?,
        "batches" => batches(path, threads)?,
        _ => return Err(format!("{mode}: no such mode").into()),
    };
    let wall = began.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: f64 = peak
        .map_or("0", |peak| peak.trim_end_matches("kB").trim())
        .parse()?;
    let Found { rows, text } = found;
    let peak = peak * 1024.0 / 1e6;
    println!("{{\"wall\":{wall},\"peak\":{peak},\"rows\":{rows},\"text\":{text}}}");
    Ok(())
}

/// The floor: the kernel's copy and the library's search.
fn newlines(mut file: impl Read) -> Result<Found, Box<dyn Error>> {
    let (mut held, mut found) = (vec![0; ASIDE + READ], Found::default());
    let bytes = held.get_mut(ASIDE..).unwrap_or_default();
    loop {
        let read = file.read(bytes)?;
        let piece = bytes.get(..read).unwrap_or_default();
        if piece.is_empty() {
            return Ok(found);
        }
        found.rows += memchr::memchr_iter(b'\n', piece).count();
    }
}

/// Bytes of text, by the libraries that the reader uses and nothing else.
fn unpack(path: &Path) -> Result<Found, Box<dyn Error>> {
    let raw = BufReader::with_capacity(128 << 10, File::open(path)?);
    let mut text: Box<dyn Read> = if path.extension().is_some_and(|end| end == "gz") {
        Box::new(MultiGzDecoder::new(raw))
    } else {
        Box::new(zstd::Decoder::with_buffer(raw)?)
    };
    let (mut bytes, mut found) = (vec![0; READ], Found::default());
    loop {
        match text.read(&mut bytes)? {
            0 => return Ok(found),
            read => found.text += read,
        }
    }
}

/// Every field a column.
struct Fields {
    columns: Vec<(Field, Column)>,
    extra: StringBuilder,
    rows: usize,
    /// Fields of the row before.
    known: u32,
    /// Unknown fields of a row.
    unknown: String,
}

enum Column {
    Text(StringBuilder),
    Whole(Int64Builder),
    Number(Float64Builder),
}

impl Column {
    /// Nulls up to a row.
    fn pad(&mut self, rows: usize) {
        let known = match self {
            Self::Text(column) => column.len(),
            Self::Whole(column) => column.len(),
            Self::Number(column) => column.len(),
        };
        match self {
            _ if known == rows => {}
            Self::Text(column) => column.append_nulls(rows - known),
            Self::Whole(column) => column.append_nulls(rows - known),
            Self::Number(column) => column.append_nulls(rows - known),
        }
    }
}

impl Fields {
    fn new() -> Self {
        let column = |field: &Field| match field {
            Field::Turn | Field::Slot | Field::NSlots | Field::Version => {
                Column::Whole(Int64Builder::new())
            }
            Field::PolicyProb | Field::Value => Column::Number(Float64Builder::new()),
            _ => Column::Text(StringBuilder::new()),
        };
        Self {
            columns: Field::ALL
                .iter()
                .map(|field| (*field, column(field)))
                .collect(),
            extra: StringBuilder::new(),
            rows: 0,
            known: u32::MAX,
            unknown: String::new(),
        }
    }

    /// Adds a row; what a column cannot hold is null there.
    fn push(&mut self, fields: &json::Fields<'_>, texts: Texts<'_>) {
        let mut known = fields.known;
        let back = known & !std::mem::replace(&mut self.known, known);
        while let Some((field, column)) = self.columns.get_mut(known.trailing_zeros() as usize) {
            known &= known - 1;
            if back & field.mask() != 0 {
                column.pad(self.rows);
            }
            match (column, fields.get(*field)) {
                (Column::Text(column), Value::Text(span)) => column.append_value(texts.of(span)),
                (Column::Text(column), Value::Raw(raw)) => column.append_value(raw),
                (Column::Whole(column), Value::Int(value)) => column.append_value(value),
                (Column::Number(column), Value::Float(value)) => column.append_value(value),
                (Column::Number(column), Value::Int(value)) => column.append_value(value as f64),
                (Column::Number(column), Value::Bool(value)) => column.append_value(value.into()),
                _ => {}
            }
        }
        self.unknown.clear();
        for (name, raw) in &fields.unknown {
            self.unknown.extend([",\"", name, "\":", raw]);
        }
        self.extra.append_option(self.unknown.get(1..));
        self.rows += 1;
    }

    /// The rows so far; the builders are as large as before.
    fn batch(&mut self) -> Vec<ArrayRef> {
        let text = |column: &mut StringBuilder| -> ArrayRef {
            let (rows, bytes) = (column.len(), column.values_slice().len());
            let next = StringBuilder::with_capacity(rows, bytes + bytes / 8);
            Arc::new(std::mem::replace(column, next).finish())
        };
        let (rows, extra) = (std::mem::take(&mut self.rows), text(&mut self.extra));
        self.known = u32::MAX;
        let columns = self.columns.iter_mut().map(|(_, column)| {
            column.pad(rows);
            match column {
                Column::Text(column) => text(column),
                Column::Whole(column) => Arc::new(column.finish()) as ArrayRef,
                Column::Number(column) => Arc::new(column.finish()),
            }
        });
        columns.chain([extra]).collect()
    }
}

fn columns(path: &Path, threads: usize) -> Result<Found, Box<dyn Error>> {
    let secret = Secret::new(b"a key for this bench only")?;
    let worker = |_| {
        let mut parser = Parser::new(secret.clone(), SOURCE);
        let (mut fields, mut more) = (Fields::new(), String::new());
        move |piece| {
            let mut found = Found::default();
            let Piece::Lines { bytes, .. } = piece else {
                return Err(Fault::Value("a line is too long for this bench".to_owned()));
            };
            let utf8 = |_| Fault::Value("a chunk is not UTF-8".to_owned());
            let chunk = simdutf8::basic::from_utf8(&bytes).map_err(utf8)?;
            let mut read = json::Fields::default();
            let mut rest = chunk;
            more.clear();
            while !rest.is_empty() {
                let mut arena = Arena {
                    chunk,
                    more: &mut more,
                };
                let length = match parser.next(rest, &mut read, &mut arena) {
                    Some(length) => length,
                    None => {
                        let line = rest.split('\n').next().unwrap_or_default();
                        let fault = |bad: Bad| Fault::Value(bad.message);
                        parser.read(line, &mut read, &mut arena).map_err(fault)?;
                        line.len()
                    }
                };
                rest = rest.get(length + 1..).unwrap_or_default();
                fields.push(&read, arena.texts());
                if let Value::Text(span) = read.get(Field::Response) {
                    found.text += arena.texts().of(span).len();
                }
                found.rows += 1;
            }
            lines::done_with(bytes);
            Ok::<_, Fault>((found, fields.batch()))
        }
    };
    run(path, (0..threads).map(worker).collect())
}

fn batches(path: &Path, threads: usize) -> Result<Found, Box<dyn Error>> {
    let secret = Secret::new(b"a key for this bench only")?;
    let worker = |_| {
        let mut parser = Parser::new(secret.clone(), SOURCE);
        let (mut shown, mut given) = (Impressions::default(), Events::default());
        move |piece| {
            let parsed = chunk::parse(&mut parser, SOURCE, Work::Lines(piece));
            let mut found = Found::default();
            for line in &parsed.lines {
                let from = Lineage {
                    off: line.offset,
                    len: line.length,
                    ..Lineage::default()
                };
                match &line.what {
                    What::Row(Row::Impression(row)) => {
                        found.text += parsed.texts().of(row.response).len();
                        shown.push(&row.text(parsed.texts()), from);
                    }
                    What::Row(Row::Feedback(row)) => {
                        let about = row.response.map_or("", |span| parsed.texts().of(span));
                        found.text += about.len();
                        given.push(&row.text(parsed.texts()), from);
                    }
                    _ => continue,
                }
                found.rows += 1;
            }
            let batch = |batch: Result<_, ArrowError>| {
                batch.map_err(|error| Fault::Value(error.to_string()))
            };
            Ok::<_, Fault>((found, [batch(shown.batch())?, batch(given.batch())?]))
        }
    };
    run(path, (0..threads).map(worker).collect())
}

/// Runs the workers over the pieces of a file; what they build is dropped in order.
fn run<B: Send>(
    path: &Path,
    workers: Vec<impl FnMut(Piece) -> Result<(Found, B), Fault> + Send>,
) -> Result<Found, Box<dyn Error>> {
    let Some(opened) = input::open(path, None, false)? else {
        return Ok(Found::default());
    };
    let mut pieces = Pieces::new(opened, 0);
    let mut sum = Found::default();
    fan::ordered(
        workers,
        input::packed(path),
        move || pieces.next_piece().ok().flatten(),
        |done| {
            let (found, _) = done?;
            sum.rows += found.rows;
            sum.text += found.text;
            Ok(())
        },
        || Ok(()),
    )?;
    Ok(sum)
}
