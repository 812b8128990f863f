//! Memory that will be needed, asked for ahead of time.
//!
//! A row takes a few looks at places that no cache holds, and each such look costs as much as everything else that is
//! done with the row. Whoever asks for the places of some rows beforehand, one after the other, waits for all of them
//! at once, and finds them at hand a moment later.

use crate::unchecked;

/// Rows to ask for at once: few enough to be still at hand when they are taken.
pub const ROWS: usize = 64;
/// Bytes that come at a time.
const LINE: usize = 64;

/// Asks for a value, if there is one.
#[inline]
pub fn fetch<T>(value: Option<&T>) {
    if let Some(value) = value {
        unchecked::fetch(value);
    }
}

/// Asks for a text.
#[inline]
pub fn fetch_text(text: &[u8]) {
    text.iter().step_by(LINE).for_each(unchecked::fetch);
}
