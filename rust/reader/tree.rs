//! A JSON text as a flat list of its values: every rule of `json` and `strict`, in one pass, without recursion.
//!
//! It only says whether a text keeps the rules; `json::scan` finds the reason when it does not.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::cursor::Cursor;
use super::orders::{NONE, Order, Orders};
use super::strict::{MAX_DEPTH, MAX_KEYS, repeats};

/// Keys that are compared one by one.
const FEW: usize = 32;
/// In place of the number of a list or object around another.
const OUTSIDE: u32 = u32::MAX;

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
    /// The order of an object's keys, if it is known.
    pub order: Order,
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
    grow_among(text, nodes, &mut Orders::default())
}

/// The same, among texts that write their keys in the same orders.
pub fn grow_among(text: &str, nodes: &mut Vec<Node>, orders: &mut Orders) -> bool {
    let mut cursor = Cursor::new(text);
    cursor.space();
    let whole = grown(&mut cursor, nodes, orders, (0, &mut 0));
    cursor.space();
    whole.is_some() && cursor.at == text.len()
}

/// Passes over a value inside an object, and fills `nodes` with what is in it; `keys` of its line were seen before.
pub(super) fn pass(
    cursor: &mut Cursor<'_>,
    nodes: &mut Vec<Node>,
    orders: &mut Orders,
    keys: &mut usize,
) -> Option<()> {
    grown(cursor, nodes, orders, (1, keys))
}

/// The value at a cursor, inside `depth` others.
fn grown(
    cursor: &mut Cursor<'_>,
    nodes: &mut Vec<Node>,
    orders: &mut Orders,
    (depth, keys): (usize, &mut usize),
) -> Option<()> {
    nodes.clear();
    u32::try_from(cursor.text.len()).ok()?;
    let mut scan = Scan {
        cursor: *cursor,
        nodes,
        orders,
        top: OUTSIDE,
        depth,
        keys: *keys,
    };
    scan.run()?;
    (*cursor, *keys) = (scan.cursor, scan.keys);
    Some(())
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

struct Scan<'t, 'a> {
    cursor: Cursor<'t>,
    nodes: &'a mut Vec<Node>,
    orders: &'a mut Orders,
    /// The innermost list or object that is open; while it is, its `next` is the one around it.
    top: u32,
    /// Values around the next one.
    depth: usize,
    keys: usize,
}

impl Scan<'_, '_> {
    fn run(&mut self) -> Option<()> {
        loop {
            if let b'{' | b'[' = self.cursor.peek()? {
                self.enter()?;
                if !matches!(self.cursor.peek()?, b'}' | b']') {
                    self.key()?;
                    continue;
                }
            } else {
                self.scalar()?;
            }
            loop {
                if self.top == OUTSIDE {
                    return Some(());
                }
                self.cursor.space();
                let shape = self.nodes.get(self.top as usize)?.shape;
                match (shape, self.cursor.peek()?) {
                    (_, b',') => {
                        self.cursor.at += 1;
                        self.cursor.space();
                        self.key()?;
                        break;
                    }
                    (Shape::Array, b']') | (Shape::Object, b'}') => self.leave()?,
                    _ => return None,
                }
            }
        }
    }

    fn push(&mut self, shape: Shape, from: usize) {
        let next = self.nodes.len() as u32 + 1;
        let (from, to) = (from as u32, self.cursor.at as u32);
        self.nodes.push(Node {
            shape,
            from,
            to,
            next,
            order: NONE,
        });
    }

    fn enter(&mut self) -> Option<()> {
        if self.depth >= MAX_DEPTH as usize {
            return None;
        }
        let object = self.cursor.peek() == Some(b'{');
        let (at, around) = (self.nodes.len() as u32, self.top);
        let shape = if object { Shape::Object } else { Shape::Array };
        self.push(shape, self.cursor.at);
        let node = self.nodes.last_mut()?;
        if object {
            node.order = self.orders.first();
        }
        (node.next, self.top) = (around, at);
        self.depth += 1;
        self.cursor.at += 1;
        self.cursor.space();
        Some(())
    }

    fn leave(&mut self) -> Option<()> {
        self.cursor.at += 1;
        self.depth -= 1;
        let (to, next) = (self.cursor.at as u32, self.nodes.len() as u32);
        let node = self.nodes.get_mut(self.top as usize)?;
        let around = std::mem::replace(&mut node.next, next);
        node.to = to;
        let known = node.shape == Shape::Array || node.order != NONE;
        let of = std::mem::replace(&mut self.top, around);
        (known || self.distinct(of)).then_some(())
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
                    other.to - other.from == length
                        && other.raw(self.cursor.text) == one.raw(self.cursor.text)
                })
            });
        }
        let names: Vec<Cow<'_, str>> = names
            .iter()
            .filter_map(|key| key.text(self.cursor.text))
            .collect();
        let mut names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        !repeats(&mut names)
    }

    /// The key of the next member, if the innermost open value is an object.
    fn key(&mut self) -> Option<()> {
        let top = self.top as usize;
        let node = self.nodes.get(top)?;
        if node.shape == Shape::Array {
            return Some(());
        }
        self.keys += 1;
        if self.keys > MAX_KEYS || self.cursor.peek()? != b'"' {
            return None;
        }
        let (order, from) = (node.order, self.cursor.at);
        let rest = self.cursor.text.as_bytes().get(from..)?;
        let order = match self.orders.follow(order, rest) {
            Some((order, escaped, length)) => {
                self.cursor.at += length;
                self.push(Shape::Text { escaped }, from);
                order
            }
            None => {
                self.scalar()?;
                self.learn(order)?
            }
        };
        self.nodes.get_mut(top)?.order = order;
        self.cursor.space();
        self.cursor.byte(b':')?;
        self.cursor.space();
        Some(())
    }

    /// The order with the newest key behind it, unless the key is in it already.
    fn learn(&mut self, order: Order) -> Option<Order> {
        if order == NONE {
            return Some(NONE);
        }
        let (key, text) = (self.nodes.last()?, self.cursor.text);
        self.orders.learn(order, key.raw(text), &key.text(text)?)
    }

    fn scalar(&mut self) -> Option<()> {
        let from = self.cursor.at;
        let shape = match self.cursor.peek()? {
            b'"' => self.cursor.string().map(|escaped| Shape::Text { escaped }),
            b't' => self.cursor.word("true").map(|()| Shape::Bool(true)),
            b'f' => self.cursor.word("false").map(|()| Shape::Bool(false)),
            b'n' => self.cursor.word("null").map(|()| Shape::Null),
            _ => self.cursor.number().map(|_| Shape::Number),
        };
        self.push(shape?, from);
        Some(())
    }
}

#[cfg(test)]
mod tests;
