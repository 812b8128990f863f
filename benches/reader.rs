//! Our reader alone, and what no reader can beat, for `bench_parse.py`. Prints one line of JSON.
//!
//! `newlines` counts them as the file is read, `unpack` decompresses and throws the text away, `batches` parses
//! strictly, types every row, hashes ids and people, and builds Arrow batches of it.
//!
//! ```text
//! cargo run --release --example reader -- newlines|unpack|batches FILE [THREADS]
//! ```

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::time::Instant;

use flate2::bufread::MultiGzDecoder;
use unskew::error::Error as Fault;
use unskew::key::Secret;
use unskew::reader::chunk::{self, What, Work};
use unskew::reader::line::{Parser, Row};
use unskew::reader::lines::Pieces;
use unskew::reader::{fan, input};
use unskew::store::facts::{Events, Impressions, Lineage};

const READ: usize = 1 << 20;
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
        _ => return Err("expected newlines|unpack|batches FILE [THREADS]".into()),
    };
    let began = Instant::now();
    let found = match mode {
        "newlines" => newlines(File::open(path)?)?,
        "unpack" => unpack(path)?,
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

fn newlines(mut file: impl Read) -> Result<Found, Box<dyn Error>> {
    let (mut bytes, mut found) = (vec![0; READ], Found::default());
    loop {
        let read = file.read(&mut bytes)?;
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
                let pushed = match &line.what {
                    What::Row(Row::Impression(row)) => {
                        found.text += parsed.texts().of(row.response).len();
                        shown.push(&row.text(parsed.texts()), from)
                    }
                    What::Row(Row::Feedback(row)) => {
                        let about = row.response.map_or("", |span| parsed.texts().of(span));
                        found.text += about.len();
                        given.push(&row.text(parsed.texts()), from)
                    }
                    _ => continue,
                };
                pushed.map_err(|error| Fault::Value(error.to_string()))?;
                found.rows += 1;
            }
            let batches = [shown.batch(), given.batch()];
            Ok::<_, Fault>((found, batches))
        }
    };
    let Some(opened) = input::open(path, None, false)? else {
        return Ok(Found::default());
    };
    let mut pieces = Pieces::new(opened, 0);
    let mut sum = Found::default();
    fan::ordered(
        (0..threads).map(worker).collect(),
        move |give| {
            while let Ok(Some(piece)) = pieces.next_piece() {
                if !give(piece) {
                    return;
                }
            }
        },
        |done: Result<_, Fault>| {
            let (found, batches) = done?;
            for batch in batches {
                drop(batch.map_err(|error| Fault::Value(error.to_string()))?);
            }
            sum.rows += found.rows;
            sum.text += found.text;
            Ok(())
        },
        || Ok(()),
    )?;
    Ok(sum)
}
