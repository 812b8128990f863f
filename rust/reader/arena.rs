//! Where a row being read leaves its text.

use crate::event::row::{Span, Texts};

/// A chunk, and what is written behind it; nothing is copied that can stay where it is.
#[derive(Debug)]
pub struct Arena<'a> {
    /// The chunk as it was read.
    pub chunk: &'a str,
    /// What had to be written anew.
    pub more: &'a mut String,
}

impl<'a> Arena<'a> {
    /// Without a chunk: every text is written.
    pub fn writing(more: &'a mut String) -> Self {
        Self { chunk: "", more }
    }

    /// All of it, to be read.
    pub fn texts(&self) -> Texts<'_> {
        Texts {
            chunk: self.chunk,
            more: self.more,
        }
    }

    /// Where the next text will begin.
    pub fn end(&self) -> usize {
        self.chunk.len() + self.more.len()
    }

    /// What was written since the end was at `from`.
    pub fn since(&self, from: usize) -> Span {
        let to = self.end();
        Span { from, to }
    }

    /// Writes a text.
    pub fn push(&mut self, text: &str) -> Span {
        let from = self.end();
        self.more.push_str(text);
        self.since(from)
    }
}
