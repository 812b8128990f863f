//! Memory that will be needed, asked for all at once.
//!
//! A row takes a few looks at places that no cache holds, and each look alone costs as much as everything else that is
//! done with the row. Looks that do not wait for each other's answers overlap: whoever looks at the places of some rows
//! beforehand, one after the other and nothing between, finds all of them at hand a moment later.

/// Rows to look ahead for: few enough to be still at hand when they are taken.
pub const ROWS: usize = 64;
/// Bytes that come at a time.
const LINE: usize = 64;

/// Looks at places; what is found there does not matter.
#[inline]
pub fn look(found: impl Iterator<Item = bool>) {
    std::hint::black_box(found.fold(false, |any, found| any ^ found));
}

/// Looks at texts.
#[inline]
pub fn look_at<'a>(texts: impl Iterator<Item = &'a [u8]>) {
    let bytes = texts.flat_map(|text| text.iter().step_by(LINE));
    look(bytes.map(|byte| *byte > 0));
}
