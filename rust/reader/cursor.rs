//! A place in a JSON text, and the steps over its tokens: strict, without recursion, nothing allocated.
//!
//! Every step answers none where the text breaks a rule of RFC 8259, or one of ours: a surrogate stands beside its other
//! half, and a number is finite.

use memchr::memchr;

use crate::unchecked::{BLOCK, is_mark, marks, unmarked};

/// Bytes of a string that are looked at in blocks, before larger steps are worth their start.
const SHORT: usize = 4 * BLOCK;
/// A number with at most so many digits and no exponent is finite.
const FINITE: usize = 300;

/// A place in a text.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'t> {
    /// The whole text.
    pub text: &'t str,
    /// The next byte.
    pub at: usize,
    /// Whether a newline is white space, and not the end.
    newlines: bool,
}

/// A short text that is compared in one step.
pub(super) struct Padded {
    text: &'static str,
    bytes: u128,
    mask: u128,
}

impl Padded {
    /// Of a text of at most sixteen bytes.
    pub const fn new(text: &'static str) -> Self {
        let (mut bytes, mut mask, mut rest) = (0, 0, text.as_bytes());
        assert!(rest.len() <= size_of::<u128>());
        while let [before @ .., last] = rest {
            (bytes, mask) = (bytes << 8 | *last as u128, mask << 8 | 0xff);
            rest = before;
        }
        Self { text, bytes, mask }
    }
}

impl<'t> Cursor<'t> {
    /// The first place in a text.
    pub fn new(text: &'t str) -> Self {
        Self {
            text,
            at: 0,
            newlines: true,
        }
    }

    /// The first place in the line that a text begins with.
    pub fn of_line(text: &'t str) -> Self {
        Self {
            newlines: false,
            ..Self::new(text)
        }
    }

    /// The next byte.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// What was passed over since `from`.
    #[inline]
    pub fn since(&self, from: usize) -> Option<&'t str> {
        self.text.get(from..self.at)
    }

    /// Passes over white space.
    #[inline]
    pub fn space(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\n' | b'\r')) = self.peek()
            && (self.newlines || byte != b'\n')
        {
            self.at += 1;
        }
    }

    /// Whether only white space comes.
    pub fn is_last(mut self) -> bool {
        self.space();
        self.at == self.text.len()
    }

    /// The end of the line, if only white space comes before it.
    pub fn line_end(mut self) -> Option<usize> {
        self.space();
        matches!(self.peek(), None | Some(b'\n')).then_some(self.at)
    }

    /// Passes over `byte`.
    #[inline]
    pub fn byte(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Passes over `word`.
    #[inline]
    pub fn word(&mut self, word: &str) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        rest.starts_with(word.as_bytes())
            .then(|| self.at += word.len())
    }

    /// Passes over `word` if it is what comes.
    #[inline]
    pub fn padded(&mut self, word: &Padded) -> bool {
        let Some(rest) = self.text.as_bytes().get(self.at..) else {
            return false;
        };
        let found = match rest.first_chunk() {
            Some(block) => (u128::from_le_bytes(*block) ^ word.bytes) & word.mask == 0,
            None => rest.starts_with(word.text.as_bytes()),
        };
        self.at += if found { word.text.len() } else { 0 };
        found
    }

    /// Passes over a string; whether there are escapes in it.
    #[inline(always)]
    pub fn string(&mut self) -> Option<bool> {
        self.byte(b'"')?;
        self.at += plain(self.text.as_bytes().get(self.at..)?)?;
        if self.byte(b'"').is_some() {
            return Some(false);
        }
        *self = self.escaped()?;
        Some(true)
    }

    /// Behind the string that goes on here with an escape; by value, so that whoever calls keeps its place in registers.
    #[inline(never)]
    fn escaped(mut self) -> Option<Self> {
        while self.byte(b'"').is_none() {
            self.byte(b'\\')?;
            self.escape()?;
            self.at += plain(self.text.as_bytes().get(self.at..)?)?;
        }
        Some(self)
    }

    fn escape(&mut self) -> Option<()> {
        self.at += 1;
        match self.text.as_bytes().get(self.at - 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => return Some(()),
            b'u' => {}
            _ => return None,
        }
        match self.hex()? {
            0xdc00..=0xdfff => None,
            0xd800..=0xdbff => {
                self.word("\\u")?;
                (0xdc00..=0xdfff).contains(&self.hex()?).then_some(())
            }
            _ => Some(()),
        }
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4)?;
        self.at += 4;
        hex(digits)
    }

    /// Passes over a number; what its digits say.
    #[inline]
    pub fn number(&mut self) -> Option<Digits> {
        let from = self.at;
        let mut digits = Digits {
            negative: self.byte(b'-').is_some(),
            ..Digits::default()
        };
        let zero = self.peek() == Some(b'0');
        digits.count = self.digits(&mut digits.sum)?;
        if digits.count > 1 && zero {
            return None;
        }
        if self.byte(b'.').is_some() {
            digits.places = self.digits(&mut digits.sum)?;
            digits.count += digits.places;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits(&mut 0)?;
            digits.count = usize::MAX;
        }
        if digits.count > FINITE {
            let value: f64 = self.since(from)?.parse().ok()?;
            return value.is_finite().then_some(digits);
        }
        Some(digits)
    }

    fn digits(&mut self, sum: &mut u64) -> Option<usize> {
        let from = self.at;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            *sum = sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        (self.at > from).then_some(self.at - from)
    }
}

/// The digits of a number as it is written.
#[derive(Clone, Copy, Default)]
pub(super) struct Digits {
    /// Whether a minus stands before them.
    pub negative: bool,
    /// How many there are; more than any text has where an exponent follows.
    pub count: usize,
    /// How many of them stand behind a point.
    pub places: usize,
    /// All of them as one whole number, if they are few enough to be one.
    pub sum: u64,
}

/// Bytes before the first quote, backslash or control character of a text.
#[inline(always)]
fn plain(text: &[u8]) -> Option<usize> {
    match near(text) {
        Ok(stop) => Some(stop),
        Err(passed) => far(text, passed),
    }
}

/// The same if it is among the first blocks, else how many bytes have none.
#[inline(always)]
fn near(text: &[u8]) -> Result<usize, usize> {
    let (mut passed, mut rest) = (0, text);
    while passed < SHORT {
        let Some((block, behind)) = rest.split_first_chunk() else {
            break;
        };
        let marks = marks(block);
        if marks != 0 {
            return Ok(passed + marks.trailing_zeros() as usize);
        }
        (passed, rest) = (passed + BLOCK, behind);
    }
    Err(passed)
}

/// The same behind bytes that have none.
#[inline(never)]
fn far(text: &[u8], passed: usize) -> Option<usize> {
    let passed = passed + unmarked(text.get(passed..)?);
    let rest = text.get(passed..)?;
    let stop = match near(rest) {
        Ok(stop) => stop,
        Err(near) => near + rest.get(near..)?.iter().position(|byte| is_mark(*byte))?,
    };
    Some(passed + stop)
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |sum, digit| {
        char::from(*digit)
            .to_digit(16)
            .map(|digit| sum << 4 | digit)
    })
}

/// Appends the text that `raw`, what stands between the quotes of a sound string, says without escapes.
pub(super) fn unescape(mut raw: &str, out: &mut String) -> Option<()> {
    while let Some(at) = memchr(b'\\', raw.as_bytes()) {
        out.push_str(raw.get(..at)?);
        let kind = raw.as_bytes().get(at + 1)?;
        raw = raw.get(at + 2..)?;
        out.push(match kind {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = |raw: &str, at| hex(raw.as_bytes().get(at..at + 4)?);
                let (mut code, mut length) = (unit(raw, 0)?, 4);
                if (0xd800..0xdc00).contains(&code) {
                    code =
                        0x1_0000 + ((code - 0xd800) << 10 | unit(raw, 6)?.checked_sub(0xdc00)?);
                    length = 10;
                }
                raw = raw.get(length..)?;
                char::from_u32(code)?
            }
            other => char::from(*other),
        });
    }
    out.push_str(raw);
    Some(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The string at the beginning of a text, without escapes, and where it ends.
    fn string(text: &str) -> Option<(String, usize)> {
        let mut cursor = Cursor::new(text);
        let escaped = cursor.string()?;
        let raw = text.get(1..cursor.at - 1)?;
        assert_eq!(escaped, raw.contains('\\'));
        let mut out = String::new();
        unescape(raw, &mut out)?;
        Some((out, cursor.at))
    }

    #[test]
    fn strings_of_every_length_with_a_mark_at_every_place_are_those_of_serde_json() {
        for length in 0..80 {
            for at in 0..length {
                for mark in [
                    "\"",
                    "\\",
                    "\\\"",
                    "\\u00e9",
                    "\\ud83d\\ude00",
                    "\t",
                    "\u{1f}",
                    " ",
                    "é",
                    "\u{7f}",
                ] {
                    let body = format!("{}{mark}{}", "x".repeat(at), "y".repeat(length - at - 1));
                    let text = format!("\"{body}\" tail");
                    let mut values =
                        serde_json::Deserializer::from_str(&text).into_iter::<String>();
                    let theirs = values
                        .next()
                        .unwrap()
                        .ok()
                        .map(|value| (value, values.byte_offset()));
                    assert_eq!(string(&text), theirs, "{text}");
                }
            }
        }
    }

    #[test]
    fn the_marks_of_a_block_are_those_of_its_bytes() {
        let mut random = crate::dice::dice(3);
        for _ in 0..200_000 {
            let block: [u8; BLOCK] = std::array::from_fn(|_| match random(4) {
                0 => *b"\"\\\0\x1f !#[]\x80\xff".get(random(11)).unwrap(),
                _ => random(256) as u8,
            });
            let found = marks(&block);
            let place = |(at, byte): (usize, &u8)| u32::from(is_mark(*byte)) << at;
            let expected: u32 = block.iter().enumerate().map(place).sum();
            assert_eq!(found, expected, "{block:?}");
        }
    }

    #[test]
    fn what_is_without_marks_ends_less_than_a_step_before_the_first() {
        for length in 0..300 {
            for at in (0..=length).step_by(7) {
                for mark in [b'"', b'\\', 0, 0x1f] {
                    let mut bytes = vec![b'x'; length];
                    bytes.iter_mut().step_by(3).for_each(|byte| *byte = 0xc3);
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = mark;
                    }
                    let sure = unmarked(&bytes);
                    assert!((sure..sure + SHORT).contains(&at), "{at} of {length}");
                }
            }
        }
    }
}
