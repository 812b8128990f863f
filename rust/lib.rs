//! unskew's core: feedback logs in, exact books and losses out.
//!
//! | module | what it holds |
//! |---|---|
//! | [`error`] | the one error type of the crate |
//! | [`event`] | kinds of feedback, reasons to refuse a line, typed rows, times and values |
//! | [`fan`] | work on several threads, results in order |
//! | [`key`] | the secret behind pseudonyms and ids |
//! | [`reader`] | bytes to rows: inputs, lines, strict JSON |
//! | [`join`] | which row stands, what feedback is about, observations, pairs, the digest |
//! | [`spill`] | what a run holds on disk when its memory is spent: files, sorting, known keys |
//! | [`count`] | exact counters |
//! | [`mapping`] | records of other products as canonical rows |
//! | [`loss`] | loss, slope and counts of rows in one pass |
//! | [`store`] | tables, ledger, commit, verification |
//! | [`ingest`] | one run from inputs to commit |

pub mod count;
#[cfg(test)]
mod dice;
pub mod error;
pub mod event;
pub mod fan;
pub mod ingest;
pub mod join;
pub mod key;
pub mod loss;
pub mod mapping;
#[cfg(feature = "python")]
mod python;
pub mod reader;
pub mod spill;
pub mod store;
mod unchecked;
