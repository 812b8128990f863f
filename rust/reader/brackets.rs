//! The brackets that are open in a JSON value.

/// Brackets whose kind is remembered; deeper ones are counted, since the parser refuses such a value anyway.
const KNOWN: u32 = 128;

/// Open brackets.
#[derive(Debug, Default)]
pub(super) struct Brackets {
    /// How many there are.
    pub depth: u32,
    /// Which of the outermost are curly, a bit each.
    curly: u128,
}

impl Brackets {
    /// Whether the innermost one is curly.
    pub fn in_object(&self) -> bool {
        (1..=KNOWN).contains(&self.depth) && self.curly >> (self.depth - 1) & 1 == 1
    }

    /// Opens one.
    pub fn push(&mut self, byte: u8) {
        if self.depth < KNOWN {
            let bit = 1 << self.depth;
            self.curly = if byte == b'{' {
                self.curly | bit
            } else {
                self.curly & !bit
            };
        }
        self.depth = self.depth.saturating_add(1);
    }

    /// Closes the innermost one of this kind and with it those inside; false unless it was the innermost of all.
    pub fn pop(&mut self, byte: u8) -> bool {
        if self.depth > KNOWN {
            self.depth -= 1;
            return true;
        }
        let fits = |depth: &u32| (self.curly >> depth & 1 == 1) == (byte == b'}');
        let found = (0..self.depth).rev().find(fits);
        let innermost = found.is_some_and(|depth| depth + 1 == self.depth);
        self.depth = found.unwrap_or(self.depth);
        innermost
    }
}
