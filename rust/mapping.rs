//! Records of other products as canonical rows: a table says which record is what, and which path holds which field.
//!
//! `table` is what Python compiles a TOML file to, `path` finds values in a record, `members` those directly in an
//! object, with what `memory` keeps of the lines before, `cell` turns one into a field (`units` if it is a time), `rows`
//! applies the rules of a table to a line. The rows then pass the same checks as canonical lines.

mod cell;
mod members;
mod memory;
mod path;
mod rows;
mod table;
mod units;

#[cfg(test)]
mod tests;

pub use memory::Memory;
pub use rows::{Draft, Found};
pub use table::{Make, Mapping, UNMAPPED};
