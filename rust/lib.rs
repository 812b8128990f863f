//! unskew's core: feedback logs in, exact books and losses out.
//!
//! | module | what it holds |
//! |---|---|
//! | [`error`] | the one error type of the crate |

pub mod error;
#[cfg(feature = "python")]
mod python;
