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

    /// Where in the chunk a text lies, if it does.
    pub fn place(&self, text: &str) -> Option<usize> {
        let (here, chunk) = (text.as_ptr().addr(), self.chunk.as_ptr().addr());
        let from = here.wrapping_sub(chunk);
        let to = from.checked_add(text.len())?;
        (to <= self.chunk.len()).then_some(from)
    }

    /// A text, left where it is if that is in the chunk, else written.
    pub fn hold(&mut self, text: &str) -> Span {
        match self.place(text) {
            Some(from) => Span {
                from,
                to: from + text.len(),
            },
            None => self.push(text),
        }
    }

    /// The same place, for a while.
    pub fn again(&mut self) -> Arena<'_> {
        Arena {
            chunk: self.chunk,
            more: self.more,
        }
    }

    /// Forgets what was written since the end was at `from`.
    pub fn back_to(&mut self, from: usize) {
        self.more.truncate(from - self.chunk.len());
    }

    /// Writes a text.
    pub fn push(&mut self, text: &str) -> Span {
        let from = self.end();
        self.more.push_str(text);
        self.since(from)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_in_the_chunk_if_and_only_if_it_lies_there() {
        let (whole, mut more) = ("before chunk after".to_owned(), "source".to_owned());
        let chunk = whole.get(7..12).unwrap();
        let mut arena = Arena {
            chunk,
            more: &mut more,
        };
        for (from, to) in (0..=whole.len()).flat_map(|to| (0..=to).map(move |from| (from, to))) {
            let (text, end) = (whole.get(from..to).unwrap(), arena.end());
            let span = arena.hold(text);
            assert_eq!(arena.texts().of(span), text);
            let inside = from >= 7 && to <= 12;
            assert_eq!(
                arena.end() == end,
                inside || text.is_empty(),
                "{from} to {to}"
            );
            assert_eq!(span.to <= chunk.len(), inside, "{from} to {to}");
        }
        arena.back_to(chunk.len() + "source".len());
        assert_eq!(arena.more, "source");
    }
}
