//! Texts of rows: where those of a chunk are, and the spans that name them.

/// Where the rows of a chunk have their text: in the chunk as it was read, and behind it what was written anew.
#[derive(Clone, Copy, Debug, Default)]
pub struct Texts<'a> {
    /// The chunk.
    pub chunk: &'a str,
    /// Texts without their escapes, and those of rows that are no lines.
    pub more: &'a str,
}

/// A piece of [`Texts`], counted through both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub from: usize,
    /// One past the last byte.
    pub to: usize,
}

impl<'a> Texts<'a> {
    /// The text of a span; empty if it lies in neither part.
    pub fn of(self, span: Span) -> &'a str {
        let Some(from) = span.from.checked_sub(self.chunk.len()) else {
            return self.chunk.get(span.from..span.to).unwrap_or_default();
        };
        let to = span.to.saturating_sub(self.chunk.len());
        self.more.get(from..to).unwrap_or_default()
    }
}
