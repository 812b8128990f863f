//! Bytes to typed rows: inputs and decompression, line-aligned chunks, strict JSON, ordered threads.
//!
//! `input` opens a file and knows how far it was read before, `lines` cuts its bytes into chunks of whole lines,
//! `json` and `strict` check a line and find its fields, `line` and `typed` give them types, `chunk` does that for a
//! whole chunk, and `fan` runs chunks on several threads while keeping their order.

pub mod chunk;
pub mod fan;
pub mod input;
pub mod json;
pub mod line;
pub mod lines;
mod strict;
pub mod tree;
mod typed;
