//! Inputs in whatever format they are, as pieces for the parsers, which draw them one after the other.

use std::io::{Error as Fault, copy, sink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::read::Item;
use super::{ARROW, Options};
use crate::error::{Error, Result};
use crate::reader::array::Array;
use crate::reader::chunk::Work;
use crate::reader::csv::{Csv, Header};
use crate::reader::input::{self, Input, Mark, named, packed};
use crate::reader::lines::Pieces;
use crate::reader::records::{Batch, Records, Split};
use crate::reader::table::Rows;

/// Gives the items of one input until there are none.
pub(super) type Source<'a> = Box<dyn FnMut() -> Result<Option<Item<Work>>> + Send + 'a>;

/// An input to be read.
pub(super) struct Planned {
    pub path: PathBuf,
    pub src: usize,
    /// How far it was read before.
    pub mark: Option<Mark>,
    /// The last record of the run before can be followed by another of its sequence.
    pub open: bool,
}

/// Opens one input; none when nothing changed since it was read.
pub(super) fn deliver<'a>(planned: Planned, options: &'a Options) -> Result<Option<Source<'a>>> {
    let Planned { path, src, .. } = &planned;
    if path.to_string_lossy().starts_with(ARROW) {
        return rows(path, *src, None, options).map(Some);
    }
    let Some(mut input) = input::open(path, planned.mark.as_ref(), options.salvage)? else {
        return Ok(None);
    };
    if named(path, "parquet") {
        return parquet(&planned, input, options).map(Some);
    }
    let text = input.text;
    if let Some(comma) = comma(path) {
        let header = header(path, comma, options)?;
        let split = Csv::new(comma, header.width(), input.sealed());
        let mut names = text == 0;
        return Ok(Some(records(
            input,
            *src,
            split,
            move |mut batch, sealed| {
                let first = names && !batch.records.is_empty();
                names &= !first;
                for record in &mut batch.records {
                    record.whole &= record.newline || sealed;
                }
                Work::Cells(batch, header.clone(), first)
            },
        )));
    }
    let first = if text == 0 {
        input.first()
    } else {
        input::open(path, None, options.salvage)?.map_or(Ok(None), |mut whole| whole.first())
    };
    if first.map_err(|error| input.fault(error, text))? == Some(b'[') {
        let split = Array::new(text > 0 && planned.open);
        return Ok(Some(records(input, *src, split, |batch, _| {
            Work::Objects(batch)
        })));
    }
    Ok(Some(lines(input, *src)))
}

/// The byte between the fields of a file with this name, if it is a table in text.
fn comma(path: &Path) -> Option<u8> {
    let stem = if packed(path) {
        path.with_extension("")
    } else {
        path.to_owned()
    };
    let commas = [("csv", b','), ("tsv", b'\t')];
    let fits = commas.into_iter().find(|(ending, _)| named(&stem, ending));
    fits.map(|(_, comma)| comma)
}

/// The columns of a table in text; none yet in a file that ends before its first line does.
fn header(path: &Path, comma: u8, options: &Options) -> Result<Arc<Header>> {
    let mapped = options.mapping.is_some();
    let Some(input) = input::open(path, None, options.salvage)? else {
        return Ok(Arc::default());
    };
    let mut records = Records::new(input, 0, Csv::new(comma, 0, true));
    let wrong = |what: String| {
        let fields = if mapped {
            ""
        } else {
            ", as the fields of a JSON line"
        };
        let path = path.display();
        Error::Value(format!(
            "{path}: its first line must name the columns{fields}: {what}"
        ))
    };
    loop {
        let batch = match records.next_batch() {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(Arc::default()),
            Err(error) => return Err(records.finish().0.fault(error, 0)),
        };
        let Some(first) = batch.records.first() else {
            continue;
        };
        if first.fault.is_some() {
            return Err(wrong("it has none of this length".to_owned()));
        }
        if !first.newline && !records.finish().0.sealed() {
            return Ok(Arc::default());
        }
        let to = first.from + first.length as usize;
        let record = batch.bytes.get(first.from..to).unwrap_or_default();
        let header = Header::parse(record, comma, mapped);
        return header.map(Arc::new).map_err(wrong);
    }
}

fn lines<'a>(input: Input, src: usize) -> Source<'a> {
    let mut offset = input.text;
    let mut pieces = Some(Pieces::new(input, offset));
    Box::new(move || {
        let Some(mut open) = pieces.take() else {
            return Ok(None);
        };
        match open.next_piece() {
            Ok(Some(piece)) => {
                offset = piece.end();
                let sealed = open.inner().sealed();
                pieces = Some(open);
                let content = Work::Lines(piece);
                Ok(Some(Item::Lines {
                    src,
                    sealed,
                    content,
                }))
            }
            Ok(None) => Ok(Some(Item::End {
                src,
                input: Some(Box::new(open.into_inner())),
                stop: None,
            })),
            Err(error) => Err(open.into_inner().fault(error, offset)),
        }
    })
}

/// Records cut by `split`, made work of along with whether their text is sealed; the first piece comes even without any, so that the run knows that the input was read.
fn records<'a, S: Split + Send + 'a>(
    input: Input,
    src: usize,
    split: S,
    mut work: impl FnMut(Batch, bool) -> Work + Send + 'a,
) -> Source<'a> {
    let text = input.text;
    let mut records = Some(Records::new(input, text, split));
    let mut first = true;
    Box::new(move || {
        let Some(mut open) = records.take() else {
            return Ok(None);
        };
        loop {
            match open.next_batch() {
                Ok(Some(batch)) if batch.records.is_empty() && !first => {}
                Ok(Some(batch)) => {
                    first = false;
                    let sealed = open.inner().sealed();
                    let content = work(batch, sealed);
                    records = Some(open);
                    return Ok(Some(Item::Lines {
                        src,
                        sealed,
                        content,
                    }));
                }
                Ok(None) => {
                    let (input, end, more) = open.finish();
                    let (input, stop) = (Some(Box::new(input)), Some((end, more)));
                    return Ok(Some(Item::End { src, input, stop }));
                }
                Err(error) => {
                    let (input, reached, _) = open.finish();
                    return Err(input.fault(error, reached));
                }
            }
        }
    })
}

/// A Parquet file: hashed as bytes like every file, and read by the opener of tables.
fn parquet<'a>(planned: &Planned, mut input: Input, options: &'a Options) -> Result<Source<'a>> {
    let path = &planned.path;
    copy(&mut input, &mut sink()).map_err(Error::io(path))?;
    if let Some(mark) = &planned.mark {
        let size = input.done(0).size;
        return Err(Error::Rewritten {
            path: path.display().to_string(),
            found: format!("grown to {size} bytes, and a Parquet file has no end to read on from"),
            expected: format!("{} bytes", mark.size),
        });
    }
    rows(path, planned.src, Some(input), options)
}

/// The rows of a table.
fn rows<'a>(
    path: &Path,
    src: usize,
    input: Option<Input>,
    options: &'a Options,
) -> Result<Source<'a>> {
    let name = path.to_string_lossy();
    let Some(open) = &options.tables else {
        let what = "a table, which only `unskew.events` opens";
        return Err(Error::Value(format!("{name}: {what}")));
    };
    let mut open = Some((Rows::new(open(&name)?, options.mapping.is_some()), input));
    let path = path.to_owned();
    Ok(Box::new(move || {
        let Some((mut rows, input)) = open.take() else {
            return Ok(None);
        };
        let batch = rows.next_batch();
        let fault = |what: String| {
            let what = format!(
                "after {} rows: {what}; nothing of this run was committed",
                rows.done
            );
            Error::io(&path)(Fault::other(what))
        };
        match batch {
            Ok(Some(batch)) => {
                open = Some((rows, input));
                Ok(Some(Item::Lines {
                    src,
                    sealed: true,
                    content: Work::Objects(batch),
                }))
            }
            Ok(None)
                if input
                    .as_ref()
                    .is_some_and(|input| !input::stands(&path, &input.done(0))) =>
            {
                Err(fault("the file was changed while it was read".to_owned()))
            }
            Ok(None) => Ok(Some(Item::End {
                src,
                input: input.map(Box::new),
                stop: Some((rows.done, false)),
            })),
            Err(error) => Err(fault(error.to_string())),
        }
    }))
}
