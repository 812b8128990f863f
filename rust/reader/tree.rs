//! A JSON text as a flat list of its values: every rule of `json` and `strict`, in one pass, without recursion.
//!
//! It only says whether a text keeps the rules; `json::scan` finds the reason when it does not.

use std::borrow::Cow;
use std::ops::ControlFlow;

use memchr::memchr2;

use super::strict::{MAX_DEPTH, MAX_KEYS, repeats};

/// Keys that are compared one by one.
const FEW: usize = 32;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// null
    Null,
    /// true or false
    Bool(bool),
    /// Any number.
    Number,
    /// A string; whether there are escapes in it.
    Text {
        /// At least one backslash.
        escaped: bool,
    },
    /// A list; its items follow.
    Array,
    /// An object; its keys and values follow in turn.
    Object,
}

/// A value, and where it is written.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// What it is.
    pub shape: Shape,
    /// First byte; a string's quotes belong to it.
    pub from: u32,
    /// One past the last byte.
    pub to: u32,
    /// Number of the node after everything inside.
    pub next: u32,
}

impl Node {
    /// The value as written.
    pub fn raw<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.from as usize..self.to as usize)
            .unwrap_or_default()
    }

    /// Whether it is the string `other`.
    pub fn is(&self, text: &str, other: &str) -> bool {
        match self.shape {
            Shape::Text { escaped: false } => {
                self.to - self.from == other.len() as u32 + 2
                    && text.get(self.from as usize + 1..self.to as usize - 1) == Some(other)
            }
            _ => self.text(text).is_some_and(|text| text == other),
        }
    }

    /// A string without quotes and escapes; none for other values.
    pub fn text<'t>(&self, text: &'t str) -> Option<Cow<'t, str>> {
        let raw = self.raw(text);
        match self.shape {
            Shape::Text { escaped: false } => raw.get(1..raw.len() - 1).map(Cow::Borrowed),
            Shape::Text { escaped: true } => {
                serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
            }
            _ => None,
        }
    }
}

/// Fills `nodes` with the values of `text`, the outermost first; false when it breaks a rule.
pub fn grow(text: &str, nodes: &mut Vec<Node>) -> bool {
    nodes.clear();
    let mut scan = Scan {
        text,
        at: 0,
        nodes,
        open: Vec::new(),
        keys: 0,
    };
    u32::try_from(text.len()).is_ok() && scan.run().is_some()
}

/// Calls `each` with the numbers of the values directly inside node `of`: (key, value), the key of an item being none.
pub fn inside<T>(
    nodes: &[Node],
    of: u32,
    mut each: impl FnMut(Option<u32>, u32) -> ControlFlow<T>,
) -> Option<T> {
    let node = nodes.get(of as usize)?;
    let mut at = of + 1;
    while at < node.next {
        let key = (node.shape == Shape::Object).then_some(at);
        let value = at + u32::from(key.is_some());
        if let ControlFlow::Break(found) = each(key, value) {
            return Some(found);
        }
        at = nodes.get(value as usize)?.next;
    }
    None
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
    nodes: &'a mut Vec<Node>,
    open: Vec<usize>,
    keys: usize,
}

impl Scan<'_> {
    fn run(&mut self) -> Option<()> {
        self.space();
        loop {
            if let b'{' | b'[' = self.peek()? {
                self.enter()?;
                if !matches!(self.peek()?, b'}' | b']') {
                    self.key()?;
                    continue;
                }
            } else {
                self.scalar()?;
            }
            loop {
                self.space();
                let Some(top) = self.open.last().copied() else {
                    return (self.at == self.text.len()).then_some(());
                };
                let shape = self.nodes.get(top)?.shape;
                match (shape, self.peek()?) {
                    (_, b',') => {
                        self.at += 1;
                        self.space();
                        self.key()?;
                        break;
                    }
                    (Shape::Array, b']') | (Shape::Object, b'}') => self.leave(top)?,
                    _ => return None,
                }
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn push(&mut self, shape: Shape, from: usize) {
        let next = self.nodes.len() as u32 + 1;
        let (from, to) = (from as u32, self.at as u32);
        self.nodes.push(Node {
            shape,
            from,
            to,
            next,
        });
    }

    fn enter(&mut self) -> Option<()> {
        if self.open.len() >= MAX_DEPTH as usize {
            return None;
        }
        let object = self.peek() == Some(b'{');
        self.open.push(self.nodes.len());
        let shape = if object { Shape::Object } else { Shape::Array };
        self.push(shape, self.at);
        self.at += 1;
        self.space();
        Some(())
    }

    fn leave(&mut self, top: usize) -> Option<()> {
        self.at += 1;
        self.open.pop();
        let (to, next) = (self.at as u32, self.nodes.len() as u32);
        let node = self.nodes.get_mut(top)?;
        (node.to, node.next) = (to, next);
        (node.shape == Shape::Array || self.distinct(top as u32)).then_some(())
    }

    /// Whether the keys of an object differ.
    fn distinct(&self, of: u32) -> bool {
        let (mut names, mut plain) = (Vec::with_capacity(FEW), true);
        inside(self.nodes, of, |key, _| {
            if let Some(key) = key.and_then(|key| self.nodes.get(key as usize)) {
                plain &= key.shape == Shape::Text { escaped: false };
                names.push(key);
            }
            ControlFlow::<()>::Continue(())
        });
        if plain && names.len() <= FEW {
            let mut seen = names.iter().enumerate();
            return seen.all(|(at, one)| {
                let mut rest = names.iter().skip(at + 1);
                let length = one.to - one.from;
                !rest.any(|other| {
                    other.to - other.from == length && other.raw(self.text) == one.raw(self.text)
                })
            });
        }
        let names: Vec<Cow<'_, str>> = names.iter().filter_map(|key| key.text(self.text)).collect();
        let mut names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        !repeats(&mut names)
    }

    /// The key of the next member, if the innermost open value is an object.
    fn key(&mut self) -> Option<()> {
        let top = self.open.last().and_then(|top| self.nodes.get(*top))?;
        if top.shape == Shape::Array {
            return Some(());
        }
        self.keys += 1;
        if self.keys > MAX_KEYS || self.peek()? != b'"' {
            return None;
        }
        self.string()?;
        self.space();
        if self.peek()? != b':' {
            return None;
        }
        self.at += 1;
        self.space();
        Some(())
    }

    fn scalar(&mut self) -> Option<()> {
        let from = self.at;
        let (word, shape) = match self.peek()? {
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' => return self.number(),
            b't' => ("true", Shape::Bool(true)),
            b'f' => ("false", Shape::Bool(false)),
            b'n' => ("null", Shape::Null),
            _ => return None,
        };
        if !self.text.get(from..)?.starts_with(word) {
            return None;
        }
        self.at += word.len();
        self.push(shape, from);
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        let (from, mut escaped) = (self.at, false);
        self.at += 1;
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            let stop = memchr2(b'"', b'\\', rest)?;
            let plain = rest.get(..stop)?.iter();
            if plain.fold(false, |control, byte| control | (*byte < 0x20)) {
                return None;
            }
            self.at += stop;
            if self.peek() == Some(b'"') {
                break;
            }
            escaped = true;
            self.escape()?;
        }
        self.at += 1;
        self.push(Shape::Text { escaped }, from);
        Some(())
    }

    /// One escape; a surrogate only beside its other half.
    fn escape(&mut self) -> Option<()> {
        self.at += 2;
        match self.text.as_bytes().get(self.at - 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => return Some(()),
            b'u' => {}
            _ => return None,
        }
        match self.hex()? {
            0xdc00..=0xdfff => None,
            0xd800..=0xdbff => {
                let low = self.text.get(self.at..self.at + 2)? == "\\u";
                self.at += 2;
                (low && (0xdc00..=0xdfff).contains(&self.hex()?)).then_some(())
            }
            _ => Some(()),
        }
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        let all = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(digits, 16).ok().filter(|_| all)
    }

    fn number(&mut self) -> Option<()> {
        let from = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let zero = self.peek() == Some(b'0');
        if self.digits()? > 1 && zero {
            return None;
        }
        let mut whole = true;
        if self.peek() == Some(b'.') {
            (self.at, whole) = (self.at + 1, false);
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            (self.at, whole) = (self.at + 1, false);
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        let raw = self.text.get(from..self.at)?;
        let finite = (whole && raw.len() < 300) || raw.parse::<f64>().is_ok_and(f64::is_finite);
        self.push(Shape::Number, from);
        finite.then_some(())
    }

    fn digits(&mut self) -> Option<usize> {
        let from = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > from).then_some(self.at - from)
    }
}

#[cfg(test)]
mod tests;
