//! Bytes to typed rows: inputs and decompression, line-aligned chunks, strict JSON.
//!
//! `input` opens a file, `packed` or not, and knows how far it was read before, `lines` cuts its bytes into chunks of
//! whole lines, `quick` finds the fields of a line that is as most are by the steps of `cursor`, `json` and `strict` those
//! of any line or why it is refused, `line`, `rows` and `typed` give them types and leave texts in the `arena`, and
//! `chunk` does that for a whole chunk. `tree` has all values of a line, and `orders` what is known about its keys from
//! lines before.
//!
//! Other formats become such lines: `records` cuts bytes where `array` finds the elements of a JSON array or `csv` the
//! records of a table in text, `table` has the rows of Arrow tables, and `object` writes cells and values as JSON.

pub mod address;
pub mod arena;
pub mod array;
mod brackets;
pub mod chunk;
pub mod csv;
mod cursor;
pub mod input;
pub mod json;
pub mod line;
pub mod lines;
pub mod object;
pub mod orders;
mod packed;
mod quick;
pub mod records;
mod rows;
mod strict;
pub mod table;
pub mod tree;
mod typed;
