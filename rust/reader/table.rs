//! Rows of Arrow tables written as JSON objects, one a row, nulls left out; the parser reads them like lines.
//!
//! What the types may be, `unskew.tables` sees to: it opens Parquet files and Arrow streams and casts the rest.

use std::io::Write as _;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    AnyDictionaryArray, Array, ArrayRef, BinaryArray, LargeBinaryArray, RecordBatch,
    RecordBatchReader,
};
use arrow_schema::{ArrowError, DataType, Fields, TimeUnit};

use super::lines::{CHUNK, MAX_LINE};
use super::object::{Object, Style};
use super::records::{Batch, Record};
use crate::event::time::{DAY, format};
use crate::event::{Bad, Reason};

/// A table that gives its rows in batches.
pub type Table = Box<dyn RecordBatchReader + Send>;

/// Deepest nesting of a column's type; the parser accepts no more either.
const MAX_DEPTH: usize = 64;
/// Largest float below which every whole number is exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Writes the value of a row.
type Writer = Box<dyn Fn(usize, &mut Vec<u8>) + Send>;

/// A column and how its values are written.
struct Column {
    name: String,
    values: ArrayRef,
    write: Writer,
}

/// The rows of a table, batch by batch.
pub struct Rows {
    table: Table,
    /// A mapping says what the columns mean.
    mapped: bool,
    columns: Vec<Column>,
    /// Rows of the current batch, and the next of them.
    rows: usize,
    row: usize,
    /// Rows before the current one.
    pub done: u64,
}

impl Rows {
    /// The rows of `table`, whose columns are canonical fields or, `mapped`, any.
    pub fn new(table: Table, mapped: bool) -> Self {
        Self {
            table,
            mapped,
            columns: Vec::new(),
            rows: 0,
            row: 0,
            done: 0,
        }
    }

    /// About a chunk of rows as JSON; none at the end.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, ArrowError> {
        let mut batch = Batch::default();
        while batch.bytes.len() < CHUNK {
            if self.row == self.rows {
                let Some(next) = self.table.next().transpose()? else {
                    break;
                };
                self.open(&next)?;
                continue;
            }
            let from = batch.bytes.len();
            let found = object(&self.columns, self.row, &mut batch.bytes);
            let length = batch.bytes.len() - from;
            if !found || length > MAX_LINE {
                batch.bytes.truncate(from);
            }
            let what = || {
                let most = MAX_LINE >> 20;
                Bad::new(
                    Reason::TooLong,
                    "",
                    format!("longer than {most} MiB as JSON"),
                )
            };
            batch.records.push(Record {
                offset: self.done,
                length: if found { length as u64 } else { 0 },
                from,
                newline: true,
                whole: true,
                open: false,
                fault: (length > MAX_LINE).then(what),
            });
            self.row += 1;
            self.done += 1;
        }
        Ok((!batch.records.is_empty()).then_some(batch))
    }

    fn open(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.columns = columns(batch.schema().fields(), batch.columns(), 0, self.mapped)?;
        (self.rows, self.row) = (batch.num_rows(), 0);
        Ok(())
    }
}

/// The columns of a table, or at a `depth` above 0 the fields of a struct; `free` if their names say nothing.
fn columns(
    fields: &Fields,
    arrays: &[ArrayRef],
    depth: usize,
    free: bool,
) -> Result<Vec<Column>, ArrowError> {
    let pairs = fields.iter().zip(arrays);
    let pairs = pairs.filter(|(field, _)| *field.data_type() != DataType::Null);
    let column = |(field, values): (&Arc<arrow_schema::Field>, &ArrayRef)| {
        let style = Style::of(field.name(), free);
        Ok(Column {
            name: field.name().clone(),
            values: values.clone(),
            write: writer(values.as_ref(), style, depth)?,
        })
    };
    pairs.map(column).collect()
}

/// Writes a row; false when all of it is null.
fn object(columns: &[Column], row: usize, out: &mut Vec<u8>) -> bool {
    let mut object = Object::new(out);
    for column in columns {
        if column.values.is_valid(row) {
            object.key(column.name.as_bytes());
            (column.write)(row, object.out);
        }
    }
    object.close()
}

/// How the values of an array are written; `style` is that of its column.
fn writer(array: &dyn Array, style: Style, depth: usize) -> Result<Writer, ArrowError> {
    macro_rules! whole {
        ($type:ty) => {
            primitive::<$type>(array, |value, out| drop(write!(out, "{value}")))
        };
    }
    macro_rules! time {
        ($type:ty, $multiply:expr, $divide:expr) => {
            primitive::<$type>(array, |value, out| {
                let micros = value.saturating_mul($multiply).div_euclid($divide);
                drop(write!(
                    out,
                    "\"{}\"",
                    format(micros.clamp(0, 2_932_896 * DAY))
                ))
            })
        };
    }
    if depth > MAX_DEPTH {
        return Err(unreadable(array.data_type()));
    }
    Ok(match array.data_type() {
        DataType::Null => Box::new(|_, out| out.extend(b"null")),
        DataType::Boolean => {
            let array = array.as_boolean().clone();
            Box::new(move |row, out| {
                out.extend(if array.value(row) { "true" } else { "false" }.bytes());
            })
        }
        DataType::Int8 => whole!(Int8Type),
        DataType::Int16 => whole!(Int16Type),
        DataType::Int32 => whole!(Int32Type),
        DataType::Int64 => whole!(Int64Type),
        DataType::UInt8 => whole!(UInt8Type),
        DataType::UInt16 => whole!(UInt16Type),
        DataType::UInt32 => whole!(UInt32Type),
        DataType::UInt64 => whole!(UInt64Type),
        DataType::Float32 => {
            primitive::<Float32Type>(array, move |value, out| float(value.into(), style, out))
        }
        DataType::Float64 => {
            primitive::<Float64Type>(array, move |value, out| float(value, style, out))
        }
        DataType::Timestamp(unit, Some(_)) => match unit {
            TimeUnit::Second => time!(TimestampSecondType, 1_000_000, 1),
            TimeUnit::Millisecond => time!(TimestampMillisecondType, 1000, 1),
            TimeUnit::Microsecond => time!(TimestampMicrosecondType, 1, 1),
            TimeUnit::Nanosecond => time!(TimestampNanosecondType, 1, 1000),
        },
        // As bytes, since text from outside need not be UTF-8.
        DataType::Utf8 => {
            let array = BinaryArray::from(array.as_string::<i32>().clone());
            Box::new(move |row, out| style.cell(out, array.value(row)))
        }
        DataType::LargeUtf8 => {
            let array = LargeBinaryArray::from(array.as_string::<i64>().clone());
            Box::new(move |row, out| style.cell(out, array.value(row)))
        }
        DataType::Utf8View => {
            let array = array.as_string_view().clone().to_binary_view();
            Box::new(move |row, out| style.cell(out, array.value(row)))
        }
        DataType::Binary => {
            let array = array.as_binary::<i32>().clone();
            Box::new(move |row, out| style.cell(out, array.value(row)))
        }
        DataType::LargeBinary => {
            let array = array.as_binary::<i64>().clone();
            Box::new(move |row, out| style.cell(out, array.value(row)))
        }
        DataType::BinaryView => {
            let array = array.as_binary_view().clone();
            Box::new(move |row, out| style.cell(out, array.value(row)))
        }
        DataType::List(_) => {
            let array = array.as_list::<i32>().clone();
            let offsets = array.offsets().clone();
            let place =
                move |row| Some((*offsets.get(row)? as usize, *offsets.get(row + 1)? as usize));
            list(array.values().clone(), place, depth)?
        }
        DataType::LargeList(_) => {
            let array = array.as_list::<i64>().clone();
            let offsets = array.offsets().clone();
            let place =
                move |row| Some((*offsets.get(row)? as usize, *offsets.get(row + 1)? as usize));
            list(array.values().clone(), place, depth)?
        }
        DataType::Struct(fields) => {
            let columns = columns(fields, array.as_struct().columns(), depth + 1, true)?;
            Box::new(move |row, out| {
                object(&columns, row, out);
            })
        }
        DataType::Dictionary(..) => dictionary(array.as_any_dictionary(), style, depth)?,
        other => return Err(unreadable(other)),
    })
}

fn primitive<T: ArrowPrimitiveType>(
    array: &dyn Array,
    write: impl Fn(T::Native, &mut Vec<u8>) + Send + 'static,
) -> Writer {
    let array = array.as_primitive::<T>().clone();
    Box::new(move |row, out| write(array.value(row), out))
}

fn dictionary(
    array: &dyn AnyDictionaryArray,
    style: Style,
    depth: usize,
) -> Result<Writer, ArrowError> {
    let values = array.values().clone();
    if values.is_empty() {
        return Ok(Box::new(|_, out| out.extend(b"null")));
    }
    let (keys, write) = (
        array.normalized_keys(),
        writer(values.as_ref(), style, depth + 1)?,
    );
    Ok(Box::new(move |row, out| match keys.get(row) {
        Some(key) if values.is_valid(*key) => write(*key, out),
        _ => out.extend(b"null"),
    }))
}

fn list(
    values: ArrayRef,
    place: impl Fn(usize) -> Option<(usize, usize)> + Send + 'static,
    depth: usize,
) -> Result<Writer, ArrowError> {
    let write = writer(values.as_ref(), Style::Text, depth + 1)?;
    Ok(Box::new(move |row, out| {
        out.push(b'[');
        let (from, to) = place(row).unwrap_or_default();
        for item in from..to {
            if item > from {
                out.push(b',');
            }
            if values.is_valid(item) {
                write(item, out);
            } else {
                out.extend(b"null");
            }
        }
        out.push(b']');
    }))
}

/// A float in the fewest digits that give it back; a whole one as an integer in columns of numbers.
fn float(value: f64, style: Style, out: &mut Vec<u8>) {
    drop(
        if style == Style::Number && value.fract() == 0.0 && value.abs() < EXACT {
            write!(out, "{:.0}", value + 0.0) // no -0
        } else {
            write!(out, "{value:?}")
        },
    );
}

fn unreadable(what: &DataType) -> ArrowError {
    ArrowError::SchemaError(format!("a column of type {what} cannot be read"))
}
